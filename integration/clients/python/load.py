"""Load that writes down what it was promised and what it saw, for integration/src/history.rs:

    load.py kafka BOOTSTRAP TOPIC PARTITIONS NAME idempotent|plain     acked NAME SEQUENCE PARTITION OFFSET
    load.py http URL TOPIC NAME                                        acked NAME SEQUENCE PARTITION OFFSET
    load.py grpc ADDRESS TOPIC NAME                                    acked NAME SEQUENCE PARTITION OFFSET
    load.py group ADDRESS GROUP                                        delivered GROUP PARTITION OFFSET, then
                                                                       settled GROUP PARTITION OFFSET, once that is durable
    load.py tail BOOTSTRAP TOPIC                                       read PARTITION OFFSET VALUE, as it arrives
    load.py read BOOTSTRAP TOPIC                                       read PARTITION OFFSET VALUE, once, up to the end
    load.py fill BOOTSTRAP TOPIC MIB                                   filled MIB

All but the last two go on until standard input is closed; then producers wait for every outstanding answer, and
consumers for everything there is.
A value is "NAME SEQUENCE" and padding. One sequence in three is sent to each of three partitions, and so on.
"""

import os
import select
import sys
import time

import requests
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

PADDING = " " + "x" * 80
out = sys.stdout


def stopping():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def value(name, sequence):
    return f"{name} {sequence}{PADDING}".encode()


def client(bootstrap, **options):
    base = {"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 2}
    return base | {name.replace("_", "."): value for name, value in options.items()}


def kafka(bootstrap, topic, partitions, name, kind):
    # Without idempotence a retry may be overtaken by what was sent after it; with one request in flight too, because librdkafka
    # may have built the next one already. So then nothing is sent before everything is answered.
    in_order = kind == "idempotent"
    order = {"enable_idempotence": True} if in_order else {"max_in_flight": 1}
    sender = Producer(client(bootstrap, message_timeout_ms=600_000, linger_ms=2, retry_backoff_ms=20, **order))

    def acknowledged(sequence):
        def delivered(error, message):
            if error:
                out.write(f"failed {name} {sequence} {error}\n")
            else:
                out.write(f"acked {name} {sequence} {message.partition()} {message.offset()}\n")

        return delivered

    sequence = 0
    while not stopping():
        if len(sender) < (3_000 if in_order else 1):
            for _ in range(20 if in_order else 60):
                sender.produce(
                    topic, value(name, sequence), partition=sequence % int(partitions), on_delivery=acknowledged(sequence)
                )
                sequence += 1
        sender.poll(0.005)
    left = sender.flush(120)
    out.write(f"left {name} {left}\n")


def http(url, topic, name):
    session = requests.Session()
    sequence = 0
    while not stopping():
        while True:  # the same key until there is an answer: a repeat must not become a second message
            try:
                answer = session.post(
                    f"{url}/v1/topics/{topic}/messages",
                    data=value(name, sequence),
                    headers={"Idempotency-Key": f"{name}-{sequence}", "Content-Type": "text/plain", "Tidegate-Partition": "0"},
                    timeout=20,
                )
            except requests.RequestException:
                time.sleep(0.02)
                continue
            if answer.status_code == 201:
                body = answer.json()
                out.write(f"acked {name} {sequence} {body['partition']} {body['offset']}\n")
                break
            if answer.status_code < 500:
                out.write(f"failed {name} {sequence} {answer.status_code} {' '.join(answer.text.split())}\n")
                break
            time.sleep(0.02)
        sequence += 1
    out.write(f"left {name} 0\n")


def grpc_stream(address, topic, name):
    import grpc_publish

    grpc_publish.run(address, topic, name, value, stopping, out)


def group(address, name):
    import grpc_consume

    grpc_consume.run(address, name, stopping, out)


def partitions_of(reader, topic):
    while True:
        found = reader.list_topics(topic, timeout=30).topics[topic].partitions
        if found:
            return sorted(found)


def write_down(message):
    text = message.value().decode(errors="replace").removesuffix(PADDING)
    out.write(f"read {message.partition()} {message.offset()} {text}\n")


def tail(bootstrap, topic):
    reader = Consumer(client(bootstrap, group_id="unused", enable_auto_commit=False, check_crcs=True, auto_offset_reset="error"))
    reader.assign([TopicPartition(topic, p, 0) for p in partitions_of(reader, topic)])
    while not stopping():
        for message in reader.consume(1_000, timeout=0.1):
            if message.error() is None:
                write_down(message)
            elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                out.write(f"backwards {message.error()}\n")
    reader.close()


def read(bootstrap, topic):
    reader = Consumer(client(bootstrap, group_id="unused", enable_auto_commit=False, check_crcs=True, auto_offset_reset="error"))
    ends = {p: reader.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in partitions_of(reader, topic)}
    left = {p for p, end in ends.items() if end > 0}
    reader.assign([TopicPartition(topic, p, 0) for p in left])
    deadline = time.monotonic() + 120
    while left and time.monotonic() < deadline:
        for message in reader.consume(10_000, timeout=0.2):
            if message.error():
                out.write(f"error {message.error()}\n")
                continue
            write_down(message)
            if message.offset() + 1 >= ends[message.partition()]:
                left.discard(message.partition())
    reader.close()
    out.write(f"end {' '.join(f'{p}:{end}' for p, end in ends.items())}\n")
    if left:
        sys.exit(f"partitions {left} were not read to their ends {ends}")


def fill(bootstrap, topic, mib):
    sender = Producer(client(bootstrap, message_max_bytes=1_000_000, batch_size=1_000_000, queue_buffering_max_kbytes=64 << 10))
    body = os.urandom(64 << 10)
    failed = []
    for _ in range(int(mib) * 16):
        while True:
            try:
                sender.produce(topic, body, on_delivery=lambda error, _: error and failed.append(error))
                break
            except BufferError:
                sender.poll(0.1)
    if sender.flush(300) or failed:
        sys.exit(f"filling failed: {failed[:1]}")
    out.write(f"filled {mib}\n")


{"kafka": kafka, "http": http, "grpc": grpc_stream, "group": group, "tail": tail, "read": read, "fill": fill}[sys.argv[1]](*sys.argv[2:])
out.flush()
