"""The one table of subjects: who sends what to whom, and when it is acknowledged. Nothing else spells a subject.

A subject is `<owner>.<noun>.<verb>` for requests, `event.<noun>.<past>` for facts. The bus puts its prefix in front
(SMTPFLEET_NATS_PREFIX). No address, msgid or relay is ever part of one.
"""

from enum import StrEnum

from msgspec import Struct

from smtpfleet.contracts import callers as p
from smtpfleet.contracts import commands as c
from smtpfleet.contracts import events as e
from smtpfleet.contracts import srs as s

ROLES = ("config", "smtp-in", "queue", "scheduler", "mta", "mda", "admin")
"""The order of every list: README, compose, subjects, tests."""


class Kind(StrEnum):
    """request: one replica of the receiver answers. broadcast: every replica of the receiver hears it, now or never.
    event: also kept by the event stream."""

    REQUEST = "request"
    BROADCAST = "broadcast"
    EVENT = "event"


class Subject(Struct, frozen=True):
    """A row: name, kind, senders, receivers, payload, reply (None unless a request) and when the receiver answers."""

    name: str
    kind: Kind
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    payload: type[Struct]
    reply: type[Struct] | None
    answered: str


def _request(
    name: str, senders: tuple[str, ...], receiver: str, payload: type[Struct], reply: type[Struct], answered: str
) -> Subject:
    return Subject(name, Kind.REQUEST, senders, (receiver,), payload, reply, answered)


def _event(name: str, senders: tuple[str, ...], payload: type[Struct]) -> Subject:
    return Subject(name, Kind.EVENT, senders, ("admin",), payload, None, "never: published and forgotten")


CONFIG_TABLE_LOOKUP = _request(
    "config.table.lookup",
    ("smtp-in", "queue", "mta", "mda"),
    "config",
    c.TableQuery,
    c.TableReply,
    "from cache or backend",
)
"""Any service but credentials, which have subjects of their own: who may ask for passwords is decided by NATS."""
CONFIG_AUTH_LOOKUP = _request(
    "config.auth.lookup", ("smtp-in",), "config", c.TableQuery, c.TableReply, "from the backend"
)
"""Credentials and auth, of tables that listeners name."""
CONFIG_CREDENTIALS_LOOKUP = _request(
    "config.credentials.lookup", ("mta",), "config", c.TableQuery, c.TableReply, "from the backend"
)
"""Credentials, of tables that relays name."""
CONFIG_SRS_REWRITE = _request("config.srs.rewrite", ("mta",), "config", s.SrsRewriteQuery, s.SrsRewriteReply, "at once")
CONFIG_SRS_RESTORE = _request(
    "config.srs.restore", ("smtp-in", "queue"), "config", s.SrsRestoreQuery, s.SrsRestoreReply, "at once"
)
"""Signing and verifying are apart, so that NATS decides who may do which; the keys stay with config."""
CONFIG_RULESET_EXPLAIN = _request(
    "config.ruleset.explain", ("admin",), "config", c.ExplainQuery, c.ExplainReply, "when tables and mda have answered"
)
CONFIG_VERSION_LIST = _request(
    "config.version.list", ("admin",), "config", c.VersionsQuery, c.VersionsReply, "from the bucket"
)
CONFIG_VERSION_RESTORE = _request(
    "config.version.restore", ("admin",), "config", c.GoBack, c.GoBackReply, "after it is in the bucket"
)

QUEUE_MESSAGE_COMMIT = _request(
    "queue.message.commit", ("smtp-in",), "queue", c.CommitMessages, c.CommitReply, "after the store's flush"
)
QUEUE_CONTENT_APPEND = _request(
    "queue.content.append", ("smtp-in",), "queue", c.AppendContent, c.AppendReply, "after the store took the chunk"
)
QUEUE_CONTENT_DROP = _request(
    "queue.content.drop", ("smtp-in",), "queue", c.DropContent, c.Done, "after the chunks are gone"
)
QUEUE_ENVELOPE_LOAD = _request(
    "queue.envelope.load", ("mta", "mda"), "queue", c.LoadEnvelopes, c.LoadReply, "from cache or store"
)
QUEUE_CONTENT_READ = _request(
    "queue.content.read", ("mta", "mda"), "queue", c.ReadContent, c.ContentChunk, "from the store"
)
QUEUE_ENVELOPE_RESULT = _request(
    "queue.envelope.result", ("mta", "mda"), "queue", c.ReportOutcomes, c.ReportReply, "after the store's flush"
)
QUEUE_SUMMARY_SHOW = _request("queue.summary.show", ("admin",), "queue", c.QueueQuery, c.QueueSummary, "from the store")
QUEUE_MESSAGE_SHOW = _request(
    "queue.message.show", ("admin",), "queue", c.MessageQuery, c.MessageView, "from the store"
)
QUEUE_ENVELOPE_SHOW = _request(
    "queue.envelope.show", ("admin",), "queue", c.EnvelopeQuery, c.MessageView, "from the store"
)

SCHEDULER_WORK_NEXT = _request(
    "scheduler.work.next", ("mta", "mda"), "scheduler", c.WorkQuery, c.Work, "when there is work or the wait is over"
)
SCHEDULER_LEASE_RENEW = _request(
    "scheduler.lease.renew", ("mta", "mda"), "scheduler", c.RenewLeases, c.RenewReply, "after the store took it"
)
SCHEDULER_LEASE_RELEASE = _request(
    "scheduler.lease.release", ("mta", "mda"), "scheduler", c.ReleaseLease, c.Done, "after the store took it"
)
SCHEDULER_PERMIT_RELEASE = _request(
    "scheduler.permit.release", ("mta", "mda"), "scheduler", c.ReleasePermits, c.Done, "after the store took it"
)
SCHEDULER_CALLER_ADMIT = _request(
    "scheduler.caller.admit", ("smtp-in",), "scheduler", p.AdmitCallers, p.AdmitReply, "after the store took it"
)
SCHEDULER_FAILURE_NOTE = _request(
    "scheduler.failure.note", ("smtp-in",), "scheduler", p.NoteFailures, p.FailuresReply, "after the store took it"
)
SCHEDULER_SUCCESS_NOTE = _request(
    "scheduler.success.note", ("smtp-in",), "scheduler", p.NoteSuccess, c.Done, "after the store took it"
)
SCHEDULER_WELCOME_CHECK = _request(
    "scheduler.welcome.check", ("smtp-in",), "scheduler", p.WelcomeQuery, p.WelcomeReply, "from the store"
)
SCHEDULER_BAN_LIST = _request(
    "scheduler.ban.list", ("smtp-in", "admin"), "scheduler", p.BansQuery, p.BansReply, "from the store"
)
SCHEDULER_BAN_LIFT = _request(
    "scheduler.ban.lift", ("admin",), "scheduler", p.LiftBan, p.LiftReply, "after the store took it"
)
SCHEDULER_BAN_CHANGED = Subject(
    "scheduler.ban.changed", Kind.BROADCAST, ("scheduler",), ("smtp-in",), p.BansChanged, None, "never: a hint"
)
SCHEDULER_WORK_READY = Subject(
    "scheduler.work.ready", Kind.BROADCAST, ("queue", "scheduler"), ("scheduler",), e.WorkReady, None, "never: a hint"
)
SCHEDULER_WORKER_LEAVING = Subject(
    "scheduler.worker.leaving", Kind.BROADCAST, ("mta", "mda"), ("scheduler",), e.WorkerLeaving, None, "never: a hint"
)

MDA_FORWARD_READ = _request(
    "mda.forward.read",
    ("config", "smtp-in", "queue"),
    "mda",
    c.ForwardQuery,
    c.ForwardReply,
    "after reading the user's home",
)

FLEET_ROLE_REPORT = Subject(
    "fleet.role.report", Kind.BROADCAST, ("admin",), ROLES, c.RoleQuery, c.RoleReport, "at once, by every replica"
)

EVENT_MESSAGE_ACCEPTED = _event("event.message.accepted", ("smtp-in",), e.AcceptedEvents)
EVENT_ENVELOPE_QUEUED = _event("event.envelope.queued", ("queue",), e.EnvelopeEvents)
EVENT_ENVELOPE_DELIVERED = _event("event.envelope.delivered", ("queue",), e.EnvelopeEvents)
EVENT_ENVELOPE_DEFERRED = _event("event.envelope.deferred", ("queue",), e.EnvelopeEvents)
EVENT_ENVELOPE_FAILED = _event("event.envelope.failed", ("queue",), e.EnvelopeEvents)
EVENT_ENVELOPE_BOUNCED = _event("event.envelope.bounced", ("queue",), e.EnvelopeEvents)
EVENT_ENVELOPE_EXPIRED = _event("event.envelope.expired", ("queue",), e.EnvelopeEvents)
EVENT_ENVELOPE_HELD = _event("event.envelope.held", ("queue",), e.EnvelopeEvents)
EVENT_ENVELOPE_REMOVED = _event("event.envelope.removed", ("queue",), e.EnvelopeEvents)

SUBJECTS: tuple[Subject, ...] = tuple(row for row in list(globals().values()) if isinstance(row, Subject))

CONFIGURATION_BUCKET = "configuration"
"""NATS KV bucket (the bus puts its prefix in front). Key `current`: the compiled Configuration, written by config alone, read by all."""
CONFIGURATION_KEY = "current"
TABLES_BUCKET = "tables"
"""NATS KV bucket of large tables: keys are names of parts (contracts.table_parts), written by config alone before the snapshot that
names them, taken away when no kept snapshot does."""
TABLES_READERS = ("config", "smtp-in", "queue", "mta", "mda")
"""Roles that look into tables."""
BUCKETS = {CONFIGURATION_BUCKET: 10, TABLES_BUCKET: 1}
"""How many values of a key each keeps: of the configuration, those an operator may go back to."""
EVENT_STREAM = "events"
"""JetStream stream over `event.>`, limits retention."""
