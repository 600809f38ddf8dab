"""The one place that speaks aiosmtplib: its protocol, made to keep several commands in flight and to distrust what comes back.

aiosmtplib 5.1 pairs one reply with one command under a lock, ignores data nobody asked for, and takes any three digits for a code. Here
the sender says how many replies it expects, waits for that many at once (RFC 2920), and everything else the peer sends is a fault that
ends the connection. Connecting, EHLO, STARTTLS and QUIT run through the base class. Called by session.py and transaction.py; decides
nothing about envelopes. OpenSMTPD: mta_session.c:mta_io, mta_send.
"""

import asyncio
import errno
import os
import ssl
from collections import deque
from dataclasses import dataclass
from typing import cast

from aiosmtplib.errors import SMTPException, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.esmtp import parse_esmtp_extensions
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from smtpfleet.mta.reply import Reply, ReplyReader

TOO_MUCH_DATA = "Remote host sent too much data"
CLOSED = "Connection closed unexpectedly"
TIMED_OUT = "Connection timeout"
NOT_OUR_ADDRESS = os.strerror(errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class Extensions:
    """What the peer's EHLO reply offers and we use. size_bytes: its limit, 0 for none stated. auth: mechanisms, in lower case."""

    has_pipelining: bool = False
    has_8bitmime: bool = False
    has_starttls: bool = False
    has_size: bool = False
    size_bytes: int = 0
    has_dsn: bool = False
    has_smtputf8: bool = False
    auth: frozenset[str] = frozenset()


class PeerProtocol(SMTPProtocol):
    """One connection. `fault` is "" while replies may still come, then the reason why none will."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.fault = ""
        self.is_disconnected = False
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._expected_count = 0
        self._wanted_count = 0
        self._waiter: asyncio.Future[bool] | None = None

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expected_count = 1  # the greeting

    def data_received(self, data: bytes) -> None:
        if self.fault:
            return
        replies = self._reader.feed(data)
        surplus = len(replies) - self._expected_count
        self._expected_count -= len(replies)
        if surplus > 0:
            extra = replies[-surplus:]
            del replies[-surplus:]
            self._replies.extend(replies)
            # RFC 5321 §3.8: a server that shuts down may say 421 unasked.
            self._fail(f"421 {extra[0].last_line}" if extra[0].code == 421 else TOO_MUCH_DATA)
            return
        self._replies.extend(replies)
        if self._reader.fault:
            self._fail(self._reader.fault)
        elif not self._expected_count and not self._reader.is_between_replies:
            self._fail(TOO_MUCH_DATA)
        elif self._waiter is not None and len(self._replies) >= self._wanted_count and not self._waiter.done():
            self._waiter.set_result(True)

    def eof_received(self) -> bool:
        self._disconnect()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disconnect()

    def _disconnect(self) -> None:
        if not self.fault:
            self.is_disconnected = True
            self._fail(CLOSED)

    def _fail(self, reason: str) -> None:
        """The connection is of no more use; whoever waits gets what has come so far."""
        self.fault = reason
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)
        if self.transport is not None and not self.transport.is_closing():
            # abort(), not close(): what is still unsent must not reach a peer we no longer understand.
            cast(asyncio.Transport, self.transport).abort()

    # what sessions and transactions call

    def abort(self, reason: str) -> None:
        """Drops the connection without a word; a message whose dot was not sent is discarded by the peer."""
        if not self.fault:
            self._fail(reason)

    def expect(self, count: int) -> None:
        """So many more replies will be asked for. Before the write that asks, so none can be taken for unsolicited."""
        self._expected_count += count

    def write(self, data: bytes) -> None:
        """Hands data to the transport; on a dead connection sets `fault` instead of raising as the base class does."""
        if self.fault:
            return
        if self.transport is None or self.transport.is_closing():
            self._disconnect()
            return
        cast(asyncio.WriteTransport, self.transport).write(data)

    async def drain(self, timeout_s: float) -> None:
        """Waits until the peer has taken enough of what was written (RFC 5321 §4.5.3.2.5)."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._drain_helper()
        except TimeoutError:
            self._fail(TIMED_OUT)
        except ConnectionError:
            self._disconnect()

    @property
    def has_reply(self) -> bool:
        """Whether a reply is here that nobody has collected."""
        return bool(self._replies)

    async def collect(self, count: int, timeout_s: float) -> list[Reply]:
        """The next `count` replies, or fewer where `fault` says why. timeout_s is per reply: each whole one starts it anew."""
        while len(self._replies) < count and not self.fault:
            had = len(self._replies)
            self._wanted_count = count
            waiter: asyncio.Future[bool] = self._loop.create_future()
            self._waiter = waiter
            timer = self._loop.call_later(timeout_s, _give_up, waiter)
            try:
                is_done = await waiter
            finally:
                timer.cancel()
                self._waiter = None
            if not is_done and len(self._replies) == had:
                self._fail(TIMED_OUT)
        replies = self._replies
        return [replies.popleft() for _ in range(min(count, len(replies)))]

    async def read_greeting(self, timeout_s: float) -> Reply | None:
        """The peer's greeting, or None where `fault` says why not."""
        replies = await self.collect(1, timeout_s)
        return replies[0] if replies else None

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:
        """One reply, for the base class's commands. The base class calls this in the same turn as its write, so the order holds."""
        self.expect(1)
        replies = await self.collect(1, timeout or 300.0)
        if not replies:
            raise SMTPServerDisconnected(self.fault)
        return SMTPResponse(*replies[0])

    async def command(self, *words: bytes, timeout_s: float) -> Reply | None:
        """One command and its reply, or None where `fault` says why not. No word may contain a control character."""
        try:
            return Reply(*await self.execute_command(*words, timeout=timeout_s))
        except SMTPServerDisconnected as error:
            self.abort(error.message)
            return None

    async def upgrade(self, context: ssl.SSLContext, name: str, timeout_s: float) -> Reply | str:
        """STARTTLS: the reply where the peer refused, "" after the handshake, or the reason why the handshake failed."""
        try:
            await self.start_tls(context, server_hostname=name or None, timeout=timeout_s)
        except SMTPResponseException as error:
            return Reply(error.code, str(error.message))
        except (SMTPException, OSError, ssl.SSLError, ValueError) as error:
            reason = self.fault or _reason(error)
            self.abort(reason)
            return reason
        return ""

    @property
    def tls_text(self) -> str:
        """`TLSv1.3:CIPHER:BITS` of the connection, or ""."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport is not None else None
        if tls is None:
            return ""
        cipher, _, bits = tls.cipher()
        return f"{tls.version()}:{cipher}:{bits}"

    @property
    def source(self) -> str:
        """Our address on this connection."""
        sockname = self.transport.get_extra_info("sockname") if self.transport is not None else None
        return str(sockname[0]) if sockname else ""


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)


def _reason(error: Exception) -> str:
    """An error of the system or of TLS in a few stable words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verification failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {(error.reason or 'protocol error').lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


async def connect_peer(
    address: str, port: int, *, source: str, context: ssl.SSLContext | None, name: str, timeout_s: float
) -> PeerProtocol | str:
    """A connection to an address (with TLS from the first byte where a context is given), or the reason why there is none."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, peer = await loop.create_connection(
                lambda: PeerProtocol(loop),
                address,
                port,
                ssl=context,
                server_hostname=(name or address) if context else None,
                local_addr=(source, 0) if source else None,
            )
    except (OSError, ssl.SSLError) as error:  # TimeoutError is an OSError
        return _reason(error)
    return peer


def read_extensions(reply: Reply) -> Extensions:
    """What an EHLO reply offers."""
    found, mechanisms = parse_esmtp_extensions(reply.text)
    size = found.get("size", "").strip()
    return Extensions(
        has_pipelining="pipelining" in found,
        has_8bitmime="8bitmime" in found,
        has_starttls="starttls" in found,
        has_size="size" in found,
        has_dsn="dsn" in found,
        has_smtputf8="smtputf8" in found,
        auth=frozenset(name.lower() for name in mechanisms),
        # RFC 1870 §4: at most 20 digits; anything else states no limit.
        size_bytes=int(size) if size.isascii() and size.isdigit() and len(size) <= 20 else 0,
    )
