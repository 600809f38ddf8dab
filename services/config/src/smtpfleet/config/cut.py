"""The form of a configuration that is published: large tables cut out, their entries in parts of their own (contracts.table_parts).

A table whose entries are the very same as last time is not looked at again: what changed is all that costs. Never writes; publisher.py
does. Called by compilation.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from smtpfleet.contracts.configuration import Configuration, Table
from smtpfleet.contracts.table_parts import cut_entries


@dataclass(frozen=True, slots=True)
class Cut:
    """configuration: without version, and without the entries of large tables. parts: by name, what these consist of."""

    configuration: Configuration
    parts: dict[str, bytes] = field(default_factory=dict, repr=False)


class Cutter:
    """Remembers the parts of the tables of the last configuration."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[dict[str, str], dict[str, bytes]]] = {}

    def cut(self, configuration: Configuration) -> Cut:
        """`configuration` as it is published."""
        last, self._last = self._last, {}
        tables: dict[str, Table] = {}
        parts: dict[str, bytes] = {}
        for name, table in configuration.tables.items():
            entries, cut = last.get(name, (None, {}))
            if entries is not table.entries:
                cut = cut_entries(table.entries)
            self._last[name] = table.entries, cut
            parts |= cut
            tables[name] = _without_entries(table, cut) if cut else table
        return Cut(msgspec.structs.replace(configuration, tables=tables), parts)


def _without_entries(table: Table, parts: Mapping[str, bytes]) -> Table:
    # A release that knows no parts asks config for the table, because it is not inline: its mail goes on while the fleet is upgraded.
    return msgspec.structs.replace(table, entries={}, is_inline=False, parts=tuple(parts))


def part_names(configuration: Configuration) -> frozenset[str]:
    """All parts the configuration needs in the bucket of tables."""
    return frozenset(part for table in configuration.tables.values() for part in table.parts)
