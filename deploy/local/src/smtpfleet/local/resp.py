"""One Redis command over a socket: what readiness checks, fault runs and tests ask a server without a client library.

RESP2 only, a connection per command, no pooling. Never used on the path of a message; that is runtime/store.
"""

import socket
from typing import BinaryIO

Reply = str | int | None | list["Reply"]


class RedisError(Exception):
    """The server's error reply."""


def redis_command(port: int, *words: str | int, password: str = "", timeout_s: float = 5.0) -> Reply:
    """Send one command, return its reply. Raises RedisError for an error reply and OSError where nobody answers."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection,
        connection.makefile("rb") as stream,
    ):
        if password:
            connection.sendall(_encode("AUTH", password))
            _read(stream)
        connection.sendall(_encode(*words))
        return _read(stream)


def _encode(*words: str | int) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _read(stream: BinaryIO) -> Reply:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("connection closed in a reply")
    kind, rest = line[:1], line[1:-2].decode(errors="replace")
    match kind:
        case b"+":
            return rest
        case b"-":
            raise RedisError(rest)
        case b":":
            return int(rest)
        case b"$":
            size_bytes = int(rest)
            return None if size_bytes < 0 else stream.read(size_bytes + 2)[:-2].decode(errors="replace")
        case b"*":
            return [_read(stream) for _ in range(int(rest))]
    raise ConnectionError(f"not a RESP reply: {line!r}")
