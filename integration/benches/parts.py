"""The measurements. Each takes the results so far and adds its own; medians are taken when the page is written."""

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from system import CACHE, KAFKA, LIMITS, ROOT, TIDEGATE, Kafka, Process, Tidegate, free_port, peak_mib, tool

SHAPES = [(100, 16_384), (100, 262_144), (1024, 16_384), (1024, 262_144)]
BYTES = {100: 400_000_000, 1024: 1_000_000_000}
WARM_UP = 2_000_000


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def median(values):
    return statistics.median(values)


class Results:
    """Every figure of every round, kept in a file, so that parts can be run one at a time."""

    def __init__(self, path):
        self.path = Path(path)
        self.figures = json.loads(self.path.read_text()) if self.path.exists() else {}

    def start(self, part):
        self.figures = {key: values for key, values in self.figures.items() if not key.startswith(f"{part}/")}

    def add(self, key, **figures):
        self.figures.setdefault(key, []).append(figures)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.figures, indent=1))
        say(f"{key}: " + ", ".join(f"{name} {value:,.4g}" for name, value in figures.items()))

    def get(self, key, name):
        rounds = self.figures.get(key)
        return median(figures[name] for figures in rounds) if rounds else None


@contextmanager
def measured(broker, messages):
    """Processor seconds that the broker uses meanwhile, per million messages."""
    figures = {}
    before = broker.cpu()
    yield figures
    figures["cpu"] = (broker.cpu() - before) / messages * 1e6


def produce(broker, topic, size, batch, messages):
    with measured(broker, messages) as figures:
        # The default buffer of 32 MiB; the tool's other defaults too.
        said = tool(
            "ProducerPerformance", "--topic", topic, "--num-records", messages, "--record-size", size, "--throughput", -1,
            "--bootstrap-server", broker.bootstrap, "--command-property", "acks=all", f"batch.size={batch}",
        )  # fmt: skip
    last = said.strip().splitlines()[-1]
    figures["rate"] = float(re.search(r"([\d.]+) records/sec", last)[1])
    figures["p99_ms"] = float(re.search(r"(\d+) ms 99th", last)[1])
    return figures


def consume(broker, topic, messages):
    with measured(broker, messages) as figures:
        said = tool("ConsumerPerformance", "--topic", topic, "--num-records", messages, "--bootstrap-server", broker.bootstrap, "--timeout", 60_000)
    row = said.strip().splitlines()[-1].split(", ")
    if int(row[4]) < messages:
        raise RuntimeError(f"only {row[4]} of {messages} consumed: {said}")
    figures["rate"] = float(row[9])  # without the time of joining the group
    return figures


def throughput(results, rounds, scale):
    """Produce and consume by Kafka's own perf tools, systems in turn."""
    systems = [("kafka", Kafka, None), ("fsync", Tidegate, "fsync"), ("page-cache", Tidegate, "page-cache")]
    for _ in range(rounds):
        for name, start, durability in systems:
            with start() as broker:
                # So much that Kafka's broker runs compiled.
                broker.create_topics(["warm-up"], durability)
                for batch in (16_384, 262_144):
                    produce(broker, "warm-up", 100, batch, WARM_UP)
                consume(broker, "warm-up", 2 * WARM_UP)
                for size, batch in SHAPES:
                    topic, messages = f"s{size}-b{batch}", int(BYTES[size] * scale) // size
                    broker.create_topics([topic], durability)
                    results.add(f"throughput/produce/{name}/{size}/{batch}", **produce(broker, topic, size, batch, messages))
                    results.add(f"throughput/warm/{name}/{size}/{batch}", **consume(broker, topic, messages))
                    broker.forget_cached_files()
                    results.add(f"throughput/cold/{name}/{size}/{batch}", **consume(broker, topic, messages))
                results.add(f"throughput/memory/{name}", resident=broker.resident(), peak=peak_mib(broker.pid))


@contextmanager
def limit_server(*arguments):
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        server = Process([LIMITS, *arguments], Path(directory) / "log", stdout=subprocess.PIPE)
        try:
            yield server, server.child.stdout.readline().decode().strip()
        finally:
            server.child.kill()
            server.child.wait()


def limits(results, rounds, scale):
    """The least that the same bytes cost: receive, check, write, sync; and send."""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            file = Path(directory) / "file"
            for size, batch in SHAPES:
                volume = int(BYTES[size] * scale)
                for mode in ("receive", "receive-unsynced"):
                    with limit_server(mode, file) as (server, address):
                        start, before = time.monotonic(), server.cpu()
                        subprocess.run([LIMITS, "send", address, str(volume), str(batch)], check=True)
                        took, used = time.monotonic() - start, server.cpu() - before
                    messages = volume / size
                    results.add(f"limits/{mode}/{size}/{batch}", cpu=used / messages * 1e6, rate=messages / took)
            file.write_bytes(b"\x07" * BYTES[100])
            for mode in ("serve-sendfile", "serve-read"):
                with limit_server(mode, file) as (server, address):
                    subprocess.run([LIMITS, "fetch", address], check=True)
                    start, before = time.monotonic(), server.cpu()
                    for _ in range(3):
                        subprocess.run([LIMITS, "fetch", address], check=True)
                    took, used = time.monotonic() - start, server.cpu() - before
                million = 3 * BYTES[100] / 100 / 1e6
                results.add(f"limits/{mode}", cpu=used / million, rate=million * 1e6 / took)


def fdatasync(results):
    os.sync()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        said = subprocess.run([LIMITS, "fdatasync", Path(directory) / "file", "1000", "10000"], capture_output=True, text=True, check=True)
    p50, p99, p999 = map(float, said.stdout.split())
    results.add("latency/fdatasync", p50=p50, p99=p99, p999=p999)


def latency(results, rounds, scale):
    """End to end at 1,000 msg/s, acks=all, linger 0."""
    count = max(int(20_000 * scale), 2_000)
    for _ in range(rounds):
        for name, start, durability in [("kafka", Kafka, None), ("fsync", Tidegate, "fsync"), ("page-cache", Tidegate, "page-cache")]:
            if name == "fsync":
                fdatasync(results)
            with start() as broker:
                broker.create_topics(["latency"], durability)
                command = ["java", f"-Dlog4j2.configurationFile={KAFKA}/tools-log4j2.yaml", "-cp", f"{CACHE}/kafka/jars/*"]
                command += [ROOT / "integration" / "benches" / "Latency.java", broker.bootstrap, "latency", "1000", str(count)]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                keys = ["p50", "p99", "p999", "ack_p50", "ack_p99", "ack_p999"]
                figures = [float(word) for word in said if word.isdigit()]
                results.add(f"latency/{name}", **dict(zip(keys, figures)))


def topics(results, rounds, scale):
    """One batch to each of 10,000 topics in turn, against as many batches to one topic."""
    count, records = max(int(50_000 * scale), 10_000), 10
    for _ in range(rounds):
        with Tidegate() as broker:
            start = time.monotonic()
            for first in range(0, 10_000, 500):
                broker.create_topics([f"t{index}" for index in range(first, first + 500)])
            took = time.monotonic() - start
            results.add("topics/create", rate=10_000 / took, resident=broker.resident())
            for many in (1, 10_000):
                run = [LIMITS, "batches", broker.kafka, str(many), str(count), str(records)]
                with measured(broker, count * records) as figures:
                    seconds = float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
                results.add(f"topics/{many}", rate=count * records / seconds, resident=broker.resident(), **figures)


def backlog(results, _rounds, scale):
    """Memory while 20 million messages of 100 bytes pile up, and while a group reads them all."""
    with Tidegate() as broker:
        broker.create_topics(["backlog"])
        for million in range(int(20 * scale) or 1):
            produce(broker, "backlog", 100, 262_144, 1_000_000)
            if million in (0, 4, 9, 14, 19):
                results.add(f"backlog/{million + 1}", resident=broker.resident(), peak=peak_mib(broker.pid))
        figures = consume(broker, "backlog", (int(20 * scale) or 1) * 1_000_000)
        results.add("backlog/read", resident=broker.resident(), peak=peak_mib(broker.pid), **figures)


def idle(results, rounds, _scale):
    """Start to readiness on an empty directory, memory and processor time with nothing to do."""
    for _ in range(max(rounds, 5)):
        with Tidegate() as broker:
            results.add("idle/start", ready_ms=broker.ready_after * 1000)
    for _ in range(rounds):
        with Tidegate() as broker:
            time.sleep(3)
            before = broker.cpu()
            time.sleep(10)
            results.add("idle/tidegate", resident=broker.resident(), core_percent=(broker.cpu() - before) * 10)
    with Kafka() as broker:
        time.sleep(10)
        before = broker.cpu()
        time.sleep(10)
        results.add("idle/kafka", resident=broker.resident(), core_percent=(broker.cpu() - before) * 10)


def http(results, rounds, _scale):
    """One durable message per request with 64 connections, against a handler that does nothing."""

    def load(*arguments):
        command = [TIDEGATE, "bench", "http", "--connections", "64", "--duration", "10s", "--size", "100", "--output", "json", *arguments]
        said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode != 0:
            raise RuntimeError(f"{command}: {said.stdout} {said.stderr}")
        return json.loads(said.stdout)[0]

    for _ in range(rounds):
        empty = load("--empty")
        results.add("http/empty", rate=empty["messages_per_second"], p99_ms=empty["p99_ms"])
        with Tidegate() as broker:
            for durability in ("fsync", "page-cache"):
                broker.create_topics([durability], durability)
                publish = load("--server", f"http://{broker.http}", "--topic", durability)
                results.add(f"http/{durability}", rate=publish["messages_per_second"], p99_ms=publish["p99_ms"])


def grpc(results, rounds, scale):
    """PublishStream and Consume of 100-byte messages, 100 a frame, against an empty tonic echo of the same frames."""
    messages = int(5_000_000 * scale)

    def load(*arguments):
        command = [TIDEGATE, "bench", "grpc", "--messages", messages, "--size", 100, "--batch", 100, "--in-flight", 100, "--output", "json", *arguments]
        said = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if said.returncode != 0:
            raise RuntimeError(f"{command}: {said.stdout} {said.stderr}")
        run = json.loads(said.stdout)[0]
        return {"rate": run["messages_per_second"], "p99_ms": run["p99_ms"]}

    for _ in range(rounds):
        results.add("grpc/empty", **load("--empty"))
        for durability in ("fsync", "page-cache"):
            with Tidegate() as broker:
                broker.create_topics(["bench"], durability)
                for what, arguments in (("publish", []), ("consume", ["--consume", "bench"])):
                    with measured(broker, messages) as figures:
                        figures |= load("--server", f"http://{broker.grpc}", *arguments)
                    results.add(f"grpc/{what}/{durability}", resident=broker.resident(), **figures)


PARTS = {part.__name__: part for part in (throughput, limits, latency, topics, backlog, idle, http, grpc)}
