"""Apache Kafka's own command line tools against a broker: kafka_tools.py BOOTSTRAP TOOL (peers/kafka/tool)"""

import json
import subprocess
import sys

from checks import Checks, equal, expect

BOOTSTRAP, TOOL = sys.argv[1:3]
checks = Checks()
COUNT = 20_000


def tool(name, *arguments, given=None, wanted=0):
    command = [TOOL, f"org.apache.kafka.tools.{name}", "--bootstrap-server", BOOTSTRAP, *arguments]
    ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=55)
    expect(ran.returncode == wanted, f"exit {ran.returncode} from {command}: {ran.stdout} {ran.stderr}")
    return ran.stdout


def contains(output, *texts):
    for text in texts:
        expect(text in output, f"{text!r} is not in {output!r}")


def topic_command():
    tool("TopicCommand", "--create", "--topic", "tools", "--partitions", "2", "--replication-factor", "1")
    contains(tool("TopicCommand", "--list"), "tools")
    contains(tool("TopicCommand", "--describe", "--topic", "tools"), "PartitionCount: 2", "Partition: 1")
    tool("TopicCommand", "--alter", "--topic", "tools", "--partitions", "3")
    contains(tool("TopicCommand", "--describe", "--topic", "tools"), "PartitionCount: 3")


def console():
    lines = "".join(f"key{i}:value {i}\n" for i in range(100))
    options = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    tool("TopicCommand", "--create", "--topic", "console", "--partitions", "1")
    tool("ConsoleProducer", "--topic", "console", *options, given=lines)
    read = tool(
        "consumer.ConsoleConsumer", "--topic", "console", "--from-beginning", "--max-messages", "100",
        "--group", "tools-group", "--formatter-property", "print.key=true", "--formatter-property", "key.separator=:",
        "--timeout-ms", "30000",
    )  # fmt: skip
    equal(read, lines, "what was consumed")


def performance(batch):
    topic = f"performance-{batch}"
    tool("TopicCommand", "--create", "--topic", topic, "--partitions", "1")
    sent = tool(
        "ProducerPerformance", "--topic", topic, "--num-records", str(COUNT), "--record-size", "100", "--throughput", "-1",
        "--command-property", "acks=all", f"batch.size={batch}", "linger.ms=5",
    )  # fmt: skip
    contains(sent, f"{COUNT} records sent")
    read = tool("ConsumerPerformance", "--topic", topic, "--num-records", str(COUNT), "--timeout", "30000")
    equal(int(read.splitlines()[1].split(", ")[4]), COUNT, "messages consumed")


def latency():
    tool("TopicCommand", "--create", "--topic", "latency", "--partitions", "1")
    measured = tool("EndToEndLatency", "--topic", "latency", "--num-records", "200", "--producer-acks", "all", "--record-size", "100")
    contains(measured, "Percentiles")


def groups():
    contains(tool("consumer.group.ConsumerGroupCommand", "--list"), "tools-group")
    described = tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "tools-group")
    row = next(line.split() for line in described.splitlines() if line.startswith("tools-group"))
    equal(row[1:6], ["console", "0", "100", "100", "0"], "topic, partition, offset, end and lag")


def reset_offsets():
    tool(
        "consumer.group.ConsumerGroupCommand", "--group", "tools-group", "--topic", "console", "--reset-offsets",
        "--to-offset", "40", "--execute",
    )  # fmt: skip
    described = tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "tools-group")
    row = next(line.split() for line in described.splitlines() if line.startswith("tools-group"))
    equal(row[3:6], ["40", "100", "60"], "offset, end and lag")


def offsets():
    equal(tool("GetOffsetShell", "--topic", "console").strip(), "console:0:100", "end")
    equal(tool("GetOffsetShell", "--topic", "console", "--time", "-2").strip(), "console:0:0", "beginning")


def configs():
    command = [TOOL, "kafka.admin.ConfigCommand", "--bootstrap-server", BOOTSTRAP]
    command += ["--entity-type", "topics", "--entity-name", "console", "--describe", "--all"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=55)
    equal(ran.returncode, 0, f"exit code ({ran.stdout} {ran.stderr})")
    contains(ran.stdout, "retention.ms", "cleanup.policy", "max.message.bytes")


def settings_without_a_meaning_here():
    tool(
        "TopicCommand", "--create", "--topic", "settings", "--replication-factor", "3", "--config", "segment.bytes=52428800",
        "--config", "min.insync.replicas=2", "--config", "compression.type=lz4", "--config", "retention.ms=604800000",
    )  # fmt: skip
    described = tool("TopicCommand", "--describe", "--topic", "settings")
    contains(described, "segment.bytes=52428800", "min.insync.replicas=2", "compression.type=lz4", "retention.ms=604800000")
    refused = ["--config", "min.compaction.lag.ms=1000"]
    tool("TopicCommand", "--create", "--topic", "refused", *refused, wanted=1)
    tool("TopicCommand", "--create", "--topic", "refused", "--config", "segment.bites=1", wanted=1)


def log_directories():
    described = tool("LogDirsCommand", "--describe", "--topic-list", "console").splitlines()[-1]
    (partition,) = json.loads(described)["brokers"][0]["logDirs"][0]["partitions"]
    equal(partition["partition"], "console-0", "partition")
    expect(partition["size"] > 500, f"the size is {partition['size']}")


def elections():
    tool("LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions")


def transactions():
    performance = ["ProducerPerformance", "--topic", "console", "--num-records", "10", "--record-size", "100"]
    tool(*performance, "--throughput", "-1", "--transactional-id", "t", wanted=1)


def delete():
    tool("TopicCommand", "--delete", "--topic", "tools")
    listed = tool("TopicCommand", "--list").split()
    expect("tools" not in listed, f"still listed: {listed}")


checks.run("TopicCommand creates, lists, describes, alters", topic_command)
checks.run("console producer to console consumer", console)
for size in (16_384, 262_144):
    checks.run(f"ProducerPerformance and ConsumerPerformance, batches of {size}", lambda: performance(size))
checks.run("EndToEndLatency", latency)
checks.run("ConsumerGroupCommand lists and describes", groups)
checks.run("ConsumerGroupCommand resets offsets", reset_offsets)
checks.run("GetOffsetShell", offsets)
checks.run("ConfigCommand describes a topic", configs)
checks.run("settings without a meaning here are kept and shown, those that would have one refused", settings_without_a_meaning_here)
checks.run("LogDirsCommand tells sizes", log_directories)
checks.run("LeaderElectionCommand has nothing to elect", elections)
checks.run("a transactional producer is refused at once", transactions)
checks.run("TopicCommand deletes", delete)
checks.finish()
