"""kcat against a broker: kcat.py BOOTSTRAP. The topic is created by confluent-kafka, everything else is kcat."""

import json
import subprocess
import sys

from confluent_kafka.admin import AdminClient, NewTopic

from checks import Checks, equal, expect

BOOTSTRAP = sys.argv[1]
checks = Checks()


def kcat(*arguments, given=None):
    command = ["kcat", "-b", BOOTSTRAP, *arguments]
    ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=40)
    expect(ran.returncode == 0, f"exit {ran.returncode} from {command}: {ran.stderr}")
    return ran.stdout


def create():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    admin.create_topics([NewTopic("kcat", 2, 1)])["kcat"].result(30)


def metadata():
    seen = json.loads(kcat("-L", "-J"))
    partitions = {topic["topic"]: len(topic["partitions"]) for topic in seen["topics"]}
    equal(partitions.get("kcat"), 2, "partitions")


def round_trip(compression):
    before = len(kcat("-C", "-t", "kcat", "-p", "0", "-o", "beginning", "-e", "-q").splitlines())
    lines = "".join(f"{compression}{i}:value {i}\n" for i in range(1000))
    kcat("-P", "-t", "kcat", "-p", "0", "-K", ":", "-H", "from=kcat", "-z", compression, "-X", "acks=all", given=lines)
    read = kcat("-C", "-t", "kcat", "-p", "0", "-o", str(before), "-e", "-q", "-f", "%k:%s\n")
    equal(read, lines, "what was read")
    headers = kcat("-C", "-t", "kcat", "-p", "0", "-o", str(before), "-c", "1", "-q", "-f", "%h")
    equal(headers, "from=kcat", "headers")


def group():
    read = kcat("-q", "-G", "kcat-group", "-c", "1000", "-X", "auto.offset.reset=earliest", "kcat")
    equal(len(read.splitlines()), 1000, "messages read as a group")


def query_by_time():
    equal(kcat("-Q", "-t", "kcat:0:0").strip(), "kcat [0] offset 0", "first at or after 0")


checks.run("create topic", create)
checks.run("metadata", metadata)
for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    checks.run(f"round trip, compression {codec}", lambda: round_trip(codec))
checks.run("balanced group", group)
checks.run("offset by time", query_by_time)
checks.finish()
