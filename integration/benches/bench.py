"""integration/bench: see there."""

import argparse
import sys

from amqp_parts import AMQP_PARTS
from page import write
from parts import PARTS as KAFKA_PARTS
from parts import Results, say
from system import CACHE

PARTS = KAFKA_PARTS | AMQP_PARTS

parser = argparse.ArgumentParser(prog="integration/bench", description="Measures Tidegate beside Apache Kafka and RabbitMQ; writes docs/benchmarks.md.")
parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)}, page (default: everything)")
parser.add_argument("--rounds", type=int, default=3, help="how often; medians are shown (default 3)")
parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of messages (default 1)")
arguments = parser.parse_args()
if unknown := set(arguments.parts) - {*PARTS, "page"}:
    parser.error(f"no such part: {', '.join(unknown)}")

results = Results(CACHE / "bench" / "results.json")
for name in arguments.parts or PARTS:
    if name == "page":
        continue
    say(f"--- {name}: {PARTS[name].__doc__.splitlines()[0]}")
    results.start(name)
    PARTS[name](results, arguments.rounds, arguments.scale)
write(results, " ".join(["integration/bench", *(sys.argv[1:] if arguments.scale != 1 or arguments.rounds != 3 else [])]))
say("wrote docs/benchmarks.md and docs/benchmarks.svg")
