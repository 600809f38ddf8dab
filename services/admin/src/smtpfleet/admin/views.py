"""What the REST API answers: pydantic models, made from contract structs. The only pydantic in the tree.

Fields are named as in the contracts; instants are RFC 3339 in UTC, and what does not apply is null instead of 0 or "". A field is
added, never renamed: tools of operators read this.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from smtpfleet.contracts import commands as c
from smtpfleet.contracts.callers import Ban, BanKind
from smtpfleet.contracts.envelope import Envelope, EnvelopeFlag, agent_of, relay_of
from smtpfleet.contracts.ids import msgid_of
from smtpfleet.contracts.subjects import ROLES

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Msgid = Annotated[str, Field(description="16 hex digits.", examples=["18bcfe56c8000001"])]
Evpid = Annotated[str, Field(description="24 hex digits; the first 16 are the msgid.")]
Count = Annotated[int, Field(ge=0)]


class View(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


class Problem(View):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Life(View):
    """The process answers."""

    status: str = Field(examples=["alive"])


class Readiness(View):
    """Whether the role can serve, and what it waits for."""

    status: str = Field(examples=["ready", "not ready"])
    waiting_for: list[str]


class QueueCounts(View):
    """The queue by state of its envelopes."""

    messages: Count
    envelopes: Count
    pending: Count = Field(description="Waiting for their time or for a worker.")
    inflight: Count = Field(description="With a worker, under a lease.")
    bouncing: Count = Field(description="Failed; the bounce is not written yet.")
    quarantined: Count = Field(description="Unreadable; see the reason of the envelope.")
    oldest_age_s: int | None = Field(description="Age of the oldest message in seconds; null where the queue is empty.")

    @classmethod
    def of(cls, summary: c.QueueSummary) -> "QueueCounts":
        """The counts as queue gave them."""
        return cls(
            messages=summary.messages,
            envelopes=summary.envelopes,
            pending=summary.pending,
            inflight=summary.inflight,
            bouncing=summary.bouncing,
            quarantined=summary.quarantined,
            oldest_age_s=summary.oldest_age_s if summary.oldest_age_s >= 0 else None,
        )


class EnvelopeDetails(View):
    """What a readable envelope says."""

    sender: str = Field(description="Reverse-path; empty for the null sender.")
    rcpt: str = Field(description="Recipient as the peer gave it.")
    dest: str = Field(description="Recipient after expansion.")
    agent: str = Field(description="Who delivers: mda or mta.")
    relay: str = Field(description="The relay key; for mda `user@userbase`.")
    tag: str
    helo: str
    hostname: str
    peer: str
    smtpname: str
    created_at: datetime
    expires_at: datetime
    retry: Count = Field(description="Attempts that failed temporarily.")
    last_try_at: datetime | None
    error_line: str = Field(description="Status of the last failed attempt; empty where none.")
    flags: list[str] = Field(description="authenticated, bounce, internal.")

    @classmethod
    def of(cls, envelope: Envelope) -> "EnvelopeDetails":
        """The envelope without what only agents need."""
        return cls(
            sender=envelope.sender,
            rcpt=envelope.rcpt,
            dest=envelope.dest,
            agent=agent_of(envelope.dispatcher),
            relay=relay_of(envelope.dispatcher),
            tag=envelope.tag,
            helo=envelope.helo,
            hostname=envelope.hostname,
            peer=envelope.peer,
            smtpname=envelope.smtpname,
            created_at=instant(envelope.created_at_ms),
            expires_at=instant(envelope.expires_at_ms),
            retry=envelope.retry,
            last_try_at=instant_or_none(envelope.last_try_at_ms),
            error_line=envelope.error_line,
            flags=[flag.name.lower() for flag in EnvelopeFlag if flag.name and envelope.flags & flag],
        )


class QueuedEnvelope(View):
    """An envelope and where it is."""

    evpid: Evpid
    msgid: Msgid
    state: c.EnvelopeState
    due_at: datetime | None = Field(description="Next attempt, by the store's clock; null unless pending.")
    reason: str = Field(description="Why it is in quarantine, or which key it waits for; empty otherwise.")
    envelope: EnvelopeDetails | None = Field(description="null where it cannot be read.")

    @classmethod
    def of(cls, view: c.EnvelopeView) -> "QueuedEnvelope":
        """The envelope as queue gave it."""
        return cls(
            evpid=view.evpid,
            msgid=msgid_of(view.evpid),
            state=view.state,
            due_at=instant_or_none(view.due_at_ms),
            reason=view.reason,
            envelope=EnvelopeDetails.of(view.envelope) if view.envelope else None,
        )


class QueuedMessage(View):
    """A message and its envelopes that are not done yet."""

    msgid: Msgid
    size_bytes: Count
    created_at: datetime
    envelopes: list[QueuedEnvelope]

    @classmethod
    def of(cls, view: c.MessageView) -> "QueuedMessage":
        """The message as queue gave it."""
        return cls(
            msgid=view.msgid,
            size_bytes=view.size_bytes,
            created_at=instant(view.created_at_ms),
            envelopes=[QueuedEnvelope.of(envelope) for envelope in view.envelopes],
        )


class Replica(View):
    """One process of a role."""

    replica: str
    version: str = Field(description="Of the software.")
    configuration: str | None = Field(description="Version of the configuration it runs; null before the first.")
    started_at: datetime
    is_ready: bool


class FleetRole(View):
    """A role and its replicas; none where none answered."""

    role: str
    replicas: list[Replica]


class Fleet(View):
    """All roles, in the order of the path of a message."""

    roles: list[FleetRole]

    @classmethod
    def of(cls, reports: list[c.RoleReport]) -> "Fleet":
        """The reports by role, replicas by name. A role this version does not know is shown last."""
        by_role: dict[str, list[Replica]] = {role: [] for role in ROLES}
        for report in sorted(reports, key=lambda report: report.replica):
            by_role.setdefault(report.role, []).append(
                Replica(
                    replica=report.replica,
                    version=report.version,
                    configuration=report.configuration or None,
                    started_at=instant(report.started_at_ms),
                    is_ready=report.is_ready,
                )
            )
        return cls(roles=[FleetRole(role=role, replicas=replicas) for role, replicas in by_role.items()])


class ShownBan(View):
    """A ban that holds."""

    kind: BanKind = Field(
        description="address, network: may not connect, after too many sessions closed for what the peer did. "
        "auth-address, auth-user: may not authenticate, after too many wrong passwords."
    )
    name: str = Field(description="Address (IPv6: its /64), network or user.", examples=["192.0.2.1"])
    ends_in_s: Count


class ShownBans(View):
    """All bans that hold, those that end last first."""

    bans: list[ShownBan]

    @classmethod
    def of(cls, bans: list[Ban]) -> "ShownBans":
        return cls(bans=[ShownBan(kind=ban.kind, name=ban.name, ends_in_s=ban.ends_in_ms // 1000) for ban in bans])


def instant(at_ms: int) -> datetime:
    """Epoch milliseconds as an aware UTC instant."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def instant_or_none(at_ms: int) -> datetime | None:
    """As instant, None for 0."""
    return instant(at_ms) if at_ms else None


class Recipient(BaseModel):
    """A recipient to explain, with what the rules may ask of its session."""

    model_config = ConfigDict(extra="forbid")

    rcpt: str = Field(max_length=512, examples=["alice@example.test"])
    sender: str = Field("", max_length=512, description="Reverse-path; empty for the null sender.")
    peer: str = Field("127.0.0.1", max_length=64, description="The client's address, or `local` for the local socket.")
    helo: str = Field("", max_length=255)
    tag: str = Field("", max_length=64, description="Of the listener.")
    auth: str = Field("", max_length=255, description="Who has authenticated.")
    tls: bool = False
    rdns: str = Field("", max_length=255, description="The client's name, where it leads back to its address.")

    def query(self) -> c.ExplainQuery:
        """As config is asked."""
        return c.ExplainQuery(self.peer, self.helo, self.sender, self.rcpt, self.tag, self.auth, self.tls, self.rdns)


class Explanation(View):
    """What becomes of it, and why."""

    configuration: str = Field(description="Version that was asked.", examples=["3-0b5c1a2e"])
    accepted: bool
    reply: str | None = Field(
        description="The refusal as the client would hear it.", examples=["550 5.1.1 Invalid recipient"]
    )
    envelopes: list[str] = Field(description="What would be queued: address, and how it is delivered.")
    steps: list[str] = Field(description="Rules passed over, the one that matches, and the expansion, in order.")

    @classmethod
    def of(cls, reply: c.ExplainReply) -> "Explanation":
        return cls(
            configuration=reply.version,
            accepted=not reply.refusal,
            reply=reply.refusal or None,
            envelopes=reply.destinations,
            steps=reply.lines,
        )


class ConfigurationVersion(View):
    """A configuration that is kept."""

    version: str = Field(examples=["3-0b5c1a2e"])
    hostname: str
    rules: Count
    listeners: Count
    tables: Count
    rolled_back_from: str | None = Field(description="Digest of what an operator went back from to this one.")


class Configurations(View):
    """What the fleet runs and what it may go back to."""

    in_force: str | None
    errors: str | None = Field(description="What is wrong with the files now, as smtpfleet-config check prints it.")
    versions: list[ConfigurationVersion] = Field(description="Newest first.")

    @classmethod
    def of(cls, reply: c.VersionsReply) -> "Configurations":
        versions = [
            ConfigurationVersion(
                version=kept.version,
                hostname=kept.hostname,
                rules=kept.rule_count,
                listeners=kept.listener_count,
                tables=kept.table_count,
                rolled_back_from=kept.rolled_back_from or None,
            )
            for kept in reply.versions
        ]
        return cls(in_force=versions[0].version if versions else None, errors=reply.errors or None, versions=versions)


class Rollback(BaseModel):
    """A version: the one to go back to, or, in the answer, the one in force."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(max_length=64, examples=["2-5d41402a"])
