"""Connections that need something before their session begins: the balancer's header, TLS from the first byte, the submission socket.

Owns the accepting of such listeners: each connection has its header read to the byte, is admitted by its address, has its handshake done
by the event loop, and only then becomes a session that knows who its peer is. Whoever fails on the way gets no reply, there being none that
he could read. Of too many on the way those who have most give one up, the oldest, so that silent ones keep nobody out. Ordinary listeners
do not come here. Called by listener; proxy parses. OpenSMTPD: smtp.c smtp_accept, proxy.c, smtp_enqueue for the socket.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from smtpfleet.contracts.status import Status
from smtpfleet.mail.ruleset import LOCAL_PEER
from smtpfleet.runtime import metrics
from smtpfleet.smtp_in.callers import Caller, Callers
from smtpfleet.smtp_in.entrance import Entrance
from smtpfleet.smtp_in.handshake import HANDSHAKE_WITHIN_S, SHUTDOWN_WITHIN_S, note_failed, note_ok
from smtpfleet.smtp_in.peer_names import address_of
from smtpfleet.smtp_in.proxy import V2_HEAD_BYTES, ProxyHeader, ProxyRefused, parse_proxy

HEADER_WITHIN_S = 10.0
"""A balancer sends its header with the connection; OpenSMTPD waits 300 s. Chosen."""
ARRIVALS_LIMIT = 1000
"""Connections of a listener on their way to a session at once; for one more another is closed. Chosen: the handshakes of a second."""
PAUSE_S = 0.5
"""After accept itself has failed, which is for want of file descriptors or memory. Chosen."""

_arrivals = metrics.counter("smtp_arrivals_failed", "Connections that did not become a session, by why", ("reason",))


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is known of a connection before its session. local: our address as the peer sees it. uid: of the process on the submission
    socket, None for the network. is_local: by its address. caller: what it is counted by, None for nobody."""

    peer: str
    local: str
    uid: int | None = None
    is_local: bool = True
    caller: Caller | None = None


Noted = Callable[[str, str], None]
"""Hears peer and reason of a failed arrival."""


class Doorway:
    """One listening socket whose connections are led in; the counterpart of asyncio.Server for ordinary ones."""

    def __init__(
        self,
        listening: socket.socket,
        current: Callable[[], Entrance],
        make_protocol: Callable[[Arrived], asyncio.Protocol],
        note: Noted,
        callers: Callers | None = None,
    ) -> None:
        """callers: None counts nobody."""
        self.sockets = (listening,)
        self._current = current
        self._make_protocol = make_protocol
        self._note = note
        self._callers = callers
        self._queue = ArrivalQueue()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(), name="accept")

    def close(self) -> None:
        """Accepts no more; who is on the way is turned back, sessions go on."""
        self._accepting.cancel()
        self._queue.cancel()
        self.sockets[0].close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, address = await loop.sock_accept(self.sockets[0])
            except OSError:
                _arrivals.labels("accept").inc()
                await asyncio.sleep(PAUSE_S)
                continue
            peer = address[0] if connected.family != socket.AF_UNIX else LOCAL_PEER
            self._queue.start(address_of(peer), self._lead_in(connected, peer))

    async def _lead_in(self, connected: socket.socket, peer: str) -> None:
        connected.setblocking(False)
        arrived: Arrived | None = None
        is_session = False
        try:
            arrived = await self._recognize(connected, peer)
            if arrived is not None:
                is_session = await self._hand_over(connected, arrived)
        except OSError:
            _arrivals.labels("connection-lost").inc()
        finally:
            if not is_session:
                connected.close()
                if arrived is not None and arrived.caller is not None:
                    arrived.caller.leave()

    async def _recognize(self, connected: socket.socket, peer: str) -> Arrived | None:
        """Who it is, or None for somebody who is turned back."""
        if connected.family == socket.AF_UNIX:
            # struct ucred of unix(7): pid, uid, gid.
            _, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return Arrived(LOCAL_PEER, LOCAL_PEER, uid)
        local = connected.getsockname()[0]
        entrance = self._current()
        if entrance.listener.proxy == "none":
            return self._admit(peer, local, is_local=entrance.is_local(peer))
        try:
            async with asyncio.timeout(HEADER_WITHIN_S):
                header = await read_header(connected, entrance.listener.proxy)
        except TimeoutError:
            header = ProxyRefused("no proxy header in time")
        if isinstance(header, ProxyHeader) and header.peer and entrance.is_local(header.peer):
            # Whoever can write a header could make himself local with it, and relay.
            header = ProxyRefused(f"the header names an address of our own, {header.peer}")
        if isinstance(header, ProxyRefused):
            _arrivals.labels("proxy").inc()
            self._note(peer, f"proxy: {header.reason}")
            return None
        if not header.peer:
            return self._admit(peer, header.local or local, is_local=entrance.is_local(peer))
        self._queue.rename(address_of(header.peer))
        return self._admit(header.peer, header.local or local, is_local=False)

    def _admit(self, peer: str, local: str, *, is_local: bool) -> Arrived | None:
        """Counts it from here on, so that whoever does not go on counts as well. Nobody could read a 421 before the handshake."""
        if self._callers is None or is_local:
            return Arrived(peer, local, is_local=is_local)
        caller = self._callers.admit(peer)
        if isinstance(caller, Status):
            _arrivals.labels("turned-away").inc()
            return None
        return Arrived(peer, local, is_local=False, caller=caller)

    async def _hand_over(self, connected: socket.socket, arrived: Arrived) -> bool:
        """Begins the session; whether it did."""
        entrance = self._current()
        loop = asyncio.get_running_loop()
        make = lambda: self._make_protocol(arrived)  # noqa: E731  called at once, by the lines below
        if entrance.listener.tls != "smtps":
            await loop.connect_accepted_socket(make, connected)
            return True
        if entrance.tls is None or entrance.tls.context is None:
            return False
        try:
            await loop.connect_accepted_socket(
                make,
                connected,
                ssl=entrance.tls.context,
                ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
                ssl_shutdown_timeout=SHUTDOWN_WITHIN_S,
            )
        except OSError as error:
            self._note(arrived.peer, f"tls: {note_failed(error)}")
            return False
        note_ok()
        return True


class ArrivalQueue:
    """The connections of one listener that are on their way, by address; bounded."""

    def __init__(self, limit: int = ARRIVALS_LIMIT) -> None:
        self._limit = limit
        self._names: dict[asyncio.Task[None], str] = {}
        self._by_name: dict[str, dict[asyncio.Task[None], None]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begins to lead one in. Where there are too many, the address that has most loses the one that has waited longest."""
        if len(self._names) >= self._limit:
            most = max(self._by_name.values(), key=len)
            _arrivals.labels("too-many").inc()
            oldest = next(iter(most))
            self._forget(oldest)
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(work, name="arrival")
        self._note(task, name)
        task.add_done_callback(self._forget)

    def rename(self, name: str) -> None:
        """The connection of the current task comes from another address than it seemed."""
        task = asyncio.current_task()
        if task is not None and task in self._names:
            self._forget(task)
            self._note(task, name)

    def cancel(self) -> None:
        """Turns all back."""
        for task in list(self._names):
            task.cancel()

    def _note(self, task: asyncio.Task[None], name: str) -> None:
        self._names[task] = name
        self._by_name.setdefault(name, {})[task] = None

    def _forget(self, task: asyncio.Task[None]) -> None:
        name = self._names.pop(task, None)
        if name is not None:
            tasks = self._by_name[name]
            del tasks[task]
            if not tasks:
                del self._by_name[name]


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
