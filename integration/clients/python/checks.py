"""Runs named checks and prints one line for each, which integration/src/client.rs reads:

    ok NAME
    not ok NAME: reason
"""

import signal
import sys
import time
import traceback

SECONDS_PER_CHECK = 60


def expect(condition, why):
    if not condition:
        raise AssertionError(why)


def equal(got, wanted, what):
    expect(got == wanted, f"{what}: got {short(got)}, wanted {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "…"


def until(what, attempt, seconds=30):
    """Calls attempt until it returns something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = attempt()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class Checks:
    def __init__(self):
        self.failed = False
        signal.signal(signal.SIGALRM, self.too_long)

    @staticmethod
    def too_long(_signal, _frame):
        raise TimeoutError(f"no end after {SECONDS_PER_CHECK} s")

    def run(self, name, check):
        signal.alarm(SECONDS_PER_CHECK)
        try:
            check()
            print(f"ok {name}", flush=True)
        except Exception as error:  # every kind: the line must be printed
            self.failed = True
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"not ok {name}: {type(error).__name__}: {reason}", flush=True)
        finally:
            signal.alarm(0)

    def finish(self):
        sys.exit(1 if self.failed else 0)


COMPRESSIONS = [None, "gzip", "snappy", "lz4", "zstd"]

# Key, value, headers: what every client must get back byte for byte.
MESSAGES = [
    (b"key", b"value", [("content-type", b"text/plain")]),
    (None, b"no key", []),
    (b"", b"", []),
    (b"tombstone", None, [("why", b"deleted")]),
    (b"twice", b"same header name", [("h", b"1"), ("h", b"2")]),
    (b"binary \x00\xff", bytes(range(256)), [("bin", b"\x00\xff\xfe"), ("empty", b"")]),
    ("clé".encode(), "größe 🌊".encode(), [("ключ", "значение".encode())]),
    (b"repetitive", b"abcd" * 50_000, []),
]
BIG = bytes((i * 7919 + (i >> 8)) & 0xFF for i in range(900_000))
