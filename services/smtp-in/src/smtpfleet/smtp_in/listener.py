"""The sockets we listen on: opened, kept and closed as the configuration says, without dropping a session.

Owns one listening socket per address and port; SO_REUSEPORT lets any number of replicas share a port, the kernel deals out connections.
A listener that disappears stops accepting; its sessions end by themselves. Called by app with every snapshot. OpenSMTPD: smtp.c smtp_setup_events.
"""

import asyncio
import socket
from collections.abc import Callable

from smtpfleet.contracts.configuration import Configuration, Listener
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.smtp_in.entrance import Entrance

BACKLOG = 1024
"""Connections the kernel holds for us while we are busy; chosen, the kernel cuts it to net.core.somaxconn."""

Endpoint = tuple[str, int]
MakeProtocol = Callable[[Callable[[], Entrance]], asyncio.Protocol]


class Listeners:
    """All listening sockets of this process."""

    def __init__(self, log: MailLog, make_protocol: MakeProtocol) -> None:
        self._log = log
        self._make_protocol = make_protocol
        self._entrances: dict[Endpoint, Entrance] = {}
        self._servers: dict[Endpoint, asyncio.Server] = {}
        self.missing: set[Endpoint] = set()

    @property
    def ports(self) -> list[Endpoint]:
        """Address and port of every open socket."""
        return [server.sockets[0].getsockname()[:2] for server in self._servers.values()]

    async def apply(self, configuration: Configuration, tables: Tables) -> None:
        """Makes the open sockets those of `configuration`. One that cannot be opened is in `missing`; apply again later."""
        wanted = {(listener.address, listener.port): listener for listener in configuration.listeners}
        for endpoint in [endpoint for endpoint in self._servers if endpoint not in wanted]:
            self._servers.pop(endpoint).close()
            del self._entrances[endpoint]
            self._log.info("listener closed", address=_text(endpoint))
        self.missing &= set(wanted)
        for endpoint, listener in wanted.items():
            self._entrances[endpoint] = Entrance(configuration, tables, listener)
            if endpoint not in self._servers:
                await self._open(endpoint, listener)

    async def _open(self, endpoint: Endpoint, listener: Listener) -> None:
        try:
            listening = _listening_socket(endpoint)
        except OSError as error:
            if endpoint not in self.missing:
                self._log.error("cannot listen, trying again", address=_text(endpoint), error=error.strerror)
            self.missing.add(endpoint)
            return
        # The newest entrance, whenever a session begins.
        entrance = self._entrances.__getitem__
        self._servers[endpoint] = await asyncio.get_running_loop().create_server(
            lambda: self._make_protocol(lambda: entrance(endpoint)), sock=listening, backlog=BACKLOG
        )
        self.missing.discard(endpoint)
        self._log.info("listening", address=_text(endpoint), tag=listener.tag or "-")

    def close(self) -> None:
        """Accepts no more; sessions go on."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()


def _listening_socket(endpoint: Endpoint) -> socket.socket:
    address = endpoint[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # Peers over IPv4 must not look like ::ffff:192.0.2.9 to the rules; 0.0.0.0 is a listener of its own.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(endpoint)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _text(endpoint: Endpoint) -> str:
    address, port = endpoint
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
