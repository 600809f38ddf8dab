"""Explains under a configuration what becomes of a recipient: the walk of libs/mail, asked of the tables this process serves.

Owns who is asked: dynamic tables and SRS here without the bus, `.forward` of mda where there is a fleet, else nobody. Used by handlers.py for
POST /v1/config/explain and by cli.py for `smtpfleet-config explain`.
"""

import time
from typing import Any

from msgspec import Struct

from smtpfleet.config.srs import SrsServer
from smtpfleet.config.tables.server import TableServer
from smtpfleet.contracts.commands import ExplainQuery, ExplainReply, ForwardReply, TableQuery
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.srs import SrsRestoreQuery
from smtpfleet.contracts.subjects import Subject
from smtpfleet.mail.expand import Expander
from smtpfleet.mail.explain import Explanation
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.asking import Requester
from smtpfleet.runtime.forwards import Forwards
from smtpfleet.runtime.questions import Questions
from smtpfleet.runtime.srs_client import SrsClient
from smtpfleet.runtime.table_client import TableClient


class NoFleet:
    """For the command, which runs without a fleet: nobody has a `.forward` as far as can be seen."""

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        """As runtime.bus.Bus."""
        return ForwardReply("absent", "", "not looked for: without a fleet nobody can read it")


class _OwnAnswers:
    """The bus as TableClient and SrsClient see it, but the answers come from this process."""

    def __init__(self, tables: TableServer, srs: SrsServer) -> None:
        self._tables = tables
        self._srs = srs

    async def request(self, subject: Subject, payload: Struct, *, timeout_s: float = 10.0) -> Any:
        if isinstance(payload, SrsRestoreQuery):
            return self._srs.restore(payload)
        assert isinstance(payload, TableQuery)
        return await self._tables.answer(payload)


class Explainer:
    """Answers ExplainQuery. mda: who reads `.forward` files."""

    def __init__(self, tables: TableServer, srs: SrsServer, mda: Requester) -> None:
        own = _OwnAnswers(tables, srs)
        self._questions = Questions(Forwards(mda, time.monotonic), TableClient(own), SrsClient(own))

    async def explain(self, configuration: Configuration, query: ExplainQuery) -> ExplainReply:
        """What would happen now. `query` has no fault (mail.explain.query_fault)."""
        explanation = Explanation(Expander(configuration, Tables(configuration)), query)
        return explanation.reply(await self._questions.finish(explanation.expansion))
