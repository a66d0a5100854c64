"""The measurements of AMQP, beside RabbitMQ."""

import json
import re
import subprocess
import time

from amqp_wire import Consumer
from parts import measured
from system import CACHE, TIDEGATE, RabbitMQ, Tidegate

BROKERS = {"rabbitmq": RabbitMQ, "tidegate": Tidegate}
# PerfTest's own options, those of our load generator that ask for the same, and how many messages: so many that PerfTest runs
# compiled for most of them.
MODES = {
    "transient": (["--autoack"], ["--transient", "--in-flight", 0, "--prefetch", 0], 2_000_000),
    "durable": (
        ["--flag", "persistent", "--auto-delete", "false", "--confirm", 100, "--qos", 500],
        ["--in-flight", 100, "--prefetch", 500],
        400_000,
    ),
}
# What PerfTest is too slow to ask for.
DEEP = {
    "durable, 10,000 unconfirmed": (["--in-flight", 10_000, "--prefetch", 5_000, "--ack-every", 50], 500_000),
    "publish only, 10,000 unconfirmed": (["--in-flight", 10_000, "--consumers", 0], 500_000),
}


def perf_test(broker, queue, arguments, messages):
    """RabbitMQ's PerfTest, unchanged: one producer, one consumer, messages of 100 bytes."""
    command = ["java", "-cp", f"{CACHE}/rabbitmq/perftest-jars/*", "com.rabbitmq.perf.PerfTest", "--uri", f"amqp://guest:guest@{broker.amqp}"]
    command += ["--size", 100, "--queue", queue, "--pmessages", messages, "--cmessages", messages, "--use-millis", *arguments]
    with measured(broker, messages) as figures:
        ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    said = ran.stdout + ran.stderr
    if ran.returncode != 0 or "receiving rate avg" not in said:
        raise RuntimeError(f"{command}: {said[-3000:]}")
    figures["rate"] = float(re.search(r"receiving rate avg: (\d+)", said)[1])
    _, figures["p50_ms"], _, _, figures["p99_ms"] = map(float, re.search(r"consumer latency .* ([\d/]+) ms", said)[1].split("/"))
    return figures


def load(broker, queue, arguments, messages):
    """Our own load generator; the rate is that of the consumers, if there are any."""
    command = [TIDEGATE, "bench", "amqp", "--broker", broker.amqp, "--queue", queue, "--messages", messages, "--output", "json", *arguments]
    with measured(broker, messages) as figures:
        ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    if ran.returncode != 0:
        raise RuntimeError(f"{command}: {ran.stdout} {ran.stderr}")
    lines = json.loads(ran.stdout)
    figures |= {"rate": lines[-1]["messages_per_second"], "p50_ms": lines[-1]["p50_ms"], "p99_ms": lines[-1]["p99_ms"]}
    figures["publish_rate"] = lines[0]["messages_per_second"]
    return figures


def amqp(results, rounds, scale):
    """Transient with autoack, and durable with confirms and acks, by RabbitMQ's own PerfTest and by our own load."""
    for _ in range(rounds):
        for name, start in BROKERS.items():
            with start() as broker:
                perf_test(broker, "warm-up", ["--autoack"], 20_000)
                for mode, (perf_test_arguments, arguments, messages) in MODES.items():
                    messages = max(int(messages * scale), 10_000)
                    results.add(f"amqp/perftest/{mode}/{name}", **perf_test(broker, f"perf-test-{mode}", perf_test_arguments, messages))
                    results.add(f"amqp/load/{mode}/{name}", **load(broker, f"load-{mode}", arguments, messages))
                for mode, (arguments, messages) in DEEP.items():
                    messages = max(int(messages * scale), 10_000)
                    results.add(f"amqp/load/{mode}/{name}", **load(broker, f"load-{len(mode)}", arguments, messages))
                results.add(f"amqp/memory/{name}", resident=broker.resident())


def fanout(results, rounds, scale):
    """One exchange to 100 durable queues: bytes written to disk per message, and the rate."""
    messages = max(int(5_000 * scale), 500)
    for _ in range(rounds):
        for name, start in BROKERS.items():
            with start() as broker:
                for what, consumers in (("publish", 0), ("consume", 4)):
                    before = broker.written()
                    figures = load(broker, what, ["--fanout", 100, "--size", 1000, "--in-flight", 500, "--consumers", consumers], messages)
                    time.sleep(2)  # what is written a little later belongs to it too
                    results.add(f"fanout/{what}/{name}", written=(broker.written() - before) / messages, **figures)


def connections(results, rounds, scale):
    """1,000 connections, each with a queue and a consumer; and one consumer that stops reading while others go on."""
    count = max(int(1_000 * scale), 100)
    for _ in range(rounds):
        for name, start in BROKERS.items():
            with start() as broker:
                host, _, port = broker.amqp.rpartition(":")
                time.sleep(2)
                before, begin = broker.resident(), time.monotonic()
                idle = [Consumer(host, int(port), f"idle-{number}") for number in range(count)]
                took = time.monotonic() - begin
                time.sleep(3)
                results.add(f"connections/idle/{name}", kib=(broker.resident() - before) * 1024 / count, rate=count / took)
                for consumer in idle:
                    consumer.close()
            with start() as broker:
                stopped_reading(results, name, broker, scale)


def stopped_reading(results, name, broker, scale):
    """Ten consumers' rate and the broker's memory without and with one that has stopped reading, and 100 MB for it."""
    messages = max(int(300_000 * scale), 50_000)
    others = ["--fanout", 10, "--transient", "--in-flight", 0, "--prefetch", 0, "--consumers", 10]
    host, _, port = broker.amqp.rpartition(":")
    load(broker, "others", others, messages // 10)
    before = load(broker, "others", others, messages // 10)["rate"]
    resident = broker.resident()
    stopped = Consumer(host, int(port), "stopped", receive_buffer=4096)
    load(broker, "stopped", ["--size", 1000, "--in-flight", 1000, "--consumers", 0], max(int(100_000 * scale), 10_000))
    grown = broker.resident() - resident
    after = load(broker, "others", others, messages // 10)["rate"]
    results.add(f"connections/stopped/{name}", before=before, after=after, grown_mib=grown)
    stopped.close()


AMQP_PARTS = {part.__name__: part for part in (amqp, fanout, connections)}
