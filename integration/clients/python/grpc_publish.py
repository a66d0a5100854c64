"""PublishStream under load: what is unanswered when a stream breaks is sent again, under the same idempotency keys."""

import queue
import time

import grpc

from grpc_stubs import message, publisher, services

UNANSWERED = 200


def channel(address):
    options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 200), ("grpc.min_reconnect_backoff_ms", 20)]
    return grpc.insecure_channel(address, options=options)


def run(address, topic, name, value, stopping, out):
    stub = services(channel(address))[0]
    unanswered, sequence = [], 0
    while unanswered or not stopping():
        try:
            sequence = stream(stub, topic, name, value, stopping, out, unanswered, sequence)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN):
                out.write(f"failed {name} {sequence} {error.code()} {error.details()}\n")
                return
            time.sleep(0.02)
    out.write(f"left {name} 0\n")


def stream(stub, topic, name, value, stopping, out, unanswered, sequence):
    """Runs one stream to its end; the next sequence number. A message's number in the stream is its sequence and one."""
    frames = queue.SimpleQueue()
    responses = stub.PublishStream(iter(frames.get, None))
    next(responses)

    def send(numbers):
        entries = [
            publisher.Entry(message=message.Message(value=value(name, n)), partition=0, idempotency_key=f"{name}-{n}") for n in numbers
        ]
        frames.put(publisher.PublishStreamRequest(topic=topic, first_sequence=numbers[0] + 1, entries=entries, want_results=True))

    if unanswered:
        send(list(unanswered))
    while True:
        while len(unanswered) < UNANSWERED and not stopping():
            numbers = list(range(sequence, sequence + 20))
            sequence += 20
            unanswered.extend(numbers)
            send(numbers)
        if not unanswered:
            frames.put(None)
            return sequence
        response = next(responses, None)
        if response is None:  # the gateway stops
            return sequence
        for answer in response.results:
            number = answer.sequence - 1
            if answer.result.HasField("error"):
                error = answer.result.error
                if error.HasField("retry_after"):
                    frames.put(None)
                    time.sleep(0.05)
                    return sequence
                out.write(f"failed {name} {number} {error.reason} {error.message}\n")
            else:
                published = answer.result.published
                out.write(f"acked {name} {number} {published.partition} {published.offset}\n")
            unanswered.remove(number)
