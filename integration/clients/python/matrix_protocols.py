"""Each protocol's own client as a publisher and a consumer of one kind of message, for matrix.py."""

import base64
import json
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal

import grpc
import pika
import requests
from confluent_kafka import Consumer, Producer, TopicPartition
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from checks import equal, expect, until
from grpc_stubs import consumer, message, publisher, services

# Properties that are text in every protocol, as HTTP's JSON and gRPC name them, and as Kafka's headers and pika do.
TEXTS = {
    "content_type": ("content-type", "content_type"), "content_encoding": ("content-encoding", "content_encoding"),
    "message_id": ("message-id", "message_id"), "correlation_id": ("correlation-id", "correlation_id"), "reply_to": ("reply-to", "reply_to"),
    "type": ("message-type", "type"), "app_id": ("app-id", "app_id"), "user_id": ("user-id", "user_id"),
}  # fmt: skip
# Headers that only say how others are to be read, or where a message came from.
HIDDEN = {"tidegate-header-types", "amqp", "amqp-exchange", "amqp-routing-key"}


def is_text(value):
    try:
        value.decode()
        return True
    except UnicodeDecodeError:
        return False


@dataclass
class Message:
    """What every protocol can say. A header is (name, type or None, value in bytes), the value as Kafka would have it."""

    body: bytes | None = b""
    key: bytes | None = None
    headers: list = field(default_factory=list)
    timestamp_ms: int = 0
    texts: dict = field(default_factory=dict)
    priority: int | None = None
    ttl_ms: int | None = None


class Kafka:
    name = "Kafka"
    types = False
    repeats = True

    def __init__(self, addresses):
        self.bootstrap = {"bootstrap.servers": addresses["kafka"]}
        self.producer = Producer(self.bootstrap | {"linger.ms": 5})

    def publish(self, topic, messages):
        failed = []
        for one in messages:
            headers = [(name, value) for name, _, value in one.headers]
            headers += [(TEXTS[name][0], value.encode()) for name, value in one.texts.items()]
            headers += [(name, b"%d" % value) for name, value in (("priority", one.priority), ("ttl-ms", one.ttl_ms)) if value is not None]
            self.producer.produce(
                topic, key=one.key, value=one.body, headers=headers, timestamp=one.timestamp_ms, partition=0,
                on_delivery=lambda error, _: error and failed.append(error),
            )  # fmt: skip
        equal((self.producer.flush(30), failed), (0, []), "unsent, failed")

    def reader(self, group="unused"):
        return Consumer(self.bootstrap | {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"})

    @staticmethod
    def take(reader, count):
        found = []
        until(f"{count} messages", lambda: found.extend(m for m in reader.consume(count - len(found), 0.2) if not m.error()) or len(found) >= count)
        return found

    def read(self, topic, count):
        reader = self.reader()
        reader.assign([TopicPartition(topic, 0, 0)])
        found = [self.seen(record) for record in self.take(reader, count)]
        reader.close()
        return found

    @staticmethod
    def seen(record):
        seen = Message(record.value(), record.key(), [], record.timestamp()[1])
        properties = {header: name for name, (header, _) in TEXTS.items()}
        for name, value in record.headers() or []:
            if name in properties:
                seen.texts[properties[name]] = value.decode()
            elif name in ("priority", "ttl-ms"):
                setattr(seen, name.replace("-", "_"), int(value))
            elif name not in HIDDEN:
                seen.headers.append((name, None, value))
        return seen

    def take_of_group(self, topic, group, count):
        """So many of a group's messages, acknowledged; the group is left."""
        reader = self.reader(group)
        reader.subscribe([topic])
        found = self.take(reader, count)
        reader.commit(offsets=[TopicPartition(topic, 0, found[-1].offset() + 1)], asynchronous=False)
        reader.close()
        return [record.value() for record in found]


def rfc3339(text):
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def milliseconds(text):
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h|d)", text))


class Http:
    name = "HTTP"
    types = True
    repeats = True

    def __init__(self, addresses):
        self.url = addresses["http"]
        self.session = requests.Session()

    def ask(self, method, path, wanted=(200, 201), **options):
        answer = self.session.request(method, f"{self.url}/v1/{path}", timeout=40, **options)
        expect(answer.status_code in wanted, f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def publish(self, topic, messages):
        results = self.ask("POST", f"topics/{topic}/messages:batch", wanted=(200, 207), json={"messages": [self.said(one) for one in messages]})["results"]
        equal([result for result in results if result["status"] != 201], [], "refused")

    @staticmethod
    def said(one):
        said = {"timestamp": datetime.fromtimestamp(one.timestamp_ms / 1000, timezone.utc).isoformat(timespec="milliseconds")} | one.texts
        said |= {"value": None} if one.body is None else {"base64": base64.b64encode(one.body).decode()}
        if one.key is not None:
            said["key_base64"] = base64.b64encode(one.key).decode()
        if one.priority is not None:
            said["priority"] = one.priority
        if one.ttl_ms is not None:
            said["ttl"] = f"{one.ttl_ms}ms"
        said["headers"] = []
        for name, kind, value in one.headers:
            header = {"name": name, "base64": base64.b64encode(value).decode()}
            said["headers"].append(header | ({"type": kind} if kind else {}))
        return said

    def read(self, topic, count):
        found = []

        def all_there():
            page = self.ask("GET", f"topics/{topic}/messages", params={"partition": 0, "offset": len(found), "limit": count - len(found)})
            found.extend(self.seen(one) for one in page["messages"])
            return len(found) >= count

        until(f"{count} messages", all_there)
        return found

    @staticmethod
    def body(one, text="text"):
        if text in one:
            value = one[text]
            return (value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)).encode()
        encoded = one.get("base64" if text != "key" else "key_base64")
        return None if encoded is None else base64.b64decode(encoded)

    def seen(self, one):
        seen = Message(self.body(one), self.body(one, "key"), [], rfc3339(one["timestamp"]))
        expect("value" not in one or one["value"] is None, f"a body of JSON, which nobody sent: {one}")
        seen.headers = [(header["name"], header.get("type"), self.body(header, "value")) for header in one.get("headers", []) if header["name"] not in HIDDEN]
        seen.texts = {name: one[name] for name in TEXTS if name in one}
        seen.priority = one.get("priority")
        seen.ttl_ms = milliseconds(one["ttl"]) if "ttl" in one else None
        return seen

    def take_of_group(self, topic, group, count):
        self.ask("PUT", f"groups/{group}", wanted=(200, 201, 409), json={"topics": [topic], "mode": "shared", "start": "earliest"})
        found = []
        while len(found) < count:
            pulled = self.ask("POST", f"groups/{group}:pull", json={"max_messages": count - len(found), "wait": "20s"})["messages"]
            expect(pulled, f"nothing more after {len(found)} of {count}")
            found += pulled
        self.ask("POST", f"groups/{group}:ack", json={"ack_ids": [one["ack_id"] for one in found]})
        return [self.body(one) for one in found]


def timestamp_of(milliseconds):
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


class Grpc:
    name = "gRPC"
    types = True
    repeats = True

    def __init__(self, addresses):
        self.publisher, self.consumer, _ = services(grpc.insecure_channel(addresses["grpc"]))

    def publish(self, topic, messages):
        entries = [publisher.Entry(partition=0, message=self.said(one)) for one in messages]
        results = self.publisher.Publish(publisher.PublishRequest(topic=topic, entries=entries)).results
        equal([str(result) for result in results if not result.HasField("published")], [], "refused")

    @staticmethod
    def said(one):
        said = message.Message(timestamp=timestamp_of(one.timestamp_ms), value=one.body, key=one.key)
        if one.texts or one.priority is not None or one.ttl_ms is not None:
            said.properties.CopyFrom(message.Properties(priority=one.priority, **one.texts))
        if one.ttl_ms is not None:
            said.properties.ttl.CopyFrom(Duration(seconds=one.ttl_ms // 1000, nanos=one.ttl_ms % 1000 * 1_000_000))
        for name, kind, value in one.headers:
            try:
                said.headers.append(message.Header(name=name, text=value.decode(), type=kind or ""))
            except UnicodeDecodeError:
                said.headers.append(message.Header(name=name, binary=value, type=kind or ""))
        return said

    def read(self, topic, count):
        earliest = message.Position(anchor=message.ANCHOR_EARLIEST)
        found = []
        for response in self.consumer.Fetch(consumer.FetchRequest(**self.fetch(topic, earliest)), timeout=30):
            found.extend(self.seen(one.message) for one in response.messages)
            if len(found) >= count:
                return found
        raise AssertionError(f"the fetch ended after {len(found)} of {count}")

    @staticmethod
    def fetch(topic, earliest):
        return {"topic": topic, "from": earliest}

    @staticmethod
    def seen(one):
        optional = lambda of, name: getattr(of, name) if of.HasField(name) else None
        seen = Message(optional(one, "value"), optional(one, "key"), [], one.timestamp.ToMilliseconds())
        for header in (header for header in one.headers if header.name not in HIDDEN):
            value = header.text.encode() if header.WhichOneof("value") == "text" else header.binary
            seen.headers.append((header.name, header.type or None, value))
        properties = one.properties
        seen.texts = {name: getattr(properties, name) for name in TEXTS if properties.HasField(name)}
        seen.priority = optional(properties, "priority")
        seen.ttl_ms = properties.ttl.ToMilliseconds() if properties.HasField("ttl") else None
        return seen

    def take_of_group(self, topic, group, count):
        found = []
        while len(found) < count:
            request = consumer.PullRequest(group=group, max_messages=count - len(found), wait=Duration(seconds=20))
            pulled = self.consumer.Pull(request).messages
            expect(pulled, f"nothing more after {len(found)} of {count}")
            found += pulled
        acknowledged = self.consumer.Ack(consumer.AckRequest(group=group, ack_ids=[one.ack_id for one in found])).results
        expect(not any(result.HasField("error") for result in acknowledged), str(acknowledged))
        return [one.message.value for one in found]


class Amqp:
    name = "AMQP"
    types = True
    repeats = False

    def __init__(self, addresses):
        self.host, _, port = addresses["amqp"].rpartition(":")
        self.port = int(port)

    def channel(self):
        return pika.BlockingConnection(pika.ConnectionParameters(self.host, self.port)).channel()

    def declare(self, queue):
        channel = self.channel()
        channel.queue_declare(queue, durable=True)
        channel.connection.close()

    def publish(self, topic, messages):
        channel = self.channel()
        channel.confirm_delivery()
        for one in messages:
            channel.basic_publish("", topic, one.body or b"", self.said(one), mandatory=True)
        channel.connection.close()

    def said(self, one):
        headers = {name: self.value(kind, value) for name, kind, value in one.headers}
        headers["x-timestamp-ms"] = pika.compat.long(one.timestamp_ms)
        if one.key is not None:
            headers["x-key"] = one.key
        if one.body is None:
            headers["x-tombstone"] = True
        return pika.BasicProperties(
            headers=headers, delivery_mode=2, priority=one.priority, timestamp=one.timestamp_ms // 1000,
            expiration=None if one.ttl_ms is None else str(one.ttl_ms), **one.texts,
        )  # fmt: skip

    @staticmethod
    def value(kind, value):
        """As pika wants it to write this type."""
        text = value.decode(errors="replace")
        match kind:
            case None:
                return value.decode() if is_text(value) else value
            case "bytes":
                return value
            case "boolean":
                return text == "true"
            case "int32":
                return int(text)
            case "int64":
                return pika.compat.long(text)
            case "decimal":
                return Decimal(text)
            case "timestamp":
                return datetime.fromisoformat(text.replace("Z", "+00:00"))
            case "table(int32,string)" | "array(int32,string)":
                return json.loads(text)
        raise AssertionError(f"pika writes no {kind}")

    @staticmethod
    def typed(value):
        """Type and text of what pika has read."""
        match value:
            case bool():
                return "boolean", b"true" if value else b"false"
            case pika.compat.long():
                return "int64", b"%d" % value
            case int():
                return "int32", b"%d" % value
            case str():
                return None, value.encode()
            case bytes():
                return "bytes", value
            case Decimal():
                return "decimal", str(value).encode()
            case datetime():
                return "timestamp", value.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
            case dict():
                return "table(int32,string)", json.dumps(value, separators=(",", ":")).encode()
            case list():
                return "array(int32,string)", json.dumps(value, separators=(",", ":")).encode()
        raise AssertionError(f"pika read {value!r}")

    def read(self, topic, count):
        return [self.seen(properties, body) for properties, body in self.take(topic, count)]

    def take(self, queue, count):
        channel = self.channel()
        channel.basic_qos(prefetch_count=count)
        found = []
        for method, properties, body in channel.consume(queue, inactivity_timeout=20):
            expect(method, f"nothing more after {len(found)} of {count}")
            found.append((properties, body))
            if len(found) == count:
                channel.basic_ack(method.delivery_tag, multiple=True)
                channel.basic_qos(prefetch_count=count)  # answered when the acknowledgement is durable
                break
        channel.connection.close()
        return found

    def seen(self, properties, body):
        headers = dict(properties.headers or {})
        key = headers.pop("x-key", None)
        milliseconds = headers.pop("x-timestamp-ms", None)
        tombstone = headers.pop("x-tombstone", False)
        seen = Message(None if tombstone else body, key.encode() if isinstance(key, str) else key)
        seen.timestamp_ms = milliseconds if milliseconds is not None else (properties.timestamp or 0) * 1000
        seen.headers = [(name, *self.typed(value)) for name, value in headers.items() if name not in ("x-stream-offset", "x-delivery-count")]
        seen.texts = {name: value for name, (_, pika_name) in TEXTS.items() if (value := getattr(properties, pika_name)) is not None}
        seen.priority = properties.priority
        seen.ttl_ms = None if properties.expiration is None else int(properties.expiration)
        return seen

    def take_of_group(self, topic, group, count):
        equal(group, topic, "the group of a queue is the queue")
        return [body for _, body in self.take(topic, count)]


def now_ms():
    return int(time.time() * 1000)
