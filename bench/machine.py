"""What the figures were taken on: date, processors, memory, kernel, disk's flush, versions. For the head of every report."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime

from smtpfleet.local.binaries import find_nats_server, find_redis_server

_FLUSHES = 300


def flushes_per_s() -> float:
    """How often this disk flushes 4 KiB appended to a file; the floor under every durable system."""
    with tempfile.TemporaryFile() as file:
        started = time.perf_counter()
        for _ in range(_FLUSHES):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
        return _FLUSHES / (time.perf_counter() - started)


def _first_line(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).splitlines()[0]


def describe(versions: list[str]) -> str:
    """Lines of Markdown."""
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    redis = _first_line([str(find_redis_server()), "--version"]).split(" sha")[0]
    lines = [
        f"date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"machine: {os.cpu_count()} processors ({platform.machine()}), {memory_gib:.0f} GiB, Linux {platform.release()}",
        f"disk: {flushes_per_s():,.0f} fdatasync of 4 KiB per second",
        f"Python {sys.version.split()[0]}; {redis}; {_first_line([str(find_nats_server()), '--version'])}",
        *(["; ".join(versions)] if versions else []),
    ]
    return "\n".join(f"- {line}" for line in lines) + "\n"
