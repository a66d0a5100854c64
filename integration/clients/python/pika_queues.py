"""pika's BlockingConnection, what is declared and how it routes: pika_queues.py HOST:PORT"""

import pika

from checks import Checks, equal, expect, until
from pika_shared import (
    Deliveries, connected, count, drain, fatal, get, holds, numbered, opened, parameters, publish, queue, refused, refused_on_new_channel,
)  # fmt: skip

checks = Checks()


def handshake():
    with connected(client_properties={"connection_name": "check"}, locale="en_US", channel_max=50, frame_max=8192) as connection:
        properties = connection._impl.server_properties
        for capability in ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "per_consumer_qos"):
            expect(properties["capabilities"].get(capability), f"the capability {capability} is not announced")
        expect(properties.get("product") and properties.get("version"), f"no product and version: {properties}")
        equal(connection._impl.params.frame_max, 8192, "frame size agreed on")


def refused_at_the_door():
    wrong = [
        ("a wrong password", {"credentials": pika.PlainCredentials("guest", "wrong")}, "(403)"),
        ("an unknown user", {"credentials": pika.PlainCredentials("nobody", "guest")}, "(403)"),
        ("an unknown vhost", {"virtual_host": "/nowhere"}, "(530)"),
    ]
    for name, options, code in wrong:
        try:
            pika.BlockingConnection(parameters(**options)).close()
        except pika.exceptions.AMQPConnectionError as refusal:
            expect(code in str(refusal), f"{name}: {refusal}")
        else:
            raise AssertionError(f"{name} was let in")


def many_channels():
    with connected() as connection:
        channels = [connection.channel() for _ in range(200)]
        for channel in channels:
            channel.queue_declare("", exclusive=True)
        names = {channel.queue_declare("", exclusive=True).method.queue for channel in channels}
        equal(len(names), 200, "queues of different names")
        for channel in channels[::2]:
            channel.close()
        for channel in channels[1::2]:
            channel.queue_declare("", exclusive=True)
        expect(connection.channel().channel_number <= 200, "closed channels' numbers are not used again")


def server_named():
    with opened() as channel:
        name = channel.queue_declare("", exclusive=True).method.queue
        expect(name.startswith("amq.gen-"), f"the server named it {name}")
        # The empty name means the queue declared last on this channel, except to declare, even passively.
        channel.queue_bind("", "amq.direct", "server-named")
        channel.basic_publish("amq.direct", "server-named", b"x")
        equal(get(channel, name)[2], b"x", "through the binding")
    with connected() as connection:
        refused_on_new_channel(connection, 404, lambda channel: channel.queue_declare(name, passive=True))
        refused_on_new_channel(connection, 404, lambda channel: (channel.queue_declare("", exclusive=True), channel.queue_declare("", passive=True)))
        refused_on_new_channel(connection, 403, lambda channel: channel.queue_declare(channel.queue_declare("", exclusive=True).method.queue, exclusive=True))


def declare_again():
    with queue("again", arguments={"x-anything": 1}) as channel:
        equal(channel.queue_declare("again", durable=True, arguments={"x-anything": 1}).method.queue, "again", "declared again")
        publish(channel, "again", numbered(3))
        holds(channel, "again", 3)
        declared = channel.queue_declare("again", passive=True).method
        equal((declared.message_count, declared.consumer_count), (3, 0), "messages and consumers")
        for options in ({"durable": False}, {"durable": True, "auto_delete": True}):
            refused_on_new_channel(channel.connection, 406, lambda other: other.queue_declare("again", **options))
        refused_on_new_channel(channel.connection, 405, lambda other: other.queue_declare("again", durable=True, exclusive=True))
        equal(count(channel, "again"), 3, "messages after the refusals")


def exclusive():
    with connected() as owner, connected() as stranger:
        channel = owner.channel()
        channel.queue_declare("mine", exclusive=True)
        channel.basic_publish("", "mine", b"x")
        for call in (
            lambda other: other.queue_declare("mine", exclusive=True),
            lambda other: other.queue_declare("mine", passive=True),
            lambda other: other.basic_consume("mine", print),
            lambda other: other.basic_get("mine"),
            lambda other: other.queue_purge("mine"),
            lambda other: other.queue_delete("mine"),
            lambda other: other.queue_bind("mine", "amq.direct", "x"),
        ):
            refused_on_new_channel(stranger, 405, call)
        refused_on_new_channel(owner, 405, lambda other: other.queue_declare("mine"))
        # Publishing to it is everybody's right, and so is another channel of its own connection.
        stranger.channel().basic_publish("", "mine", b"y")
        holds(owner.channel(), "mine", 2)
        owner.close()

        def is_gone():
            try:
                stranger.channel().queue_declare("mine", passive=True)
            except pika.exceptions.ChannelClosedByBroker as closed:
                return closed.reply_code == 404
            return False

        until("the exclusive queue to go with its connection", is_gone)


def auto_delete():
    with connected() as connection:
        channel = connection.channel()
        channel.queue_declare("fleeting", auto_delete=True)
        equal(count(channel, "fleeting"), 0, "there before it had a consumer")
        one, two = (channel.basic_consume("fleeting", print) for _ in range(2))
        channel.basic_cancel(one)
        equal(channel.queue_declare("fleeting", passive=True).method.consumer_count, 1, "consumers")
        channel.basic_cancel(two)
        refused_on_new_channel(connection, 404, lambda other: other.queue_declare("fleeting", passive=True))


def purge_and_delete():
    with opened() as channel:
        channel.queue_delete("short")
        channel.queue_declare("short", durable=True)
        publish(channel, "short", numbered(5))
        holds(channel, "short", 5)
        channel.basic_get("short")
        equal(channel.queue_purge("short").method.message_count, 4, "purged, all but the one that somebody has")
        equal(count(channel, "short"), 0, "left")
        publish(channel, "short", numbered(2))
        holds(channel, "short", 2)
        equal(channel.queue_delete("short").method.message_count, 2, "deleted with the queue")
        equal(channel.queue_delete("short").method.message_count, 0, "deleting what is not there")
        refused(404, lambda: channel.queue_purge("short"))


def delete_only_if():
    with connected() as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True)
        publish(channel, "kept", numbered(1))
        holds(channel, "kept", 1)
        refused_on_new_channel(connection, 406, lambda other: other.queue_delete("kept", if_empty=True))
        consumer = Deliveries(channel, "kept").wait(1)
        refused_on_new_channel(connection, 406, lambda other: other.queue_delete("kept", if_unused=True))
        channel.basic_ack(consumer.tags[0])
        channel.basic_cancel(consumer.tag)
        equal(channel.queue_delete("kept", if_empty=True, if_unused=True).method.message_count, 0, "deleted")


def not_found():
    with queue("found") as channel:
        for call in (
            lambda other: other.queue_declare("nowhere", passive=True),
            lambda other: other.exchange_declare("nowhere", passive=True),
            lambda other: other.queue_bind("nowhere", "amq.direct", "k"),
            lambda other: other.queue_bind("found", "nowhere", "k"),
            lambda other: other.basic_consume("nowhere", print),
            lambda other: other.basic_get("nowhere"),
            lambda other: other.queue_purge("nowhere"),
            lambda other: (other.basic_publish("nowhere", "k", b"x"), other.queue_declare("found", passive=True)),
        ):
            refused_on_new_channel(channel.connection, 404, call)


def reserved():
    with connected() as connection:
        for call in (
            lambda other: other.queue_declare("amq.mine"),
            lambda other: other.exchange_declare("amq.mine", "direct"),
            lambda other: other.exchange_delete("amq.direct"),
            lambda other: other.exchange_delete(""),
            lambda other: other.exchange_declare("", "direct"),
            lambda other: other.exchange_declare("", passive=True),
            lambda other: other.queue_bind("nowhere", "", "k"),
            lambda other: (other.queue_declare("", exclusive=True), other.queue_bind("", "", "k")),
            lambda other: (name := other.queue_declare("", exclusive=True).method.queue, other.queue_unbind(name, "", name)),
        ):
            refused_on_new_channel(connection, 403, call)


def predeclared():
    with opened() as channel:
        for name, kind in (("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.topic", "topic")):
            channel.exchange_declare(name, kind, passive=True)
            channel.exchange_declare(name, kind, durable=True)
            own = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(own, name, "key")
            channel.basic_publish(name, "key", name.encode())
            equal(get(channel, own)[2], name.encode(), "through it")


def exchange_declare_again():
    with opened() as channel:
        channel.exchange_delete("ex-again")
        channel.exchange_declare("ex-again", "direct", durable=True)
        channel.exchange_declare("ex-again", "direct", durable=True)
        for kind, options in (("topic", {"durable": True}), ("direct", {"durable": False}), ("direct", {"durable": True, "auto_delete": True})):
            refused_on_new_channel(channel.connection, 406, lambda other: other.exchange_declare("ex-again", kind, **options))
        channel.exchange_delete("ex-again")
        channel.exchange_delete("ex-again")  # not there any more: no error
    with connected() as connection:
        refused_on_new_channel(connection, 404, lambda other: other.exchange_declare("ex-again", passive=True))


def unknown_exchange_type():
    with connected() as connection:
        refused_on_new_channel(connection, 406, lambda other: other.exchange_declare("ex-odd", "no-such-type"))


def exchange_delete_if_unused():
    with queue("bound") as channel:
        channel.exchange_declare("ex-used", "fanout")
        channel.queue_bind("bound", "ex-used")
        refused_on_new_channel(channel.connection, 406, lambda other: other.exchange_delete("ex-used", if_unused=True))
        channel.queue_unbind("bound", "ex-used")
        channel.exchange_delete("ex-used", if_unused=True)


def exchange_auto_delete():
    with queue("bound-2") as channel:
        channel.exchange_declare("ex-fleeting", "fanout", auto_delete=True)
        channel.exchange_declare("ex-fleeting", passive=True)
        channel.queue_bind("bound-2", "ex-fleeting")
        channel.queue_unbind("bound-2", "ex-fleeting")
        refused_on_new_channel(channel.connection, 404, lambda other: other.exchange_declare("ex-fleeting", passive=True))


def internal_exchange():
    with opened() as channel:
        channel.exchange_declare("ex-internal", "fanout", internal=True)
        refused_on_new_channel(channel.connection, 403, lambda other: (other.basic_publish("ex-internal", "", b"x"), other.queue_declare("", exclusive=True)))
        channel.exchange_delete("ex-internal")


def routed(channel, exchange, kind, bindings, keys):
    """The keys that each queue was given, where bindings are of (queue, pattern)."""
    channel.exchange_declare(exchange, kind)
    queues = {name: channel.queue_declare("", exclusive=True).method.queue for name, _ in bindings}
    for name, pattern in bindings:
        channel.queue_bind(queues[name], exchange, pattern)
    channel.confirm_delivery()
    for key in keys:
        channel.basic_publish(exchange, key, key.encode())
    channel.exchange_delete(exchange)
    return {name: [body.decode() for body in drain(channel, own)] for name, own in queues.items()}


def direct():
    with opened() as channel:
        bindings = [("one", "red"), ("two", "red"), ("two", "blue"), ("two", "blue"), ("three", "#"), ("three", ""), ("three", "re*")]
        got = routed(channel, "ex-direct", "direct", bindings, ["red", "blue", "green", "", "#", "Red"])
        equal(got, {"one": ["red"], "two": ["red", "blue"], "three": ["", "#"]}, "routed")


def fanout():
    with opened() as channel:
        got = routed(channel, "ex-fanout", "fanout", [("one", ""), ("two", "ignored"), ("two", "twice")], ["a", "", "b.c"])
        equal(got, {"one": ["a", "", "b.c"], "two": ["a", "", "b.c"]}, "routed")


TOPIC_KEYS = [
    "quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox", "lazy.brown.fox", "lazy.pink.rabbit", "quick.brown.fox",
    "orange", "quick.orange.new.rabbit", "lazy.orange.new.rabbit", "lazy", "a", "a.b", "a.a", "a.b.c", "a.b.b.c", "b.a.b", "",
    ".", "..", "a.", ".a", "a..b", "#", "*", "a.#", "ä.ö",
]  # fmt: skip
TOPIC_PATTERNS = [
    "*.orange.*", "*.*.rabbit", "lazy.#", "#", "*", "*.*", "#.#", "*.#", "#.*", "a.*", "a.#", "#.a", "#.a.#", "a.#.b", "a.*.#", "*.*.*",
    "a.#.#.b.#", "", ".", "a.", ".a", "a..b", "*.", "#.b", "a", "ä.*", "a*", "a.b#", "lazy.#.rabbit", "*.*.*.#",
]  # fmt: skip


def matches(pattern, key):
    """A topic pattern's meaning: `*` is one word, `#` any number of words, none too."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return matches(pattern[1:], key) or bool(key) and matches(pattern, key[1:])
    return bool(key) and pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


def words(text):
    return text.split(".") if text else []


def topic():
    with opened() as channel:
        got = routed(channel, "ex-topic", "topic", [(pattern, pattern) for pattern in TOPIC_PATTERNS], TOPIC_KEYS)
        for pattern in TOPIC_PATTERNS:
            wanted = [key for key in TOPIC_KEYS if matches(words(pattern), words(key))]
            equal(got[pattern], wanted, f"keys that '{pattern}' matches")
        # The table of RabbitMQ's fifth tutorial, by hand.
        equal(got["*.orange.*"], ["quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox"], "*.orange.*")
        equal(got["*.*.rabbit"], ["quick.orange.rabbit", "lazy.pink.rabbit"], "*.*.rabbit")
        lazy = ["lazy.orange.elephant", "lazy.brown.fox", "lazy.pink.rabbit", "lazy.orange.new.rabbit", "lazy"]
        equal(got["lazy.#"], lazy, "lazy.#")


def several_patterns_one_copy():
    with opened() as channel:
        got = routed(channel, "ex-once", "topic", [("q", "a.*"), ("q", "#"), ("q", "*.b")], ["a.b", "c"])
        equal(got, {"q": ["a.b", "c"]}, "each message once")


def unbind():
    with queue("unbound") as channel:
        channel.queue_bind("unbound", "amq.direct", "unbind-1")
        channel.queue_bind("unbound", "amq.direct", "unbind-2")
        channel.queue_unbind("unbound", "amq.direct", "unbind-1")
        channel.queue_unbind("unbound", "amq.direct", "unbind-1")  # again: no error
        channel.confirm_delivery()
        channel.basic_publish("amq.direct", "unbind-1", b"no")
        channel.basic_publish("amq.direct", "unbind-2", b"yes")
        equal(drain(channel, "unbound"), [b"yes"], "messages")


def bindings_go_with_their_queue():
    with opened() as channel:
        for body in (b"one", b"two"):
            channel.queue_declare("reborn", durable=True)
            if body == b"one":
                channel.queue_bind("reborn", "amq.direct", "reborn-key")
            channel.confirm_delivery() if body == b"one" else None
            channel.basic_publish("amq.direct", "reborn-key", body)
            equal(drain(channel, "reborn"), [body] if body == b"one" else [], "messages")
            channel.queue_delete("reborn")


def channel_after_error():
    """An error closes one channel; its number is good for a new one, and the others go on."""
    with queue("survivor") as channel:
        connection = channel.connection
        for _ in range(20):
            bad = connection.channel()
            number = bad.channel_number
            refused(404, lambda: bad.queue_declare("nowhere", passive=True))
            expect(bad.is_closed, "the channel is still open")
            again = connection.channel(number)
            publish(again, "survivor", [b"x"])
            again.close()
        holds(channel, "survivor", 20)


def duplicate_consumer_tag():
    def twice(channel):
        name = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(name, print, consumer_tag="tag")
        # pika checks this itself, so it is sent below its feet.
        channel._impl._send_method(pika.spec.Basic.Consume(queue=name, consumer_tag="tag"))

    fatal(530, twice)


checks.run("handshake", handshake)
checks.run("refused at the door", refused_at_the_door)
checks.run("many channels", many_channels)
checks.run("server-named queue", server_named)
checks.run("declare again", declare_again)
checks.run("exclusive queue", exclusive)
checks.run("auto-delete queue", auto_delete)
checks.run("purge and delete", purge_and_delete)
checks.run("delete if unused, if empty", delete_only_if)
checks.run("not found", not_found)
checks.run("reserved names", reserved)
checks.run("predeclared exchanges", predeclared)
checks.run("declare an exchange again", exchange_declare_again)
checks.run("unknown exchange type", unknown_exchange_type)
checks.run("delete an exchange if unused", exchange_delete_if_unused)
checks.run("auto-delete exchange", exchange_auto_delete)
checks.run("internal exchange", internal_exchange)
checks.run("direct exchange", direct)
checks.run("fanout exchange", fanout)
checks.run("topic exchange", topic)
checks.run("several patterns, one copy", several_patterns_one_copy)
checks.run("unbind", unbind)
checks.run("bindings go with their queue", bindings_go_with_their_queue)
checks.run("channel after an error", channel_after_error)
checks.run("duplicate consumer tag", duplicate_consumer_tag)
checks.finish()
