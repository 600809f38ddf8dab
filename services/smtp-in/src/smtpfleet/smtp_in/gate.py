"""Whether it makes sense to begin a message now: refuses MAIL while queue cannot be reached or has just said that it is full.

Back-pressure before the body (law 8): the peer keeps its copy and has not sent it in vain. Never decides about a message that has
begun. Told by committer how requests end; asked by session at every MAIL.
"""

from collections.abc import Callable

from smtpfleet.contracts.status import S451_LOCAL_ERROR, S452_STORE_FULL, Status

CLOSED_AFTER_NO_ANSWER_S = 2.0
CLOSED_AFTER_FULL_S = 1.0
"""How long MAIL is refused after a failure; then messages try again, and the first answer opens or closes the gate. Chosen: short
against any peer's retry, long against the cost of a body sent in vain."""


class Gate:
    """Open, or closed for a moment with the status that says why."""

    def __init__(self, is_connected: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._is_connected = is_connected
        self._clock = clock
        self._status: Status | None = None
        self._closed_until = 0.0

    def refusal(self) -> Status | None:
        """What to say to MAIL, or None where a message may begin."""
        if not self._is_connected():
            return S451_LOCAL_ERROR
        if self._status is not None:
            if self._clock() < self._closed_until:
                return self._status
            self._status = None
        return None

    def note_no_answer(self) -> None:
        """A request had no answer, or a fault for one."""
        self._close(S451_LOCAL_ERROR, CLOSED_AFTER_NO_ANSWER_S)

    def note_full(self) -> None:
        """The store has no room."""
        self._close(S452_STORE_FULL, CLOSED_AFTER_FULL_S)

    def note_ok(self) -> None:
        """Something was stored: open."""
        self._status = None

    def _close(self, status: Status, for_s: float) -> None:
        self._status = status
        self._closed_until = self._clock() + for_s
