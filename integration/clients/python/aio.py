"""aiokafka against a broker: aio.py BOOTSTRAP"""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata

from checks import BIG, COMPRESSIONS, MESSAGES, Checks, equal, expect

BOOTSTRAP = sys.argv[1]
TOPIC = "aiokafka"
checks = Checks()
loop = asyncio.new_event_loop()


def check(name, coroutine):
    checks.run(name, lambda: loop.run_until_complete(coroutine()))


async def started(of):
    await of.start()
    return of


async def producer(**options):
    return await started(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **options))


async def consumer(*topics, **options):
    options.setdefault("auto_offset_reset", "earliest")
    return await started(AIOKafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **options))


async def admin():
    return await started(AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP))


async def until(what, condition, seconds=30):
    for _ in range(seconds * 20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


async def take(of, count):
    return [await of.getone() for _ in range(count)]


async def read_from(partition, offset, count):
    reader = await consumer()
    reader.assign([partition])
    reader.seek(partition, offset)
    records = await take(reader, count)
    await reader.stop()
    return records


async def create_topics():
    client = await admin()
    names = {TOPIC: 3, "aiokafka-times": 1, "aiokafka-resume": 1}
    answer = await client.create_topics([NewTopic(n, num_partitions=p, replication_factor=1) for n, p in names.items()])
    equal([error[1] for error in answer.topic_errors], [0, 0, 0], "error codes")
    expect(set(names) <= set(await client.list_topics()), "the topics are not listed")
    described = await client.describe_topics([TOPIC])
    equal(len(described[0]["partitions"]), 3, "partitions")
    await client.close()


async def round_trip(compression, idempotent):
    sender = await producer(compression_type=compression, enable_idempotence=idempotent, linger_ms=20)
    futures = [
        await sender.send(TOPIC, key=key, value=value, headers=headers, partition=0) for key, value, headers in MESSAGES
    ]
    offsets = [(await future).offset for future in futures]
    await sender.stop()
    equal(offsets, list(range(offsets[0], offsets[0] + len(MESSAGES))), "offsets")
    records = await read_from(TopicPartition(TOPIC, 0), offsets[0], len(MESSAGES))
    for record, (key, value, headers) in zip(records, MESSAGES):
        equal((record.key, record.value, list(record.headers)), (key, value, headers), "message")


async def big_message():
    sender = await producer()
    sent = await sender.send_and_wait(TOPIC, BIG, partition=2)
    await sender.stop()
    records = await read_from(TopicPartition(TOPIC, 2), sent.offset, 1)
    equal(records[0].value, BIG, "big message")


async def offsets_by_time():
    sender = await producer()
    base = int(time.time() * 1000) - 10_000  # retention by time would remove older ones
    for stamp in (base + 1_000, base + 2_000, base + 3_000):
        await sender.send_and_wait("aiokafka-times", str(stamp).encode(), partition=0, timestamp_ms=stamp)
    await sender.stop()
    partition = TopicPartition("aiokafka-times", 0)
    reader = await consumer()
    equal(await reader.beginning_offsets([partition]), {partition: 0}, "beginning")
    equal(await reader.end_offsets([partition]), {partition: 3}, "end")
    found = (await reader.offsets_for_times({partition: base + 1_500}))[partition]
    equal((found.offset, found.timestamp), (1, base + 2_000), "first at or after 1.5 s")
    await reader.stop()


async def commit_and_resume():
    sender = await producer()
    for i in range(10):
        await sender.send_and_wait("aiokafka-resume", str(i).encode(), partition=0)
    await sender.stop()
    partition = TopicPartition("aiokafka-resume", 0)
    first = await consumer("aiokafka-resume", group_id="aiokafka-group", enable_auto_commit=False)
    await take(first, 4)
    await first.commit({partition: OffsetAndMetadata(4, "so far")})
    await first.stop()
    second = await consumer("aiokafka-resume", group_id="aiokafka-group", enable_auto_commit=False)
    equal([r.value for r in await take(second, 6)], [str(i).encode() for i in range(4, 10)], "after resuming")
    await second.stop()
    client = await admin()
    equal((await client.list_consumer_group_offsets("aiokafka-group"))[partition].metadata, "so far", "metadata")
    await client.close()


class Member:
    def __init__(self, group, **options):
        self.group, self.options = group, options

    async def start(self):
        self.consumer = await consumer(
            TOPIC, group_id=self.group, session_timeout_ms=10_000, heartbeat_interval_ms=500, **self.options
        )
        self.polling = asyncio.ensure_future(self.poll())
        return self

    async def poll(self):
        while True:
            await self.consumer.getmany(timeout_ms=100)

    @property
    def owned(self):
        return {partition.partition for partition in self.consumer.assignment()}

    async def stop(self):
        self.polling.cancel()
        await self.consumer.stop()


async def rebalance():
    first = await Member("aiokafka-rebalance").start()
    await until("the first member to own all", lambda: first.owned == {0, 1, 2})
    second = await Member("aiokafka-rebalance").start()
    await until(
        "the partitions to be shared",
        lambda: first.owned and second.owned and not first.owned & second.owned and len(first.owned | second.owned) == 3,
    )
    client = await admin()
    groups = [group[0] for group in await client.list_consumer_groups()]
    expect("aiokafka-rebalance" in groups, f"the group is not listed: {groups}")
    answer = (await client.describe_consumer_groups(["aiokafka-rebalance"]))[0]
    state, members = answer.groups[0][2], answer.groups[0][5]
    equal((state, len(members)), ("Stable", 2), "state and members")
    await client.close()
    await first.stop()
    await until("the second member to take over", lambda: second.owned == {0, 1, 2})
    await second.stop()


async def static_member():
    for _ in range(2):
        member = await Member("aiokafka-static", group_instance_id="static-1").start()
        await until("the static member to own all", lambda: member.owned == {0, 1, 2})
        await member.stop()


async def describe_grow_delete():
    client = await admin()
    equal(len((await client.describe_cluster())["brokers"]), 1, "brokers")
    configs = repr(await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)]))
    expect("retention.ms" in configs, f"retention.ms is not described: {configs[:200]}")
    await client.create_partitions({TOPIC: NewPartitions(total_count=5)})
    equal(len((await client.describe_topics([TOPIC]))[0]["partitions"]), 5, "partitions")
    await client.delete_topics([TOPIC])
    expect(TOPIC not in await client.list_topics(), "the topic is still there")
    await client.close()


check("create topics", create_topics)
for name in COMPRESSIONS:
    check(f"round trip, compression {name}", lambda: round_trip(name, False))
check("idempotent round trip", lambda: round_trip("lz4", True))
check("big message", big_message)
check("offsets by time", offsets_by_time)
check("commit and resume", commit_and_resume)
check("rebalance", rebalance)
check("static member", static_member)
check("describe, create partitions, delete topic", describe_grow_delete)
checks.finish()
