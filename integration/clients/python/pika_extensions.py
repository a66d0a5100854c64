"""RabbitMQ's extensions of AMQP that other people's test suites ask for: pika_extensions.py HOST:PORT"""

import pika

from checks import Checks, equal, expect, until
from pika_shared import (
    Deliveries, connected, count, drain, get, holds, numbered, opened, publish, queue, refused, refused_on_new_channel,
)  # fmt: skip

checks = Checks()
REPLY_TO = "amq.rabbitmq.reply-to"


def direct_reply_to():
    with opened() as client, opened() as server:
        requests = server.queue_declare("", exclusive=True).method.queue
        with connected() as other:
            refused_on_new_channel(other, 406, lambda channel: channel.basic_consume(REPLY_TO, print))
            refused_on_new_channel(other, 406, lambda channel: (publish(channel, requests, [b"?"], reply_to=REPLY_TO), drain(channel, "q")))
        answers = Deliveries(client, REPLY_TO, auto_ack=True)
        publish(client, requests, [b"2 * 21"], reply_to=REPLY_TO, correlation_id="1")
        properties = get(server, requests)[1]
        address = properties.reply_to
        expect(address.startswith(f"{REPLY_TO}.") and len(address) > len(REPLY_TO) + 10, f"the request says {address}")
        server.queue_declare(address, passive=True)  # whether somebody still waits for the answer
        publish(server, address, [b"42"], correlation_id=properties.correlation_id)
        answers.wait(1)
        method, said, body = answers.messages[0]
        equal((body, said.correlation_id, method.exchange, method.routing_key), (b"42", "1", "", address), "the answer")
        client.basic_cancel(answers.tag)
        until("the address to go", lambda: is_gone(address), 10)


def is_gone(name):
    with opened() as channel:
        try:
            channel.queue_declare(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker as closed:
            return closed.reply_code == 404
    return False


def replies_of_a_connection_that_ended():
    with opened() as server:
        requests = server.queue_declare("", exclusive=True).method.queue
        with opened() as client:
            Deliveries(client, REPLY_TO, auto_ack=True)
            publish(client, requests, [b"?"], reply_to=REPLY_TO)
            address = get(server, requests)[1].reply_to
        until("the address to go", lambda: is_gone(address), 10)
        server.confirm_delivery()
        try:
            server.basic_publish("", address, b"late", mandatory=True)
        except pika.exceptions.UnroutableError:
            return
        raise AssertionError("an answer for nobody was taken")


def copies():
    with opened() as channel:
        one, two, three = (channel.queue_declare("", exclusive=True).method.queue for _ in range(3))
        headers = {"first": 1, "BCC": [three, one], "CC": [two, "nowhere"], "last": 2}
        publish(channel, one, [b"x"], headers=headers)
        for name in (one, two, three):
            _, properties, body = get(channel, name)
            equal((properties.headers, body), ({"first": 1, "CC": [two, "nowhere"], "last": 2}, b"x"), "what a copy says")
            equal(drain(channel, name), [], "copies in one queue")
        publish(channel, one, [b"blind"], headers={"BCC": [two]})
        equal([get(channel, name)[1].headers or {} for name in (one, two)], [{}, {}], "headers")
    with connected() as connection:
        name = connection.channel().queue_declare("", exclusive=True).method.queue
        refused_on_new_channel(connection, 406, lambda channel: (publish(channel, name, [b"x"], headers={"CC": name}), count(channel, name)))


def update_secret():
    with connected() as connection:
        connection.update_secret("new", "why not")
        expect(connection.channel().is_open, "the connection is good no more")


def a_channel_s_prefetch_is_shared():
    with queue("shared") as publisher, opened() as channel:
        publish(publisher, "shared", numbered(10))
        holds(publisher, "shared", 10)
        channel.basic_qos(prefetch_count=1, global_qos=True)
        first, second = Deliveries(channel, "shared"), Deliveries(channel, "shared")
        for settled in range(10):
            until("a delivery", lambda: (channel.connection.process_data_events(0.05), len(first.tags + second.tags) > settled)[1], 10)
            channel.connection.process_data_events(0.02)
            equal(len(first.tags + second.tags), settled + 1, "deliveries beyond the limit")
            channel.basic_ack(max(first.tags + second.tags))
        expect(min(len(first.tags), len(second.tags)) >= 3, f"one had {len(first.tags)}, the other {len(second.tags)}")


def a_shared_prefetch_holds_back_consumers_that_need_no_acknowledgement():
    with queue("held") as publisher, queue("free"), opened() as channel:
        channel.basic_qos(prefetch_count=1, global_qos=True)
        holding = Deliveries(channel, "held")
        publish(publisher, "held", [b"x"])
        holding.wait(1)
        waiting = Deliveries(channel, "free", auto_ack=True)
        publish(publisher, "free", [b"x"])
        waiting.quiet()
        # The consumer is gone; what it held is settled all the same, and makes room for others.
        channel.basic_cancel(holding.tag)
        channel.basic_ack(holding.tags[0])
        waiting.wait(1)


def consumers_come_before_get():
    with queue("mine") as channel:
        taken = Deliveries(channel, "mine", auto_ack=True)
        for number in range(20):
            publish(channel, "mine", [b"%d" % number])
            equal(channel.basic_get("mine", auto_ack=True)[2], None, "what get took from the consumer")
        taken.wait(20)


def dead_letters_before_their_queue():
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead-later"}
    with opened() as channel:
        channel.queue_delete("dead-later")
    with queue("gives-up", arguments=arguments) as channel:
        reject(channel, "gives-up", b"dropped")
        channel.queue_declare("dead-later", durable=True)
        reject(channel, "gives-up", b"kept")
        equal(get(channel, "dead-later")[2], b"kept", "the dead letter")
        channel.queue_delete("dead-later")
        reject(channel, "gives-up", b"dropped again")
        holds(channel, "gives-up", 0)


def reject(channel, name, body):
    publish(channel, name, [body])
    channel.basic_reject(get(channel, name, auto_ack=False)[0].delivery_tag, requeue=False)


def unbinding_an_exclusive_queue():
    with opened() as owner, opened() as other:
        name = owner.queue_declare("", exclusive=True).method.queue
        owner.queue_bind(name, "amq.direct", "k")
        refused(405, lambda: other.queue_unbind(name, "amq.direct", "k"))


def an_expiration_of_0():
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "came-too-late"}
    with queue("came-too-late") as dead, queue("for-now", arguments=arguments) as channel:
        publish(channel, "for-now", [b"nobody"], expiration="0")
        equal(channel.basic_get("for-now")[2], None, "what came when nobody waited")
        until("the dead letter", lambda: count(dead, "came-too-late") == 1, 10)
        channel.basic_qos(prefetch_count=2)
        channel.confirm_delivery()  # all have come before any is acknowledged
        taken = Deliveries(channel, "for-now")
        publish(channel, "for-now", numbered(3), expiration="0")
        taken.wait(2)
        equal(taken.bodies, [b"0", b"1"], "what came while a consumer waited")
        channel.basic_ack(taken.tags[-1], multiple=True)
        publish(channel, "for-now", [b"lasts"])
        taken.wait(3)
        equal(taken.bodies[2], b"lasts", "what came after what nobody could take")
        until("the other dead letter", lambda: count(dead, "came-too-late") == 2, 10)


checks.run("direct reply-to", direct_reply_to)
checks.run("replies of a connection that ended", replies_of_a_connection_that_ended)
checks.run("CC and BCC", copies)
checks.run("update-secret", update_secret)
checks.run("a channel's prefetch is shared", a_channel_s_prefetch_is_shared)
checks.run("a shared prefetch holds back consumers without acknowledgements", a_shared_prefetch_holds_back_consumers_that_need_no_acknowledgement)
checks.run("consumers come before get", consumers_come_before_get)
checks.run("dead letters before their queue", dead_letters_before_their_queue)
checks.run("an expiration of 0", an_expiration_of_0)
checks.run("unbinding an exclusive queue", unbinding_an_exclusive_queue)
checks.finish()
