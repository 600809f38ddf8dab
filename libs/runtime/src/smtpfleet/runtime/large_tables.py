"""The large tables of the snapshot: fetches the parts of those the role looks into, and keeps what a later snapshot may name again.

A table is joined whole or not at all; which ones a role needs it says itself (mail.table_needs). A table that has not changed costs
nothing: its parts have the same names. Used by snapshot.py. OpenSMTPD sends a table's whole content over imsg instead (config.c).
"""

import asyncio
from typing import Protocol

import msgspec

from smtpfleet.contracts.configuration import Configuration, Table
from smtpfleet.contracts.subjects import TABLES_BUCKET
from smtpfleet.contracts.table_parts import read_part
from smtpfleet.mail.table_needs import TableNeeds


class KeyValueReader(Protocol):
    """The part of runtime.bus.Bus that is used here."""

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        """Value and revision, or None. Raises BusUnavailable."""


class PartMissing(Exception):
    """The bucket has no such part: a newer snapshot is there already, or config is about to write the part again."""


class LargeTables:
    """Entries by the parts they were joined from: of the last snapshot, and what came so far of one that is not whole yet."""

    def __init__(self, bus: KeyValueReader, needs: TableNeeds) -> None:
        self._bus = bus
        self._needs = needs
        self._held: dict[tuple[str, ...], dict[str, str]] = {}
        self._fetched: dict[tuple[str, ...], dict[str, str]] = {}

    def hold(self, parts: tuple[str, ...], entries: dict[str, str]) -> None:
        """What config has itself cut, it need not fetch. Good for the next `join`."""
        self._fetched[parts] = entries

    async def join(self, published: Configuration) -> Configuration:
        """The snapshot with the entries of every large table this role needs; tables it does not need stay as they are, to be asked of
        config. Raises BusUnavailable, PartMissing, wire.Malformed or wire.UnknownVersion; then what is held stays, for the next try."""
        needed = self._needs(published)
        named = {table.parts for table in published.tables.values()}
        self._fetched = {parts: entries for parts, entries in self._fetched.items() if parts in named}
        held: dict[tuple[str, ...], dict[str, str]] = {}
        tables = dict(published.tables)
        for name, table in published.tables.items():
            if table.parts and name in needed:
                entries = held[table.parts] = await self._entries_of(table)
                self._fetched[table.parts] = entries  # a later table may fail; this one need not come again
                tables[name] = msgspec.structs.replace(table, entries=entries, is_inline=True)
        self._held, self._fetched = held, {}
        return msgspec.structs.replace(published, tables=tables) if held else published

    async def _entries_of(self, table: Table) -> dict[str, str]:
        for known in (self._held, self._fetched):
            if table.parts in known:
                return known[table.parts]
        entries: dict[str, str] = {}
        for part in table.parts:
            # One after the other: sessions of this role have their turn between two parts.
            found = await self._bus.kv_get(TABLES_BUCKET, part)
            if found is None:
                raise PartMissing(f"table {table.name}: part {part} is not there")
            entries |= read_part(part, found[0])
            await asyncio.sleep(0)
        return entries
