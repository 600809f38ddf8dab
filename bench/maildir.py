"""The receiving end of local delivery: counts and reads a Maildir's `new`.

The time of arrival is the file's ctime: every maildir writer renames or links into `new` as its last step, and that sets ctime, while
mtime is when the content was written. The kernel's clock for it moves in steps of some milliseconds.
"""

import os
import time
from pathlib import Path

from bench.mark import SEARCHED_BYTES, Arrival, find_mark, parse_mark


def count(new: Path) -> int:
    """How many messages are in `new`."""
    try:
        return len(os.listdir(new))
    except FileNotFoundError:
        return 0


def read(new: Path) -> list[Arrival]:
    """Every message's mark and time of arrival."""
    arrivals: list[Arrival] = []
    if not new.exists():
        return arrivals
    with os.scandir(new) as entries:
        for entry in entries:
            with open(entry.path, "rb") as file:
                mark = find_mark(file.read(SEARCHED_BYTES))
            arrivals.append(Arrival(parse_mark(mark), entry.stat().st_ctime_ns))
    return arrivals


def arrival_span_ns(new: Path) -> tuple[int, int]:
    """First and last arrival, without opening the files; (0, 0) where there is none."""
    with os.scandir(new) as entries:
        times = [entry.stat().st_ctime_ns for entry in entries]
    return (min(times), max(times)) if times else (0, 0)


def empty(new: Path) -> None:
    """Moves all messages out of the way. Nothing is deleted while we measure: ext4 steps around the inodes of files deleted in the last
    minutes one by one (ext4 recently_deleted), which tripled the CPU of whoever wrote files next, and differently for each system."""
    if new.exists():
        seen = new.parent.parent / f"seen-{time.time_ns()}"
        seen.mkdir()
        with os.scandir(new) as entries:
            for entry in entries:
                os.rename(entry.path, seen / entry.name)
