"""kafka-python against a broker: kafka_python.py BOOTSTRAP"""

import sys
import threading
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaError

from checks import BIG, COMPRESSIONS, MESSAGES, Checks, equal, expect, until

BOOTSTRAP = sys.argv[1]
TOPIC = "kafka-python"
GROUP = "kafka-python-group"
checks = Checks()
admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def producer(**options):
    return KafkaProducer(bootstrap_servers=BOOTSTRAP, **options)


def consumer(*topics, **options):
    options.setdefault("auto_offset_reset", "earliest")
    return KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **options)


def read_from(partition, offset, count):
    with_offset = consumer()
    with_offset.assign([partition])
    with_offset.seek(partition, offset)
    records = []
    until(f"{count} records", lambda: records.extend(poll(with_offset)) or len(records) >= count)
    with_offset.close()
    return records


def poll(of):
    return [record for batch in of.poll(timeout_ms=200).values() for record in batch]


def create_topic():
    admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=1)])
    until("the topic", lambda: TOPIC in admin.list_topics())
    described = admin.describe_topics([TOPIC])[0]
    equal(len(described["partitions"]), 3, "partitions")
    try:
        admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=1)])
        expect(False, "the topic was created twice")
    except KafkaError as error:
        expect("TopicAlreadyExists" in type(error).__name__, f"creating twice said {error!r}")


def round_trip(compression):
    partition = TopicPartition(TOPIC, 0)
    with_compression = producer(compression_type=compression, linger_ms=20)
    sent = [
        with_compression.send(TOPIC, key=key, value=value, headers=headers, partition=0)
        for key, value, headers in MESSAGES
    ]
    offsets = [future.get(30).offset for future in sent]
    with_compression.close()
    equal(offsets, list(range(offsets[0], offsets[0] + len(MESSAGES))), "offsets")
    records = read_from(partition, offsets[0], len(MESSAGES))[: len(MESSAGES)]
    equal([r.offset for r in records], offsets, "offsets read")
    for record, (key, value, headers) in zip(records, MESSAGES):
        equal((record.key, record.value, list(record.headers)), (key, value, headers), "message")


def produce_plain():
    for acks in (0, 1, "all"):
        plain = producer(enable_idempotence=False, acks=acks)
        future = plain.send(TOPIC, f"acks {acks}".encode(), partition=1)
        future.get(30)
        plain.close()
    records = read_from(TopicPartition(TOPIC, 1), 0, 3)
    equal(sorted(r.value for r in records), [b"acks 0", b"acks 1", b"acks all"], "values")


def big_message():
    sender = producer()
    offset = sender.send(TOPIC, BIG, partition=2).get(30).offset
    sender.close()
    equal(read_from(TopicPartition(TOPIC, 2), offset, 1)[0].value, BIG, "big message")


def offsets_by_time():
    sender = producer()
    base = int(time.time() * 1000) - 10_000  # retention by time would remove older ones
    for stamp in (base + 1_000, base + 2_000, base + 3_000):
        sender.send("kafka-python-times", str(stamp).encode(), partition=0, timestamp_ms=stamp).get(30)
    sender.close()
    partition = TopicPartition("kafka-python-times", 0)
    reader = consumer()
    equal(reader.beginning_offsets([partition])[partition], 0, "beginning")
    equal(reader.end_offsets([partition])[partition], 3, "end")
    found = reader.offsets_for_times({partition: base + 1_500})[partition]
    equal((found.offset, found.timestamp), (1, base + 2_000), "first at or after 1.5 s")
    equal(reader.offsets_for_times({partition: base + 9_000})[partition], None, "after the last")
    reader.close()


def group_commit_and_resume():
    topic = "kafka-python-resume"
    sender = producer()
    for i in range(10):
        sender.send(topic, str(i).encode(), partition=0).get(30)
    partition = TopicPartition(topic, 0)
    first = consumer(topic, group_id=GROUP, enable_auto_commit=False)
    got = []
    until("four records", lambda: got.extend(poll(first)) or len(got) >= 4)
    first.commit({partition: OffsetAndMetadata(4, "so far", -1)})
    equal(first.committed(partition), 4, "committed")
    first.close()
    second = consumer(topic, group_id=GROUP, enable_auto_commit=False)
    rest = []
    until("six records", lambda: rest.extend(poll(second)) or len(rest) >= 6)
    equal([r.value for r in rest], [str(i).encode() for i in range(4, 10)], "after resuming")
    second.close()
    sender.close()
    offsets = admin.list_group_offsets(GROUP)
    equal(offsets[GROUP][partition].metadata, "so far", "commit metadata")


class Member:
    """A group member polling on its own thread."""

    def __init__(self, **options):
        self.consumer = consumer(group_id="kafka-python-rebalance", session_timeout_ms=10_000, **options)
        self.consumer.subscribe([TOPIC])
        self.values = []
        self.owned = set()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def poll(self):
        while not self.stopping.is_set():
            self.values.extend(poll(self.consumer))
            self.owned = {partition.partition for partition in self.consumer.assignment()}
        self.consumer.close()

    def stop(self):
        self.stopping.set()
        self.thread.join(30)


def rebalance():
    first = Member()
    until("the first member to own all", lambda: first.owned == {0, 1, 2})
    second = Member()
    until(
        "the partitions to be shared",
        lambda: first.owned and second.owned and not first.owned & second.owned and len(first.owned | second.owned) == 3,
    )
    state = admin.describe_groups(["kafka-python-rebalance"])["kafka-python-rebalance"]
    equal(len(state["members"]), 2, "members")
    listed = [group["group_id"] for group in admin.list_groups()]
    expect("kafka-python-rebalance" in listed, f"the group is not listed: {listed}")
    first.stop()
    until("the second member to take over", lambda: second.owned == {0, 1, 2})
    second.stop()


def static_member():
    first = Member(group_instance_id="static-1")
    until("the static member to own all", lambda: first.owned == {0, 1, 2})
    first.stop()
    again = Member(group_instance_id="static-1")
    until("the returned member to own all", lambda: again.owned == {0, 1, 2})
    again.stop()


def describe():
    cluster = admin.describe_cluster()
    equal(len(cluster["brokers"]), 1, "brokers")
    resource = ConfigResource(ConfigResourceType.TOPIC, TOPIC)
    text = repr(admin.describe_configs([resource], config_filter="all"))
    for name in ("retention.ms", "cleanup.policy", "max.message.bytes"):
        expect(name in text, f"{name} is not described: {text[:200]}")


def grow_and_delete():
    admin.create_partitions({TOPIC: 5})
    until("five partitions", lambda: len(admin.describe_topics([TOPIC])[0]["partitions"]) == 5)
    admin.delete_topics([TOPIC])
    until("the topic to go", lambda: TOPIC not in admin.list_topics())


def create_more():
    admin.create_topics(
        [NewTopic(name, num_partitions=1, replication_factor=1) for name in ("kafka-python-times", "kafka-python-resume")]
    )


checks.run("create topic", create_topic)
checks.run("create two topics at once", create_more)
for name in COMPRESSIONS:
    checks.run(f"idempotent round trip, compression {name}", lambda: round_trip(name))
checks.run("produce with acks 0, 1 and all", produce_plain)
checks.run("big message", big_message)
checks.run("offsets by time", offsets_by_time)
checks.run("commit and resume", group_commit_and_resume)
checks.run("rebalance", rebalance)
checks.run("static member", static_member)
checks.run("describe cluster and configs", describe)
checks.run("create partitions, delete topic", grow_and_delete)
admin.close()
checks.finish()
