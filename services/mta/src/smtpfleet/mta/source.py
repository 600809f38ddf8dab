"""The local address a session goes out from, where a relay names a table of them.

Owns the turn of each table: its addresses are used one after the other. Used by connector.py. OpenSMTPD: mta.c:mta_query_source,
K_SOURCE fetch of lka.
"""

import ipaddress

from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.status import Status

S451_NO_SOURCE = Status(451, "4.3.5", "Could not retrieve source address")


class SourcePicker:
    """Round robin over each source table."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}

    def pick(self, configuration: Configuration, table: str) -> str | Status:
        """The next address of the table, or why there is none."""
        found = configuration.tables.get(table)
        entries = list(found.entries) if found is not None else []
        if not entries:
            return S451_NO_SOURCE
        turn = self._turns.get(table, 0)
        self._turns[table] = turn + 1
        try:
            return str(ipaddress.ip_address(entries[turn % len(entries)].strip("[]").removeprefix("ipv6:")))
        except ValueError:
            return S451_NO_SOURCE
