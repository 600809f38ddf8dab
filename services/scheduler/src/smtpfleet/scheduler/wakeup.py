"""Wake-ups: a relay has work or a free permit. Told to this replica's assigners and to the other replicas.

A hint; the sweep finds the same. The broadcast comes back to its sender, which is how its own assigners hear of it too.
"""

from collections.abc import Iterable, Mapping

from smtpfleet.contracts import subjects
from smtpfleet.contracts.events import WorkReady
from smtpfleet.runtime.bus import Bus
from smtpfleet.scheduler.assigner import Assigner


class Wakeup:
    """Spreads wake-ups."""

    def __init__(self, bus: Bus, assigners: Mapping[str, Assigner]) -> None:
        self._bus = bus
        self._assigners = assigners

    def announce(self, relays: Iterable[tuple[str, str]]) -> None:
        """Tells every replica, this one included."""
        pairs = list(relays)
        if pairs:
            self._bus.publish(subjects.SCHEDULER_WORK_READY, WorkReady(pairs))

    def heard(self, ready: WorkReady) -> None:
        """Somebody announced."""
        for agent, relay in ready.relays:
            assigner = self._assigners.get(agent)
            if assigner is not None:
                assigner.wake(relay)
