"""The page's part about AMQP, and its picture."""

from amqp_parts import DEEP, MODES
from figures import ratio, short, table

SYSTEMS = {"rabbitmq": "RabbitMQ 4.0.5", "tidegate": "Tidegate"}
MEANING = {"transient": "transient, autoack", "durable": "durable, persistent, 100 unconfirmed, manual acks, prefetch 500"}


def times(ours, theirs):
    return "–" if not ours or not theirs else f"{ours / theirs:.3g} ×"


def throughput(r, tool, modes):
    rows = []
    for mode in modes:
        get = lambda name, figure: r.get(f"amqp/{tool}/{mode}/{name}", figure)
        for name, title in SYSTEMS.items():
            rate, cpu = get(name, "rate"), get(name, "cpu")
            against = ("", "") if name == "rabbitmq" else (times(rate, get("rabbitmq", "rate")), ratio(cpu, get("rabbitmq", "cpu")))
            latency = [f"{short(get(name, key))} ms" for key in ("p50_ms", "p99_ms")]
            rows.append([MEANING.get(mode, mode), title, short(rate), against[0], short(cpu), against[1], *latency])
    return table(["100 B", "system", "msg/s", "against RabbitMQ", "CPU s per million", "against RabbitMQ", "p50", "p99"], rows)


def fanout(r):
    rows = []
    for what, meaning in (("publish", "published"), ("consume", "published and consumed meanwhile, acknowledged")):
        for name, title in SYSTEMS.items():
            get = lambda figure: r.get(f"fanout/{what}/{name}", figure)
            rows.append([meaning, title, short(get("publish_rate")), short(get("rate")) if what == "consume" else "", short(get("written")), short(get("cpu"))])
    return table(["1,000 B to 100 durable queues", "system", "published/s", "delivered/s", "bytes written per message published", "CPU s per million published"], rows)


def connections(r):
    rows = []
    for name, title in SYSTEMS.items():
        idle = lambda figure: r.get(f"connections/idle/{name}", figure)
        stopped = lambda figure: r.get(f"connections/stopped/{name}", figure)
        rows.append([
            title, f"{short(idle('kib'))} KiB", short(idle("rate")), short(stopped("before")), short(stopped("after")), f"{short(stopped('grown_mib'))} MiB",
        ])  # fmt: skip
    return table(
        ["system", "memory per idle connection with queue and consumer", "such connections/s", "10 consumers, msg/s", "the same beside one that stopped reading", "memory that it cost"],
        rows,
    )  # fmt: skip


def section(r):
    return f"""## AMQP beside RabbitMQ

RabbitMQ's own PerfTest, unchanged, one producer and one consumer (which share the machine with the broker, and are a limit of
their own). Tidegate has synced what it confirms; RabbitMQ's classic queues never ask the disk to (strace counts no fsync).

![AMQP: CPU seconds per million messages, and rate](benchmarks-amqp.svg)

{throughput(r, "perftest", MODES)}

`tidegate bench amqp`, which costs less than PerfTest, against both brokers:

{throughput(r, "load", [*MODES, *DEEP])}

One exchange to 100 durable queues; bytes written are the process's own as the kernel counts them (write_bytes):

{fanout(r)}

1,000 connections with a queue and a consumer each; and ten consumers at work beside one that has stopped reading, with 100 MB
published for it:

{connections(r)}
"""


def picture(r, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tidegate"
    from matplotlib import pyplot

    colours = {"rabbitmq": "#8a8f98", "tidegate": "#0b6e99"}
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4))
    bars = [(tool, mode) for tool in ("perftest", "load") for mode in MODES]
    for axis, (figure_name, label) in zip(axes, (("cpu", "CPU s per million"), ("rate", "thousand msg/s"))):
        for index, (name, title) in enumerate(SYSTEMS.items()):
            values = [(r.get(f"amqp/{tool}/{mode}/{name}", figure_name) or 0) for tool, mode in bars]
            values = [value / 1e3 for value in values] if figure_name == "rate" else values
            axis.bar([x + index * 0.4 for x in range(len(bars))], values, 0.38, label=title, color=colours[name])
        axis.set_xticks([x + 0.2 for x in range(len(bars))], [f"{tool}\n{mode}" for tool, mode in bars], fontsize=8)
        axis.set_ylabel(label)
        axis.set_yscale("log")
        axis.grid(axis="y", alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
