"""The shapes of RabbitMQ's tutorials with pika, and pika's other adapters: pika_tutorials.py HOST:PORT"""

import asyncio
import threading
import uuid

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from checks import Checks, equal, expect, until
from pika_shared import Deliveries, connected, count, drain, holds, numbered, opened, parameters, publish, queue

checks = Checks()


def hello_world():
    with connected() as sender, connected() as receiver:
        sender.channel().queue_declare("hello")
        receiver.channel().queue_declare("hello")
        consumer = Deliveries(receiver.channel(), "hello", auto_ack=True)
        sender.channel().basic_publish("", "hello", b"Hello World!")
        equal(consumer.wait(1).bodies, [b"Hello World!"], "received")
        sender.channel().queue_delete("hello")


def work_queue():
    """Durable tasks, one at a time to each worker; a busy worker gets no second."""
    with queue("task_queue") as channel, opened() as slow, opened() as fast:
        for worker in (slow, fast):
            worker.basic_qos(prefetch_count=1)
        one, two = Deliveries(slow, "task_queue"), Deliveries(fast, "task_queue")
        publish(channel, "task_queue", numbered(6), delivery_mode=pika.DeliveryMode.Persistent.value)
        until("a task for each", lambda: [w.connection.process_data_events(0.02) for w in (slow, fast)] and one.messages and two.messages)
        for more in range(2, 6):
            fast.basic_ack(two.tags[-1])
            two.wait(more)
        one.quiet()
        equal(sorted(one.bodies + two.bodies), numbered(6), "every task once")


def publish_subscribe():
    with opened() as channel:
        channel.exchange_declare("logs", "fanout")
        with connected() as first, connected() as second:
            subscribers = []
            for connection in (first, second):
                own = connection.channel()
                name = own.queue_declare("", exclusive=True).method.queue
                own.queue_bind(name, "logs")
                subscribers.append(Deliveries(own, name, auto_ack=True))
            publish(channel, "", [b"info: 1", b"info: 2"], exchange="logs")
            for subscriber in subscribers:
                equal(subscriber.wait(2).bodies, [b"info: 1", b"info: 2"], "received")
        publish(channel, "", [b"nobody listens"], exchange="logs")
        channel.exchange_delete("logs")


def routing():
    with opened() as channel:
        channel.exchange_declare("direct_logs", "direct")
        logs = {}
        for severities in (("error",), ("info", "warning", "error")):
            name = channel.queue_declare("", exclusive=True).method.queue
            for severity in severities:
                channel.queue_bind(name, "direct_logs", severity)
            logs[severities] = Deliveries(channel, name, auto_ack=True)
        for severity in ("info", "error", "debug", "warning"):
            channel.basic_publish("direct_logs", severity, severity.encode())
        for severities, consumer in logs.items():
            wanted = [name for name in (b"info", b"error", b"warning") if name.decode() in severities]
            equal(consumer.wait(len(wanted)).bodies, wanted, "received")
        channel.exchange_delete("direct_logs")


def topics():
    with opened() as channel:
        channel.exchange_declare("topic_logs", "topic")
        wanted = {"kern.*": ["kern.critical", "kern.info"], "*.critical": ["kern.critical", "cron.critical"], "#": ["kern.critical", "cron.critical", "kern.info"]}
        consumers = {}
        for pattern in wanted:
            name = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(name, "topic_logs", pattern)
            consumers[pattern] = Deliveries(channel, name, auto_ack=True)
        for key in wanted["#"]:
            channel.basic_publish("topic_logs", key, key.encode())
        for pattern, keys in wanted.items():
            equal([method.routing_key for method, _, _ in consumers[pattern].wait(len(keys)).messages], keys, pattern)
        channel.exchange_delete("topic_logs")


def rpc_server(ready, asked):
    with opened() as channel:
        channel.queue_declare("rpc_queue")
        channel.basic_qos(prefetch_count=1)

        def answer(channel, method, properties, body):
            reply = pika.BasicProperties(correlation_id=properties.correlation_id)
            channel.basic_publish("", properties.reply_to, b"%d" % (int(body) ** 2), reply)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("rpc_queue", answer)
        ready.set()
        while not asked.is_set():
            channel.connection.process_data_events(0.05)
        channel.queue_delete("rpc_queue")


def rpc():
    ready, asked = threading.Event(), threading.Event()
    server = threading.Thread(target=rpc_server, args=(ready, asked))
    server.start()
    try:
        expect(ready.wait(10), "the server is not ready")
        with opened() as channel:
            replies = channel.queue_declare("", exclusive=True).method.queue
            consumer = Deliveries(channel, replies, auto_ack=True)
            ids = [str(uuid.uuid4()) for _ in range(20)]
            for number, identity in enumerate(ids):
                properties = pika.BasicProperties(reply_to=replies, correlation_id=identity)
                channel.basic_publish("", "rpc_queue", b"%d" % number, properties)
            got = {properties.correlation_id: int(body) for _, properties, body in consumer.wait(20).messages}
            equal(got, {identity: number**2 for number, identity in enumerate(ids)}, "answers")
    finally:
        asked.set()
        server.join()


def publisher_confirms():
    with queue("seventh") as channel:
        channel.confirm_delivery()
        publish(channel, "seventh", numbered(200), delivery_mode=2)
        equal(count(channel, "seventh"), 200, "confirmed")


def select_connection():
    """pika without blocking: publishes with confirms as fast as it can, consumes what it published."""
    seen = {"confirmed": set(), "received": [], "error": None}
    total = 500

    def opened_connection(connection):
        connection.channel(on_open_callback=opened_channel)

    def opened_channel(channel):
        channel.confirm_delivery(confirmed, callback=lambda _: channel.queue_declare("selected", durable=True, callback=lambda _: declared(channel)))

    def confirmed(frame):
        # A confirm may be for all up to this one.
        last = frame.method.delivery_tag
        seen["confirmed"] |= set(range(1, last + 1)) if frame.method.multiple else {last}
        finish_if_done()

    def declared(channel):
        seen["channel"] = channel
        channel.basic_qos(prefetch_count=100, callback=lambda _: channel.basic_consume("selected", received))
        for body in numbered(total):
            channel.basic_publish("", "selected", body, pika.BasicProperties(delivery_mode=2))

    def received(channel, method, _properties, body):
        seen["received"].append(body)
        channel.basic_ack(method.delivery_tag)
        finish_if_done()

    def finish_if_done():
        if len(seen["received"]) == total == len(seen["confirmed"]):
            seen["channel"].queue_delete("selected", callback=lambda _: connection.close())

    def closed(connection, reason):
        seen["error"] = reason
        connection.ioloop.stop()

    connection = pika.SelectConnection(parameters(), on_open_callback=opened_connection, on_close_callback=closed, on_open_error_callback=closed)
    connection.ioloop.start()
    equal(seen["received"], numbered(total), "received")
    equal(seen["error"].reply_code, 200, f"closed with {seen['error']}")


async def asyncio_round_trip():
    loop = asyncio.get_running_loop()
    connection_open, channel_open, declared, got = (loop.create_future() for _ in range(4))
    connection = AsyncioConnection(parameters(), on_open_callback=lambda c: connection_open.set_result(c), on_open_error_callback=lambda _, error: connection_open.set_exception(error))
    await asyncio.wait_for(connection_open, 10)
    connection.channel(on_open_callback=channel_open.set_result)
    channel = await asyncio.wait_for(channel_open, 10)
    channel.queue_declare("", exclusive=True, callback=declared.set_result)
    name = (await asyncio.wait_for(declared, 10)).method.queue
    channel.basic_consume(name, lambda _channel, _method, _properties, body: got.set_result(body), auto_ack=True)
    channel.basic_publish("", name, b"asynchronous")
    equal(await asyncio.wait_for(got, 10), b"asynchronous", "received")
    closed = loop.create_future()
    connection.add_on_close_callback(lambda _, reason: closed.set_result(reason))
    connection.close()
    equal((await asyncio.wait_for(closed, 10)).reply_code, 200, "closed")


def consume_generator():
    with queue("generated") as channel:
        publish(channel, "generated", numbered(10))
        got = []
        for method, _, body in channel.consume("generated", inactivity_timeout=10):
            got.append(body)
            channel.basic_ack(method.delivery_tag)
            if len(got) == 7:
                break
        equal(got, numbered(7), "received")
        channel.cancel()
        holds(channel, "generated", 3)
        equal(drain(channel, "generated"), numbered(3, 7), "left")


checks.run("hello world", hello_world)
checks.run("work queue", work_queue)
checks.run("publish and subscribe", publish_subscribe)
checks.run("routing", routing)
checks.run("topics", topics)
checks.run("remote procedure call", rpc)
checks.run("publisher confirms", publisher_confirms)
checks.run("SelectConnection", select_connection)
checks.run("AsyncioConnection", lambda: asyncio.run(asyncio_round_trip()))
checks.run("the consume generator", consume_generator)
checks.finish()
