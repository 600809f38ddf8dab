"""Composition root of mda: maildirs, sessions and worker tied to the role's bus, snapshot and log.

Built by runtime.role. Takes no work before the first configuration is here. mda consumes no subject of its own, so it has no handlers.
"""

import asyncio

from smtpfleet.contracts.configuration import Configuration
from smtpfleet.mda.attempt import Attempt
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.group import deliver_group
from smtpfleet.mda.maildir import Maildirs
from smtpfleet.mda.sessions import Sessions
from smtpfleet.mda.settings import MdaSettings
from smtpfleet.mda.stream import StreamedFile, deliver_stream
from smtpfleet.mda.worker import Worker
from smtpfleet.runtime.role import Role
from smtpfleet.runtime.work import WorkClient


class MdaApp:
    """The mda role."""

    def __init__(self, role: Role, settings: MdaSettings) -> None:
        self._role = role
        self._maildirs = Maildirs()
        self._client = WorkClient(role, "mda")
        self._sessions = Sessions(
            settings.mda_threads,
            lambda: role.snapshot.current.limits,
            lambda deliveries: deliver_group(self._maildirs, deliveries),
            self._deliver_large,
        )
        self._worker = Worker(
            self._client,
            self._sessions,
            lambda: role.snapshot.tables,
            role.log,
            lambda work, name: role.spawn(work, name=name),
        )

    async def start(self) -> None:
        """Waits for the configuration, then asks for work."""
        has_configuration = asyncio.Event()

        def on_configuration(_: Configuration) -> None:
            has_configuration.set()

        self._role.snapshot.on_change(on_configuration)
        await has_configuration.wait()
        self._worker.start()

    async def drain(self) -> None:
        """Finishes what is in hand and gives the rest back."""
        self._client.leave()
        await self._worker.drain()
        self._sessions.close()

    async def _deliver_large(self, delivery: Delivery) -> Attempt:
        file = StreamedFile(self._maildirs, delivery)
        chunks = self._client.read_content(delivery.msgid, delivery.chunk_count)
        return await deliver_stream(file, delivery.evpid, chunks, self._sessions.in_thread)
