"""The stubs that `integration/run setup` makes from proto/, found in the cache."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".cache" / "grpc" / "python"))

from tidegate.v1 import admin_pb2 as admin  # noqa: E402, F401
from tidegate.v1 import admin_pb2_grpc, consumer_pb2_grpc, publisher_pb2_grpc  # noqa: E402
from tidegate.v1 import consumer_pb2 as consumer  # noqa: E402, F401
from tidegate.v1 import message_pb2 as message  # noqa: E402, F401
from tidegate.v1 import publisher_pb2 as publisher  # noqa: E402, F401


def services(channel):
    """Publisher, Consumer, Admin."""
    return publisher_pb2_grpc.PublisherStub(channel), consumer_pb2_grpc.ConsumerStub(channel), admin_pb2_grpc.AdminStub(channel)
