"""Outcomes applied: the judgement what becomes of an envelope, and the script that makes it so under the lease's fence.

delivered → gone. tempfail → next attempt, or expired. permfail, loop, expired → a bounce, unless there is nobody to tell (null sender):
then gone, and said in the log. NOTIFY (RFC 3461) may ask for less or for a report of success. Judgement is pure (`judge`); what is reported at the same time is applied by one script call. OpenSMTPD: queue.c, IMSG_*_DELIVERY_*.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial

from msgspec import structs

from smtpfleet.contracts import ids, keys, subjects, wire
from smtpfleet.contracts.commands import ReportOutcomes
from smtpfleet.contracts.envelope import Envelope, EnvelopeFlag, agent_of
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import S554_EXPIRED, S554_LOOP_DETECTED, Status
from smtpfleet.contracts.subjects import Subject
from smtpfleet.mail.backoff import next_try_at_ms, warn_due
from smtpfleet.queue.announcer import Announcer
from smtpfleet.queue.cache import EnvelopeCache
from smtpfleet.queue.groupcommit import GroupCommit
from smtpfleet.queue.loaded import Loaded
from smtpfleet.queue.notify import success_kind, wants_delay, wants_failure
from smtpfleet.queue.records import Locked, Unreadable, read_records
from smtpfleet.queue.scripts import RESULT
from smtpfleet.queue.stored_form import NoKey, StoredForm
from smtpfleet.runtime import killpoint, metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import Store, Value

RESULT_BATCH = 400
"""Outcomes per script call, four leases; some milliseconds of Redis. Chosen."""
KEY_WAIT_MS = 300_000
"""When an envelope whose key is missing is looked at again. Chosen: soon after the operator is, seldom enough for a full queue."""

_judged = metrics.counter("queue_results", "Envelopes by what became of them", ("action",))
_refused = metrics.counter(
    "queue_results_refused", "Outcomes refused by the fence: the lease had run out or it was a repetition"
)
_waiting = metrics.counter("queue_key_missing", "Envelopes put off because the key they were encrypted with is missing")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is done with one envelope: an action of scripts/result.lua and its arguments, and the event that tells of it.

    changed: the envelope as it is to be stored, encoded, where the action changes it.
    """

    action: str
    changed: bytes
    due_at_ms: int
    event: Subject
    status: Status
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """One outcome as scripts/result.lua reads it."""

    lease: int
    evpid: str
    judgement: Judgement
    argument: bytes


class Results:
    """Applies outcomes to the store."""

    def __init__(
        self,
        store: Store,
        form: StoredForm,
        cache: EnvelopeCache,
        loaded: Loaded,
        announcer: Announcer,
        log: MailLog,
        *,
        shards: int,
        bounce_delay_ms: int,
        waitaof: bool,
    ) -> None:
        self._store = store
        self._form = form
        self._cache = cache
        self._loaded = loaded
        self._announcer = announcer
        self._log = log
        self._shards = shards
        self._bounce_delay_ms = bounce_delay_ms
        self._waitaof = waitaof
        self._bounce_warn_s: tuple[int, ...] = ()
        self._groups: list[GroupCommit[_Row, bool]] = [
            GroupCommit(
                partial(self._write, shard), batch_count=RESULT_BATCH, batch_weight=RESULT_BATCH, weigh=lambda row: 1
            )
            for shard in range(shards)
        ]

    def warn_after(self, bounce_warn_s: tuple[int, ...]) -> None:
        """The configuration's bounce-warn delays."""
        self._bounce_warn_s = bounce_warn_s

    async def report(self, request: ReportOutcomes) -> list[str]:
        """Applies a worker's outcomes and returns the evpids refused. Raises StoreUnavailable: nothing is known, repeat it.

        Where a key is missing, what can be applied without it is, and NoKey is raised for the rest: the worker keeps it and asks again.
        """
        killpoint.reach("queue.result.received")
        now_ms = self._store.now_ms()
        envelopes = await self._envelopes(request)
        judgements: dict[str, Judgement] = {}
        kept_back = 0
        for outcome in request.outcomes:
            judgement = self._judge(envelopes.get(outcome.evpid), outcome, now_ms)
            if judgement is None or (judgement.changed and not self._form.may_write):
                kept_back += 1
            else:
                judgements[outcome.evpid] = judgement
        refused = await self._apply(request.shard, request.lease, judgements)
        killpoint.reach("queue.result.applied")
        for evpid, judgement in judgements.items():
            envelope = envelopes.get(evpid)
            if evpid not in refused and isinstance(envelope, Envelope):
                self._tell(envelope, judgement, now_ms)
        if kept_back:
            raise NoKey(f"{kept_back} outcomes wait for a queue key")
        return list(refused)

    def _judge(
        self, envelope: Envelope | Unreadable | Locked | None, outcome: Outcome, now_ms: int
    ) -> Judgement | None:
        """None where it can be told only once a key is back."""
        if isinstance(envelope, Envelope):
            return judge(envelope, outcome, now_ms, self._bounce_warn_s)
        # What was delivered is done, whether we can read it by now or not.
        if envelope is None or outcome.kind is OutcomeKind.DELIVERED:
            return _gone(outcome.status)
        return _quarantined(envelope) if isinstance(envelope, Unreadable) else None

    async def dismiss(
        self,
        shard: int,
        lease: int,
        *,
        expired: list[Envelope],
        unreadable: list[Unreadable],
        locked: list[Locked],
        missing: list[str],
    ) -> None:
        """Settles under the worker's lease what no worker shall see. Raises StoreUnavailable."""
        now_ms = self._store.now_ms()
        if not self._form.may_write:  # a failure could not be noted
            locked = locked + [Locked(envelope.evpid, "none given") for envelope in expired]
            expired = []
        envelopes = {envelope.evpid: envelope for envelope in expired}
        judgements = {
            evpid: _failed(envelope, S554_EXPIRED, "", now_ms, subjects.EVENT_ENVELOPE_EXPIRED)
            for evpid, envelope in envelopes.items()
        }
        for item in unreadable:
            judgements[item.evpid] = _quarantined(item)
            self._log.error("envelope quarantined", evpid=item.evpid, reason=item.reason)
        for waiting in locked:
            judgements[waiting.evpid] = _waits(now_ms)
            self._log.fact(waiting.evpid, "queue waits", reason="key-missing", queue_key=waiting.key_id)
        for key_id, count in Counter(waiting.key_id for waiting in locked).items():
            self._log.error("envelopes wait for their key: give it to queue again", queue_key=key_id, envelopes=count)
            _waiting.inc(count)
        for evpid in missing:
            judgements[evpid] = Judgement("missing", b"", 0, subjects.EVENT_ENVELOPE_REMOVED, S554_EXPIRED)
        refused = await self._apply(shard, lease, judgements)
        for evpid, envelope in envelopes.items():
            if evpid not in refused:
                self._log.fact(
                    evpid, "queue expired", to=f"<{envelope.dest}>", stat=envelope.error_line or "never tried"
                )
                self._tell(envelope, judgements[evpid], now_ms)

    async def _envelopes(self, request: ReportOutcomes) -> dict[str, Envelope | Unreadable | Locked]:
        """The envelopes as the worker got them; an evpid that is gone by now is left out."""
        found: dict[str, Envelope | Unreadable | Locked] = {}
        to_read = []
        for outcome in request.outcomes:
            envelope = self._loaded.take(request.shard, request.lease, outcome.evpid)
            if envelope is not None:
                found[outcome.evpid] = envelope
            else:
                to_read.append(outcome.evpid)
        if to_read:
            for record in await read_records(self._store, self._form, self._shards, to_read):
                found.update({item.evpid: item for item in record.items})
        return found

    async def _apply(self, shard: int, lease: int, judgements: dict[str, Judgement]) -> set[str]:
        """The evpids that were refused. Raises NoKey."""
        rows = [
            _Row(lease, evpid, judgement, self._argument(evpid, judgement)) for evpid, judgement in judgements.items()
        ]
        waiting = [self._groups[shard].put(row) for row in rows]
        applied = await asyncio.gather(*waiting)
        return {evpid for evpid, was_applied in zip(judgements, applied, strict=True) if not was_applied}

    def _argument(self, evpid: str, judgement: Judgement) -> bytes:
        return self._form.pack_envelope(evpid, judgement.changed) if judgement.changed else judgement.reason.encode()

    async def _write(self, shard: int, rows: list["_Row"]) -> list[bool]:
        args: list[Value] = [keys.DONE_TTL_S, self._store.now_ms() + self._bounce_delay_ms]
        for row in rows:
            judgement = row.judgement
            args += (row.lease, row.evpid, judgement.action, row.argument, judgement.due_at_ms)
            _judged.labels(judgement.action).inc()
        answer: list[int] = await self._store.run(RESULT, [keys.tag(shard)], args, waitaof=self._waitaof)
        _refused.inc(answer.count(0))
        return [applied == 1 for applied in answer]

    async def drain(self) -> None:
        """Waits for what is under way."""
        for group in self._groups:
            await group.idle()

    def _tell(self, envelope: Envelope, judgement: Judgement, now_ms: int) -> None:
        if judgement.action == "gone":
            self._cache.drop(ids.msgid_of(envelope.evpid))
            if judgement.event is not subjects.EVENT_ENVELOPE_DELIVERED:
                why = "not-wanted" if envelope.sender else "no-return-path"
                why = "double-bounce" if envelope.flags & EnvelopeFlag.BOUNCE else why
                self._log.fact(
                    envelope.evpid, "queue dropped", reason=why, to=f"<{envelope.dest}>", stat=judgement.status.line
                )
        self._announcer.event(judgement.event, envelope, judgement.status, now_ms)


def judge(envelope: Envelope, outcome: Outcome, now_ms: int, bounce_warn_s: tuple[int, ...]) -> Judgement:
    """What becomes of an envelope after this outcome at `now_ms` on the store's clock."""
    match outcome.kind:
        case OutcomeKind.DELIVERED:
            return _delivered(envelope, outcome, now_ms)
        case OutcomeKind.TEMPFAIL:
            return _deferred(envelope, outcome, now_ms, bounce_warn_s)
        case OutcomeKind.PERMFAIL:
            return _failed(envelope, outcome.status, outcome.remote, now_ms, subjects.EVENT_ENVELOPE_FAILED)
        case OutcomeKind.LOOP:
            return _failed(envelope, S554_LOOP_DETECTED, "", now_ms, subjects.EVENT_ENVELOPE_FAILED)


def _gone(status: Status) -> Judgement:
    return Judgement("gone", b"", 0, subjects.EVENT_ENVELOPE_REMOVED, status)


def _quarantined(item: Unreadable) -> Judgement:
    return Judgement("quarantined", b"", 0, subjects.EVENT_ENVELOPE_HELD, S554_EXPIRED, item.reason)


def _waits(now_ms: int) -> Judgement:
    return Judgement("waits", b"", now_ms + KEY_WAIT_MS, subjects.EVENT_ENVELOPE_HELD, S554_EXPIRED)


def _delivered(envelope: Envelope, outcome: Outcome, now_ms: int) -> Judgement:
    # Nearly every envelope: nobody asked to hear of success.
    kind = success_kind(envelope, is_passed_on=outcome.is_dsn_passed_on) if envelope.dsn_notify else ""
    if not kind:
        return Judgement("gone", b"", 0, subjects.EVENT_ENVELOPE_DELIVERED, outcome.status)
    changed = structs.replace(envelope, last_try_at_ms=now_ms, error_line=outcome.status.line, remote=outcome.remote)
    return Judgement(kind, wire.encode(changed), 0, subjects.EVENT_ENVELOPE_DELIVERED, outcome.status)


def _deferred(envelope: Envelope, outcome: Outcome, now_ms: int, bounce_warn_s: tuple[int, ...]) -> Judgement:
    retry = envelope.retry + 1
    due_at_ms = next_try_at_ms(
        agent=agent_of(envelope.dispatcher), created_at_ms=envelope.created_at_ms, retry=retry, now_ms=now_ms
    )
    delay_s = None
    if wants_delay(envelope):
        delay_s = warn_due(
            created_at_ms=envelope.created_at_ms,
            next_try_at_ms=due_at_ms,
            last_bounce_at_ms=envelope.last_bounce_at_ms,
            bounce_warn_s=bounce_warn_s,
        )
    changed = structs.replace(
        envelope,
        retry=retry,
        last_try_at_ms=now_ms,
        error_line=outcome.status.line,
        remote=outcome.remote,
        last_bounce_at_ms=envelope.last_bounce_at_ms if delay_s is None else envelope.created_at_ms + delay_s * 1000,
    )
    # An envelope whose next attempt would come after its end is due at its end, when loading it finds it expired.
    due_at_ms = min(due_at_ms, envelope.expires_at_ms)
    action = "deferred" if delay_s is None else "delayed"
    return Judgement(action, wire.encode(changed), due_at_ms, subjects.EVENT_ENVELOPE_DEFERRED, outcome.status)


def _failed(envelope: Envelope, status: Status, remote: str, now_ms: int, event: Subject) -> Judgement:
    if not wants_failure(envelope):
        return Judgement("gone", b"", 0, event, status)
    # The bounce of an expired envelope tells what kept failing, with the code for expiry.
    if event is subjects.EVENT_ENVELOPE_EXPIRED and envelope.error_line:
        status = Status(status.code, status.esc, f"{status.text}: {envelope.error_line}"[:500])
        remote = envelope.remote
    # Also where it expired untried: from here on its bounce is looked after (bouncer._is_too_late).
    changed = structs.replace(envelope, last_try_at_ms=now_ms, error_line=status.line, remote=remote)
    return Judgement("failed", wire.encode(changed), 0, event, status)
