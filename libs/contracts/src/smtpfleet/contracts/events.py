"""Facts announced to whoever listens: dashboard, webhooks, log shippers. Kept by a JetStream stream with limits.

Past tense; several facts of one kind travel in one payload. An event may be lost or doubled; nothing on the path of a message
waits for one or is decided by one.
"""

from msgspec import Struct

from smtpfleet.contracts.status import Status


class MessageAccepted(Struct, frozen=True, array_like=True):
    """smtp-in answered 250. at_ms: smtp-in's clock. user: who authenticated, "" for nobody."""

    msgid: str
    session: str
    sender: str
    rcpt_count: int
    size_bytes: int
    peer: str
    at_ms: int
    user: str = ""


class EnvelopeEvent(Struct, frozen=True, array_like=True):
    """One thing that happened to one envelope; the subject says what. at_ms: store clock. status: empty text where none."""

    evpid: str
    sender: str
    rcpt: str
    dest: str
    relay: str
    at_ms: int
    status: Status


class AcceptedEvents(Struct, frozen=True, array_like=True):
    """Messages accepted, in order."""

    events: list[MessageAccepted]


class EnvelopeEvents(Struct, frozen=True, array_like=True):
    """Envelope events of one kind."""

    events: list[EnvelopeEvent]


class WorkReady(Struct, frozen=True, array_like=True):
    """Relays with new work or a freed permit: (agent, relay) pairs. A hint; the scheduler's sweep finds the same within a second."""

    relays: list[tuple[str, str]]


class WorkerLeaving(Struct, frozen=True, array_like=True):
    """This worker drains: answer what it has parked with no work, so that it need not wait it out. A hint."""

    agent: str
    worker: str
