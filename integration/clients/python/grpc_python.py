"""grpcio with stubs generated from proto/: grpc_python.py ADDRESS"""

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from checks import BIG, MESSAGES, Checks, equal, expect, until
from grpc_stubs import admin, consumer, message, publisher, services

ADDRESS = sys.argv[1]
checks = Checks()
names = itertools.count()


class Gateway:
    def __init__(self):
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(ADDRESS, options=options)
        self.publisher, self.consumer, self.admin = services(self.channel)

    def topic_and_group(self, partitions=1, **config):
        name = f"grpc-{next(names)}"
        self.admin.CreateTopic(admin.CreateTopicRequest(topic=name, partitions=partitions))
        self.admin.CreateGroup(admin.CreateGroupRequest(group=name, config=admin.GroupConfig(topics=[name], **config)))
        return name

    def publish(self, name, values):
        entries = [publisher.Entry(message=message.Message(value=value.encode())) for value in values]
        results = self.publisher.Publish(publisher.PublishRequest(topic=name, entries=entries)).results
        expect(all(result.HasField("published") for result in results), str(results))


gateway = Gateway()


class Session:
    """A Consume stream: frames are sent from a queue, responses read in the caller's time."""

    def __init__(self, channel_of=gateway, **start):
        self.frames = queue.SimpleQueue()
        self.send(start=consumer.ConsumeRequest.Start(**start))
        self.responses = channel_of.consumer.Consume(iter(self.frames.get, None))
        self.started = next(self.responses).started

    def send(self, **frame):
        self.frames.put(consumer.ConsumeRequest(**frame))

    def next(self, kind):
        response = next(self.responses)
        equal(response.WhichOneof("frame"), kind, "frame")
        return getattr(response, kind)

    def messages(self, count):
        found = []
        while len(found) < count:
            found.extend(self.next("messages").messages)
        return found

    def ack(self, *ids, up_to=0):
        self.send(ack=consumer.ConsumeRequest.Ack(delivery_ids=ids, up_to=up_to, request_seq=7))
        equal([(f.delivery_id, f.error.reason) for f in self.next("ack_result").failed], [], "failed")

    def break_off(self):
        self.responses.cancel()

    def close(self):
        self.frames.put(None)
        equal(list(self.responses), [], "what is left")


def credit(messages):
    return consumer.ConsumeRequest.Credit(messages=messages)


def values(messages):
    return [m.message.value.decode() for m in messages]


def numbered(count):
    return [f"m{number}" for number in range(count)]


def round_trip():
    name = gateway.topic_and_group()
    entries = []
    for key, value, headers in MESSAGES:
        sent = message.Message(key=key, value=value)
        for header, bytes_ in headers:
            try:
                sent.headers.add(name=header, text=bytes_.decode())
            except UnicodeDecodeError:
                sent.headers.add(name=header, binary=bytes_)
        sent.headers.add(name="retries", text="3", type="int32")
        sent.headers.add(name="null")
        properties = sent.properties
        properties.message_id, properties.correlation_id, properties.reply_to, properties.type = "id", "c", "r", "t"
        properties.app_id, properties.user_id, properties.content_encoding, properties.priority = "app", "user", "gzip", 9
        properties.ttl.CopyFrom(Duration(seconds=3600))
        sent.timestamp.CopyFrom(Timestamp(seconds=int(time.time()) - 5, nanos=123_000_000))
        entries.append(publisher.Entry(message=sent))
    # One whose content type is a header by its own name, as Kafka clients write it, comes back as the property.
    kafka_style = entries[0].message
    results = gateway.publisher.Publish(publisher.PublishRequest(topic=name, entries=entries)).results
    equal([result.published.offset for result in results], list(range(len(entries))), "offsets")
    pulled = gateway.consumer.Pull(consumer.PullRequest(group=name)).messages
    own = [header for header in kafka_style.headers if header.name == "content-type"][0]
    kafka_style.headers.remove(own)
    kafka_style.properties.content_type = own.text
    for entry, received in zip(entries, pulled, strict=True):
        equal(received.message, entry.message, "message")
    again = [publisher.Entry(message=received.message) for received in pulled]
    gateway.publisher.Publish(publisher.PublishRequest(topic=name, entries=again))
    twice = gateway.consumer.Pull(consumer.PullRequest(group=name)).messages
    equal([m.message for m in twice], [m.message for m in pulled], "published again")


def large():
    name = gateway.topic_and_group()
    gateway.publisher.Publish(publisher.PublishRequest(topic=name, entries=[publisher.Entry(message=message.Message(value=BIG))]))
    equal(gateway.consumer.Pull(consumer.PullRequest(group=name)).messages[0].message.value, BIG, "body")


def errors_say_why():
    try:
        gateway.consumer.Pull(consumer.PullRequest(group="nobody"))
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.NOT_FOUND, "code")
        expect("CreateGroup" in error.details(), error.details())
        detail = rpc_status.from_call(error).details[0]
        info = error_details_pb2.ErrorInfo()
        expect(detail.Unpack(info), "ErrorInfo")
        equal((info.reason, info.domain), ("NOT_FOUND", "tidegate"), "info")
    else:
        raise AssertionError("it was answered")


def idempotent_publish():
    name = gateway.topic_and_group()
    request = publisher.PublishRequest(topic=name, entries=[publisher.Entry(message=message.Message(value=b"x"), idempotency_key="k")])
    duplicates = [gateway.publisher.Publish(request).results[0].published.duplicate for _ in range(3)]
    equal(duplicates, [False, True, True], "duplicates")


def publish_stream():
    name = gateway.topic_and_group(partitions=3)
    frames = queue.SimpleQueue()
    responses = gateway.publisher.PublishStream(iter(frames.get, None))
    window = next(responses).window
    expect(window.messages > 0 and window.bytes > 0, str(window))
    for first in range(1, 10_000, 100):
        entries = [publisher.Entry(message=message.Message(key=b"%d" % n, value=b"x")) for n in range(first, first + 100)]
        frames.put(publisher.PublishStreamRequest(topic=name, first_sequence=first, entries=entries))
    frames.put(None)
    acknowledged = [response.acknowledged for response in responses]
    equal((acknowledged, acknowledged[-1]), (sorted(acknowledged), 10_000), "acknowledged")
    equal(gateway.consumer.GetLag(consumer.GetLagRequest(group=name)).messages, 10_000, "stored")


def consume_with_credit():
    name = gateway.topic_and_group()
    gateway.publish(name, numbered(10))
    session = Session(group=name, client_id="test", credit=credit(3))
    equal(values(session.messages(3)), numbered(3), "first")
    session.send(ping=consumer.ConsumeRequest.Ping(nonce=5))
    equal(session.next("pong").nonce, 5, "nothing more than the answer to a ping")
    session.ack(2, up_to=1)
    session.send(credit=credit(7))
    rest = session.messages(7)
    equal(values(rest), numbered(10)[3:], "rest")
    session.send(nack=consumer.ConsumeRequest.Nack(delivery_ids=[rest[0].delivery_id]))
    session.next("ack_result")
    session.send(credit=credit(1))
    again = session.messages(1)[0]
    equal((values([again]), again.redelivered, again.delivery_attempt), (["m3"], True, 2), "again")
    session.ack(up_to=again.delivery_id)
    session.close()
    equal(gateway.consumer.GetLag(consumer.GetLagRequest(group=name)).messages, 0, "lag")


def a_broken_stream_goes_on():
    name = gateway.topic_and_group()
    gateway.publish(name, numbered(4))
    other = Gateway()
    session = Session(other, group=name, credit=credit(3))
    session.messages(3)
    session.ack(2)
    other.channel.close()
    resumed = Session(group=name, session_id=session.started.session_id, credit=credit(9))
    equal((resumed.started.resumed, list(resumed.started.unsettled)), (True, [1, 3]), "resumed")
    equal(values(resumed.messages(1)), ["m3"], "only what is new")
    resumed.ack(1, 3, 4)
    resumed.close()


def a_killed_consumer_gives_back():
    name = gateway.topic_and_group()
    gateway.publish(name, numbered(50))
    victim = subprocess.Popen([sys.executable, __file__, ADDRESS, "--hold", name, "30"], stdout=subprocess.PIPE)
    equal(victim.stdout.readline(), b"30\n", "held")
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    session = Session(group=name, credit=credit(100))
    # What nobody has had comes first; what the victim had, after its grace.
    found = session.messages(50)
    fresh, given_back = found[:20], found[20:]
    equal(values(fresh), numbered(50)[30:], "fresh")
    equal(values(given_back), numbered(30), "given back, in order")
    expect(not any(m.redelivered for m in fresh), "fresh messages are not marked")
    expect(all(m.redelivered for m in given_back), "marked as redelivered")
    session.ack(up_to=found[-1].delivery_id)
    session.close()



def hold(name, count):
    """Receives so many messages, says so and waits for its end."""
    session = Session(group=name, credit=credit(count))
    print(len(session.messages(count)), flush=True)
    time.sleep(600)


def pull_and_settle():
    name = gateway.topic_and_group()
    started = threading.Timer(0.3, lambda: gateway.publish(name, numbered(3)))
    started.start()
    pulled = gateway.consumer.Pull(consumer.PullRequest(group=name, wait=Duration(seconds=30))).messages
    started.join()
    pulled = list(pulled) + list(gateway.consumer.Pull(consumer.PullRequest(group=name)).messages)
    ids = [m.ack_id for m in pulled]
    gateway.consumer.Extend(consumer.ExtendRequest(group=name, ack_ids=ids, ack_deadline=Duration(seconds=60)))
    results = gateway.consumer.Ack(consumer.AckRequest(group=name, ack_ids=ids[:2])).results
    expect(not any(result.HasField("error") for result in results), str(results))
    rejection = consumer.Rejection(uncounted=True)
    gateway.consumer.Nack(consumer.NackRequest(group=name, ack_ids=ids[2:], rejection=rejection))
    equal(values(gateway.consumer.Pull(consumer.PullRequest(group=name)).messages), ["m2"], "given back")


def fetch_and_seek():
    name = gateway.topic_and_group()
    gateway.publish(name, numbered(5))
    fetched = [m for r in gateway.consumer.Fetch(consumer.FetchRequest(topic=name)) for m in r.messages]
    equal(values(fetched), numbered(5), "fetched")
    earliest = message.Position(anchor=message.ANCHOR_LATEST)
    gateway.consumer.Seek(consumer.SeekRequest(group=name, to=earliest))
    equal(gateway.consumer.GetLag(consumer.GetLagRequest(group=name)).messages, 0, "lag")


def topics_and_groups():
    name = gateway.topic_and_group(partitions=4)
    shown = gateway.admin.GetTopic(admin.GetTopicRequest(topic=name))
    equal((shown.partitions, len(shown.bounds), shown.config.durability), (4, 4, message.DURABILITY_FSYNC), "topic")
    expect(name in [topic.name for topic in gateway.admin.ListTopics(admin.ListTopicsRequest()).topics], "listed")
    equal(list(gateway.admin.GetGroup(admin.GetGroupRequest(group=name)).config.topics), [name], "group")
    gateway.admin.DeleteGroup(admin.DeleteGroupRequest(group=name))
    gateway.admin.DeleteTopic(admin.DeleteTopicRequest(topic=name))
    expect(name not in [group.name for group in gateway.admin.ListGroups(admin.ListGroupsRequest()).groups], "deleted")


def health():
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    equal(stub.Check(health_pb2.HealthCheckRequest(service="tidegate.v1.Consumer")).status, 1, "SERVING")


if sys.argv[2:3] == ["--hold"]:
    hold(sys.argv[3], int(sys.argv[4]))

for check in (
    round_trip, large, errors_say_why, idempotent_publish, publish_stream, consume_with_credit, a_broken_stream_goes_on,
    a_killed_consumer_gives_back, pull_and_settle, fetch_and_seek, topics_and_groups, health,
):  # fmt: skip
    checks.run(check.__name__.replace("_", " "), check)
checks.finish()
