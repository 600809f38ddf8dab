"""A message followed across the roles: every log line that names its msgid, in order of time, as `grep MSGID log/*` finds them.

Reads log files only. Called by send.py and demo.py.
"""

import re
import time
from collections.abc import Iterable
from pathlib import Path

_ENVELOPE = " smtp envelope "
_DELIVERED = re.compile(r" delivery .*\bresult=\"?Ok\b")


class Trace:
    """What the logs under root/log say about one msgid; `refresh` reads them again."""

    def __init__(self, root: Path, msgid: str) -> None:
        self.msgid = msgid
        self._folder = root / "log"
        self.lines: list[str] = []

    def refresh(self) -> None:
        found = [line for path in self._folder.glob("*.log") for line in _lines_about(path, self.msgid)]
        self.lines = sorted(found, key=lambda line: line[:24])

    @property
    def envelope_count(self) -> int:
        return sum(_ENVELOPE in line for line in self.lines)

    @property
    def delivered_count(self) -> int:
        return sum(bool(_DELIVERED.search(line)) for line in self.lines)

    @property
    def is_delivered(self) -> bool:
        """Whether every envelope the message began with has been delivered."""
        return 0 < self.envelope_count <= self.delivered_count


def await_delivered(traces: Iterable[Trace], deadline_s: float) -> bool:
    """Wait until all are delivered. Whether they were, by the deadline."""
    ends_at = time.monotonic() + deadline_s
    waiting = list(traces)
    while waiting and time.monotonic() < ends_at:
        for trace in waiting:
            trace.refresh()
        waiting = [trace for trace in waiting if not trace.is_delivered]
        if waiting:
            time.sleep(0.1)
    return not waiting


def _lines_about(path: Path, msgid: str) -> list[str]:
    with path.open(errors="replace") as log:
        return [line.rstrip("\n") for line in log if msgid in line]
