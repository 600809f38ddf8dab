"""What a fleet that was killed with SIGKILL left running: found by a mark in its processes' environment, and ended.

Looks only at processes that carry the mark of this very root (replica.ROOT_MARK), so it never touches anybody else's. Needs proc(5);
elsewhere it finds nothing. Called by up.py while it holds the lock of the root.
"""

import os
import signal
import time
from pathlib import Path

from smtpfleet.local.replica import ROOT_MARK

_PATIENCE_S = 25.0
"""As fleet.STOP_DEADLINE_S: roles may take 20 s to drain."""


def find_leftovers(root: Path) -> list[int]:
    """Process ids of what runs for `root`, ours aside."""
    mark = f"{ROOT_MARK}={root}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_marked = mark in (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if is_marked and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def end_leftovers(root: Path) -> int:
    """SIGTERM to all, SIGKILL to who stays; how many there were. Redis writes its AOF before it leaves."""
    found = find_leftovers(root)
    for number in (signal.SIGCONT, signal.SIGTERM):
        for pid in found:
            _signal(pid, number)
    ends_at = time.monotonic() + _PATIENCE_S
    while find_leftovers(root) and time.monotonic() < ends_at:
        time.sleep(0.1)
    for pid in find_leftovers(root):
        _signal(pid, signal.SIGKILL)
    return len(found)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
