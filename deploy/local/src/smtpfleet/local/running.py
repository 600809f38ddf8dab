"""The one fleet that may run on a root: the lock that says so, and the note that tells `send` and `demo` where it listens.

Called by up.py, which writes both, and by send.py and demo.py, which read.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO


class NotRunning(Exception):
    """No fleet runs on this root."""


class AlreadyRunning(Exception):
    """A fleet runs on this root; the text tells its pid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Where the fleet listens and what it runs under."""

    pid: int
    smtp_port: int
    admin_port: int
    nats_port: int
    redis_port: int


def take_lock(root: Path) -> TextIO:
    """The lock of `root`, held until the file is closed or the process ends. Raises AlreadyRunning."""
    root.mkdir(parents=True, exist_ok=True)
    lock = (root / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise AlreadyRunning(f"a fleet runs on {root} already (pid {read_running(root).pid})") from None
    return lock


def write_running(root: Path, running: Running) -> None:
    (root / "run.json").write_text(json.dumps(asdict(running)) + "\n")


def read_running(root: Path) -> Running:
    """What the running fleet noted. Raises NotRunning."""
    try:
        running = Running(**json.loads((root / "run.json").read_text()))
        os.kill(running.pid, 0)
    except (OSError, ValueError, TypeError):
        raise NotRunning(f"no fleet runs on {root}; start it with `make up` in another terminal") from None
    return running


def forget_running(root: Path) -> None:
    (root / "run.json").unlink(missing_ok=True)
