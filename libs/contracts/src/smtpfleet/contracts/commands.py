"""The payloads of requests and their replies, grouped by the role that answers.

Commands are imperative, requests for information end in Query. Which subject carries which is in subjects.py. Batches are bounded by
the constants here; whoever builds a batch keeps to them.
"""

from enum import StrEnum

from msgspec import Struct

from smtpfleet.contracts.envelope import Envelope
from smtpfleet.contracts.outcome import Outcome
from smtpfleet.contracts.permits import ConnectionEnd

INLINE_CONTENT_LIMIT_BYTES = 512 * 1024
"""Content up to this size travels with its commit and its load; above it goes in chunks (DESIGN section 4)."""
CHUNK_BYTES = 256 * 1024
"""Size of a content chunk; chosen so that a few in flight stay far below the bus's payload limit."""
BATCH_BYTES = 2 * 1024 * 1024
"""Most content one request or reply carries; the rest goes in the next. The bus allows 8 MiB (deploy/etc/nats.conf)."""
COMMIT_BATCH = 64
"""Most messages in one CommitMessages; chosen, no source."""
CLAIM_BATCH = 100
"""Most envelopes in one lease; OpenSMTPD's max-schedule is 10 and its 10,000-envelope batches hogged the scheduler."""
RELAY_WAIT_MAX_MS = 60_000
"""Longest a relay is left alone at once: a limit that was lowered applies this late at the latest. Chosen."""


# queue


class CommitMessage(Struct, frozen=True, array_like=True):
    """Make a message durable: content and all envelopes, or nothing.

    token: from ids.new_token, drawn once per message: the same msgid and token again is answered OK again.
    size_bytes: of the whole content, CRLF line ends, dots unstuffed.
    content: whole, or empty where `chunk_count` chunks went ahead by AppendContent with the same token.
    envelopes: at least one; their created_at_ms is set by queue.
    """

    msgid: str
    token: str
    size_bytes: int
    content: bytes
    chunk_count: int
    envelopes: list[Envelope]


class CommitMessages(Struct, frozen=True, array_like=True):
    """What one smtp-in replica has to commit at this instant; each message is its own transaction."""

    messages: list[CommitMessage]


class CommitVerdict(StrEnum):
    """ok: flushed; say 250. taken: msgid in use, draw another. full: no room, say 452. failed: say 451."""

    OK = "ok"
    TAKEN = "taken"
    FULL = "full"
    FAILED = "failed"


class CommitReply(Struct, frozen=True, array_like=True):
    """One verdict per message, in order."""

    verdicts: list[CommitVerdict]


class AppendContent(Struct, frozen=True, array_like=True):
    """Chunk `index` (from 0) of a message that is not committed yet. Repeating it is harmless; skipping one is refused.

    Chunks that are never committed go away by themselves (keys.UNCOMMITTED_TTL_S).
    """

    msgid: str
    token: str
    index: int
    data: bytes


class AppendReply(Struct, frozen=True, array_like=True):
    """ok, taken, full or failed, as for a commit."""

    verdict: CommitVerdict


class DropContent(Struct, frozen=True, array_like=True):
    """The transaction ended without a commit: its chunks may go now. Best effort; the TTL does it otherwise."""

    msgid: str
    token: str


class LoadEnvelopes(Struct, frozen=True, array_like=True):
    """Envelopes of a lease with their content. Asked first of the replica whose cache has them (`home`)."""

    shard: int
    lease: int
    evpids: list[str]
    home: str


class LoadedMessage(Struct, frozen=True, array_like=True):
    """A message and those of its envelopes that were asked for.

    content: whole, and chunk_count 0; or empty where it is larger than INLINE_CONTENT_LIMIT_BYTES: then read chunk_count chunks.
    """

    msgid: str
    size_bytes: int
    content: bytes
    chunk_count: int
    envelopes: list[Envelope]


class LoadReply(Struct, frozen=True, array_like=True):
    """What could be loaded. evpids that are neither in `messages` nor in `later` need no work and no outcome: removed, expired
    (queue has bounced them) or quarantined. `later`: did not fit in BATCH_BYTES, ask again.
    """

    messages: list[LoadedMessage]
    later: list[str]


class ReadContent(Struct, frozen=True, array_like=True):
    """One chunk of a large message's content."""

    msgid: str
    index: int


class ContentChunk(Struct, frozen=True, array_like=True):
    """The chunk; empty where the message is gone."""

    data: bytes


class ReportOutcomes(Struct, frozen=True, array_like=True):
    """Outcomes of envelopes held under one lease. Repeating it is harmless: an evpid no longer in the lease is refused."""

    shard: int
    lease: int
    outcomes: list[Outcome]


class ReportReply(Struct, frozen=True, array_like=True):
    """refused: evpids the lease no longer held (fenced off); their outcomes changed nothing."""

    refused: list[str]


class QueueQuery(Struct, frozen=True, array_like=True):
    """Counts of the whole queue."""


class QueueSummary(Struct, frozen=True, array_like=True):
    """Counts by state; oldest_age_s is -1 where the queue is empty.

    pending: waiting for their time or a worker. inflight: under a lease. bouncing: failed, bounce not written yet.
    quarantined: unreadable. uncommitted chunks are not counted.
    """

    messages: int
    envelopes: int
    pending: int
    inflight: int
    bouncing: int
    quarantined: int
    oldest_age_s: int


class MessageQuery(Struct, frozen=True, array_like=True):
    """One message with its envelopes."""

    msgid: str


class EnvelopeQuery(Struct, frozen=True, array_like=True):
    """One envelope."""

    evpid: str


class EnvelopeState(StrEnum):
    """Where an envelope is."""

    PENDING = "pending"
    INFLIGHT = "inflight"
    BOUNCING = "bouncing"
    QUARANTINED = "quarantined"


class EnvelopeView(Struct, frozen=True, array_like=True):
    """An envelope as an operator sees it. envelope is None where it cannot be read, or not without a key; reason says why.

    due_at_ms: next attempt, store clock; 0 where not pending.
    """

    evpid: str
    state: EnvelopeState
    due_at_ms: int
    reason: str
    envelope: Envelope | None


class MessageView(Struct, frozen=True, array_like=True):
    """A message as an operator sees it; `found` is false where the queue has it not (any more)."""

    found: bool
    msgid: str
    size_bytes: int
    created_at_ms: int
    envelopes: list[EnvelopeView]


# scheduler


class WorkQuery(Struct, frozen=True, array_like=True):
    """A worker is idle: park this until there is work or wait_ms have passed.

    agent: mta or mda. worker: its replica name. relay: only this relay, whose permit the worker holds; "" for any.
    batch: most envelopes wanted, at most CLAIM_BATCH.
    permit: holder id for the relay's permit; the same id again renews it.
    """

    agent: str
    worker: str
    relay: str
    batch: int
    wait_ms: int
    permit: str


class WorkItem(Struct, frozen=True, array_like=True):
    """Envelopes of one relay. homes: per evpid, the queue replica that may still have it cached, or ""."""

    relay: str
    evpids: list[str]
    homes: list[str]


class Work(Struct, frozen=True, array_like=True):
    """What the worker now holds. lease is the fencing token; 0 means no work (the wait is over).

    items: one relay for mta, several users for mda. lease_ms: how long, unless renewed.
    """

    shard: int
    lease: int
    lease_ms: int
    items: list[WorkItem]


class LeaseRef(Struct, frozen=True, array_like=True):
    """A lease by shard and token."""

    shard: int
    lease: int


class RenewLeases(Struct, frozen=True, array_like=True):
    """Heartbeat: the worker is alive and still works on these. permits: (relay, holder) pairs to keep. connections: holders of
    permits taken by permits.TakePermits."""

    agent: str
    worker: str
    leases: list[LeaseRef]
    permits: list[tuple[str, str]]
    connections: list[str] = []


class RenewReply(Struct, frozen=True, array_like=True):
    """lost: leases that ran out; stop working on them, their outcomes will be refused. crowded: connections others wait for: do not
    keep them idle."""

    lost: list[LeaseRef]
    crowded: list[str] = []


class ReleaseLease(Struct, frozen=True, array_like=True):
    """Give envelopes back untried; they are due at once. An empty list gives back all the lease still holds.

    wait_ms: the relay gets no further session before that, because a limit would refuse its connection; at most RELAY_WAIT_MAX_MS.
    """

    shard: int
    lease: int
    evpids: list[str]
    wait_ms: int = 0


class ReleasePermits(Struct, frozen=True, array_like=True):
    """The worker's work for these relays is over: (relay, holder) pairs. connections: so are these."""

    agent: str
    permits: list[tuple[str, str]]
    connections: list[ConnectionEnd] = []


class Done(Struct, frozen=True, array_like=True):
    """Nothing to say but that it is done."""


# config


class TableService(StrEnum):
    """What a table is asked for (OpenSMTPD K_*, reference 9.1)."""

    ALIAS = "alias"
    DOMAIN = "domain"
    CREDENTIALS = "credentials"
    NETADDR = "netaddr"
    USERINFO = "userinfo"
    SOURCE = "source"
    MAILADDR = "mailaddr"
    ADDRNAME = "addrname"
    MAILADDRMAP = "mailaddrmap"
    RELAYHOST = "relayhost"
    STRING = "string"
    REGEX = "regex"
    AUTH = "auth"


class TableQuery(Struct, frozen=True, array_like=True):
    """Ask one table that is not in the snapshot. operation: lookup | check | fetch. keys: as they are, at most 64 of them; lookup answers
    each, check whether any is there, fetch ignores them and gives the next value."""

    table: str
    service: TableService
    operation: str
    keys: list[str]


class TableReply(Struct, frozen=True, array_like=True):
    """error: why the table cannot answer now, "" if it could: then values has one entry per key (fetch, check: one), None where there
    is none; check says "" for yes. ttl_s: how long the answer may be kept. has_no_passwords: instead of credentials looked up, the table
    says of a password whether it is right (service auth)."""

    error: str
    values: list[str | None]
    ttl_s: float
    has_no_passwords: bool = False


class ExplainQuery(Struct, frozen=True, array_like=True):
    """What would happen to this recipient? peer: address, or `local`. auth: user name or "". tls, rdns: of the session."""

    peer: str
    helo: str
    sender: str
    rcpt: str
    tag: str
    auth: str
    has_tls: bool
    rdns: str


class ExplainReply(Struct, frozen=True, array_like=True):
    """version: of the configuration asked. lines: one step each, as `smtpfleet-config explain` prints them. refusal: the reply to the
    peer, "" where it is accepted; destinations: `dest via what` per envelope."""

    version: str
    lines: list[str]
    refusal: str
    destinations: list[str]


class VersionsQuery(Struct, frozen=True, array_like=True):
    """Which configurations are kept?"""


class ConfigurationVersion(Struct, frozen=True, array_like=True):
    """A kept configuration. rolled_back_from: as in Configuration."""

    version: str
    hostname: str
    rule_count: int
    listener_count: int
    table_count: int
    rolled_back_from: str


class VersionsReply(Struct, frozen=True, array_like=True):
    """versions: newest first; the first is in force. errors: of the files of the replica that answers, "" where they are good."""

    versions: list[ConfigurationVersion]
    errors: str


class GoBack(Struct, frozen=True, array_like=True):
    """Publish this earlier version anew."""

    version: str


class GoBackReply(Struct, frozen=True, array_like=True):
    """version: what is in force now, "" where the wanted one is not kept."""

    version: str


# mda


class ForwardQuery(Struct, frozen=True, array_like=True):
    """The `.forward` of a user of this userbase."""

    userbase: str
    user: str


class ForwardReply(Struct, frozen=True, array_like=True):
    """result: absent | present | temporary | refused (not safe to follow). content: the file's, where present. detail: for the log."""

    result: str
    content: str
    detail: str


# fleet


class RoleQuery(Struct, frozen=True, array_like=True):
    """Who is there? Asked of everyone; whoever hears it answers."""


class RoleReport(Struct, frozen=True, array_like=True):
    """One replica of one role. started_at_ms: its own clock. configuration: version it runs, "" before the first."""

    role: str
    replica: str
    version: str
    configuration: str
    started_at_ms: int
    is_ready: bool
