"""Leased work turned into outcomes: ask, load, deliver, report, in pieces that fit in memory.

One request is parked with the scheduler while fewer than two leases are in hand, so the next batch loads while the last one's files are
flushed. A lease's users are delivered side by side (sessions.py). A lease of which only slow programs or peers are left stays in hand and
makes room for the next. What is not begun when we drain goes back untried. Never touches a file. OpenSMTPD: mda.c, IMSG_QUEUE_DELIVER to IMSG_MDA_DELIVERY_*.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from smtpfleet.contracts.commands import BATCH_BYTES, CLAIM_BATCH, LoadedMessage
from smtpfleet.contracts.envelope import LOCAL_AGENT, Envelope, LocalDispatcher
from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mail.tables import Tables
from smtpfleet.mda.attempt import Attempt, tempfailed
from smtpfleet.mda.batch import Batch
from smtpfleet.mda.delivery import Delivery, new_delivery
from smtpfleet.mda.sessions import Sessions
from smtpfleet.mda.users import Userbases, ask_for_users, find_user
from smtpfleet.mda.way import DEFAULT_POLICY, LocalPolicy
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog, quote
from smtpfleet.runtime.table_client import TableClient
from smtpfleet.runtime.work import Lease, WorkClient

LEASES = 2
"""Leases in work: one delivers while the next is loaded. Chosen: a third would only be taken from other workers."""
PARKED_MS = 5000
"""How long a request is parked. A drain ends it early (WorkClient.leave), or waits this long where that hint is lost."""
SLOW_S = 2.0
"""How long a lease keeps its place for programs and peers. Chosen: most are done by then, and a hung one holds up no maildir for longer."""
REPORT_S = 0.1
"""Outcomes wait at most this long for slower deliveries of the same piece. Chosen: well below a lease, well above a flush."""

RESULTS = {
    OutcomeKind.DELIVERED: "Ok",
    OutcomeKind.TEMPFAIL: "TempFail",
    OutcomeKind.PERMFAIL: "PermFail",
    OutcomeKind.LOOP: "Loop",
}
"""Words of the log line (OpenSMTPD mda.c, mda_log)."""

_deliveries = metrics.counter("mda_deliveries", "Delivery attempts by outcome", ("kind",))
_by_kind = {kind: _deliveries.labels(kind.value) for kind in OutcomeKind}
_delay = metrics.histogram("mda_delay_seconds", "From accepted to delivered, by the clocks of store and mda")

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
"""Runs a supervised task under a name."""
Mails = Sequence[tuple[LoadedMessage, Sequence[Envelope]]]
"""Messages, and those of their envelopes that are meant."""


class Worker:
    """The worker of one mda process."""

    def __init__(
        self,
        client: WorkClient,
        sessions: Sessions,
        tables: Callable[[], Tables],
        table_client: TableClient,
        log: MailLog,
        spawn: Spawn,
        policy: Callable[[], LocalPolicy] = lambda: DEFAULT_POLICY,
    ) -> None:
        self._client = client
        self._sessions = sessions
        self._tables = tables
        self._table_client = table_client
        self._log = log
        self._spawn = spawn
        self._policy = policy
        self._own_uid = os.geteuid()
        self._slots = asyncio.Semaphore(LEASES)
        self._working: set[asyncio.Task[None]] = set()
        self._asking: asyncio.Task[None] | None = None
        self._is_draining = False

    def start(self) -> None:
        """Begins to ask for work."""
        self._asking = self._spawn(self._ask(), "ask for work")

    async def drain(self) -> None:
        """Returns when no delivery is in hand; what was not begun is released."""
        self._is_draining = True
        self._sessions.singles.drop_void()
        if self._asking is not None:
            await asyncio.wait({self._asking})
        if self._working:
            await asyncio.wait(self._working)

    async def _ask(self) -> None:
        while not self._is_draining:
            await self._slots.acquire()
            lease = None if self._is_draining else await self._client.next_work(batch=CLAIM_BATCH, wait_ms=PARKED_MS)
            if lease is None:
                self._slots.release()
                continue
            task = self._spawn(self._work(lease), f"lease {lease.number}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _work(self, lease: Lease) -> None:
        slow: list[asyncio.Task[None]] = []
        try:
            await self._work_in_pieces(lease, slow)
            if slow:
                await asyncio.wait(slow, timeout=SLOW_S)
        finally:
            self._slots.release()
        if slow:
            await asyncio.wait(slow)
        if not lease.is_finished:
            await lease.release()

    async def _work_in_pieces(self, lease: Lease, slow: list["asyncio.Task[None]"]) -> None:
        piece: list[LoadedMessage] = []
        piece_bytes = 0
        async for message in lease.load(lease.evpids):
            piece.append(message)
            piece_bytes += len(message.content)
            if piece_bytes >= BATCH_BYTES:
                await self._deliver(lease, piece, slow)
                piece, piece_bytes = [], 0
            if self._is_draining:
                return
        await self._deliver(lease, piece, slow)

    async def _deliver(self, lease: Lease, messages: list[LoadedMessage], slow: list["asyncio.Task[None]"]) -> None:
        """Delivers to those users whom the snapshot knows. Those whom config has to be asked for follow in a task added to `slow`: a
        database that hangs holds up nobody else."""
        tables = self._tables()
        asked = [(message, rest) for message in messages if (rest := _to_be_asked_for(tables, message))]
        if asked and not self._is_draining and not lease.is_lost:
            slow.append(self._spawn(self._deliver_to_asked(lease, tables, asked), f"users of lease {lease.number}"))
        to_ask = {envelope.evpid for _, envelopes in asked for envelope in envelopes}
        known = [(message, [e for e in message.envelopes if e.evpid not in to_ask]) for message in messages]
        await self._deliver_to_known(lease, Userbases(tables, {}), known, slow)

    async def _deliver_to_asked(self, lease: Lease, tables: Tables, mails: Mails) -> None:
        names: dict[str, set[str]] = {}
        for _, envelopes in mails:
            for envelope in envelopes:
                assert isinstance(envelope.dispatcher, LocalDispatcher), "relays have no users"
                names.setdefault(envelope.dispatcher.userbase, set()).add(envelope.dispatcher.user)
        users = await ask_for_users(tables, self._table_client, names)
        slow: list[asyncio.Task[None]] = []
        await self._deliver_to_known(lease, users, mails, slow)
        if slow:
            await asyncio.wait(slow)

    async def _deliver_to_known(
        self, lease: Lease, users: Userbases, mails: Mails, slow: list["asyncio.Task[None]"]
    ) -> None:
        """Delivers to maildirs and reports; what is delivered singly goes on in a task added to `slow`. Does nothing where we drain or
        the lease is lost."""
        if not mails or self._is_draining or lease.is_lost:
            return
        envelopes: dict[str, Envelope] = {}
        deliveries: list[Delivery] = []
        singles: list[Delivery] = []
        attempts: list[Attempt] = []
        policy = self._policy()
        for message, its_envelopes in mails:
            for envelope in its_envelopes:
                envelopes[envelope.evpid] = envelope
                match self._prepare(users, policy, message, envelope):
                    case Delivery() as delivery:
                        (deliveries if delivery.way is None else singles).append(delivery)
                    case failed:
                        attempts.append(failed)
        if singles:
            batch = self._sessions.singles.submit(singles, lambda: self._is_draining or lease.is_lost)
            name = f"singles of lease {lease.number}"
            slow.append(self._spawn(self._report_until_done(lease, batch, [], envelopes), name))
        await self._report_until_done(lease, self._sessions.submit(deliveries), attempts, envelopes)

    async def _report_until_done(
        self, lease: Lease, batch: Batch, attempts: list[Attempt], envelopes: dict[str, Envelope]
    ) -> None:
        while not batch.is_done:
            attempts += await batch.wait(REPORT_S)
            await self._report(lease, attempts, envelopes)
            attempts = []
        await self._report(lease, attempts, envelopes)

    def _prepare(
        self, users: Userbases, policy: LocalPolicy, message: LoadedMessage, envelope: Envelope
    ) -> Delivery | Attempt:
        dispatcher = envelope.dispatcher
        if not isinstance(dispatcher, LocalDispatcher):
            return tempfailed(envelope.evpid, "this version of mda does not deliver by relay")
        user = find_user(users, dispatcher, envelope.evpid, own_uid=self._own_uid)
        if isinstance(user, Attempt):
            return user
        if dispatcher.method != "maildir" and not self._sessions.singles.has_room(dispatcher.user):
            return tempfailed(envelope.evpid, f"deliveries of {dispatcher.user} take too long, too many wait already")
        return new_delivery(message, envelope, dispatcher, user, policy)

    async def _report(self, lease: Lease, attempts: list[Attempt], envelopes: dict[str, Envelope]) -> None:
        if not attempts:
            return
        now_s = time.time()
        for attempt in attempts:
            envelope = envelopes[attempt.evpid]
            delay_s = max(0.0, now_s - envelope.created_at_ms / 1000)
            _by_kind[attempt.kind].inc()
            if attempt.kind is OutcomeKind.DELIVERED:
                _delay.observe(delay_s)
            self._log.line(delivery_line(envelope, attempt, delay_s))
        await lease.report([attempt.outcome for attempt in attempts])


def _to_be_asked_for(tables: Tables, message: LoadedMessage) -> list[Envelope]:
    """The envelopes whose userbase is not in the snapshot."""
    return [
        envelope
        for envelope in message.envelopes
        if isinstance(envelope.dispatcher, LocalDispatcher) and tables.is_elsewhere(envelope.dispatcher.userbase)
    ]


def delivery_line(envelope: Envelope, attempt: Attempt, delay_s: float) -> str:
    """The fact in OpenSMTPD's form. Addresses come from peers, so they are quoted as maillog does."""
    dispatcher = envelope.dispatcher
    user, method = (
        (dispatcher.user, dispatcher.method) if isinstance(dispatcher, LocalDispatcher) else ("", LOCAL_AGENT)
    )
    line = (
        f"{attempt.evpid} mda delivery from={quote(f'<{envelope.sender}>')} to={quote(f'<{envelope.dest}>')} "
        f"rcpt={quote(f'<{envelope.rcpt}>')} user={quote(user)} method={method} delay={duration_text(delay_s)} "
        f'result="{RESULTS[attempt.kind]}" stat="{_stat(attempt.status.text)}"'
    )
    return f"{line} detail={quote(attempt.detail)}" if attempt.detail else line


def _stat(text: str) -> str:
    """A program's last line has quotes and backslashes, a peer's reply may have."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def duration_text(seconds: float) -> str:
    """`3s`, `2m5s`, `1d2h3m4s` (OpenSMTPD duration_to_text)."""
    left = int(seconds)
    text = ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        count, left = divmod(left, length)
        if count:
            text += f"{count}{unit}"
    return f"{text}{left}s" if left or not text else text
