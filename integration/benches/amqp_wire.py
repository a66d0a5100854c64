"""As much of an AMQP client as it takes to sit there: one consumer on one queue, on a plain socket that is read or is not."""

import socket
import struct


def short(text):
    return bytes([len(text)]) + text.encode()


class Consumer:
    """Connected and consuming, with automatic acknowledgement; nothing is read after that unless asked."""

    def __init__(self, host, port, queue, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.until(10, 10)
        plain = b"\x00guest\x00guest"
        self.method(0, 10, 11, struct.pack(">I", 0) + short("PLAIN") + struct.pack(">I", len(plain)) + plain + short("en_US"))
        channels, frame, _ = struct.unpack(">HIH", self.until(10, 30))
        self.method(0, 10, 31, struct.pack(">HIH", channels, frame, 0))  # no heartbeats
        self.call(0, 10, 40, short("/") + short("") + b"\x00")
        self.call(1, 20, 10, short(""))
        self.call(1, 50, 10, b"\x00\x00" + short(queue) + b"\x02" + struct.pack(">I", 0))
        self.call(1, 60, 20, b"\x00\x00" + short(queue) + short("") + b"\x02" + struct.pack(">I", 0))

    def method(self, channel, class_id, method_id, arguments):
        payload = struct.pack(">HH", class_id, method_id) + arguments
        self.socket.sendall(struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce")

    def call(self, channel, class_id, method_id, arguments):
        self.method(channel, class_id, method_id, arguments)
        self.until(class_id, method_id + 1)

    def until(self, class_id, method_id):
        """Reads up to this method; its arguments."""
        while True:
            kind, _, size = struct.unpack(">BHI", self.exactly(7))
            payload = self.exactly(size + 1)[:-1]
            if kind != 1:
                continue
            if payload[:4] == struct.pack(">HH", class_id, method_id):
                return payload[4:]
            if payload[:4] in (struct.pack(">HH", 10, 50), struct.pack(">HH", 20, 40)):
                raise RuntimeError(f"closed: {payload[4:]}")

    def exactly(self, size):
        parts = b""
        while len(parts) < size:
            part = self.socket.recv(size - len(parts))
            if not part:
                raise RuntimeError("the broker closed the connection")
            parts += part
        return parts

    def close(self):
        self.socket.close()
