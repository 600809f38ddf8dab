"""The sockets we listen on: opened, kept and closed as the configuration says, without dropping a session.

Owns one listening socket per address and port; SO_REUSEPORT lets any number of replicas share a port, the kernel deals out connections.
A listener that disappears stops accepting; its sessions end by themselves. One whose TLS is mandatory and cannot be set up stays closed.
Called by app with every snapshot. OpenSMTPD: smtp.c smtp_setup_events.
"""

import asyncio
import socket
from collections.abc import Callable

from smtpfleet.contracts.configuration import Configuration, Listener
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.smtp_in.arrival import Arrived, Doorway
from smtpfleet.smtp_in.callers import Callers
from smtpfleet.smtp_in.entrance import Entrance
from smtpfleet.smtp_in.submission_socket import TakenByAnother, submission_socket
from smtpfleet.smtp_in.tls import ListenerTls, TlsContexts

BACKLOG = 1024
"""Connections the kernel holds for us while we are busy; chosen, the kernel cuts it to net.core.somaxconn."""
SOCKET = "socket"
"""Listener.address of local submission."""

Endpoint = tuple[str, int]
MakeProtocol = Callable[[Callable[[], Entrance], Arrived | None], asyncio.Protocol]


class Listeners:
    """All listening sockets of this process. socket_path: where local submission listens, "" for nowhere."""

    def __init__(
        self,
        log: MailLog,
        make_protocol: MakeProtocol,
        tls: TlsContexts | None = None,
        socket_path: str = "",
        note_failed_arrival: Callable[[str, str], None] = lambda peer, reason: None,
        callers: Callers | None = None,
    ) -> None:
        self._log = log
        self._make_protocol = make_protocol
        self._tls = tls or TlsContexts(log)
        self._socket_path = socket_path
        self._note_failed_arrival = note_failed_arrival
        self._callers = callers
        self._entrances: dict[Endpoint, Entrance] = {}
        self._servers: dict[Endpoint, asyncio.Server | Doorway] = {}
        self.missing: set[Endpoint] = set()
        self.is_standing_by = False

    @property
    def ports(self) -> list[Endpoint]:
        """Address and port of every open socket of the network."""
        return [server.sockets[0].getsockname()[:2] for (name, _), server in self._servers.items() if name != SOCKET]

    async def apply(self, configuration: Configuration, tables: Tables) -> None:
        """Makes the open sockets those of `configuration`. One that cannot be opened is in `missing`; apply again later."""
        wanted = {
            (listener.address, listener.port): listener
            for listener in configuration.listeners
            if listener.address != SOCKET or self._socket_path
        }
        secured = await self._tls.apply(configuration)
        self.is_standing_by = False
        for endpoint in [
            each for each in self._servers if each not in wanted or self._is_other_kind(each, wanted[each])
        ]:
            self._servers.pop(endpoint).close()
            del self._entrances[endpoint]
            self._log.info("listener closed", address=_text(endpoint))
        self.missing &= set(wanted)
        for endpoint, listener in wanted.items():
            is_new = endpoint not in self._entrances
            self._entrances[endpoint] = Entrance(configuration, tables, listener, secured.get(endpoint))
            if is_new and listener.auth != "none" and not listener.auth_table:
                self._log.error("nobody can authenticate: auth without a table of credentials", address=_text(endpoint))
            if endpoint not in self._servers:
                await self._open(endpoint, listener, secured.get(endpoint))

    async def take_turn(self) -> None:
        """Opens the submission socket where the replica that had it has ended."""
        endpoint = (SOCKET, 0)
        if self.is_standing_by and endpoint in self._entrances:
            self.is_standing_by = False
            await self._open(endpoint, self._entrances[endpoint].listener, None)

    def _is_other_kind(self, endpoint: Endpoint, listener: Listener) -> bool:
        return isinstance(self._servers[endpoint], Doorway) is not needs_doorway(listener)

    async def _open(self, endpoint: Endpoint, listener: Listener, tls: ListenerTls | None) -> None:
        if listener.tls in ("smtps", "require") and (tls is None or tls.context is None):
            self.missing.add(endpoint)  # why is in the log already
            return
        try:
            listening = submission_socket(self._socket_path) if endpoint[0] == SOCKET else _listening_socket(endpoint)
        except TakenByAnother:
            # Another replica of this host serves it, so nothing is missing; when that one ends it is our turn.
            self.is_standing_by = True
            return
        except OSError as error:
            if endpoint not in self.missing:
                self._log.error("cannot listen, trying again", address=_text(endpoint), error=error.strerror or error)
            self.missing.add(endpoint)
            return
        if needs_doorway(listener):
            self._servers[endpoint] = self._doorway(endpoint, listening)
        else:
            # The newest entrance, whenever a session begins.
            entrance = self._entrances.__getitem__
            self._servers[endpoint] = await asyncio.get_running_loop().create_server(
                lambda: self._make_protocol(lambda: entrance(endpoint), None), sock=listening, backlog=BACKLOG
            )
        self.missing.discard(endpoint)
        self._log.info("listening", address=_text(endpoint), tag=listener.tag or "-")

    def _doorway(self, endpoint: Endpoint, listening: socket.socket) -> Doorway:
        entrances = self._entrances

        def current() -> Entrance:
            return entrances[endpoint]

        def make(arrived: Arrived) -> asyncio.Protocol:
            return self._make_protocol(lambda: entrances[endpoint], arrived)

        return Doorway(listening, current, make, self._note_failed_arrival, self._callers)

    def close(self) -> None:
        """Accepts no more; sessions go on."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()


def needs_doorway(listener: Listener) -> bool:
    """Whether something comes before the session there."""
    return listener.address == SOCKET or listener.tls == "smtps" or listener.proxy != "none"


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
    if address == SOCKET:
        return SOCKET
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
