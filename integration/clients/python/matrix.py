"""Every ordered pair of protocols: what one publishes the other consumes, and a group begun by one is gone on with by the
other. matrix.py HTTP_URL KAFKA AMQP GRPC [SEED]; an address may be 'off'. Prints a line per check, then two tables."""

import dataclasses
import random
import sys

from checks import Checks, equal
from matrix_protocols import TEXTS, Amqp, Grpc, Http, Kafka, Message, now_ms

ADDRESSES = dict(zip(("http", "kafka", "amqp", "grpc"), sys.argv[1:5]))
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.SystemRandom().randrange(1 << 32)
RANDOM_MESSAGES = 40
checks = Checks()
kinds = {"kafka": Kafka, "amqp": Amqp, "http": Http, "grpc": Grpc}
protocols = [kinds[name](ADDRESSES) for name in kinds if ADDRESSES[name] != "off"]
http = next(of for of in protocols if of.name == "HTTP")
print(f"seed {SEED}")

TYPED = [
    ("yes", "boolean", b"true"), ("small", "int32", b"-7"), ("large", "int64", b"1099511627776"), ("bin", "bytes", b"as text"),
    ("raw", "bytes", b"\x00\xff\xfe"), ("price", "decimal", b"-3.14"), ("when", "timestamp", b"2026-01-31T12:00:00Z"),
    ("table", "table(int32,string)", b'{"a":1,"b":"x"}'), ("array", "array(int32,string)", b'[1,"x"]'), ("text", None, "größe 🌊".encode()), ("none", None, b""),
]  # fmt: skip
ALL_TEXTS = {
    "content_type": "application/json", "content_encoding": "identity", "message_id": "m-1", "correlation_id": "c-1", "reply_to": "replies", "type": "order.created",
    "app_id": "shop", "user_id": "guest",
}  # fmt: skip


def by_hand(now):
    return [
        Message(b"plain", timestamp_ms=now),
        Message(b"", b"", timestamp_ms=now),
        Message(None, b"tombstone", timestamp_ms=now),
        Message(bytes(range(256)), b"\x00\xff", timestamp_ms=now - 1),
        Message(b"everything", "clé".encode(), TYPED, now - 1234, ALL_TEXTS, 7, 3_600_000),
        Message(b"x" * 300_000, b"large", [("long", None, b"y" * 30_000)], now),
        Message(b"twice", None, [("h", None, b"1"), ("other", None, b"-"), ("h", None, b"2")], now),
    ]


def at_random(now, seed):
    """Messages of anything that every protocol has."""
    of = random.Random(seed)
    text = lambda most: "".join(of.choice("abcäß🌊 -_/.%\"\\{}\n0") for _ in range(of.randrange(1, most)))
    messages = []
    for _ in range(RANDOM_MESSAGES):
        headers = [(f"h{index}-{of.choice(['a', 'ключ', 'X'])}", *of.choice(TYPED)[1:]) for index in range(of.randrange(5))]
        headers += [(f"t{index}", None, text(40).encode()) for index in range(of.randrange(3))]
        messages.append(
            Message(
                of.choice([b"", of.randbytes(of.randrange(200)), text(100).encode()]),
                of.choice([None, b"", of.randbytes(8), text(20).encode()]),
                headers,
                now - of.randrange(100_000),
                {name: text(30).replace("\n", "") for name in TEXTS if name != "user_id" and of.random() < 0.4},
                of.choice([None, of.randrange(10)]),
                of.choice([None, 1000 * of.randrange(600, 6000)]),
            )
        )
    return messages


def expected(message, publisher, consumer):
    """What of a message the two can say."""
    headers = message.headers if publisher.repeats and consumer.repeats else list({name: (name, kind, value) for name, kind, value in message.headers}.values())
    if not (publisher.types and consumer.types):
        headers = [(name, None, value) for name, _, value in headers]
    return dataclasses.replace(message, headers=headers)


def comparable(message, publisher, consumer):
    """pika does not tell bytes from text that is none, and an order of names in a table is nobody's promise."""
    headers = message.headers
    if consumer.name == "AMQP":
        headers = [(name, None if kind == "bytes" and not is_text(value) else kind, value) for name, kind, value in headers]
    if "AMQP" in (publisher.name, consumer.name):
        headers = sorted(headers, key=lambda header: header[0])
    return dataclasses.replace(message, headers=list(headers))


def is_text(value):
    try:
        value.decode()
        return True
    except UnicodeDecodeError:
        return False


def topic_for(name, *users):
    """As an AMQP queue if one of them speaks AMQP."""
    amqp = [user for user in users if user.name == "AMQP"]
    amqp[0].declare(name) if amqp else http.ask("PUT", f"topics/{name}", json={})
    return name


def message_cell(publisher, consumer):
    topic = topic_for(f"matrix-{publisher.name}-{consumer.name}", publisher, consumer)
    messages = by_hand(now_ms()) + at_random(now_ms(), f"{SEED} {publisher.name} {consumer.name}")
    publisher.publish(topic, messages)
    seen = consumer.read(topic, len(messages))
    equal(len(seen), len(messages), "messages")
    for index, (sent, got) in enumerate(zip(messages, seen)):
        wanted, got = (comparable(one, publisher, consumer) for one in (expected(sent, publisher, consumer), got))
        for part in dataclasses.fields(Message):
            equal(getattr(got, part.name), getattr(wanted, part.name), f"{part.name} of message {index}")
    return len(messages)


def group_cell(first, second):
    name = topic_for(f"group-{first.name}-{second.name}", first, second)
    http.publish(name, [Message(b"%d" % number, timestamp_ms=now_ms()) for number in range(10)])
    if "AMQP" not in (first.name, second.name):
        http.ask("PUT", f"groups/{name}", json={"topics": [name], "start": "earliest"})
    wanted = [b"%d" % number for number in range(10)]
    equal(first.take_of_group(name, name, 4), wanted[:4], f"what {first.name} took")
    equal(second.take_of_group(name, name, 6), wanted[4:], f"what {second.name} went on with")
    return 10


def draw(title, cells):
    print(f"\n{title}\n")
    print("| from \\ to | " + " | ".join(of.name for of in protocols) + " |\n|" + "---|" * (len(protocols) + 1))
    for one in protocols:
        print(f"| {one.name} | " + " | ".join(cells.get((one.name, other.name), "") for other in protocols) + " |")


tables = {}
for title, what, cell in (
    ("Messages published by one and consumed by another, equal in all their properties", "messages from {} to {}", message_cell),
    ("Messages of a group begun by one and gone on with by another", "a group from {} to {}", group_cell),
):
    cells = tables[title] = {}
    for one in protocols:
        for other in protocols:
            place = (one.name, other.name)
            checks.run(what.format(*place), lambda: cells.update({place: str(cell(one, other))}))
for title, cells in tables.items():
    draw(title, cells)
checks.finish()
