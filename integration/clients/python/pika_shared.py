"""What the programs that use pika share. Each is started with HOST:PORT of an AMQP listener."""

import sys
from contextlib import contextmanager

import pika
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from checks import equal, expect, until

HOST, _, PORT = sys.argv[1].rpartition(":")


def parameters(**options):
    options.setdefault("credentials", pika.PlainCredentials("guest", "guest"))
    return pika.ConnectionParameters(HOST, int(PORT), **options)


@contextmanager
def connected(**options):
    connection = pika.BlockingConnection(parameters(**options))
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


@contextmanager
def opened(**options):
    """A channel on a connection of its own."""
    with connected(**options) as connection:
        yield connection.channel()


@contextmanager
def queue(name, **options):
    """A channel and a new, empty queue, deleted at the end."""
    options.setdefault("durable", True)
    with opened() as channel:
        channel.queue_delete(name)
        channel.queue_declare(name, **options)
        yield channel
    with opened() as channel:
        channel.queue_delete(name)


def refused(code, call):
    """The broker closes the channel with this code."""
    try:
        call()
    except ChannelClosedByBroker as closed:
        equal(closed.reply_code, code, f"the code of '{closed.reply_text}'")
        return
    except ConnectionClosedByBroker as closed:
        raise AssertionError(f"the connection was closed: {closed.reply_code} {closed.reply_text}") from closed
    raise AssertionError(f"it was not refused with {code}")


def refused_on_new_channel(connection, code, call):
    """As refused, for call(channel); the connection is good for another channel."""
    channel = connection.channel()
    refused(code, lambda: call(channel))
    expect(connection.is_open, "the connection is closed too")


def fatal(code, call):
    """The broker closes the connection with this code."""
    try:
        with connected() as connection:
            call(connection.channel())
            connection.process_data_events(2)
    except ConnectionClosedByBroker as closed:
        equal(closed.reply_code, code, f"the code of '{closed.reply_text}'")
        return
    raise AssertionError(f"the connection was not closed with {code}")


def publish(channel, to, bodies, exchange="", **properties):
    for body in bodies:
        channel.basic_publish(exchange, to, body, pika.BasicProperties(**properties) if properties else None)


def numbered(count, start=0):
    return [b"%d" % number for number in range(start, start + count)]


def count(channel, name):
    """Messages ready, asked passively."""
    return channel.queue_declare(name, passive=True).method.message_count


def holds(channel, name, wanted):
    """Without confirms a publish is not in the queue at once when others ask."""
    until(f"{wanted} messages in {name}", lambda: count(channel, name) == wanted, 10)


def get(channel, name, auto_ack=True):
    """The next message; waits for it."""
    return until(f"a message in {name}", lambda: (found := channel.basic_get(name, auto_ack))[0] and found, 10)


def drain(channel, name):
    """Bodies of all that is ready, in order."""
    bodies = []
    while (found := channel.basic_get(name, auto_ack=True))[0]:
        bodies.append(found[2])
    return bodies


class Deliveries:
    """What a consumer was given, in order."""

    def __init__(self, channel, name, **options):
        self.channel, self.messages = channel, []
        self.tag = channel.basic_consume(name, lambda _, method, properties, body: self.messages.append((method, properties, body)), **options)

    @property
    def bodies(self):
        return [body for _, _, body in self.messages]

    @property
    def tags(self):
        return [method.delivery_tag for method, _, _ in self.messages]

    @property
    def redelivered(self):
        return [method.redelivered for method, _, _ in self.messages]

    def wait(self, wanted, seconds=10):
        """Waits for so many messages; fails if more come."""

        def enough():
            self.channel.connection.process_data_events(0.05)
            return len(self.messages) >= wanted

        until(f"{wanted} deliveries, of which {len(self.messages)} came", enough, seconds)
        equal(len(self.messages), wanted, "deliveries")
        return self

    def quiet(self, seconds=0.3):
        """Nothing more comes for a while."""
        before = len(self.messages)
        self.channel.connection.process_data_events(seconds)
        equal(len(self.messages), before, "deliveries, when none should come")
        return self
