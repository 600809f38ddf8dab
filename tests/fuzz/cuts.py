"""Octets in pieces: for one input always the same pieces, so that a finding is found again.

Every harness that reads a stream plays its input whole and cut by this.
"""

import random
import re
import zlib
from itertools import pairwise

_MARK = re.compile(rb"[\r\n.]")
OCTETS_LIMIT = 600
"""Longest input that is played octet by octet."""
RUNS_LIMIT = 4
"""Runs of up to 65,535 in one input: enough to pass every limit on lines and blocks, few enough to stay fast."""


def cut(data: bytes, salt: int = 0) -> list[bytes]:
    """`data` in pieces: octet by octet for one input in four, else at a few places, most of them next to line ends and dots."""
    if not data:
        return []
    draw = random.Random(zlib.crc32(data) + salt)
    if draw.randrange(4) == 0 and len(data) <= OCTETS_LIMIT:
        return [data[at : at + 1] for at in range(len(data))]
    marks = [found.start() for found in _MARK.finditer(data)] or [0]
    places = {draw.randrange(len(data) + 1) for _ in range(draw.randrange(1, 4))}
    places |= {min(len(data), draw.choice(marks) + draw.randrange(2)) for _ in range(draw.randrange(1, 6))}
    bounds = [0, *sorted(places - {0, len(data)}), len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]


def grown(data: bytes) -> bytes:
    """`data` with runs in it: 0xFE and two octets stand for so many times x, so that small inputs reach large limits. Some runs at most."""
    first, *parts = data.split(b"\xfe", RUNS_LIMIT)
    return first + b"".join([b"x" * int.from_bytes(part[:2]) + part[2:] for part in parts])
