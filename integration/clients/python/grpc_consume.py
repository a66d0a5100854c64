"""Consume under load: everything is acknowledged in the stream, and a session goes on after a break."""

import queue
import threading
import time

import grpc

from grpc_publish import channel
from grpc_stubs import consumer, services

CREDIT = 500
Frame = consumer.ConsumeRequest


def run(address, group, stopping, out):
    stub = services(channel(address))[1]
    session = {"id": "", "received": None}
    held = {}  # deliveries not known to be settled: their places
    while not (stopping() and lag(stub, group) == 0):
        try:
            stream(stub, group, session, held, stopping, out)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN):
                out.write(f"trouble {error.code()} {error.details()}\n")
                return
            time.sleep(0.02)
    out.write(f"end {group}\n")


def lag(stub, group):
    try:
        return stub.GetLag(consumer.GetLagRequest(group=group), timeout=10).messages
    except grpc.RpcError:
        return None


def stream(stub, group, session, held, stopping, out):
    frames = queue.SimpleQueue()
    start = Frame.Start(group=group, session_id=session["id"], credit=Frame.Credit(messages=CREDIT))
    if session["received"] is not None:
        start.received_up_to = session["received"]
    frames.put(Frame(start=start))
    responses = stub.Consume(iter(frames.get, None))
    started = next(responses).started
    session["id"] = started.session_id
    if not started.resumed:
        session["received"] = 0
        held.clear()
    # What the session no longer holds was settled, but nobody said so durably: nothing is claimed of it.
    for delivery in set(held) - set(started.unsettled):
        del held[delivery]
    asked = {}
    over = threading.Event()
    threading.Thread(target=pings, args=(frames, over), daemon=True).start()
    try:
        receive(stub, group, session, held, stopping, out, frames, responses, asked)
    finally:
        over.set()
        frames.put(None)


def pings(frames, over):
    """An answer now and then, so that the end is noticed when nothing else comes."""
    while not over.wait(0.2):
        frames.put(Frame(ping=Frame.Ping()))


def receive(stub, group, session, held, stopping, out, frames, responses, asked):
    if held:
        ack(frames, asked, list(held))
    drained = False
    for response in responses:
        kind = response.WhichOneof("frame")
        if kind == "messages":
            ids = []
            for received in response.messages.messages:
                place = f"{group} {received.partition} {received.offset}"
                out.write(f"delivered {place}\n")
                held[received.delivery_id] = place
                ids.append(received.delivery_id)
            session["received"] = ids[-1]
            ack(frames, asked, ids)
            frames.put(Frame(credit=Frame.Credit(messages=len(ids))))
        elif kind == "ack_result":
            settled(response.ack_result, asked, held, out)
        elif kind == "lease_expired":
            for delivery in response.lease_expired.delivery_ids:
                held.pop(delivery, None)
        if stopping() and not drained and lag(stub, group) == 0:
            drained = True
            frames.put(Frame(drain=Frame.Drain()))


def ack(frames, asked, ids):
    number = len(asked) + 1
    asked[number] = ids
    frames.put(Frame(ack=Frame.Ack(delivery_ids=ids, request_seq=number)))


def settled(result, asked, held, out):
    failed = {failure.delivery_id for failure in result.failed}
    for delivery in asked[result.request_seq]:
        place = held.pop(delivery, None)
        if place and delivery not in failed:
            out.write(f"settled {place}\n")
