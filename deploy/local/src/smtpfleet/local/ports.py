"""Free loopback ports for a fleet of its own, and the check that a given one is free.

Owns nothing after the answer: whoever asks binds. Called by servers and fleet.
"""

import random
import socket
from pathlib import Path

_LOWEST = 20_000
"""Chosen: above what usual services take."""
_EPHEMERAL_FALLBACK = 32_768
"""Linux default of net.ipv4.ip_local_port_range."""


def free_ports(count: int) -> list[int]:
    """`count` distinct ports on which nothing listens.

    They lie below the ephemeral range: a port from inside it could become the source port of somebody's connection while the server
    that owns it is being restarted.
    """
    highest = max(_ephemeral_start(), _LOWEST + 10_000)
    found: list[int] = []
    # SystemRandom: tests seed the global generator, and two runs with one seed would draw the same ports.
    draw = random.SystemRandom()
    while len(found) < count:
        port = draw.randrange(_LOWEST, highest)
        if port not in found and is_free(port):
            found.append(port)
    return found


def free_port() -> int:
    """One free port."""
    return free_ports(1)[0]


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a server could bind this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as every server does it: a port whose last connections are still in TIME_WAIT is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            # with SO_REUSEPORT bind succeeds beside another listener only for the same user and option; listen tells
            probe.listen(1)
        except OSError:
            return False
        return True


def _ephemeral_start() -> int:
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError):
        return _EPHEMERAL_FALLBACK
