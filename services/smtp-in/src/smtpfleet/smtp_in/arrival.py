"""Connections that need something before their session begins: the balancer's header, TLS from the first byte, the submission socket.

Owns the accepting of such listeners: each connection has its header read to the byte, then its handshake done by the event loop, and only
then becomes a session that knows who its peer is. Whoever fails on the way gets no reply, there being none that he could read. Ordinary
listeners do not come here. Called by listener; proxy parses. OpenSMTPD: smtp.c smtp_accept, proxy.c, smtp_enqueue for the socket.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from smtpfleet.contracts.configuration import Listener
from smtpfleet.mail.ruleset import LOCAL_PEER
from smtpfleet.runtime import metrics
from smtpfleet.smtp_in.handshake import HANDSHAKE_WITHIN_S, SHUTDOWN_WITHIN_S, note_failed, note_ok
from smtpfleet.smtp_in.proxy import V2_HEAD_BYTES, ProxyHeader, ProxyRefused, parse_proxy
from smtpfleet.smtp_in.tls import ListenerTls

HEADER_WITHIN_S = 10.0
"""A balancer sends its header with the connection; OpenSMTPD waits 300 s. Chosen."""
ARRIVALS_LIMIT = 1000
"""Connections on their way to a session at once; one more is closed. Chosen: the handshakes of about a second."""
PAUSE_S = 0.5
"""After accept itself has failed, which is for want of file descriptors or memory. Chosen."""

_arrivals = metrics.counter("smtp_arrivals_failed", "Connections that did not become a session, by why", ("reason",))


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is known of a connection before its session. local: our address as the peer sees it. uid: of the process on the submission
    socket, None for the network."""

    peer: str
    local: str
    uid: int | None = None


Noted = Callable[[str, str], None]
"""Hears peer and reason of a failed arrival."""


class Doorway:
    """One listening socket whose connections are led in; the counterpart of asyncio.Server for ordinary ones."""

    def __init__(
        self,
        listening: socket.socket,
        current: Callable[[], tuple[Listener, ListenerTls | None]],
        make_protocol: Callable[[Arrived], asyncio.Protocol],
        note: Noted,
    ) -> None:
        self.sockets = (listening,)
        self._current = current
        self._make_protocol = make_protocol
        self._note = note
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(), name="accept")

    def close(self) -> None:
        """Accepts no more; who is on the way is turned back, sessions go on."""
        self._accepting.cancel()
        for task in list(self._tasks):
            task.cancel()
        self.sockets[0].close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(self.sockets[0])
            except OSError:
                _arrivals.labels("accept").inc()
                await asyncio.sleep(PAUSE_S)
                continue
            if len(self._tasks) >= ARRIVALS_LIMIT:
                _arrivals.labels("too-many").inc()
                connected.close()
                continue
            self._start(self._lead_in(connected))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="arrival")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead_in(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        try:
            arrived = await self._recognize(connected)
            if isinstance(arrived, Arrived) and await self._hand_over(connected, arrived):
                connected = None  # type: ignore[assignment]  # the session's now
        except OSError:
            _arrivals.labels("connection-lost").inc()
        finally:
            if connected is not None:
                connected.close()

    async def _recognize(self, connected: socket.socket) -> Arrived | None:
        """Who it is, or None for somebody who is turned back."""
        if connected.family == socket.AF_UNIX:
            # struct ucred of unix(7): pid, uid, gid.
            _, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return Arrived(LOCAL_PEER, LOCAL_PEER, uid)
        peer, local = connected.getpeername()[0], connected.getsockname()[0]
        listener, _ = self._current()
        if listener.proxy == "none":
            return Arrived(peer, local)
        try:
            async with asyncio.timeout(HEADER_WITHIN_S):
                header = await read_header(connected, listener.proxy)
        except TimeoutError:
            header = ProxyRefused("no proxy header in time")
        if isinstance(header, ProxyRefused):
            _arrivals.labels("proxy").inc()
            self._note(peer, f"proxy: {header.reason}")
            return None
        return Arrived(header.peer or peer, header.local or local)

    async def _hand_over(self, connected: socket.socket, arrived: Arrived) -> bool:
        """Begins the session; whether it did."""
        listener, tls = self._current()
        loop = asyncio.get_running_loop()
        make = lambda: self._make_protocol(arrived)  # noqa: E731  called at once, by the line below
        if listener.tls != "smtps":
            await loop.connect_accepted_socket(make, connected)
            return True
        if tls is None or tls.context is None:
            return False
        try:
            await loop.connect_accepted_socket(
                make,
                connected,
                ssl=tls.context,
                ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
                ssl_shutdown_timeout=SHUTDOWN_WITHIN_S,
            )
        except OSError as error:
            self._note(arrived.peer, f"tls: {note_failed(error)}")
            return True  # the loop has closed it
        note_ok()
        return True


async def read_header(connected: socket.socket, version: str) -> ProxyHeader | ProxyRefused:
    """Reads the header and not one byte more: what follows is TLS's or the session's. Raises OSError."""
    loop = asyncio.get_running_loop()
    data = b""
    while (header := parse_proxy(data, version)) is None:
        more = await loop.sock_recv(connected, _wanted(data))
        if not more:
            return ProxyRefused("connection closed before the header")
        data += more
    return header


def _wanted(data: bytes) -> int:
    """How many bytes surely belong to the header still."""
    if data[:1] != b"\r":
        return 1  # the text form ends where it says so
    if len(data) < V2_HEAD_BYTES:
        return V2_HEAD_BYTES - len(data)
    return V2_HEAD_BYTES + int.from_bytes(data[14:16]) - len(data)
