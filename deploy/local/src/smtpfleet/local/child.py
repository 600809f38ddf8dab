"""A process we started: its log file, its signals, its end. Roles and servers are Children.

Each is the leader of its own process group, so the terminal's Ctrl-C reaches only us and we end the fleet in order. Output goes to a
file and not through us: a child outlives a slow reader. Called by servers.py and fleet.py.
"""

import atexit
import os
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

FREEZE_S = 1.0
"""How long SIGSTOP may take to reach every thread; milliseconds as a rule. Chosen."""

_alive: "weakref.WeakSet[Child]" = weakref.WeakSet()


class ChildDied(Exception):
    """A process ended that should be running; the text has the end of its log."""


class Child:
    """One process that can be started again after it ended. All methods may be called in any order and more than once."""

    def __init__(
        self, name: str, argv: Sequence[str], log_path: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_path = log_path
        self.environ = dict(environ) if environ is not None else None
        self._process: subprocess.Popen[bytes] | None = None
        self.start_count = 0

    def spawn(self) -> None:
        """Start the process; output is appended to the log. Nothing happens where it is running."""
        if self.is_running:
            return
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environ,
                start_new_session=True,
            )
        self.start_count += 1
        _alive.add(self)

    @property
    def pid(self) -> int:
        """Process id of the last start; 0 before the first."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll() if self._process is not None else None

    @property
    def log_text(self) -> str:
        """All it has written so far, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 15) -> str:
        return "\n".join(self.log_text.splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def term(self) -> None:
        self.signal(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: as a machine that hangs; returns when every thread has stopped."""
        self.signal(signal.SIGSTOP)
        ends_at = time.monotonic() + FREEZE_S
        while time.monotonic() < ends_at and not all(state in "TtZ" for state in self._thread_states()):
            time.sleep(0.001)

    def _thread_states(self) -> list[str]:
        """The state letter of every thread (proc(5)); empty where there is no process."""
        try:
            tasks = list(Path(f"/proc/{self.pid}/task").iterdir())
            return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
        except (OSError, RuntimeError):
            return []

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill9(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None where it still runs after timeout_s."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout_s: float = 15.0) -> bool:
        """SIGTERM, then SIGKILL after timeout_s. Whether it ended by itself."""
        if not self.is_running:
            return True
        self.term()
        self.thaw()  # a frozen process acts on SIGTERM only when it runs again
        if self.wait(timeout_s) is not None:
            return True
        self.kill9()
        return False

    def cpu_s(self) -> float:
        """User and system time of the running process so far; 0.0 where it is not running."""
        try:
            # proc(5): the name in parentheses may hold blanks, so fields count from after it; utime and stime are 14 and 15
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory of the running process; 0 where it is not running."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0


def await_answer(child: Child, answers: Callable[[], str], deadline_s: float) -> None:
    """Wait until `answers` returns "" and no longer what is wrong. Raises ChildDied with the end of the log otherwise."""
    ends_at = time.monotonic() + deadline_s
    complaint = "not asked yet"
    while time.monotonic() < ends_at:
        if not child.is_running:
            raise ChildDied(f"{child.name} ended with {child.exit_code}:\n{child.log_tail()}")
        complaint = answers()
        if not complaint:
            return
        time.sleep(0.02)
    raise ChildDied(f"{child.name} does not answer after {deadline_s:.0f} s ({complaint}):\n{child.log_tail()}")


@atexit.register
def _kill_left_behind() -> None:
    """Whoever forgot to stop its fleet, or died of an exception, leaves no process behind."""
    for child in list(_alive):
        if child.is_running:
            child.thaw()
            child.kill9()
