"""Sessions that wait for config or mda: an expansion is finished in the background, a table is asked, and the session is told.

Owns the waiting only; whom a question goes to, and how long it may take, is runtime.questions' business. Called by server; the expansion
comes back through the callback that came with the question, always, and never before `submit` has returned. OpenSMTPD: the trees of
sessions in wait of lka (smtp_session.c wait_lka_rcpt).
"""

from collections.abc import Callable

from smtpfleet.contracts.commands import TableQuery
from smtpfleet.mail.expand import Expansion
from smtpfleet.mail.tables import TableError
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

    def look_up(self, query: TableQuery, resume: Callable[[str | TableError | None], None]) -> None:
        """Asks config for the one key of `query`; `resume` hears its value, or why there is no answer."""
        self._spawn(self._look_up(query, resume), name="table")

    async def _look_up(self, query: TableQuery, resume: Callable[[str | TableError | None], None]) -> None:
        try:
            answer: str | TableError | None = (await self._questions.ask_table(query))[0]
        except TableError as error:
            answer = error
        resume(answer)

    async def _finish(self, unresolved: Unresolved, resume: Resume) -> None:
        _waiting.inc()
        try:
            expansion = await self._questions.finish(unresolved.opened, unresolved.question)
        finally:
            _waiting.dec()
        resume(expansion)
