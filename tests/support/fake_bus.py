"""The asking side of the bus without NATS: canned answers by subject, for unit tests of admin.

A subject without an answer is a role that does not answer; an answer that is an exception is raised. What was asked is kept.
"""

from typing import Any

from msgspec import Struct

from smtpfleet.contracts.subjects import Kind, Subject
from smtpfleet.runtime.bus import BusUnavailable


class FakeBus:
    """Answers requests and broadcasts."""

    def __init__(self) -> None:
        self.is_connected = True
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Struct]] = []

    def answer(self, subject: Subject, reply: Any) -> None:
        """From now on `subject` is answered so; a list for a broadcast, with a reply per replica."""
        self.answers[subject.name] = reply

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        assert subject.kind is Kind.REQUEST
        return self._reply(subject, payload)

    async def gather(self, subject: Subject, payload: Struct, *, wait_s: float) -> list[Any]:
        assert subject.kind is Kind.BROADCAST
        replies: list[Any] = self._reply(subject, payload)
        return replies

    def _reply(self, subject: Subject, payload: Struct) -> Any:
        assert isinstance(payload, subject.payload)
        self.asked.append((subject.name, payload))
        if not self.is_connected or subject.name not in self.answers:
            raise BusUnavailable(f"{subject.name}: no answer")
        reply = self.answers[subject.name]
        if isinstance(reply, Exception):
            raise reply
        return reply
