"""A table whose entries config has read itself, but which must not travel to every role: credentials of static, file, db and passwd.

Answers from memory, so it never fails. The entries come from the compilation and are replaced with the whole backend on a new one. Used
by server.py. OpenSMTPD: table_static.c.
"""

from collections.abc import Mapping

from smtpfleet.contracts.commands import TableService


class MemoryBackend:
    """Entries by key in lower case."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = entries
        self._order = sorted(entries)
        self._next = 0

    async def lookup(self, service: TableService, keys: list[str]) -> list[str | None]:
        """The value of each key."""
        return [self._entries.get(key) for key in keys]

    async def check(self, service: TableService, keys: list[str]) -> bool:
        """Whether any of the keys is there."""
        return any(key in self._entries for key in keys)

    async def fetch(self, service: TableService) -> str | None:
        """The next key, in sorted order: what is fetched are lists, whose values are their keys (reference 9.2)."""
        if not self._order:
            return None
        key = self._order[self._next % len(self._order)]
        self._next += 1
        return key

    async def close(self) -> None:
        """Nothing to end."""
