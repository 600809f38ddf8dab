"""What is announced: every step of a message as an event on the bus, and kept by the JetStream stream."""

import asyncio
from typing import Any

import nats
import pytest

from smtpfleet.contracts import wire
from smtpfleet.contracts.events import AcceptedEvents, EnvelopeEvents
from smtpfleet.contracts.subjects import SUBJECTS, Kind
from tests.path.ground import DEADLINE_S, Ground, mail
from tests.support.peer import Script

pytestmark = [pytest.mark.path, pytest.mark.connected]

PREFIX = "smtpfleet."
PAYLOADS = {row.name: row.payload for row in SUBJECTS if row.kind is Kind.EVENT}


async def kept_events(ground: Ground, msgid: str, last: str) -> list[tuple[str, Any]]:
    """The events of a message in the stream, in order, once `last` is among them."""
    found: list[tuple[str, Any]] = []
    client = await nats.connect(ground.fleet.nats.url)
    try:
        stream = await client.jetstream().subscribe(f"{PREFIX}event.>", ordered_consumer=True)
        async with asyncio.timeout(DEADLINE_S):
            while last not in [name for name, _ in found]:
                message = await stream.next_msg(timeout=DEADLINE_S)
                name = message.subject.removeprefix(PREFIX)
                payload: Any = wire.decode(message.data, PAYLOADS[name])
                found += [(name, event) for event in payload.events if _msgid(payload, event) == msgid]
    finally:
        await client.close()
    return found


def _msgid(payload: AcceptedEvents | EnvelopeEvents, event: Any) -> str:
    return str(event.msgid if isinstance(payload, AcceptedEvents) else event.evpid[:16])


async def test_a_delivery_is_announced_step_by_step(ground: Ground) -> None:
    msgid = ground.send("alice@example.test", ["bob@example.test"], mail("watched"))
    events = await kept_events(ground, msgid, "event.envelope.delivered")
    # Accepted comes from smtp-in, queued from queue: their order is not promised.
    assert sorted(name for name, _ in events) == [
        "event.envelope.delivered", "event.envelope.queued", "event.message.accepted"
    ]  # fmt: skip
    by_name = dict(events)
    accepted, delivered = by_name["event.message.accepted"], by_name["event.envelope.delivered"]
    assert (accepted.sender, accepted.rcpt_count, accepted.peer) == ("alice@example.test", 1, "127.0.0.1")
    assert (delivered.sender, delivered.rcpt, delivered.dest) == (
        "alice@example.test",
        "bob@example.test",
        "bob@example.test",
    )


async def test_a_failure_is_announced_with_its_status(ground: Ground) -> None:
    rcpts = {"wait@events.test": "450 4.2.0 Not now", "never@events.test": "550 5.1.1 Never"}
    ground.world.exchanger("events.test", Script(rcpts=rcpts))
    msgid = ground.send("alice@example.test", list(rcpts), mail("watched"))
    events = await kept_events(ground, msgid, "event.envelope.bounced")
    told = {
        (name.rpartition(".")[2], event.dest): event.status.line
        for name, event in events
        if name.startswith("event.env")
    }
    assert told["deferred", "wait@events.test"] == "450 4.2.0 Not now"
    assert told["failed", "never@events.test"] == "550 5.1.1 Never"
    assert told["bounced", "never@events.test"] == "550 5.1.1 Never"
    assert ("bounced", "wait@events.test") not in told
