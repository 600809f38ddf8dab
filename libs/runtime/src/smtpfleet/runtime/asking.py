"""What most parts of a role need of it: to ask other roles, and to have work done beside.

Protocols only, so that a part can be tried with a few lines in place of NATS. Bus and Role are what they are in a process.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

from msgspec import Struct

from smtpfleet.contracts.subjects import Subject


class Requester(Protocol):
    """The part of runtime.bus.Bus that asks."""

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        """As Bus.request: raises BusUnavailable or wire.RemoteFault."""


class Spawn(Protocol):
    """As runtime.role.Role.spawn: a failure of `work` ends the process."""

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> object: ...
