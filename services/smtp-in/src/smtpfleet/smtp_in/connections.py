"""The connections of this process and what they share: the way to queue, who may be asked what, the journal, the memory.

Owns the set of connections, their common clock tick and their end when the process drains; never reads or writes a byte of theirs. Built by
app; each connection is handed the one Server of its process. OpenSMTPD: smtp.c.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from smtpfleet.contracts.commands import TableQuery
from smtpfleet.contracts.status import Status
from smtpfleet.mail.expand import Expansion
from smtpfleet.mail.tables import TableError
from smtpfleet.smtp_in.admissions import Admissions
from smtpfleet.smtp_in.callers import Caller, Callers
from smtpfleet.smtp_in.committer import Committer
from smtpfleet.smtp_in.credentials import Authenticator
from smtpfleet.smtp_in.entrance import Surroundings
from smtpfleet.smtp_in.expansions import Unresolved
from smtpfleet.smtp_in.gate import Gate
from smtpfleet.smtp_in.inquiries import Inquiries
from smtpfleet.smtp_in.journal import FactLog
from smtpfleet.smtp_in.memory import ContentMemory
from smtpfleet.smtp_in.shedding import Shedding
from smtpfleet.smtp_in.welcome import Welcome

SWEEP_EVERY_S = 5
"""How often quiet sessions are looked for; one timer for all of them. Chosen."""


class Connected(Protocol):
    """What a connection is to its process."""

    def tick(self) -> None:
        """Another SWEEP_EVERY_S have gone by."""

    def dismiss(self) -> None:
        """Ends it, unless content or a verdict is on its way."""

    def abort(self) -> None:
        """Cuts it."""


class Server:
    """What all connections of this process share: who they are, the way to queue, the journal."""

    def __init__(
        self,
        *,
        committer: Committer,
        gate: Gate,
        journal: FactLog,
        max_sessions: int,
        content_memory_bytes: int,
        now_s: Callable[[], float] = time.time,
        callers: Callers | None = None,
        welcome: Welcome | None = None,
        inquiries: Inquiries | None = None,
        authenticator: Authenticator | None = None,
        admissions: Admissions | None = None,
    ) -> None:
        """inquiries: None asks neither config nor mda. callers: None counts nobody. admissions: None goes by the counts of this process.
        welcome: None gives the banner at once, to peers that stay unknown."""
        self.committer = committer
        self.journal = journal
        self.memory = ContentMemory(content_memory_bytes)
        self.shedding = Shedding(gate, self.memory)
        self.around = Surroundings(
            now_s, self.shedding.refusal, journal, self.memory, inquiries.forwards if inquiries else None, authenticator
        )
        self._inquiries = inquiries
        self.max_sessions = max_sessions
        self.callers = callers
        self._admissions = admissions
        self.welcome = welcome
        self.authenticator = authenticator
        self.handshakes: set[asyncio.Task[None]] = set()
        self.connections: set[Connected] = set()
        self.is_draining = False
        self._emptied = asyncio.Event()

    def leave(self, connection: Connected) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    def admit(self, caller: Caller, resume: Callable[[Status | None], None]) -> bool:
        """Asks the fleet whether this connection may go on; `resume` hears None or the refusal, later. False: nothing is asked."""
        return self._admissions is not None and self._admissions.ask(caller, resume)

    def inquire(self, unresolved: Unresolved, resume: Callable[[Expansion], None]) -> None:
        """Has an expansion finished; `resume` hears how it ended, later."""
        if self._inquiries is None:
            failed = unresolved.opened.fail("there is nobody to ask about this recipient")
            asyncio.get_running_loop().call_soon(resume, failed)
        else:
            self._inquiries.submit(unresolved, resume)

    def look_up(self, query: TableQuery, resume: Callable[[str | TableError | None], None]) -> None:
        """Asks config for the one key of `query`; `resume` hears its value, or why there is no answer, later."""
        if self._inquiries is None:
            asyncio.get_running_loop().call_soon(resume, TableError("there is nobody to ask about this table"))
        else:
            self._inquiries.look_up(query, resume)

    async def sweep(self) -> None:
        """Closes sessions that have been quiet too long; runs for the life of the process."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            for connection in list(self.connections):
                connection.tick()

    async def drain(self) -> None:
        """Dismisses who is idle and waits for messages whose content is on its way. Listeners are closed already."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.dismiss()
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()

    def abort(self) -> None:
        """Ends what drain could not wait for; a peer without its 250 keeps its copy."""
        for connection in list(self.connections):
            connection.abort()
