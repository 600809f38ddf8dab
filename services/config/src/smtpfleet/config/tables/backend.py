"""What the server of tables asks of every backend, and how a backend fails.

Owns the interface and its promises, no table. A backend never says "not found" when it could not look: it raises BackendFailed, which
becomes an error in the reply and a 451 to the peer. Implemented by memory, sql, ldap, redis and proc; used by server.py.
"""

from typing import Protocol

from smtpfleet.contracts.commands import TableService


class BackendFailed(Exception):
    """The backend cannot answer: away, refusing, misconfigured, or its data has the wrong form. Temporary for mail.

    The text is for the log of config and of the asking role: it says what an operator can act on, without keys, values or passwords.
    """


class SessionLost(BackendFailed):
    """The connection broke; the same question on a new one may be answered."""


class Backend(Protocol):
    """One table. Questions may be asked concurrently; the caller limits their time by cancelling, which must leave no broken state.

    Keys have been checked and lower-cased. Any method may raise BackendFailed.
    """

    async def lookup(self, service: TableService, keys: list[str]) -> list[str | None]:
        """The value of each key in the form of the service (reference 9.1), None where there is none."""

    async def check(self, service: TableService, keys: list[str]) -> bool:
        """Whether any of the keys is there."""

    async def fetch(self, service: TableService) -> str | None:
        """The next of all values, round and round; None where there are none."""

    async def close(self) -> None:
        """Ends connections and processes. Nothing is asked afterwards."""
