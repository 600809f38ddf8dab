"""Whether the way to queue is open: closed while queue cannot be reached, and for a moment after it has failed or said that it is full.

Never decides about a message that has begun. Told by committer how requests end; asked by shedding at every MAIL.
"""

from collections.abc import Callable
from enum import StrEnum

CLOSED_AFTER_NO_ANSWER_S = 2.0
CLOSED_AFTER_FULL_S = 1.0
"""How long MAIL is refused after a failure; then messages try again, and the first answer opens or closes the gate. Chosen: short
against any peer's retry, long against the cost of a body sent in vain."""


class Trouble(StrEnum):
    """Why no message may begin. bus: NATS is away. queue: it has not answered. store: it has no room. memory, sessions: ours are used up."""

    BUS = "bus"
    QUEUE = "queue"
    STORE = "store"
    MEMORY = "memory"
    SESSIONS = "sessions"


class Gate:
    """Open, or closed for a moment with what is wrong."""

    def __init__(self, is_connected: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._is_connected = is_connected
        self._clock = clock
        self._trouble: Trouble | None = None
        self._closed_until = 0.0

    def trouble(self) -> Trouble | None:
        """What is wrong, or None where a message may begin."""
        if not self._is_connected():
            return Trouble.BUS
        if self._trouble is not None:
            if self._clock() < self._closed_until:
                return self._trouble
            self._trouble = None
        return None

    def note_no_answer(self) -> None:
        """A request had no answer, or a fault for one."""
        self._close(Trouble.QUEUE, CLOSED_AFTER_NO_ANSWER_S)

    def note_full(self) -> None:
        """The store has no room."""
        self._close(Trouble.STORE, CLOSED_AFTER_FULL_S)

    def note_ok(self) -> None:
        """Something was stored: open."""
        self._trouble = None

    def _close(self, trouble: Trouble, for_s: float) -> None:
        self._trouble = trouble
        self._closed_until = self._clock() + for_s
