"""The Redis protocol on the wire: requests as bytes, replies as trees that keep every byte that matters."""

import socket
import time

PATIENCE_S = 10.0


class Closed(Exception):
    """The server closed the connection before a whole reply had arrived."""


class Malformed(Exception):
    """Bytes that are no reply."""


def encode(words):
    """A command, as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Connection:
    """A connection that sends bytes as they are and reads replies.

    A reply is a pair of its type byte and its content: bytes for a line, bytes or None for a bulk string, a tuple of
    replies or None for what has elements (a map's keys and values alternate). Two replies are equal if, and only if,
    their bytes are: lengths with leading zeros are refused.
    """

    def __init__(self, address, protocol=2):
        self.address = address
        self.socket = socket.create_connection(address, timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.at = 0
        if protocol != 2:
            self.send(encode([b"HELLO", b"%d" % protocol]))
            kind, content = self.read()
            if kind != b"%":
                raise Malformed(f"HELLO {protocol} was answered with {content!r}")

    def send(self, data, cuts=()):
        """Sends bytes, in as many pieces as there are cuts, and one more. A closed connection shows when reading."""
        start = 0
        try:
            for cut in [*sorted(cuts), len(data)]:
                if cut > start:
                    self.socket.sendall(data[start:cut])
                    start = cut
        except (BrokenPipeError, ConnectionResetError):
            pass

    def read(self):
        """The next reply. Raises Closed, Malformed or TimeoutError."""
        reply = self._reply(time.monotonic() + PATIENCE_S)
        del self.buffer[: self.at]
        self.at = 0
        return reply

    def command(self, *words):
        """Sends a command and reads its reply."""
        self.send(encode([word if isinstance(word, bytes) else str(word).encode() for word in words]))
        return self.read()

    def close(self):
        self.socket.close()

    def _more(self, deadline):
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            got = self.socket.recv(65536)
        except ConnectionResetError:
            got = b""
        if not got:
            raise Closed
        self.buffer += got

    def _line(self, deadline):
        while (end := self.buffer.find(b"\r\n", self.at)) < 0:
            self._more(deadline)
        line = bytes(self.buffer[self.at : end])
        self.at = end + 2
        return line

    def _reply(self, deadline):
        line = self._line(deadline)
        kind, rest = line[:1], line[1:]
        if kind == b"_" and not rest:
            return kind, None
        if kind in (b"+", b"-", b":", b",", b"#", b"("):
            return kind, rest
        if kind not in (b"$", b"=", b"!", b"*", b"~", b"%", b">", b"|"):
            raise Malformed(line)
        length = int(rest)
        if rest != b"%d" % length or length < -1:
            raise Malformed(line)
        if length == -1:
            return kind, None
        if kind in (b"$", b"=", b"!"):
            while len(self.buffer) < self.at + length + 2:
                self._more(deadline)
            content = bytes(self.buffer[self.at : self.at + length])
            if self.buffer[self.at + length : self.at + length + 2] != b"\r\n":
                raise Malformed(content)
            self.at += length + 2
            return kind, content
        count = length * 2 if kind in (b"%", b"|") else length
        return kind, tuple(self._reply(deadline) for _ in range(count))


def show(reply, limit=300):
    """A reply, for reading."""
    if reply is None:
        return "(nothing)"
    kind, content = reply
    if isinstance(content, tuple):
        text = kind.decode() + "[" + ", ".join(show(element, limit) for element in content) + "]"
    elif content is None:
        text = kind.decode() + "-1"
    else:
        text = kind.decode() + repr(content)[1:]
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"
