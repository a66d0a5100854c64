"""Writes docs/benchmarks.md and docs/benchmarks.svg from the figures."""

import os
import platform
from pathlib import Path

import amqp_page
from figures import ratio, short, table
from parts import SHAPES, WARM_UP
from system import ROOT

SYSTEMS = {"kafka": "Apache Kafka 4.3.1", "fsync": "Tidegate, fsync", "page-cache": "Tidegate, page-cache"}


def shape(size, batch):
    return f"{size} B, {batch // 1024} KiB batches"


def throughput(r, what, floor):
    head = ["messages", "system", "msg/s", "against Kafka", "CPU s per million", "against Kafka", "limit: CPU s per million"]
    rows = []
    for size, batch in SHAPES:
        key = lambda name: f"throughput/{what}/{name}/{size}/{batch}"
        for name, title in SYSTEMS.items():
            rate, cpu = r.get(key(name), "rate"), r.get(key(name), "cpu")
            rows.append([
                shape(size, batch), title, short(rate), ratio(rate, r.get(key("kafka"), "rate")),
                short(cpu), ratio(cpu, r.get(key("kafka"), "cpu")), short(floor(name, size, batch)),
            ])  # fmt: skip
    return table(head, rows)


def produce_floor(r):
    modes = {"fsync": "receive", "page-cache": "receive-unsynced", "kafka": "receive-unsynced"}
    return lambda name, size, batch: r.get(f"limits/{modes[name]}/{size}/{batch}", "cpu")


def consume_floor(r):
    def floor(_name, size, _batch):
        cpu = min(filter(None, (r.get(f"limits/{mode}", "cpu") for mode in ("serve-sendfile", "serve-read"))), default=None)
        return None if cpu is None else cpu * size / 100

    return floor


def latency(r):
    head = ["system", "p50", "p99", "p99.9", "acknowledged p50", "p99", "p99.9"]
    keys = ["p50", "p99", "p999", "ack_p50", "ack_p99", "ack_p999"]
    micros = lambda value: "–" if value is None else f"{value / 1000:.2f} ms"
    rows = [[title] + [micros(r.get(f"latency/{name}", key)) for key in keys] for name, title in SYSTEMS.items()]
    disk = [micros(r.get("latency/fdatasync", key)) for key in keys[:3]]
    return table(head, rows + [["the disk: write 4 KiB + fdatasync, 1,000 a second", "", "", "", *disk]])


def topics(r):
    one, many = r.get("topics/1", "rate"), r.get("topics/10000", "rate")
    rows = [
        [title, short(r.get(key, "rate")), ratio(r.get(key, "rate"), one), short(r.get(key, "cpu")), f"{short(r.get(key, 'resident'))} MiB"]
        for key, title in (("topics/1", "one topic"), ("topics/10000", "10,000 topics in turn"))
    ]
    return table(["batches of 10 × 100 B, fsync", "msg/s", "against one", "CPU s per million", "memory"], rows) if many else ""


def memory(r):
    mib = lambda key, name="resident": f"{short(r.get(key, name))} MiB"
    rows = [
        ["started to ready, empty directory", f"{short(r.get('idle/start', 'ready_ms'))} ms", ""],
        ["idle: memory", mib("idle/tidegate"), mib("idle/kafka")],
        ["idle: one core", f"{short(r.get('idle/tidegate', 'core_percent'))} %", f"{short(r.get('idle/kafka', 'core_percent'))} %"],
        ["after the throughput runs, fsync", mib("throughput/memory/fsync"), mib("throughput/memory/kafka")],
    ]
    rows += [[f"backlog of {m} million messages", mib(f"backlog/{m}"), ""] for m in (1, 5, 10, 15, 20)]
    rows += [["after a consumer read the backlog", mib("backlog/read"), ""]]
    return table(["", "Tidegate", "Apache Kafka"], rows)


def http(r):
    empty = r.get("http/empty", "rate")
    rows = []
    for key, title in (("empty", "a handler that does nothing"), ("fsync", "publish, fsync"), ("page-cache", "publish, page-cache")):
        rate = r.get(f"http/{key}", "rate")
        rows.append([title, short(rate), ratio(rate, empty), f"{short(r.get(f'http/{key}', 'p99_ms'))} ms"])
    return table(["64 connections, a message of 100 B per request", "requests/s", "against nothing", "p99"], rows)


def grpc(r):
    empty = r.get("grpc/empty", "rate")
    rows = [["an echo that does nothing", short(empty), "", "", ""]]
    for what in ("publish", "consume"):
        for durability in ("fsync", "page-cache"):
            rate, cpu, resident = (r.get(f"grpc/{what}/{durability}", name) for name in ("rate", "cpu", "resident"))
            rows.append([f"{what}, {durability}", short(rate), ratio(rate, empty), short(cpu), f"{short(resident)} MiB"])
    return table(["100 B messages, 100 a frame, one stream", "msg/s", "against nothing", "CPU s per million", "memory"], rows)


def machine():
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{len(names)} × {names[0]}, {memory_gib:.0f} GiB, Linux {platform.release()}"


def write(r, command):
    page = f"""# Benchmarks

Made by `{command}` on {machine()}. Brokers and load share the machine; each broker runs alone, in turn (A B A B …), on an
empty directory, once everything written before is on the disk; the figures are medians. Ratios mean more than absolute
figures, which belong to this machine. CPU is the user and system time of the broker's process. `integration/bench` runs it all again; `integration/bench PART…` one part.

![CPU seconds per million messages](benchmarks.svg)

## Produce

Kafka's own `ProducerPerformance`, acks=all, one partition. Kafka as it comes does not sync; Tidegate with `fsync` does before it
answers. Each broker has taken {2 * WARM_UP:,} messages before and given them out again, so that Kafka's runs compiled. The limit is a
program that receives the same bytes, checks them (CRC-32C), writes them into space already written and syncs (fdatasync) or not,
and does nothing else.

{throughput(r, "produce", produce_floor(r))}

## Consume

Kafka's own `ConsumerPerformance`. Warm: just written. Cold: after the kernel was told to drop the files from its cache. The limit is
a program that sends as many bytes of a file, the cheaper of sendfile and read + write.

Warm:

{throughput(r, "warm", consume_floor(r))}

Cold:

{throughput(r, "cold", consume_floor(r))}

## Latency

From send to receive at 1,000 messages a second, acks=all, linger 0, one Java process with a producer and a consumer, which has sent
60,000 messages before, so that it runs compiled.

{latency(r)}

## Many topics

{topics(r)}

## Memory, idling, start

{memory(r)}

## HTTP

{http(r)}

## gRPC

`tidegate bench grpc`: PublishStream with 100 frames unanswered; Consume with 10,000 messages of credit, each frame acknowledged and its
acknowledgement waited for. The echo is an empty tonic service that sends each frame back as it came.

{grpc(r)}

{amqp_page.section(r)}"""
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    (docs / "benchmarks.md").write_text(page)
    picture(r, docs / "benchmarks.svg")
    amqp_page.picture(r, docs / "benchmarks-amqp.svg")


def picture(r, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tidegate"
    from matplotlib import pyplot

    colours = {"kafka": "#8a8f98", "fsync": "#0b6e99", "page-cache": "#53b3cb"}
    floors = {"produce": produce_floor(r), "warm": consume_floor(r), "cold": consume_floor(r)}
    titles = {"produce": "Produce", "warm": "Consume, warm", "cold": "Consume, cold"}
    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7))
    for column, (what, floor) in enumerate(floors.items()):
        for row, (figure_name, label) in enumerate((("cpu", "CPU s per million"), ("rate", "million msg/s"))):
            axis = axes[row][column]
            for index, (name, title) in enumerate(SYSTEMS.items()):
                values = [r.get(f"throughput/{what}/{name}/{size}/{batch}", figure_name) or 0 for size, batch in SHAPES]
                values = [value / 1e6 for value in values] if figure_name == "rate" else values
                axis.bar([x + index * 0.27 for x in range(4)], values, 0.25, label=title, color=colours[name])
            if figure_name == "cpu":
                least = [floor("fsync", size, batch) or 0 for size, batch in SHAPES]
                axis.hlines(least, [x - 0.15 for x in range(4)], [x + 0.7 for x in range(4)], colors="#c0392b", label="limit")
                axis.set_yscale("log")
            axis.set_xticks([x + 0.27 for x in range(4)], [f"{size} B\n{batch // 1024} KiB" for size, batch in SHAPES])
            axis.set_title(titles[what] if row == 0 else "")
            axis.set_ylabel(label if column == 0 else "")
            axis.grid(axis="y", alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
