"""What admin asks of the other roles, one method per question.

Turns silence and faults of a role into RoleSilent, which names the role. Knows nothing of HTTP. Called by api.py.
"""

from typing import Any, Protocol

from msgspec import Struct

from smtpfleet.contracts import subjects, wire
from smtpfleet.contracts.callers import Ban, BanKind, BansQuery, BansReply, LiftBan, LiftReply
from smtpfleet.contracts.commands import (
    EnvelopeQuery,
    EnvelopeView,
    ExplainQuery,
    ExplainReply,
    GoBack,
    GoBackReply,
    MessageQuery,
    MessageView,
    QueueQuery,
    QueueSummary,
    RoleQuery,
    RoleReport,
    VersionsQuery,
    VersionsReply,
)
from smtpfleet.contracts.subjects import Subject
from smtpfleet.runtime.bus import BusUnavailable

ANSWER_S = 5.0
"""How long an operator waits for a role; answers take milliseconds. Chosen, no source."""
EXPLAIN_S = 25.0
"""An explanation asks tables and mda in its turn; a little more than runtime.questions gives it."""
GATHER_S = 0.3
"""How long replicas have to report themselves; they answer at once. Chosen: it is the time GET /v1/fleet takes."""


class RoleSilent(Exception):
    """`role` cannot answer now; the text says why, for the operator."""

    def __init__(self, role: str, why: str) -> None:
        super().__init__(why)
        self.role = role


class AskingBus(Protocol):
    """The part of runtime.bus.Bus that asks."""

    @property
    def is_connected(self) -> bool: ...

    async def request(self, subject: Subject, payload: Struct, *, timeout_s: float = 10.0) -> Any: ...

    async def gather(self, subject: Subject, payload: Struct, *, wait_s: float) -> list[Any]: ...


class Queries:
    """Questions to the fleet. Every method may raise RoleSilent; each may be repeated."""

    def __init__(self, bus: AskingBus) -> None:
        self._bus = bus

    async def summary(self) -> QueueSummary:
        """Counts of the queue."""
        summary: QueueSummary = await self._ask(subjects.QUEUE_SUMMARY_SHOW, QueueQuery())
        return summary

    async def message(self, msgid: str) -> MessageView | None:
        """The message, or None where the queue has it not."""
        view: MessageView = await self._ask(subjects.QUEUE_MESSAGE_SHOW, MessageQuery(msgid))
        return view if view.found else None

    async def envelope(self, evpid: str) -> EnvelopeView | None:
        """The envelope, or None where the queue has it not."""
        view: MessageView = await self._ask(subjects.QUEUE_ENVELOPE_SHOW, EnvelopeQuery(evpid))
        return next((envelope for envelope in view.envelopes if envelope.evpid == evpid), None)

    async def bans(self) -> list[Ban]:
        """All bans that hold, those that end last first."""
        reply: BansReply = await self._ask(subjects.SCHEDULER_BAN_LIST, BansQuery())
        return reply.bans

    async def lift_ban(self, kind: BanKind, name: str) -> bool:
        """Ends a ban; whether there was one."""
        reply: LiftReply = await self._ask(subjects.SCHEDULER_BAN_LIFT, LiftBan(kind, name))
        return reply.found

    async def explain(self, query: ExplainQuery) -> ExplainReply:
        """What becomes of a recipient under the configuration in force."""
        reply: ExplainReply = await self._ask(subjects.CONFIG_RULESET_EXPLAIN, query, timeout_s=EXPLAIN_S)
        return reply

    async def configurations(self) -> VersionsReply:
        """What is in force, what was before, and what is wrong with the files."""
        reply: VersionsReply = await self._ask(subjects.CONFIG_VERSION_LIST, VersionsQuery())
        return reply

    async def go_back(self, version: str) -> str | None:
        """What is in force now, None where `version` is not kept."""
        reply: GoBackReply = await self._ask(subjects.CONFIG_VERSION_RESTORE, GoBack(version))
        return reply.version or None

    async def fleet(self) -> list[RoleReport]:
        """Every replica that answered in GATHER_S, once each."""
        try:
            reports: list[RoleReport] = await self._bus.gather(subjects.FLEET_ROLE_REPORT, RoleQuery(), wait_s=GATHER_S)
        except BusUnavailable:
            raise RoleSilent("nats", "admin is not connected to nats, so nobody can be asked") from None
        except (wire.UnknownVersion, wire.Malformed) as error:
            raise RoleSilent("fleet", f"a replica gave an answer that this version cannot read: {error}") from None
        return list({(report.role, report.replica): report for report in reports}.values())

    async def _ask(self, subject: Subject, payload: Struct, *, timeout_s: float = ANSWER_S) -> Any:
        role = subject.receivers[0]
        try:
            return await self._bus.request(subject, payload, timeout_s=timeout_s)
        except BusUnavailable:
            if not self._bus.is_connected:
                raise RoleSilent("nats", f"admin is not connected to nats, so {role} cannot be asked") from None
            raise RoleSilent(role, f"{role} did not answer") from None
        except wire.RemoteFault:
            raise RoleSilent(role, f"{role} could not answer; its log says why") from None
        except (wire.UnknownVersion, wire.Malformed) as error:
            raise RoleSilent(role, f"{role} gave an answer that this version cannot read: {error}") from None
