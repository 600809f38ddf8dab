"""Brings an expansion to its end: asks config for tables outside the snapshot and for SRS, mda for `.forward` files.

Owns whom a question goes to and how long a recipient may take in all; knows nothing of the walk. What cannot be answered in time fails
the recipient for now. Used by smtp-in at RCPT and by queue for the way of a bounce. OpenSMTPD: lka.c between lookup and parent.
"""

import asyncio

from smtpfleet.contracts.commands import ForwardQuery, TableQuery
from smtpfleet.contracts.srs import SrsRestoreQuery
from smtpfleet.mail.expand import Expansion, OpenExpansion, Question
from smtpfleet.mail.tables import TableError
from smtpfleet.runtime.forwards import Forwards
from smtpfleet.runtime.srs_client import SrsClient, SrsUnavailable
from smtpfleet.runtime.table_client import TableClient

EXPAND_WITHIN_S = 20.0
"""How long one recipient may take: several slow answers in a row, far below the five minutes a peer waits (RFC 5321 §4.5.3.2.3)."""


class Questions:
    """Where the snapshot ends."""

    def __init__(
        self, forwards: Forwards, tables: TableClient, srs: SrsClient, *, within_s: float = EXPAND_WITHIN_S
    ) -> None:
        self._within_s = within_s
        self._srs = srs
        self.forwards = forwards
        self._tables = tables

    async def finish(self, opened: OpenExpansion, question: Question | None = None) -> Expansion:
        """The expansion, from `question` on where it has been begun. Never raises for what config or mda do."""
        try:
            async with asyncio.timeout(self._within_s):
                return await self._finish(opened, question)
        except TimeoutError:
            return opened.fail(f"expansion took longer than {self._within_s:g} s")

    async def _finish(self, opened: OpenExpansion, question: Question | None) -> Expansion:
        outcome: Expansion | Question = question or opened.proceed()
        while not isinstance(outcome, Expansion):
            try:
                if isinstance(outcome, ForwardQuery):
                    opened.learn(outcome, await self.forwards.ask(outcome))
                elif isinstance(outcome, SrsRestoreQuery):
                    opened.learn(outcome, await self._srs.restore(outcome))
                else:
                    opened.learn(outcome, await self.ask_table(outcome))
            except (TableError, SrsUnavailable) as error:
                return opened.fail(str(error))
            outcome = opened.proceed()
        return outcome

    async def ask_table(self, query: TableQuery) -> list[str | None]:
        """Config's answer, a value for each key. Raises TableError."""
        if query.operation == "lookup":
            return await self._tables.lookup_many(query.table, query.service, query.keys)
        if query.operation == "check":
            is_there = await self._tables.check(query.table, query.service, query.keys[0])
            return ["" if is_there else None]
        return [await self._tables.fetch(query.table, query.service)]
