"""confluent-kafka (librdkafka) against a broker: confluent.py BOOTSTRAP"""

import sys
import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from checks import BIG, COMPRESSIONS, MESSAGES, Checks, equal, expect, until

BOOTSTRAP = sys.argv[1]
TOPIC = "confluent"
checks = Checks()
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def done(futures):
    return {name: future.result(30) for name, future in futures.items()}


def create(topic, partitions):
    done(admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)]))


def producer(**options):
    return Producer({"bootstrap.servers": BOOTSTRAP, "message.timeout.ms": 30_000} | dotted(options))


def consumer(group, **options):
    base = {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "check.crcs": True,
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 500,
    }
    return Consumer(base | dotted(options))


def dotted(options):
    return {name.replace("_", "."): value for name, value in options.items()}


def send(with_producer, topic, messages, partition):
    """Sends and returns the offsets acknowledged."""
    offsets, errors = [], []

    def delivered(error, message):
        errors.append(error) if error else offsets.append(message.offset())

    for key, value, headers in messages:
        with_producer.produce(topic, key=key, value=value, headers=headers, partition=partition, on_delivery=delivered)
    left = with_producer.flush(30)
    equal((left, errors), (0, []), "unsent and failed")
    return offsets


def take(of, count):
    messages = []

    def more():
        for message in of.consume(count - len(messages), timeout=0.2):
            expect(message.error() is None, f"consume said {message.error()}")
            messages.append(message)
        return len(messages) >= count

    until(f"{count} messages", more)
    return messages


def read_from(topic, partition, offset, count):
    reader = consumer("unused")
    reader.assign([TopicPartition(topic, partition, offset)])
    messages = take(reader, count)
    reader.close()
    return messages


def create_topic():
    create(TOPIC, 3)
    metadata = admin.list_topics(timeout=10)
    equal(len(metadata.topics[TOPIC].partitions), 3, "partitions")
    try:
        create(TOPIC, 3)
        expect(False, "the topic was created twice")
    except KafkaException as error:
        equal(error.args[0].name(), "TOPIC_ALREADY_EXISTS", "creating twice")


def round_trip(compression, idempotent):
    sender = producer(compression_type=compression or "none", enable_idempotence=idempotent, linger_ms=20)
    offsets = send(sender, TOPIC, MESSAGES, 0)
    equal(offsets, list(range(offsets[0], offsets[0] + len(MESSAGES))), "offsets")
    for message, (key, value, headers) in zip(read_from(TOPIC, 0, offsets[0], len(MESSAGES)), MESSAGES):
        equal((message.key(), message.value(), message.headers() or []), (key, value, headers), "message")


def big_message():
    offsets = send(producer(), TOPIC, [(None, BIG, [])], 2)
    equal(read_from(TOPIC, 2, offsets[0], 1)[0].value(), BIG, "big message")


def many_small():
    """Fills many batches and checks order across them and across fetches."""
    count = 50_000
    sender = producer(enable_idempotence=True, linger_ms=5, queue_buffering_max_messages=count)
    offsets = send(sender, TOPIC, [(None, b"%d" % i, None) for i in range(count)], 1)
    messages = read_from(TOPIC, 1, offsets[0], count)
    equal([int(m.value()) for m in messages], list(range(count)), "order")


def offsets_by_time():
    create("confluent-times", 1)
    sender = producer()
    base = int(time.time() * 1000) - 10_000  # retention by time would remove older ones
    for stamp in (base + 1_000, base + 2_000, base + 3_000):
        sender.produce("confluent-times", str(stamp), partition=0, timestamp=stamp)
        equal(sender.flush(30), 0, "unsent")
    reader = consumer("unused")
    equal(reader.get_watermark_offsets(TopicPartition("confluent-times", 0), 10), (0, 3), "watermarks")
    found = reader.offsets_for_times([TopicPartition("confluent-times", 0, base + 1_500)], 10)
    equal(found[0].offset, 1, "first at or after 1.5 s")
    reader.close()
    spec = {TopicPartition("confluent-times", 0): OffsetSpec.max_timestamp()}
    equal([r.offset for r in done(admin.list_offsets(spec)).values()], [2], "largest timestamp")


def commit_and_resume():
    create("confluent-resume", 1)
    send(producer(), "confluent-resume", [(None, str(i), None) for i in range(10)], 0)
    first = consumer("confluent-group")
    first.subscribe(["confluent-resume"])
    take(first, 4)
    first.commit(offsets=[TopicPartition("confluent-resume", 0, 4)], asynchronous=False)
    first.close()
    second = consumer("confluent-group")
    second.subscribe(["confluent-resume"])
    equal([m.value() for m in take(second, 6)], [str(i).encode() for i in range(4, 10)], "after resuming")
    second.close()
    listed = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("confluent-group")]))
    equal([p.offset for p in listed["confluent-group"].topic_partitions], [4], "committed")


class Member:
    def __init__(self, group, **options):
        self.consumer = consumer(group, **options)
        self.consumer.subscribe([TOPIC])
        self.owned = set()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def poll(self):
        while not self.stopping.is_set():
            self.consumer.consume(1000, timeout=0.1)
            self.owned = {p.partition for p in self.consumer.assignment()}
        self.consumer.close()

    def stop(self):
        self.stopping.set()
        self.thread.join(30)


def rebalance(strategy):
    group = f"confluent-{strategy}"
    first = Member(group, partition_assignment_strategy=strategy)
    until("the first member to own all", lambda: first.owned == {0, 1, 2})
    second = Member(group, partition_assignment_strategy=strategy)
    until(
        "the partitions to be shared",
        lambda: first.owned and second.owned and not first.owned & second.owned and len(first.owned | second.owned) == 3,
    )
    described = done(admin.describe_consumer_groups([group]))[group]
    equal((described.state.name, len(described.members)), ("STABLE", 2), "state and members")
    names = [g.group_id for g in admin.list_consumer_groups().result(30).valid]
    expect(group in names, f"the group is not listed: {names}")
    first.stop()
    until("the second member to take over", lambda: second.owned == {0, 1, 2})
    second.stop()


def static_members():
    first, second = (Member("confluent-static", group_instance_id=f"static-{i}") for i in (1, 2))
    until("the partitions to be shared", lambda: len(first.owned) + len(second.owned) == 3 and first.owned and second.owned)
    held = second.owned
    first.stop()
    again = Member("confluent-static", group_instance_id="static-1")
    until("the returned member to own its share", lambda: again.owned and len(again.owned) + len(held) == 3)
    equal(second.owned, held, "what the member that stayed owns")
    again.stop()
    second.stop()


def describe():
    cluster = admin.describe_cluster().result(30)
    equal(len(cluster.nodes), 1, "nodes")
    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC)
    described = done(admin.describe_configs([resource]))[resource]
    for name in ("retention.ms", "cleanup.policy", "max.message.bytes"):
        expect(name in described, f"{name} is not described: {sorted(described)}")
    topics = done(admin.describe_topics(TopicCollection([TOPIC])))
    equal(len(topics[TOPIC].partitions), 3, "partitions")


def unknown_topic():
    reader = consumer("unused")
    reader.subscribe(["confluent-no-such-topic"])
    errors = []
    until("an error", lambda: errors.extend(m.error().name() for m in reader.consume(1, 0.2) if m.error()) or errors)
    equal(errors[0], "UNKNOWN_TOPIC_OR_PART", "reading an unknown topic")
    reader.close()


def grow_and_delete():
    done(admin.create_partitions([NewPartitions(TOPIC, 5)]))
    until("five partitions", lambda: len(admin.list_topics(timeout=10).topics[TOPIC].partitions) == 5)
    done(admin.delete_topics([TOPIC]))
    until("the topic to go", lambda: TOPIC not in admin.list_topics(timeout=10).topics)


checks.run("create topic", create_topic)
for name in COMPRESSIONS:
    checks.run(f"round trip, compression {name}", lambda: round_trip(name, False))
checks.run("idempotent round trip", lambda: round_trip(None, True))
checks.run("idempotent round trip, lz4", lambda: round_trip("lz4", True))
checks.run("big message", big_message)
checks.run("50,000 small messages in order", many_small)
checks.run("offsets by time", offsets_by_time)
checks.run("commit and resume", commit_and_resume)
checks.run("rebalance, range", lambda: rebalance("range"))
checks.run("rebalance, cooperative-sticky", lambda: rebalance("cooperative-sticky"))
checks.run("static members", static_members)
checks.run("describe cluster, configs, topics", describe)
checks.run("unknown topic", unknown_topic)
checks.run("create partitions, delete topic", grow_and_delete)
checks.finish()
