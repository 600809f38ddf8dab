"""Composition root of admin: the REST API on its own address, in the role's loop.

Built by runtime.role. Serves at once, also while other roles are away: then it says who does not answer. Consumes no subject of its own, so
it has no handlers.
"""

import asyncio

from smtpfleet.admin.access import Access
from smtpfleet.admin.api import build_api
from smtpfleet.admin.queries import Queries
from smtpfleet.admin.settings import AdminSettings
from smtpfleet.runtime.health import InLoopServer, bind, in_loop_server
from smtpfleet.runtime.role import Role, software_version


class AdminApp:
    """The admin role."""

    def __init__(self, role: Role, settings: AdminSettings) -> None:
        self._role = role
        self._settings = settings
        self._server: InLoopServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens."""
        access = Access(self._settings.admin_token)
        api = build_api(Queries(self._role.bus), access, self._role.health.missing, software_version())
        listener = bind(self._settings.admin_listen)
        host, port = listener.getsockname()[:2]
        self._server, self._serving = in_loop_server(api, listener)
        self._role.spawn(self._watch(self._server, self._serving), name="rest api")
        self._role.log.info("serving the REST API", address=f"{host}:{port}", needs_token=access.needs_token)

    async def drain(self) -> None:
        """Answers what was asked and stops listening."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait({self._serving})

    async def _watch(self, server: InLoopServer, serving: asyncio.Task[None]) -> None:
        """Without its server the role is of no use: its end is the end of the process."""
        await asyncio.wait({serving})
        if not server.should_exit:
            raise RuntimeError("the HTTP server has ended") from serving.exception()
