"""Starts again what ended, as an orchestrator does: a thread that looks at every replica and server of a fleet.

Used by the chaos runs and by tests/failure. Never ends anything itself.
"""

import threading
import time
from types import TracebackType
from typing import Self

from smtpfleet.local.child import Child
from smtpfleet.local.fleet import Fleet

LOOK_S = 0.1
PAUSE_S = 0.5
"""Between an end and the next start; a container runtime takes about as long. Chosen."""


class Keeper:
    """A context manager. What is in `spared` is left as it is. A replica comes back without its kill point."""

    def __init__(self, fleet: Fleet, pause_s: float = PAUSE_S) -> None:
        self._fleet = fleet
        self._pause_s = pause_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.spared: set[str] = set()
        self.ends: list[tuple[str, int | None]] = []
        """(name, exit code) of everything that ended; a negative code is the signal."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        ended_at: dict[str, float] = {}
        while not self._stopped.wait(LOOK_S):
            for child in (*self._fleet.replicas(), self._fleet.nats, self._fleet.redis):
                if child.is_running or child.name in self.spared or not child.start_count:
                    ended_at.pop(child.name, None)
                    continue
                if child.name not in ended_at:
                    ended_at[child.name] = time.monotonic()
                    self.ends.append((child.name, child.exit_code))
                elif time.monotonic() - ended_at[child.name] > self._pause_s:
                    del ended_at[child.name]
                    disarm(child)
                    child.spawn()


def arm(child: Child, point: str, nth: int = 1) -> None:
    """The next start dies at this point (smtpfleet.runtime.killpoint)."""
    settings = getattr(child, "settings", None)
    if settings is None:
        raise TypeError(f"{child.name} has no kill points")
    settings["kill_at"] = f"{point}:{nth}"


def disarm(child: Child) -> None:
    """The next start lives."""
    settings = getattr(child, "settings", None)
    if settings is not None:
        settings.pop("kill_at", None)
