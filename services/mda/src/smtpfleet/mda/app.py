"""Composition root of mda: maildirs, sessions and worker tied to the role's bus, snapshot and log.

Built by runtime.role. Takes no work before the first configuration is here.
"""

import asyncio
import os
from collections.abc import Callable, Sequence

from smtpfleet.contracts.configuration import Configuration
from smtpfleet.mda.attempt import Attempt, failed_by
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.group import deliver_as_users, deliver_group
from smtpfleet.mda.handlers import Handlers
from smtpfleet.mda.maildir import Maildirs
from smtpfleet.mda.rights import acting_as, leave_groups
from smtpfleet.mda.sessions import Sessions
from smtpfleet.mda.settings import MdaSettings
from smtpfleet.mda.single import Singles
from smtpfleet.mda.stream import StreamedFile, deliver_stream
from smtpfleet.mda.users import lookup_user
from smtpfleet.mda.way import LocalPolicy
from smtpfleet.mda.worker import Worker
from smtpfleet.runtime.role import Role
from smtpfleet.runtime.table_client import TableClient
from smtpfleet.runtime.work import WorkClient


class MdaApp:
    """The mda role."""

    def __init__(self, role: Role, settings: MdaSettings) -> None:
        self._role = role
        self._maildirs = Maildirs()
        self._client = WorkClient(role, "mda")
        self._singles = Singles(self._client.read_content)
        leave_groups()
        self._sessions = Sessions(
            settings.mda_threads,
            lambda: role.snapshot.current.limits,
            self._deliver_group,
            self._deliver_large,
            self._singles.deliver,
        )
        self._table_client = table_client = TableClient(role.bus)
        self._handlers = Handlers(
            lambda table, name: lookup_user(role.snapshot.tables, table_client, table, name),
            obeys_programs=settings.forward_programs or os.geteuid() == 0,
        )
        self._worker = Worker(
            self._client,
            self._sessions,
            lambda: role.snapshot.tables,
            table_client,
            role.log,
            lambda work, name: role.spawn(work, name=name),
            lambda: _policy(role.snapshot.current, settings),
        )

    async def start(self) -> None:
        """Waits for the configuration, then asks for work."""
        has_configuration = asyncio.Event()

        def on_configuration(_: Configuration) -> None:
            self._table_client.forget()
            has_configuration.set()

        self._role.snapshot.on_change(on_configuration)
        await has_configuration.wait()
        await self._handlers.bind(self._role.bus)
        self._worker.start()

    async def drain(self) -> None:
        """Finishes what is in hand and gives the rest back."""
        self._client.leave()
        await self._worker.drain()
        self._sessions.close()
        self._singles.close()

    def _deliver_group(self, deliveries: Sequence[Delivery]) -> list[Attempt]:
        return deliver_as_users(deliveries, lambda members: deliver_group(self._maildirs, members))

    async def _deliver_large(self, delivery: Delivery) -> Attempt:
        file = StreamedFile(self._maildirs, delivery)
        chunks = self._client.read_content(delivery.msgid, delivery.chunk_count)

        def step(work: Callable[..., Attempt | None], *arguments: object) -> Attempt | None:
            try:
                with acting_as(delivery.uid, delivery.gid):
                    return work(*arguments)
            except OSError as error:
                return failed_by(delivery.evpid, error, f"becoming uid {delivery.uid}")

        async def in_thread(work: Callable[..., Attempt | None], *arguments: object) -> Attempt | None:
            return await self._sessions.in_thread(step, work, *arguments)

        return await deliver_stream(file, delivery.evpid, chunks, in_thread)


def _policy(configuration: Configuration, settings: MdaSettings) -> LocalPolicy:
    return LocalPolicy(
        configuration.language, configuration.hostname, configuration.subaddress_delimiter, settings.mbox_folder
    )
