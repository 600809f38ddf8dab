"""What queue tells others: wake-ups for the scheduler and events, gathered for one turn of the loop.

Hints and facts, never state: all of it may be lost. OpenSMTPD: the IMSG_QUEUE_* messages to the scheduler and the log.
"""

import asyncio
from collections.abc import Iterable

from smtpfleet.contracts import subjects
from smtpfleet.contracts.envelope import Envelope, agent_of, relay_of
from smtpfleet.contracts.events import EnvelopeEvent, EnvelopeEvents, WorkReady
from smtpfleet.contracts.status import Status
from smtpfleet.contracts.subjects import Subject
from smtpfleet.runtime.bus import Bus

S250_QUEUED = Status(250, "2.0.0", "queued")
EVENT_BATCH = 500
"""Events per payload; some 100 KB. Chosen."""


class Announcer:
    """Gathers and sends."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._relays: dict[tuple[str, str], None] = {}
        self._events: dict[Subject, list[EnvelopeEvent]] = {}
        self._is_scheduled = False

    def queued(self, envelopes: Iterable[Envelope], now_ms: int) -> None:
        """New envelopes are due."""
        events = self._events.setdefault(subjects.EVENT_ENVELOPE_QUEUED, [])
        relays = self._relays
        for envelope in envelopes:
            relay = relay_of(envelope.dispatcher)
            relays[(agent_of(envelope.dispatcher), relay)] = None
            events.append(
                EnvelopeEvent(envelope.evpid, envelope.sender, envelope.rcpt, envelope.dest, relay, now_ms, S250_QUEUED)
            )
        self._schedule()

    def event(self, subject: Subject, envelope: Envelope, status: Status, now_ms: int) -> None:
        """Something happened to an envelope."""
        self._events.setdefault(subject, []).append(
            EnvelopeEvent(
                envelope.evpid,
                envelope.sender,
                envelope.rcpt,
                envelope.dest,
                relay_of(envelope.dispatcher),
                now_ms,
                status,
            )
        )
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._is_scheduled = False
        relays, self._relays = list(self._relays), {}
        events, self._events = self._events, {}
        if relays:
            self._bus.publish(subjects.SCHEDULER_WORK_READY, WorkReady(relays))
        for subject, gathered in events.items():
            for first in range(0, len(gathered), EVENT_BATCH):
                self._bus.publish(subject, EnvelopeEvents(gathered[first : first + EVENT_BATCH]))
