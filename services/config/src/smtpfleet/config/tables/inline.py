"""A table that is inline where it is used, for whoever asks all the same: a role without that large table, or of an earlier release.

Answers from memory with the matching of the snapshot (mail.tables), so that it says here what it says there. Never about passwords, which
no inline table has: what it would say is the other half of a passwd file. Used by server.py.
"""

from collections.abc import Callable, Mapping

from smtpfleet.config.tables.backend import BackendFailed
from smtpfleet.contracts.commands import TableService
from smtpfleet.mail.tables import TableError, Tables

_MATCHERS: Mapping[TableService, Callable[[Tables, str, str], bool]] = {
    TableService.DOMAIN: Tables.match_domain,
    TableService.NETADDR: Tables.match_netaddr,
    TableService.MAILADDR: Tables.match_mailaddr,
    TableService.STRING: Tables.match_string,
    TableService.REGEX: Tables.match_regex,
}


class InlineBackend:
    """One table of `tables`."""

    def __init__(self, tables: Tables, name: str) -> None:
        self._tables = tables
        self._name = name
        self._turn = 0

    async def lookup(self, service: TableService, keys: list[str]) -> list[str | None]:
        """The value of each key."""
        _refuse_secret(service)
        try:
            return [self._tables.lookup(self._name, service, key) for key in keys]
        except TableError as error:
            raise BackendFailed(str(error)) from None

    async def check(self, service: TableService, keys: list[str]) -> bool:
        """Whether any of the keys is there, or matches."""
        _refuse_secret(service)
        matches = _MATCHERS.get(service, Tables.match_string)
        try:
            return any(matches(self._tables, self._name, key) for key in keys)
        except TableError as error:
            raise BackendFailed(str(error)) from None

    async def fetch(self, service: TableService) -> str | None:
        """The next element of the list, round and round."""
        values = self._tables.values_of(self._name)
        self._turn += 1
        return values[(self._turn - 1) % len(values)] if values else None

    async def close(self) -> None:
        """Nothing to end."""


def _refuse_secret(service: TableService) -> None:
    if service in (TableService.CREDENTIALS, TableService.AUTH):
        raise BackendFailed("its file has not been read here")
