"""Recipients that wait: an expansion that needs config or mda is finished in the background, and the session is told.

Owns the waiting only; whom a question goes to, and how long it may take, is runtime.questions' business. Called by server; the expansion
comes back through the callback that came with the question, always, and never before `submit` has returned. OpenSMTPD: the trees of
sessions in wait of lka (smtp_session.c wait_lka_rcpt).
"""

from collections.abc import Callable

from smtpfleet.mail.expand import Expansion
from smtpfleet.runtime import metrics
from smtpfleet.runtime.asking import Spawn
from smtpfleet.runtime.questions import Questions
from smtpfleet.smtp_in.expansions import Unresolved

_waiting = metrics.gauge("smtp_rcpts_waiting", "Recipients that wait for config or mda now")

Resume = Callable[[Expansion], None]


class Inquiries:
    """All sessions' recipients that wait. A session has one at a time."""

    def __init__(self, questions: Questions, spawn: Spawn) -> None:
        self.forwards = questions.forwards
        self._questions = questions
        self._spawn = spawn

    def submit(self, unresolved: Unresolved, resume: Resume) -> None:
        """Finishes the expansion; `resume` hears how it ended."""
        self._spawn(self._finish(unresolved, resume), name="rcpt")

    async def _finish(self, unresolved: Unresolved, resume: Resume) -> None:
        _waiting.inc()
        try:
            expansion = await self._questions.finish(unresolved.opened, unresolved.question)
        finally:
            _waiting.dec()
        resume(expansion)
