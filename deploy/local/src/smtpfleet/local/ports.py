"""Free loopback ports for a fleet of its own, and the check that a given one is free.

Whoever asks binds; until it has, or this process ends, nobody else who asks here is given the same port. Called by servers and fleet.
"""

import os
import random
import socket
import sys
from collections import deque
from pathlib import Path

_LOWEST = 20_000
"""Chosen: above what usual services take."""
_RESERVED_MAX = 200
"""Ports kept from others at a time: more than one fleet takes, far fewer descriptors than a process may have. Chosen."""
_EPHEMERAL_FALLBACK = 32_768
"""Linux default of net.ipv4.ip_local_port_range."""

_reserved: deque[int] = deque()
"""Descriptors, left to the end of the process."""


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
        if port not in found and is_free(port) and _reserve(port):
            found.append(port)
    return found


def _reserve(port: int) -> bool:
    """Whether nobody else was given this port and has yet to bind it. A name in Linux's abstract namespace goes with its process."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0smtpfleet port {port}")
    except OSError:
        claim.close()
        return False
    _reserved.append(claim.detach())
    if len(_reserved) > _RESERVED_MAX:
        os.close(_reserved.popleft())
    return True


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
