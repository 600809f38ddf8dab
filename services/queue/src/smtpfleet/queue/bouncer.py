"""Bounces: one new message per original and kind, written a moment after its first failure so that failures of one message share it.

The list of what is to be bounced is in the store, put there by the script that failed the envelopes; any replica may write the bounce,
and the script lets exactly one do so: it takes the members out of the original and commits the bounce in the same step. A replica that
dies anywhere here leaves the list as it was. The bounce goes where the ruleset sends mail for the original's sender, as mail made here.
OpenSMTPD: bounce.c.
"""

import asyncio
import secrets

from smtpfleet.contracts import ids, keys, subjects
from smtpfleet.contracts.commands import CommitMessage
from smtpfleet.contracts.envelope import DsnNotify, Envelope, EnvelopeFlag, LocalDispatcher
from smtpfleet.contracts.status import Status, StatusClass, status_from_reply
from smtpfleet.mail.dsn import BounceRecipient, build_bounce
from smtpfleet.mail.expand import Expander, Expansion, expand_rcpt
from smtpfleet.mail.rcpt_parameters import decode_orcpt
from smtpfleet.mail.received import date_text, received_header
from smtpfleet.mail.ruleset import LOCAL_PEER, SessionFacts
from smtpfleet.mail.xtext import decode_xtext
from smtpfleet.queue.announcer import Announcer
from smtpfleet.queue.committer import commit_arguments
from smtpfleet.queue.notify import DELIVERED, RELAYED
from smtpfleet.queue.records import Meta, read_records
from smtpfleet.queue.scripts import BOUNCE
from smtpfleet.queue.stored_form import Damaged, KeyMissing, StoredForm
from smtpfleet.runtime import killpoint, metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.questions import Questions
from smtpfleet.runtime.snapshot import SnapshotFollower
from smtpfleet.runtime.store import Store, StoreFull, StoreUnavailable, Value

LOOK_S = 0.5
"""How often the list is looked at: one O(log n) read per shard."""
LOOK_BATCH = 50
"""Originals per look; bounded so that a flood of failures does not hold up the loads."""
BOUNCE_EXPIRE_S = 7 * 24 * 3600
"""Bounces are tried for seven days (OpenSMTPD bounce.c)."""
LATER_MS = 60_000
"""When a bounce is tried again after a temporary failure of a table, or where a key is missing. Chosen."""
HEADER_CHUNK_LIMIT_BYTES = 256 * 1024
"""What of the original's content is read for its header: the first chunk."""

_bounces = metrics.counter("queue_bounces", "Bounces by kind and result", ("kind", "result"))


class Bouncer:
    """Writes the bounces that are due."""

    def __init__(
        self,
        store: Store,
        form: StoredForm,
        snapshot: SnapshotFollower,
        announcer: Announcer,
        log: MailLog,
        *,
        shards: int,
        waitaof: bool,
        questions: Questions | None = None,
    ) -> None:
        """questions: None asks neither config nor mda: then nobody has a `.forward`."""
        self._questions = questions
        self._store = store
        self._form = form
        self._snapshot = snapshot
        self._announcer = announcer
        self._log = log
        self._shards = shards
        self._waitaof = waitaof

    async def run(self) -> None:
        """Runs for the life of the process."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._snapshot.has_snapshot or not self._form.may_write:
                continue
            try:
                for shard in range(self._shards):
                    await self._write_due(shard)
            except (StoreUnavailable, StoreFull):
                continue  # the list stays; looked at again

    async def _write_due(self, shard: int) -> None:
        tag = keys.tag(shard)
        due = await self._store.call(
            "ZRANGE", f"{tag}bounces", "-inf", self._store.now_ms(), "BYSCORE", "LIMIT", 0, LOOK_BATCH
        )
        for msgid in [member.decode() for member in due]:
            members: dict[bytes, bytes] = await self._store.call("HGETALL", f"{tag}bounce:{msgid}")
            for kind in ("failed", "delayed", DELIVERED, RELAYED):
                numbers = [number.decode() for number, of_kind in members.items() if of_kind.decode() == kind]
                if numbers:
                    await self._write(shard, msgid, kind, numbers)
            if not members:  # the script looks again: a member may have come since
                await self._store.run(BOUNCE, [tag], [msgid, "", keys.DONE_TTL_S, 0, 0], waitaof=self._waitaof)

    async def _write(self, shard: int, msgid: str, kind: str, numbers: list[str]) -> None:
        records = await read_records(self._store, self._form, self._shards, [msgid + number for number in numbers])
        envelopes = records[0].envelopes if records else []
        if records and records[0].locked:
            await self._wait(shard, msgid, f"no key {records[0].locked[0].key_id}")
            return
        now_ms = self._store.now_ms()
        message = None
        for item in records[0].unreadable if records else ():
            self._log.error("failed envelope cannot be read, no bounce for it", evpid=item.evpid, reason=item.reason)
        if envelopes:
            # `relay as` may have given the envelopes of one message different senders: each hears of his own, one per look.
            others = {e.evpid[ids.MSGID_LENGTH :] for e in envelopes if e.sender != envelopes[0].sender}
            numbers = [number for number in numbers if number not in others]
            envelopes = [e for e in envelopes if e.sender == envelopes[0].sender]
            expansion = await self._expand(envelopes[0])
            is_way_unknown = expansion.refusal is not None and expansion.refusal.status_class is StatusClass.TEMPORARY
            if expansion.refusal is not None and is_way_unknown and not _is_too_late(envelopes, now_ms):
                await self._wait(shard, msgid, f"{expansion.refusal.line}: {expansion.detail}")
                return
            composed = await self._compose(shard, kind, records[0].meta, envelopes, expansion, now_ms)
            if isinstance(composed, KeyMissing):
                await self._wait(shard, msgid, f"no key {composed.key_id}")
                return
            message = composed
        killpoint.reach("queue.bounce.built")
        args: list[Value] = [msgid, "", keys.DONE_TTL_S, len(numbers)]
        for number in numbers:
            args += (number, kind)
        args.append(0 if message is None else 1)
        if message is not None:
            args += commit_arguments(message, self._form)
        answer = (await self._store.run(BOUNCE, [keys.tag(shard)], args, waitaof=self._waitaof)).decode()
        killpoint.reach("queue.bounce.committed")
        _bounces.labels(kind, answer).inc()
        if answer == "committed" and message is not None:
            for envelope in envelopes:
                self._log.fact(
                    envelope.evpid, "queue bounced", kind=kind, bounce=message.msgid, to=f"<{envelope.sender}>"
                )
                if kind not in (DELIVERED, RELAYED):
                    self._announcer.event(subjects.EVENT_ENVELOPE_BOUNCED, envelope, _status_of(envelope), now_ms)
            self._announcer.queued(message.envelopes, now_ms)

    async def _wait(self, shard: int, msgid: str, why: str) -> None:
        self._log.warning("bounce waits", msgid=msgid, reason=why)
        await self._store.call("ZADD", f"{keys.tag(shard)}bounces", "XX", self._store.now_ms() + LATER_MS, msgid)

    async def _expand(self, envelope: Envelope) -> Expansion:
        """Where the ruleset sends mail for the envelope's sender."""
        configuration = self._snapshot.current
        facts = SessionFacts(tag="", peer=LOCAL_PEER, is_local=True, sender="", helo=configuration.hostname)
        if self._questions is None:
            return expand_rcpt(configuration, self._snapshot.tables, facts, envelope.sender)
        return await self._questions.finish(Expander(configuration, self._snapshot.tables).open(facts, envelope.sender))

    async def _compose(
        self, shard: int, kind: str, meta: Meta, envelopes: list[Envelope], expansion: Expansion, now_ms: int
    ) -> CommitMessage | KeyMissing | None:
        """The bounce, or None where the sender cannot be reached from here (said in the log)."""
        first = envelopes[0]
        original_id = ids.msgid_of(first.evpid)
        if expansion.refusal is not None:
            stat = expansion.refusal.line
            self._log.fact(
                original_id, "queue bounce-undeliverable", to=f"<{first.sender}>", stat=stat, detail=expansion.detail
            )
            return None
        chunk: bytes | None = await self._store.call("LINDEX", keys.content(original_id, shard), 0)
        original = self._form.unpack_content(original_id, [chunk or b""])
        if isinstance(original, KeyMissing):
            return original
        if isinstance(original, Damaged):
            self._log.error(
                "content cannot be read, its bounce goes without", msgid=original_id, reason=original.reason
            )
            original = b""
        msgid = _msgid_in_shard(now_ms, shard, self._shards)
        content = _content(kind, meta, envelopes, original[:HEADER_CHUNK_LIMIT_BYTES], msgid, now_ms)
        to = _bounce_envelopes(msgid, first, expansion, self._snapshot.current.hostname, now_ms)
        return CommitMessage(msgid, ids.new_token(), len(content), content, 0, to)


def _is_too_late(envelopes: list[Envelope], now_ms: int) -> bool:
    """Whether a way for the bounce has been looked for as long as a bounce is tried: then there is nobody to tell."""
    failed_at_ms = max(envelope.last_try_at_ms or envelope.expires_at_ms for envelope in envelopes)
    return now_ms > failed_at_ms + BOUNCE_EXPIRE_S * 1000


def _content(kind: str, meta: Meta, envelopes: list[Envelope], original: bytes, msgid: str, now_ms: int) -> bytes:
    first = envelopes[0]
    date = date_text(now_ms / 1000)
    header = received_header(
        helo="localhost", hostname="localhost", peer="local", smtpname=first.smtpname, protocol="ESMTP",
        msgid=msgid, rcpt="", date_text=date,
    )  # fmt: skip
    return header + build_bounce(
        kind=kind,
        smtpname=first.smtpname,
        sender=first.sender,
        msgid=ids.msgid_of(first.evpid),
        created_text=date_text(first.created_at_ms / 1000),
        recipients=[_recipient(envelope) for envelope in envelopes],
        original=original,
        # RFC 3461 §4.3: RET is about failure; all other reports return the header.
        return_full=kind == "failed" and first.dsn_ret == "FULL" and meta.chunk_count == 1,
        date_text=date,
        boundary=f"{msgid}.{secrets.token_hex(8)}",
        envid=decode_xtext(first.dsn_envid) or "",
        delayed_s=max(0, (first.last_bounce_at_ms - first.created_at_ms) // 1000),
        kept_s=first.expire_s,
    )


def _status_of(envelope: Envelope) -> Status:
    line = envelope.error_line
    return status_from_reply(int(line[:3]), line[4:]) if line[:3].isdigit() else Status(554, "5.0.0", line)


def _recipient(envelope: Envelope) -> BounceRecipient:
    # Past its expiry an envelope is marked and not tried: the instant is then no attempt's (results._failed).
    was_tried = 0 < envelope.last_try_at_ms < envelope.expires_at_ms
    return BounceRecipient(
        dest=envelope.rcpt if isinstance(envelope.dispatcher, LocalDispatcher) else envelope.dest,
        status=_status_of(envelope),
        orcpt=decode_orcpt(envelope.dsn_orcpt) or "",
        remote=envelope.remote,
        last_try_text=date_text(envelope.last_try_at_ms / 1000) if was_tried else "",
        retry_until_text=date_text(envelope.expires_at_ms / 1000),
    )


def _msgid_in_shard(now_ms: int, shard: int, shards: int) -> str:
    """A new msgid that belongs to `shard`, so that one script may write the bounce and change the original."""
    number = int(ids.new_msgid(now_ms), 16)
    return f"{number - number % shards + shard:016x}"


def _bounce_envelopes(msgid: str, of: Envelope, expansion: Expansion, hostname: str, now_ms: int) -> list[Envelope]:
    return [
        Envelope(
            evpid=ids.evpid_of(msgid, number),
            sender="",
            rcpt=of.sender,
            dest=destination.dest,
            dispatcher=destination.dispatcher,
            tag="",
            helo=hostname,
            hostname="localhost",
            peer=LOCAL_PEER,
            smtpname=of.smtpname,
            created_at_ms=now_ms,
            expire_s=BOUNCE_EXPIRE_S,
            flags=EnvelopeFlag.BOUNCE | EnvelopeFlag.INTERNAL,
            dsn_notify=DsnNotify.NEVER,  # RFC 3461 §6.1: nobody reports on a report
        )
        for number, destination in enumerate(expansion.destinations, 1)
    ]
