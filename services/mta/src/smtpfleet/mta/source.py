"""The local address a session goes out from, where a relay names a table of them.

Owns the turn of each table in the snapshot: its addresses are used one after the other; for another, config keeps the turn. Used by
demands.py. OpenSMTPD: mta.c:mta_query_source, K_SOURCE fetch of lka.
"""

import ipaddress

from smtpfleet.contracts.commands import TableService
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.status import Status
from smtpfleet.mail.patterns import bare_address
from smtpfleet.mail.tables import TableError
from smtpfleet.runtime.table_client import TableClient

S451_NO_SOURCE = Status(451, "4.3.5", "Could not retrieve source address")


class SourcePicker:
    """Round robin over each source table."""

    def __init__(self, tables: TableClient) -> None:
        self._tables = tables
        self._turns: dict[str, int] = {}

    async def pick(self, configuration: Configuration, name: str) -> str | Status:
        """The next address of the table, or why there is none."""
        table = configuration.tables.get(name)
        if table is not None and table.is_inline:
            return self._next(name, list(table.entries))
        try:
            value = await self._tables.fetch(name, TableService.SOURCE)
        except TableError:
            return S451_NO_SOURCE
        return _address(value or "")

    def _next(self, name: str, entries: list[str]) -> str | Status:
        if not entries:
            return S451_NO_SOURCE
        turn = self._turns.get(name, 0)
        self._turns[name] = turn + 1
        return _address(entries[turn % len(entries)])


def _address(text: str) -> str | Status:
    try:
        return str(ipaddress.ip_address(bare_address(text)))
    except ValueError:
        return S451_NO_SOURCE
