"""A TableQuery that has been checked: which keys a backend may be asked for, and in which form.

Owns the rules of keys (reference 9.1) and the bounds of a query; knows no table. Used by server.py.
"""

from dataclasses import dataclass

from smtpfleet.contracts.commands import TableQuery, TableService
from smtpfleet.mail.addrname import addrname_key
from smtpfleet.mail.tables import KEY_LIMIT

KEYS_MAX = 64
"""Of one query (contracts.commands.TableQuery)."""
OPERATIONS = ("lookup", "check", "fetch")


@dataclass(frozen=True, slots=True)
class Question:
    """keys: lower case; empty for a fetch."""

    table: str
    service: TableService
    operation: str
    keys: tuple[str, ...]

    @property
    def has_secret(self) -> bool:
        """Whether key or answer holds a password: such answers are asked for every time and kept nowhere."""
        return self.service in (TableService.CREDENTIALS, TableService.AUTH)


@dataclass(frozen=True, slots=True)
class BadQuestion:
    """Why a query is not asked. Does not quote the key."""

    reason: str


def check_query(query: TableQuery) -> Question | BadQuestion:
    """The question in `query`, or what is wrong with it."""
    if query.operation not in OPERATIONS:
        return BadQuestion(f"no such operation: {query.operation[:20]}")
    if query.operation == "fetch":
        return Question(query.table, query.service, query.operation, ())
    if not 1 <= len(query.keys) <= KEYS_MAX:
        return BadQuestion(f"{len(query.keys)} keys, a query has 1 to {KEYS_MAX}")
    keys = tuple(_normal(query.service, key) for key in query.keys)
    for key in keys:
        if any(char in key for char in "\r\n\0"):
            return BadQuestion("a key with a line end or a NUL is refused")
        try:
            size_bytes = len(key.encode())
        except UnicodeEncodeError:
            return BadQuestion("a key that is no text is refused")
        if size_bytes > KEY_LIMIT:
            return BadQuestion(f"a key of more than {KEY_LIMIT} bytes is refused")
    return Question(query.table, query.service, query.operation, keys)


def _normal(service: TableService, key: str) -> str:
    """Keys have no case; in `user:cleartext` that holds for the user alone."""
    if service is TableService.AUTH:
        user, colon, password = key.partition(":")
        return user.lower() + colon + password
    if service is TableService.ADDRNAME:
        return addrname_key(key) or key.lower()
    return key.lower()
