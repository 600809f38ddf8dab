"""Composition root of mta: builds the resolver, the routes, the worker, and starts it.

No subject is consumed: mta only asks (scheduler.work.next, queue.envelope.load, tables of config) and reports.
"""

import asyncio

from smtpfleet.mta.connector import Outbound
from smtpfleet.mta.demands import Demands
from smtpfleet.mta.route import RouteTable
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.mta.srs import SenderRewriter
from smtpfleet.mta.tls import TlsContexts
from smtpfleet.mta.transaction import Timeouts
from smtpfleet.mta.worker import Worker
from smtpfleet.runtime.resolver import BadNameservers, Resolver
from smtpfleet.runtime.role import Role
from smtpfleet.runtime.settings import BadSettings
from smtpfleet.runtime.srs_client import SrsClient
from smtpfleet.runtime.table_client import TableClient
from smtpfleet.runtime.work import WorkClient


class MtaApp:
    """The mta role."""

    def __init__(self, role: Role, settings: MtaSettings) -> None:
        nameservers = tuple(text.strip() for text in settings.nameservers.split(",") if text.strip())
        try:
            resolver = Resolver(nameservers, timeout_s=settings.dns_timeout_s)
        except BadNameservers as error:
            raise BadSettings(f"SMTPFLEET_NAMESERVERS: {error}") from None
        self._role = role
        tables = TableClient(role.bus)
        role.snapshot.on_change(lambda _: tables.forget())
        contexts = TlsContexts(settings.tls_ca_file, settings.config_root)
        outbound = Outbound(
            work=WorkClient(role, "mta"),
            log=role.log,
            snapshot=role.snapshot,
            settings=settings,
            resolver=resolver,
            routes=RouteTable(settings.route_penalty_s),
            demands=Demands(settings, contexts, tables, role.log, Timeouts()),
            tables=tables,
            srs=SenderRewriter(SrsClient(role.bus), role.log),
        )
        self._worker = Worker(outbound, settings.max_sessions)

    async def start(self) -> None:
        """Begins to ask for work; there may be none to ask of yet, which is no reason to wait."""
        arrived = asyncio.Event()
        self._role.snapshot.on_change(lambda _: arrived.set())
        await arrived.wait()
        self._role.spawn(self._worker.run(), name="worker")

    async def drain(self) -> None:
        """Finishes what is in hand."""
        await self._worker.drain()
