"""A broker under measurement: started, watched through /proc, stopped."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "integration" / ".cache"
KAFKA = ROOT / "integration" / "peers" / "kafka"
RABBITMQ = ROOT / "integration" / "peers" / "rabbitmq"
TIDEGATE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "tidegate"
LIMITS = TIDEGATE.with_name("limits")
TICKS = os.sysconf("SC_CLK_TCK")


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS of {pid}")


def peak_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmHWM of {pid}")


def written_bytes(pid):
    """What a process caused to be written to disks so far."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise RuntimeError(f"no write_bytes of {pid}")


class Process:
    """A child that ends with us, and whose processor time can be read."""

    def __init__(self, command, log, **options):
        self.log = open(log, "ab")
        options.setdefault("stdout", self.log)
        self.child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)], stderr=self.log, **options)

    @property
    def pid(self):
        return self.child.pid

    def cpu(self):
        return cpu_seconds(self.pid)

    def resident(self):
        return resident_mib(self.pid)

    def written(self):
        return written_bytes(self.pid)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.log.close()


class Broker(Process):
    """Has a data directory of its own, which goes away with it."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def make_directory(self):
        # What the one before left to be written is not to be paid for by this one.
        os.sync()
        self.directory = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR")))

    def admin_client(self):
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topics(self, names, durability=None):
        """Of one partition each; durability is Tidegate's own setting."""
        client = self.admin_client()
        config = {"tidegate.durability": durability} if durability else {}
        for created in client.create_topics([NewTopic(name, 1, 1, config=config) for name in names], request_timeout=60).values():
            created.result(60)

    def forget_cached_files(self):
        """Lets the kernel drop what it caches of the broker's files, so that reading them reads the disk."""
        for path in self.directory.rglob("*"):
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)


class Tidegate(Broker):
    name = "Tidegate"

    def __init__(self, **environment):
        self.make_directory()
        self.kafka, self.http, self.grpc, self.amqp, self.admin = (f"127.0.0.1:{free_port()}" for _ in range(5))
        self.bootstrap = self.kafka
        command = [TIDEGATE, "serve", "--data-dir", self.directory / "data", "--kafka", self.kafka, "--http", self.http]
        command += ["--grpc", self.grpc, "--amqp", self.amqp, "--admin", self.admin]
        start = time.monotonic()
        super().__init__(command, self.directory / "log", env=os.environ | environment)
        while not self.is_ready():
            if self.child.poll() is not None:
                raise RuntimeError((self.directory / "log").read_text())
            time.sleep(0.001)
        self.ready_after = time.monotonic() - start

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False


class Kafka(Broker):
    name = "Apache Kafka"

    def __init__(self):
        self.make_directory()
        # Below those that connections are given, and with two free ones behind it.
        port = next(p for p in iter(lambda: random.randrange(20_000, 32_000), None) if all(map(is_free, range(p, p + 3))))
        self.bootstrap = f"127.0.0.1:{port}"
        super().__init__([KAFKA / "serve", self.directory / "data", port], self.directory / "log")
        for _ in range(120):
            if self.child.poll() is not None:
                raise RuntimeError((self.directory / "log").read_text())
            try:
                self.admin_client().list_topics(timeout=1)
                return
            except Exception:
                time.sleep(0.5)
        raise RuntimeError("Kafka is not ready after 60 s")


class RabbitMQ(Broker):
    name = "RabbitMQ"

    def __init__(self):
        self.make_directory()
        # Below those that connections are given, and with two free ones behind it.
        port = next(p for p in iter(lambda: random.randrange(20_000, 32_000), None) if all(map(is_free, range(p, p + 3))))
        self.amqp = f"127.0.0.1:{port}"
        super().__init__([RABBITMQ / "serve", self.directory / "data", port], self.directory / "log")
        for _ in range(240):
            if self.child.poll() is not None:
                raise RuntimeError((self.directory / "log").read_text())
            if self.greets(port):
                return
            time.sleep(0.25)
        raise RuntimeError("RabbitMQ is not ready after 60 s")

    @property
    def pid(self):
        """Of the broker, not of the script that started it."""
        return int((self.directory / "data" / "pid").read_text())

    @staticmethod
    def greets(port):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return probe.recv(1) == b"\x01"
        except OSError:
            return False


def tool(name, *arguments):
    """One of Kafka's own tools; its output."""
    command = [KAFKA / "tool", f"org.apache.kafka.tools.{name}", *arguments]
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if ran.returncode != 0:
        raise RuntimeError(f"{command}: {ran.stdout} {ran.stderr}")
    return ran.stdout
