"""pika's BlockingConnection, what is published and delivered: pika_messages.py HOST:PORT"""

import time
from datetime import datetime, timezone
from decimal import Decimal

import pika

from checks import Checks, equal, expect, until
from pika_shared import (
    Deliveries, connected, count, drain, fatal, get, holds, numbered, opened, publish, queue, refused_on_new_channel,
)  # fmt: skip

checks = Checks()
TEXT = "größe 🌊 " + "x" * 300
HEADERS = {
    "text": TEXT, "empty": "", "bytes": b"\x00\xff\xfe", "true": True, "false": False, "int": -7, "large": 1 << 40, "negative": -(1 << 62),
    "decimal": Decimal("-3.1415"), "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "nothing": None,
    "table": {"a": 1, "deeper": {"b": [1, "two", {"c": None}]}, "empty": {}}, "array": [1, "two", b"\x03", [], {}, None, False],
    "n" * 255: "the longest name", "": "no name",
}  # fmt: skip
PROPERTIES = {
    "content_type": "text/plain", "content_encoding": "identity", "headers": HEADERS, "delivery_mode": 2, "priority": 7, "correlation_id": TEXT[:100],
    "reply_to": "replies", "expiration": "600000", "message_id": "id-1", "timestamp": 1_700_000_000, "type": "kind", "user_id": "guest",
    "app_id": "check", "cluster_id": "reserved",
}  # fmt: skip


def properties_round_trip():
    with queue("properties") as channel:
        publish(channel, "properties", [b"all"], **PROPERTIES)
        publish(channel, "properties", [b"none"])
        for name, value in PROPERTIES.items():
            publish(channel, "properties", [name.encode()], **{name: value})
        publish(channel, "properties", [b"falsy"], headers={}, priority=0, message_id="", timestamp=0, delivery_mode=1)
        _, properties, body = get(channel, "properties")
        equal(body, b"all", "body")
        for name, value in PROPERTIES.items():
            equal(getattr(properties, name), value, name)
        _, properties, body = get(channel, "properties")
        equal({name: getattr(properties, name) for name in PROPERTIES}, dict.fromkeys(PROPERTIES), "properties of a message without any")
        for name, value in PROPERTIES.items():
            _, properties, body = get(channel, "properties")
            equal(body, name.encode(), "body")
            there = {other: getattr(properties, other) for other in PROPERTIES if getattr(properties, other) is not None}
            equal(there, {name: value}, f"with only {name}")
        _, properties, _ = get(channel, "properties")
        equal((properties.headers, properties.priority, properties.message_id, properties.timestamp), ({}, 0, "", 0), "present but empty")


def wrong_user_id():
    def call(channel):
        channel.confirm_delivery()
        channel.basic_publish("amq.fanout", "", b"x", pika.BasicProperties(user_id="somebody"))

    with connected() as connection:
        refused_on_new_channel(connection, 406, call)


def bodies():
    with queue("bodies") as channel:
        frame = channel.connection._impl.params.frame_max
        sizes = [0, 1, frame - 9, frame - 8, frame - 7, 2 * (frame - 8), 2 * (frame - 8) + 1, 5 << 20]
        for size in sizes:
            body = bytes((i * 7919 + (i >> 8)) & 0xFF for i in range(min(size, 65_521)))
            body = (body * (size // max(len(body), 1) + 1))[:size]
            publish(channel, "bodies", [body])
            method, _, got = get(channel, "bodies")
            expect(got == body, f"a body of {size} bytes came back as {len(got)} bytes, or changed")


def bodies_in_small_frames():
    with queue("small-frames"), connected(frame_max=4096) as connection:
        channel = connection.channel()
        body = bytes(range(256)) * 1000
        publish(channel, "small-frames", [body])
        expect(get(channel, "small-frames")[2] == body, "the body changed")
        consumer = Deliveries(channel, "small-frames", auto_ack=True)
        publish(channel, "small-frames", [body])
        expect(consumer.wait(1).bodies == [body], "the body changed on its way to a consumer")


def confirms():
    with queue("confirmed") as channel:
        channel.confirm_delivery()
        for number in range(100):
            channel.basic_publish("", "confirmed", b"%d" % number, pika.BasicProperties(delivery_mode=2), mandatory=number % 2 == 0)
        equal(count(channel, "confirmed"), 100, "messages, as soon as they were confirmed")
        channel.basic_publish("amq.direct", "no-such-key", b"x")  # goes nowhere, and is confirmed
        equal(drain(channel, "confirmed"), numbered(100), "in order")


def returned():
    with opened() as channel:
        channel.confirm_delivery()
        for exchange, key in (("", "no-such-queue"), ("amq.topic", "no.such.key"), ("amq.fanout", "")):
            try:
                channel.basic_publish(exchange, key, b"body", pika.BasicProperties(message_id="m", headers={"h": 1}), mandatory=True)
                raise AssertionError("it was not returned")
            except pika.exceptions.UnroutableError as unroutable:
                back = unroutable.messages[0]
            equal((back.method.reply_code, back.method.reply_text), (312, "NO_ROUTE"), "reply")
            equal((back.method.exchange, back.method.routing_key), (exchange, key), "destination")
            equal((back.body, back.properties.message_id, back.properties.headers), (b"body", "m", {"h": 1}), "message")
        returns = []
        plain = channel.connection.channel()
        plain.add_on_return_callback(lambda _, method, properties, body: returns.append((method.reply_code, body)))
        plain.basic_publish("", "no-such-queue", b"back", mandatory=True)
        plain.basic_publish("", "no-such-queue", b"gone")
        until("the return", lambda: plain.connection.process_data_events(0.05) or returns)
        equal(returns, [(312, b"back")], "without confirms")


def get_and_counts():
    with queue("got") as channel:
        equal(channel.basic_get("got"), (None, None, None), "of an empty queue")
        publish(channel, "got", numbered(5))
        holds(channel, "got", 5)
        for number in range(5):
            method, _, body = channel.basic_get("got")
            equal((body, method.message_count, method.redelivered), (b"%d" % number, 4 - number, False), "message, left, redelivered")
            equal((method.exchange, method.routing_key, method.delivery_tag), ("", "got", number + 1), "exchange, routing key, tag")
        equal(count(channel, "got"), 0, "ready while all are unacknowledged")
        channel.basic_ack(0, multiple=True)
    with queue("got") as channel:
        publish(channel, "got", numbered(2))
        holds(channel, "got", 2)
        consumer = Deliveries(channel, "got").wait(2)
        declared = channel.queue_declare("got", passive=True).method
        equal((declared.message_count, declared.consumer_count), (0, 1), "ready, consumers")
        expect(consumer.tag.startswith("amq.ctag-") or consumer.tag.startswith("ctag"), f"consumer tag {consumer.tag}")


def order():
    with queue("ordered") as channel:
        publish(channel, "ordered", numbered(2_000))
        channel.basic_qos(prefetch_count=50)
        consumer = Deliveries(channel, "ordered")

        def all_of_them():
            channel.connection.process_data_events(0.05)
            for tag in consumer.tags[len(acknowledged) :]:
                channel.basic_ack(tag)
                acknowledged.append(tag)
            return len(acknowledged) >= 2_000

        acknowledged = []
        until("all messages", all_of_them)
        equal(consumer.bodies, numbered(2_000), "bodies")
        expect(not any(consumer.redelivered), "some are marked redelivered")
        method = consumer.messages[0][0]
        equal((method.exchange, method.routing_key, method.consumer_tag), ("", "ordered", consumer.tag), "delivery")


def auto_ack():
    with queue("automatic") as channel:
        publish(channel, "automatic", numbered(100))
        channel.basic_qos(prefetch_count=3)  # does not matter to a consumer without acknowledgements
        Deliveries(channel, "automatic", auto_ack=True).wait(100)
        channel.connection.close()
        with opened() as other:
            equal(count(other, "automatic"), 0, "left")


def prefetch():
    with queue("prefetched") as channel:
        publish(channel, "prefetched", numbered(10))
        channel.basic_qos(prefetch_count=3)
        consumer = Deliveries(channel, "prefetched").wait(3).quiet()
        channel.basic_ack(consumer.tags[1])
        consumer.wait(4).quiet()
        channel.basic_nack(consumer.tags[0], requeue=False)
        channel.basic_reject(consumer.tags[2], requeue=False)
        consumer.wait(6).quiet()
        channel.basic_ack(consumer.tags[-1], multiple=True)
        consumer.wait(9).quiet()
        equal(consumer.bodies, numbered(9), "bodies")


def prefetch_per_consumer_and_global():
    with queue("limits") as channel:
        publish(channel, "limits", numbered(20))
        channel.basic_qos(prefetch_count=2)
        one, two = Deliveries(channel, "limits"), Deliveries(channel, "limits")
        one.wait(2), two.wait(2).quiet()
        channel.connection.close()
        with opened() as other:
            other.basic_qos(prefetch_count=3, global_qos=True)
            one, two = Deliveries(other, "limits"), Deliveries(other, "limits")
            until("three", lambda: other.connection.process_data_events(0.05) or len(one.messages) + len(two.messages) >= 3)
            one.quiet(), two.quiet()
            equal(len(one.messages) + len(two.messages), 3, "deliveries to both consumers of the channel together")
            other.basic_ack(0, multiple=True)
            until("three more", lambda: other.connection.process_data_events(0.05) or len(one.messages) + len(two.messages) >= 6)


def prefetch_none():
    with queue("unlimited") as channel:
        publish(channel, "unlimited", numbered(500))
        channel.basic_qos(prefetch_count=0)
        Deliveries(channel, "unlimited").wait(500)


def acknowledge():
    with queue("acked") as channel:
        publish(channel, "acked", numbered(10))
        consumer = Deliveries(channel, "acked").wait(10)
        channel.basic_ack(consumer.tags[8])
        channel.basic_ack(consumer.tags[4], multiple=True)
        channel.connection.close()
        with opened() as other:
            holds(other, "acked", 4)
            equal(drain(other, "acked"), [b"5", b"6", b"7", b"9"], "not acknowledged")


def acknowledge_all():
    with queue("acked-all") as channel:
        publish(channel, "acked-all", numbered(10))
        Deliveries(channel, "acked-all").wait(10)
        channel.basic_ack(0, multiple=True)
        channel.connection.close()
        with opened() as other:
            equal(count(other, "acked-all"), 0, "left")


def settle(name, requeue, multiple, call):
    with queue(name) as channel:
        publish(channel, name, numbered(5))
        holds(channel, name, 5)
        tags = [get(channel, name, auto_ack=False)[0].delivery_tag for _ in range(3)]
        call(channel, tags)
        wanted = {(True, True): [0, 1, 2, 3, 4], (True, False): [1, 3, 4], (False, True): [3, 4], (False, False): [3, 4]}[requeue, multiple]
        holds(channel, name, len(wanted))
        got = []
        while (found := channel.basic_get(name, auto_ack=True))[0]:
            got.append((int(found[2]), found[0].redelivered))
        equal(got, [(number, number < 3) for number in wanted], "message and redelivered, in order")


def nack_multiple_requeue():
    settle("nacked", True, True, lambda channel, tags: channel.basic_nack(tags[2], multiple=True, requeue=True))


def reject_requeue_one():
    def call(channel, tags):
        channel.basic_reject(tags[1], requeue=True)
        channel.basic_ack(tags[0])
        channel.basic_nack(tags[2], requeue=False)

    settle("rejected", True, False, call)


def nack_drop():
    settle("dropped", False, True, lambda channel, tags: channel.basic_nack(tags[2], multiple=True, requeue=False))


def reject_drop():
    settle("dropped-singly", False, False, lambda channel, tags: [channel.basic_reject(tag, requeue=False) for tag in reversed(tags)])


def requeue_keeps_order():
    """Given back in any order, they take their old places before what nobody has seen."""
    with queue("back") as channel:
        publish(channel, "back", numbered(8))
        holds(channel, "back", 8)
        tags = [get(channel, "back", auto_ack=False)[0].delivery_tag for _ in range(5)]
        for tag in (tags[3], tags[0], tags[4]):
            channel.basic_nack(tag, requeue=True)
        holds(channel, "back", 6)
        equal(drain(channel, "back"), [b"0", b"3", b"4", b"5", b"6", b"7"], "ready")
        channel.basic_nack(0, multiple=True, requeue=True)
        holds(channel, "back", 2)
        equal(drain(channel, "back"), [b"1", b"2"], "then")


def requeue_to_the_consumer():
    with queue("again-and-again") as channel:
        publish(channel, "again-and-again", numbered(3))
        channel.basic_qos(prefetch_count=1)
        consumer = Deliveries(channel, "again-and-again").wait(1)
        channel.basic_reject(consumer.tags[0], requeue=True)
        consumer.wait(2)
        channel.basic_ack(consumer.tags[1])
        consumer.wait(3)
        equal((consumer.bodies, consumer.redelivered), ([b"0", b"0", b"1"], [False, True, False]), "deliveries")


def given_back(name, leave):
    with queue(name) as channel:
        publish(channel, name, numbered(20))
        with connected() as other:
            consumer_channel = other.channel()
            consumer_channel.basic_qos(prefetch_count=10)
            consumer = Deliveries(consumer_channel, name).wait(10)
            consumer_channel.basic_ack(consumer.tags[4])
            consumer.wait(11)
            leave(other, consumer_channel)
        holds(channel, name, 19)
        got = []
        while (found := channel.basic_get(name, auto_ack=True))[0]:
            got.append((int(found[2]), found[0].redelivered))
        equal(got, [(number, number < 11) for number in range(20) if number != 4], "message and redelivered, in order")


def recover():
    with queue("recovered") as channel:
        publish(channel, "recovered", numbered(4))
        consumer = Deliveries(channel, "recovered").wait(4)
        channel.basic_ack(consumer.tags[2])
        channel.basic_recover(requeue=True)
        consumer.wait(7)
        equal((consumer.bodies[4:], consumer.redelivered[4:]), ([b"0", b"1", b"3"], [True] * 3), "delivered again")


def unknown_tags():
    with queue("tags") as channel:
        connection = channel.connection
        publish(channel, "tags", numbered(3))
        holds(channel, "tags", 3)

        def twice(other):
            tag = get(other, "tags", auto_ack=False)[0].delivery_tag
            other.basic_ack(tag)
            other.basic_ack(tag)
            other.queue_declare("tags", passive=True)

        def of_another_channel(other):
            other.basic_nack(1)
            other.queue_declare("tags", passive=True)

        def never_given(other):
            other.basic_reject(17)
            other.queue_declare("tags", passive=True)

        for call in (twice, of_another_channel, never_given):
            refused_on_new_channel(connection, 406, call)
        holds(channel, "tags", 2)


def cancel():
    with queue("cancelled") as channel:
        publish(channel, "cancelled", numbered(4))
        channel.basic_qos(prefetch_count=2)
        consumer = Deliveries(channel, "cancelled").wait(2)
        channel.basic_cancel(consumer.tag)
        channel.basic_ack(consumer.tags[0])  # what it was given is still its own
        consumer.quiet()
        equal(count(channel, "cancelled"), 2, "ready")
        channel.basic_nack(consumer.tags[1])
        holds(channel, "cancelled", 3)
        channel.basic_cancel("never-was")


def exclusive_consumer():
    with queue("one-consumer") as channel:
        channel.basic_consume("one-consumer", print, exclusive=True)
        refused_on_new_channel(channel.connection, 403, lambda other: other.basic_consume("one-consumer", print))
    with queue("one-consumer") as channel:
        channel.basic_consume("one-consumer", print)
        refused_on_new_channel(channel.connection, 403, lambda other: other.basic_consume("one-consumer", print, exclusive=True))


def cancelled_by_the_server():
    with opened() as channel, opened() as other:
        channel.queue_declare("deleted", durable=True)
        cancelled = []
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        publish(other, "deleted", [b"x"])
        channel.basic_qos(prefetch_count=1)
        holding = Deliveries(channel, "deleted").wait(1)  # may be given nothing more, and is told all the same
        idle = channel.basic_consume("deleted", print)
        other.queue_delete("deleted")
        until("the cancellations", lambda: channel.connection.process_data_events(0.05) or len(cancelled) == 2)
        equal(set(cancelled), {holding.tag, idle}, "cancelled")
        expect(channel.is_open, "the channel is closed")


def consumers_are_served_in_turn():
    with queue("in-turn") as channel:
        one, two, three = (Deliveries(channel, "in-turn", auto_ack=True) for _ in range(3))
        publish(channel, "in-turn", numbered(30))
        until("all of a burst", lambda: channel.connection.process_data_events(0.05) or len(one.bodies + two.bodies + three.bodies) == 30)
        equal([len(consumer.bodies) for consumer in (one, two, three)], [10, 10, 10], "messages of a burst")
        for number in range(6):
            publish(channel, "in-turn", [b"x"])
            until("one more", lambda: channel.connection.process_data_events(0.05) or len(one.bodies + two.bodies + three.bodies) == 31 + number)
        equal([len(consumer.bodies) for consumer in (one, two, three)], [12, 12, 12], "messages that came one by one")


def two_consumers_share():
    with queue("shared") as channel, opened() as other:
        for of in (channel, other):
            of.basic_qos(prefetch_count=5)
        one, two = Deliveries(channel, "shared"), Deliveries(other, "shared")
        publish(channel, "shared", numbered(200))
        done = {id(one): 0, id(two): 0}

        def all_of_them():
            for consumer in (one, two):
                consumer.channel.connection.process_data_events(0.01)
                for tag in consumer.tags[done[id(consumer)] :]:
                    consumer.channel.basic_ack(tag)
                    done[id(consumer)] += 1
            return sum(done.values()) >= 200

        until("all messages", all_of_them)
        equal(sorted(map(int, one.bodies + two.bodies)), list(range(200)), "each once")
        expect(min(len(one.bodies), len(two.bodies)) >= 20, f"shared {len(one.bodies)} to {len(two.bodies)}")
        for consumer in (one, two):
            equal(consumer.bodies, sorted(consumer.bodies, key=int), "in order at one consumer")


def takes_over():
    """What the first consumer did not acknowledge goes to the second, at once."""
    with queue("taken-over") as channel:
        publish(channel, "taken-over", numbered(6))
        with connected() as first:
            Deliveries(first.channel(), "taken-over").wait(6)
            second = Deliveries(channel, "taken-over").quiet()
        second.wait(6)
        equal((second.bodies, second.redelivered), (numbered(6), [True] * 6), "delivered again")


def heartbeats():
    with queue("beating"), connected(heartbeat=1) as connection:
        channel = connection.channel()
        consumer = Deliveries(channel, "beating", auto_ack=True)
        start = time.monotonic()
        while time.monotonic() - start < 4:
            connection.process_data_events(0.2)
        expect(connection.is_open, "closed although both sides sent heartbeats")
        publish(channel, "beating", [b"x"])
        consumer.wait(1)


def no_heartbeats():
    with connected(heartbeat=0) as connection:
        time.sleep(2.5)
        connection.channel().queue_declare("", exclusive=True)


def recover_without_requeue():
    # pika has no name for it: the method is sent below its feet.
    fatal(540, lambda channel: channel._impl._send_method(pika.spec.Basic.Recover(requeue=False)))


def flow_off():
    fatal(540, lambda channel: channel._impl._send_method(pika.spec.Channel.Flow(active=False)))


checks.run("properties and headers round trip", properties_round_trip)
checks.run("another's user id", wrong_user_id)
checks.run("bodies of all sizes", bodies)
checks.run("bodies in small frames", bodies_in_small_frames)
checks.run("confirms", confirms)
checks.run("returned", returned)
checks.run("get and counts", get_and_counts)
checks.run("order", order)
checks.run("auto-ack", auto_ack)
checks.run("prefetch", prefetch)
checks.run("prefetch per consumer and global", prefetch_per_consumer_and_global)
checks.run("no prefetch limit", prefetch_none)
checks.run("acknowledge", acknowledge)
checks.run("acknowledge all", acknowledge_all)
checks.run("nack several, requeue", nack_multiple_requeue)
checks.run("reject one, requeue", reject_requeue_one)
checks.run("nack, drop", nack_drop)
checks.run("reject, drop", reject_drop)
checks.run("requeue keeps the order", requeue_keeps_order)
checks.run("requeue to the same consumer", requeue_to_the_consumer)
checks.run("given back when the channel closes", lambda: given_back("back-channel", lambda connection, channel: channel.close()))
checks.run("given back when the connection closes", lambda: given_back("back-connection", lambda connection, channel: connection.close()))
checks.run("given back by recover", recover)
checks.run("unknown delivery tags", unknown_tags)
checks.run("cancel", cancel)
checks.run("exclusive consumer", exclusive_consumer)
checks.run("cancelled by the server", cancelled_by_the_server)
checks.run("consumers are served in turn", consumers_are_served_in_turn)
checks.run("two consumers share a queue", two_consumers_share)
checks.run("a second consumer takes over", takes_over)
checks.run("heartbeats", heartbeats)
checks.run("no heartbeats", no_heartbeats)
checks.run("recover without requeue is not implemented", recover_without_requeue)
checks.run("flow off is not implemented", flow_off)
checks.finish()
