"""HTTP and Kafka on the same topics: cross.py URL BOOTSTRAP"""

import base64
import json
import sys
import threading
import time

import requests
from confluent_kafka import Consumer, Producer, TopicPartition

from checks import MESSAGES, Checks, equal, expect, until

URL, BOOTSTRAP = sys.argv[1:3]
checks = Checks()
http = requests.Session()


def ask(method, path, wanted=200, **options):
    answer = http.request(method, f"{URL}/v1/{path}", timeout=40, **options)
    expect(answer.status_code == wanted, f"{method} {path}: {answer.status_code} {answer.text[:500]}")
    return answer


def topic(name, **settings):
    ask("PUT", f"topics/{name}", 201, json=settings)
    return name


def kafka_send(name, messages, **options):
    offsets = []

    def delivered(error, message):
        expect(error is None, f"delivery: {error}")
        offsets.append(message.offset())

    sender = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 20} | {k.replace("_", "."): v for k, v in options.items()})
    for key, value, headers in messages:
        sender.produce(name, key=key, value=value, headers=headers, partition=0, on_delivery=delivered)
    equal(sender.flush(30), 0, "unsent")
    return offsets


def kafka_read(name, count, offset=0):
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False})
    reader.assign([TopicPartition(name, 0, offset)])
    messages = []
    until(f"{count} messages", lambda: messages.extend(m for m in reader.consume(count, 0.2) if not m.error()) or len(messages) >= count)
    reader.close()
    return messages


def http_to_kafka():
    name = topic("http-to-kafka")
    fields = {
        "Content-Type": "application/json",
        "Tidegate-Key": "key",
        "Tidegate-Timestamp": str(int(time.time() * 1000) - 5_000),
        "Tidegate-Correlation-Id": "c-1",
        "Tidegate-Reply-To": "replies",
        "Tidegate-Priority": "7",
        "Tidegate-Ttl": "30s",
        "Tidegate-Header-colour": "blue",
        "ce-id": "e-1",
        "ce-type": "order.created",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    published = ask("POST", f"topics/{name}/messages", 201, data=b'{"a":1}', headers=fields).json()
    equal((published["topic"], published["partition"], published["offset"]), (name, 0, 0), "place")
    equal((published["durability"], published["duplicate"]), ("fsync", False), "promise")
    message = kafka_read(name, 1)[0]
    equal((message.key(), message.value()), (b"key", b'{"a":1}'), "key and value")
    equal(str(message.timestamp()[1]), fields["Tidegate-Timestamp"], "timestamp")
    headers = dict(message.headers())
    wanted = {
        "content-type": b"application/json",
        "correlation-id": b"c-1",
        "reply-to": b"replies",
        "priority": b"7",
        "ttl-ms": b"30000",
        "colour": b"blue",
        "ce_id": b"e-1",
        "ce_type": b"order.created",
        "traceparent": fields["traceparent"].encode(),
    }
    equal({name: headers.get(name) for name in wanted}, wanted, "headers")


def http_batch_to_kafka():
    name = topic("batch-to-kafka")
    messages = [
        {"key": "a", "text": "one", "headers": [{"name": "h", "value": "1"}, {"name": "h", "value": "2"}]},
        {"key": "b", "value": {"json": True}},
        {"base64": base64.b64encode(bytes(range(256))).decode()},
        {"key": "a", "value": None},
    ]
    results = ask("POST", f"topics/{name}/messages:batch", 200, json={"messages": messages}).json()["results"]
    equal([result["offset"] for result in results], [0, 1, 2, 3], "offsets")
    read = kafka_read(name, 4)
    equal([m.value() for m in read], [b"one", b'{"json": true}', bytes(range(256)), None], "values")  # JSON as it was written
    equal([m.key() for m in read], [b"a", b"b", None, b"a"], "keys")
    equal([h for h in read[0].headers() if h[0] == "h"], [("h", b"1"), ("h", b"2")], "headers of one name")


def body_of(message):
    if "text" in message:
        return message["text"].encode()
    if "base64" in message:
        return base64.b64decode(message["base64"])
    value = message.get("value")
    return None if value is None else json.dumps(value).encode()


def kafka_to_http(compression):
    name = topic(f"kafka-to-http-{compression}")
    kafka_send(name, MESSAGES, compression_type=compression)
    page = ask("GET", f"topics/{name}/messages", params={"offset": 0, "limit": 100}).json()
    equal([m["offset"] for m in page["messages"]], list(range(len(MESSAGES))), "offsets")
    for message, (key, value, _) in zip(page["messages"], MESSAGES):
        got = message.get("key", "").encode() if "key" in message else base64.b64decode(message["key_base64"]) if "key_base64" in message else None
        equal(got, key, "key")
        equal(body_of(message), value, "value")
    equal(page["messages"][0]["content_type"], "text/plain", "content type")


def kafka_to_http_to_kafka():
    """What a reader got over HTTP, published again over HTTP, is the same record to Kafka."""
    first, second = topic("round-1"), topic("round-2")
    kafka_send(first, MESSAGES)
    page = ask("GET", f"topics/{first}/messages", params={"offset": 0, "limit": 100}).json()
    only_read = ("id", "topic", "partition", "offset")
    again = [{name: value for name, value in message.items() if name not in only_read} for message in page["messages"]]
    ask("POST", f"topics/{second}/messages:batch", 200, json={"messages": again})
    there, back = kafka_read(first, len(MESSAGES)), kafka_read(second, len(MESSAGES))
    for one, other in zip(there, back):
        hidden = "tidegate-header-types"
        headers = [sorted(h for h in m.headers() or [] if h[0] != hidden) for m in (one, other)]
        equal((other.key(), other.value(), headers[1]), (one.key(), one.value(), headers[0]), "record")


def idempotency_key():
    name = topic("idempotent")
    send = lambda body, wanted: ask("POST", f"topics/{name}/messages", wanted, data=body, headers={"Idempotency-Key": "k"})
    first, again = send(b"one", 201), send(b"one", 201)
    equal(again.headers.get("Idempotent-Replayed"), "true", "replayed")
    equal(again.json()["offset"], first.json()["offset"], "offset")
    equal(send(b"other", 422).json()["retryable"], False, "another body is refused for good")
    ask("POST", f"topics/{name}/messages", 201, data=b"two")
    equal([m.value() for m in kafka_read(name, 2)], [b"one", b"two"], "stored once")


def pull(group, **options):
    return ask("POST", f"groups/{group}:pull", 200, json=options).json()["messages"]


def pull_ack_nack_extend():
    name = topic("work")
    kafka_send(name, [(None, f"job {i}", None) for i in range(6)])
    ask("PUT", "groups/workers", 201, json={"topics": [name], "start": "earliest", "ack_deadline": "30s", "max_deliveries": 2})
    got = pull("workers", max_messages=3, wait="20s")
    equal([m["text"] for m in got], ["job 0", "job 1", "job 2"], "first pull")
    equal([m["delivery_attempt"] for m in got], [1, 1, 1], "attempts")
    ids = [m["ack_id"] for m in got]
    results = ask("POST", "groups/workers:ack", 200, json={"ack_ids": ids[:1]}).json()["results"]
    equal([r["status"] for r in results], [200], "acknowledged")
    ask("POST", "groups/workers:nack", 200, json={"ack_ids": ids[1:2], "delay": "0s", "reason": "try again"})
    ask("POST", "groups/workers:extend", 200, json={"ack_ids": ids[2:], "ack_deadline": "60s"})
    again = pull("workers", max_messages=1, wait="20s")
    equal((again[0]["text"], again[0]["delivery_attempt"]), ("job 1", 2), "the rejected one, again")
    results = ask("POST", "groups/workers:ack", 207, json={"ack_ids": ids[:1]}).json()["results"]
    equal(results[0]["error"]["code"], "lease_gone", "settled before")
    lag = ask("GET", "groups/workers/lag").json()
    equal(lag["messages"], 5, "lag counts what is not acknowledged")


def dead_letter():
    name, dead = topic("poison"), topic("dead")
    settings = {"topics": [name], "start": "earliest", "max_deliveries": 2, "dead_letter": dead, "retry": {"min": "0s", "max": "0s"}}
    ask("PUT", "groups/careful", 201, json=settings)
    kafka_send(name, [(b"k", b"poison", [("h", b"v")])])
    for _ in range(2):
        message = pull("careful", max_messages=1, wait="20s")[0]
        ask("POST", "groups/careful:nack", 200, json={"ack_ids": [message["ack_id"]], "reason": "cannot"})
    letter = kafka_read(dead, 1)[0]
    headers = dict(letter.headers())
    equal((letter.key(), letter.value(), headers["h"]), (b"k", b"poison", b"v"), "the message")
    equal((headers["dead-letter-topic"], headers["dead-letter-offset"]), (name.encode(), b"0"), "where it came from")
    equal((headers["dead-letter-reason"], headers["dead-letter-attempts"]), (b"cannot", b"2"), "why")


def ordered_by_key():
    name = topic("ordered")
    ask("PUT", "groups/ordered", 201, json={"topics": [name], "start": "earliest", "mode": "ordered-by-key"})
    kafka_send(name, [(b"a", b"a1", None), (b"a", b"a2", None), (b"b", b"b1", None)])
    first = pull("ordered", max_messages=1, wait="20s")
    second = pull("ordered", max_messages=10, wait="1s")
    equal([m["text"] for m in first + second], ["a1", "b1"], "a2 waits for a1")
    ask("POST", "groups/ordered:ack", 200, json={"ack_ids": [first[0]["ack_id"]]})
    equal([m["text"] for m in pull("ordered", max_messages=10, wait="20s")], ["a2"], "after a1")


def shared_then_assigned():
    """A group that HTTP consumers used goes on as a Kafka group where they stopped."""
    name = topic("handed-over")
    kafka_send(name, [(None, f"{i}", None) for i in range(5)])
    ask("PUT", "groups/handed-over", 201, json={"topics": [name], "start": "earliest"})
    got = pull("handed-over", max_messages=3, wait="20s")
    ask("POST", "groups/handed-over:ack", 200, json={"ack_ids": [m["ack_id"] for m in got]})
    member = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "handed-over", "auto.offset.reset": "earliest"})
    member.subscribe([name])
    rest = []
    until("two messages", lambda: rest.extend(m.value() for m in member.consume(10, 0.2) if not m.error()) or len(rest) >= 2)
    member.close()
    equal(rest, [b"3", b"4"], "what the Kafka member read")


def mode_conflict():
    name = topic("conflict")
    kafka_send(name, [(None, b"x", None)])
    member = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "conflict", "auto.offset.reset": "earliest"})
    member.subscribe([name])
    until("the member to read", lambda: [m for m in member.consume(1, 0.2) if not m.error()])
    answer = http.post(f"{URL}/v1/groups/conflict:pull", json={"max_messages": 1}, timeout=30)
    equal(answer.status_code, 409, f"pulling beside Kafka members ({answer.text})")
    member.close()


def events(path, count, **options):
    """Reads so many events of an SSE stream: (id, event, data)."""
    found = []
    with http.get(f"{URL}/v1/{path}", stream=True, timeout=30, headers={"Accept": "text/event-stream"} | options.get("headers", {})) as answer:
        expect(answer.status_code == 200, f"{path}: {answer.status_code} {answer.text if answer.status_code != 200 else ''}")
        event = {}
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line == "" and "data" in event:
                found.append(event)
                event = {}
                if len(found) == count:
                    return found
            elif line and not line.startswith(":"):
                field, _, value = line.partition(":")
                event[field] = value.removeprefix(" ")
    raise AssertionError(f"the stream ended after {len(found)} of {count} events")


def sse_resume():
    name = topic("streamed")
    kafka_send(name, [(None, f"{i}", None) for i in range(5)])
    first = events(f"topics/{name}/stream?from=earliest", 2)
    equal([json.loads(e["data"])["text"] for e in first], ["0", "1"], "from the beginning")
    rest = events(f"topics/{name}/stream?from=earliest", 3, headers={"Last-Event-ID": first[-1]["id"]})
    equal([json.loads(e["data"])["text"] for e in rest], ["2", "3", "4"], "after Last-Event-ID")


def sse_live():
    name = topic("live")
    got = []
    reader = threading.Thread(target=lambda: got.extend(events(f"topics/{name}/stream?from=earliest", 3)), daemon=True)
    reader.start()
    kafka_send(name, [(None, b"from kafka", None)])
    ask("POST", f"topics/{name}/messages", 201, data="from http", headers={"Content-Type": "text/plain"})
    kafka_send(name, [(None, b"again", None)])
    reader.join(30)
    equal([json.loads(e["data"])["text"] for e in got], ["from kafka", "from http", "again"], "as it came")


def sse_group():
    name = topic("group-stream")
    kafka_send(name, [(None, f"{i}", None) for i in range(3)])
    ask("PUT", "groups/streaming", 201, json={"topics": [name], "start": "earliest"})
    got = events("groups/streaming/stream", 3)
    messages = [json.loads(e["data"]) for e in got]
    equal([m["text"] for m in messages], ["0", "1", "2"], "messages")
    results = ask("POST", "groups/streaming:ack", json={"ack_ids": [m["ack_id"] for m in messages]}).json()["results"]
    equal([r["status"] for r in results], [200] * 3, "acknowledged after the stream is gone")


def browse():
    name = topic("browsed", partitions=1)
    base = int(time.time() * 1000) - 10_000
    for i in range(5):
        fields = {"Tidegate-Timestamp": str(base + i * 1_000), "Tidegate-Key": "odd" if i % 2 else "even"}
        ask("POST", f"topics/{name}/messages", 201, data=str(i), headers=fields | {"Content-Type": "text/plain"})
    texts = lambda **query: [m["text"] for m in ask("GET", f"topics/{name}/messages", params=query).json()["messages"]]
    equal(texts(offset=2, limit=2), ["2", "3"], "by offset")
    equal(texts(timestamp=base + 2_500), ["3", "4"], "by time")
    equal(texts(key="odd"), ["1", "3"], "by key")
    tag = ask("GET", f"topics/{name}/messages", params={"offset": 0}).headers["ETag"]
    ask("GET", f"topics/{name}/messages", 304, params={"offset": 0}, headers={"If-None-Match": tag})
    equal(ask("GET", f"topics/{name}/messages", 416, params={"offset": 99}).json()["code"], "out_of_range", "past the end")


def topics_are_one():
    """A topic made over HTTP is Kafka's, one made by Kafka is HTTP's."""
    topic("made-by-http", partitions=3)
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused"})
    equal(len(reader.list_topics("made-by-http", 10).topics["made-by-http"].partitions), 3, "partitions")
    reader.close()
    kafka_send("made-by-kafka", [(None, b"x", None)])
    equal(ask("GET", "topics/made-by-kafka").json()["partitions"], 1, "created by the producer's metadata request")
    ask("DELETE", "topics/made-by-http", 204)
    equal(ask("GET", "topics/made-by-http", 404).json()["retryable"], False, "gone")


checks.run("HTTP to Kafka with properties", http_to_kafka)
checks.run("HTTP batch to Kafka", http_batch_to_kafka)
for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    checks.run(f"Kafka to HTTP, compression {codec}", lambda: kafka_to_http(codec))
checks.run("Kafka to HTTP to Kafka", kafka_to_http_to_kafka)
checks.run("idempotency key", idempotency_key)
checks.run("pull, ack, nack, extend, lag", pull_ack_nack_extend)
checks.run("dead letter", dead_letter)
checks.run("ordered by key", ordered_by_key)
checks.run("shared, then assigned", shared_then_assigned)
checks.run("pull beside Kafka members is refused", mode_conflict)
checks.run("SSE resumes", sse_resume)
checks.run("SSE as it comes", sse_live)
checks.run("SSE of a group", sse_group)
checks.run("browse", browse)
checks.run("topics are one", topics_are_one)
checks.finish()
