"""What RabbitMQ does and the gateway does not (docs/known-limits.md) is refused, not ignored: pika_refusals.py HOST:PORT"""

import pika

from checks import Checks
from pika_shared import connected, fatal

checks = Checks()
QUEUE_ARGUMENTS = {
    "x-max-length": 10, "x-max-length-bytes": 10, "x-message-ttl": 60_000, "x-expires": 60_000, "x-dead-letter-exchange": "amq.topic",
    "x-max-priority": 5, "x-overflow": "reject-publish", "x-single-active-consumer": True, "x-queue-type": "stream",
}  # fmt: skip


def queue_argument(name, value):
    fatal(540, lambda channel: channel.queue_declare("refused", durable=True, arguments={name: value}))
    with connected() as connection:  # and nothing was declared
        try:
            connection.channel().queue_declare("refused", passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return
        raise AssertionError("the queue is there")


for argument, setting in QUEUE_ARGUMENTS.items():
    checks.run(f"queue argument {argument}", lambda: queue_argument(argument, setting))
checks.run("transactions", lambda: fatal(540, lambda channel: channel.tx_select()))
checks.run("headers exchange", lambda: fatal(540, lambda channel: channel.exchange_declare("refused", "headers")))
checks.run("exchange to exchange", lambda: fatal(540, lambda channel: channel.exchange_bind("amq.fanout", "amq.direct", "k")))
checks.run(
    "alternate exchange",
    lambda: fatal(540, lambda channel: channel.exchange_declare("refused", "direct", arguments={"alternate-exchange": "amq.fanout"})),
)
checks.finish()
