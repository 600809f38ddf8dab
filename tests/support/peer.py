"""A scripted SMTP peer on real sockets: says what a test tells it to, at the stage it tells it to, and keeps what it accepted.

Stages, in the order of a session: connect, greeting, ehlo, helo, starttls, mail, rcpt, data, content, eom, rset, quit. A script gives
replies per stage or per recipient, raw bytes for a stage, a stage at which to drop the connection (content: in the middle of the
message, eom: after the dot without an answer), slowness and greylisting. It notes commands that came early where PIPELINING was not offered.
"""

import asyncio
import contextlib
import ssl
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import trustme

from smtpfleet.local.ports import free_ports

EXTENSIONS = ("PIPELINING", "SIZE 10485760", "8BITMIME", "ENHANCEDSTATUSCODES")


@dataclass
class Script:
    """What the peer does. Everything may be changed while it runs.

    replies: stage to reply line. rcpts: address to reply line. raw: stage to bytes sent in place of a reply. drop_at: stage at which
    the connection is dropped instead of an answer; drop_from: number of the first connection it holds for, counted from 1, and
    drop_count of how many. slow_s: before every reply. mails_max: MAIL beyond it gets 421 and the end.
    starttls: "", good, broken (220, then no TLS), refused (454). is_smtps: TLS from the first byte.
    users: user to password; then MAIL needs AUTH, offered under TLS with these mechanisms. is_lmtp: LHLO, and after the dot a reply for
    each recipient, by finals or the script's eom. client_ca: a client must show a certificate of it.
    """

    extensions: tuple[str, ...] = EXTENSIONS
    replies: dict[str, str] = field(default_factory=dict)
    rcpts: dict[str, str] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    drop_at: str = ""
    drop_from: int = 1
    drop_count: int = 1_000_000
    slow_s: float = 0.0
    is_greylisting: bool = False
    mails_max: int = 0
    starttls: str = ""
    is_smtps: bool = False
    users: dict[str, str] = field(default_factory=dict)
    mechanisms: str = "PLAIN LOGIN"
    is_lmtp: bool = False
    finals: dict[str, str] = field(default_factory=dict)
    client_ca: trustme.CA | None = None


@dataclass
class Received:
    """A message the peer accepted, with the accepted recipients."""

    sender: str
    rcpts: list[str]
    content: bytes
    mail_parameters: str
    helo: str
    is_tls: bool
    connection: int
    user: str = ""
    certificate: str = ""


DEFAULTS = {
    "greeting": "220 peer.test ESMTP",
    "helo": "250 peer.test",
    "auth": "235 2.7.0 Welcome",
    "starttls": "220 2.0.0 Ready to start TLS",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 End data with <CR><LF>.<CR><LF>",
    "eom": "250 2.0.0 Ok: queued",
    "rset": "250 2.0.0 Ok",
    "quit": "221 2.0.0 Bye",
}


class Dropped(Exception):
    """The script ends the connection here."""


class Peer:
    """Everything about one listening address."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None) -> None:
        self.script = script
        self.tls = tls
        self.address = ""
        self.port = 0
        self.connection_count = 0
        self.quit_count = 0
        self.most_open_count = 0
        """Most connections there were at once."""
        self.connected_at: list[float] = []
        """When each connection came, monotonic."""
        self.messages: list[Received] = []
        self.commands: list[str] = []
        self.early_commands: list[str] = []
        self.greylisted: set[tuple[str, str]] = set()
        self.open_writers: set[asyncio.StreamWriter] = set()

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        self.open_writers.add(writer)
        self.most_open_count = max(self.most_open_count, len(self.open_writers))
        self.connected_at.append(time.monotonic())
        conversation = _Conversation(self, reader, writer, self.connection_count)
        with contextlib.suppress(
            Dropped, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ssl.SSLError
        ):
            await conversation.run()
        self.open_writers.discard(writer)
        writer.transport.abort() if conversation.is_dropped else writer.close()

    def hang_up(self) -> None:
        """Closes every open connection, as a peer does that is tired of an idle client."""
        for writer in list(self.open_writers):
            writer.close()


class _Conversation:
    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.peer, self.script = peer, peer.script
        self.reader, self.writer, self.number = reader, writer, number
        self.is_dropped = False
        self.is_tls = peer.script.is_smtps
        self.helo = ""
        self.mail_count = 0
        self.user = ""
        self.reset()

    def reset(self) -> None:
        self.sender: str | None = None
        self.parameters = ""
        self.rcpts: list[str] = []

    async def answer(self, stage: str, reply: str = "", keep: Callable[[], None] | None = None) -> str:
        """Says the script's answer for the stage and returns it. keep: done before a 2xx is said, for whoever hears it may look at once."""
        script = self.script
        if script.slow_s:
            await asyncio.sleep(script.slow_s)
        if stage == script.drop_at and 0 <= self.number - script.drop_from < script.drop_count:
            self.is_dropped = True
            raise Dropped
        raw = script.raw.get(stage)
        reply = script.replies.get(stage) or reply or DEFAULTS[stage]
        if keep is not None and reply.startswith("2"):
            keep()
        self.writer.write(raw if raw is not None else reply.encode() + b"\r\n")
        await self.writer.drain()
        return reply

    async def run(self) -> None:
        if self.script.drop_at == "connect":
            self.is_dropped = True
            raise Dropped
        if not (await self.answer("greeting")).startswith("2"):
            return
        while True:
            line = (await self.reader.readuntil(b"\r\n"))[:-2].decode("latin-1")
            self.peer.commands.append(line)
            if "PIPELINING" not in self.script.extensions and self.reader._buffer:
                self.peer.early_commands.append(line)
            verb, _, argument = line.partition(" ")
            handler = getattr(self, f"on_{verb.lower()}", None)
            if handler is None:
                self.writer.write(b"500 5.5.1 Unknown command\r\n")
            elif await handler(argument):
                return

    async def on_ehlo(self, argument: str) -> None:
        self.helo = argument
        self.reset()
        words = list(self.script.extensions)
        if self.script.starttls and not self.is_tls:
            words.append("STARTTLS")
        if self.script.users and self.is_tls:
            words.append(f"AUTH {self.script.mechanisms}")
        lines = ["peer.test", *words]
        text = "\r\n".join(f"250{'-' if n < len(lines) - 1 else ' '}{line}" for n, line in enumerate(lines))
        await self.answer("ehlo", text)

    async def on_lhlo(self, argument: str) -> None:
        assert self.script.is_lmtp
        await self.on_ehlo(argument)

    async def on_auth(self, argument: str) -> None:
        mechanism, _, words = argument.partition(" ")
        if mechanism == "PLAIN":
            _, user, password = b64decode(words).decode().split("\0")
        else:
            self.writer.write(b"334 VXNlcm5hbWU6\r\n")
            user = b64decode(await self.reader.readuntil(b"\r\n")).decode()
            self.writer.write(b"334 UGFzc3dvcmQ6\r\n")
            password = b64decode(await self.reader.readuntil(b"\r\n")).decode()
        is_right = self.script.users.get(user) == password
        self.user = user if is_right else ""
        await self.answer("auth", "" if is_right else "535 5.7.8 Wrong")

    async def on_helo(self, argument: str) -> None:
        self.helo = argument
        await self.answer("helo")

    async def on_starttls(self, _: str) -> bool:
        if self.script.starttls == "refused":
            await self.answer("starttls", "454 4.7.0 TLS not available")
            return False
        await self.answer("starttls")
        if self.script.starttls == "broken":
            await self.reader.read(1)  # the handshake has begun
            self.writer.write(b"this is no TLS record, not even nearly\r\n")
            await self.writer.drain()
            return True
        assert self.peer.tls is not None
        await self.writer.start_tls(self.peer.tls)
        self.is_tls = True
        return False

    async def on_mail(self, argument: str) -> bool:
        self.mail_count += 1
        if self.script.mails_max and self.mail_count > self.script.mails_max:
            await self.answer("mail", "421 4.7.0 Enough for one connection")
            return True
        if self.sender is not None:
            await self.answer("mail", "503 5.5.1 Nested MAIL")
            return False
        if self.script.users and not self.user:
            await self.answer("mail", "530 5.7.0 Authentication required")
            return False
        if (await self.answer("mail")).startswith("2"):
            path, _, self.parameters = argument.partition("> ")
            self.sender = path.removeprefix("FROM:<").removesuffix(">")
        return False

    async def on_rcpt(self, argument: str) -> None:
        address = argument.removeprefix("TO:<").removesuffix(">")
        if self.sender is None:
            await self.answer("rcpt", "503 5.5.1 MAIL first")
            return
        key = (self.sender, address)
        if self.script.is_greylisting and key not in self.peer.greylisted:
            self.peer.greylisted.add(key)
            await self.answer("rcpt", "451 4.7.1 Greylisted, come back later")
        elif (await self.answer("rcpt", self.script.rcpts.get(address, ""))).startswith("2"):
            self.rcpts.append(address)

    async def on_data(self, _: str) -> bool:
        is_forced = self.script.replies.get("data", "").startswith("354")
        if not self.rcpts and not is_forced:
            await self.answer("data", "503 5.5.1 RCPT first")
            return False
        if not (await self.answer("data")).startswith("3"):
            return False
        if self.script.drop_at == "content" and 0 <= self.number - self.script.drop_from < self.script.drop_count:
            await self.reader.read(1)
            self.is_dropped = True
            raise Dropped
        if "content" in self.script.replies:
            await self.reader.read(1)
            await self.answer("content")
            while await self.reader.read(1 << 16):  # else the reset of the connection could overtake the answer
                pass
            return True
        content = await self._read_content()
        if self.script.is_lmtp:
            await self._answer_each(content)
        elif self.rcpts:
            await self.answer("eom", keep=lambda: self._keep(content))
        else:
            await self.answer("eom", "554 5.5.1 No valid recipients")
        self.reset()
        return False

    def _keep(self, content: bytes) -> None:
        tls = self.writer.get_extra_info("ssl_object")
        shown = (tls.getpeercert() or {}) if tls is not None and self.script.client_ca is not None else {}
        names = ",".join(name for _, name in shown.get("subjectAltName", ()))
        self.peer.messages.append(
            Received(
                self.sender or "", self.rcpts, content, self.parameters, self.helo, self.is_tls, self.number, self.user, names
            )
        )  # fmt: skip

    async def _answer_each(self, content: bytes) -> None:
        """LMTP: a reply for each recipient; kept for those that are accepted, before the first of them hears of it."""
        script = self.script
        finals = [
            (rcpt, script.replies.get("eom") or script.finals.get(rcpt) or DEFAULTS["eom"]) for rcpt in self.rcpts
        ]
        self.rcpts = [rcpt for rcpt, reply in finals if reply.startswith("2")]
        if self.rcpts and script.drop_at != "eom":
            self._keep(content)
        for _, reply in finals:
            await self.answer("eom", reply)

    async def _read_content(self) -> bytes:
        lines = []
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    async def on_rset(self, _: str) -> None:
        self.reset()
        await self.answer("rset")

    async def on_quit(self, _: str) -> bool:
        self.peer.quit_count += 1
        await self.answer("quit")
        return True


@contextlib.asynccontextmanager
async def scripted_peer(
    script: Script | None = None,
    *,
    ca: trustme.CA | None = None,
    name: str = "peer.test",
    address: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Peer]:
    """A peer on `address` until the block ends. Its certificate is for `name`, from `ca` or from nobody anyone knows."""
    script = script or Script()
    tls = None
    if script.starttls or script.is_smtps:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (ca or trustme.CA()).issue_cert(name).configure_cert(tls)
        if script.client_ca is not None:
            script.client_ca.configure_trust(tls)
            tls.verify_mode = ssl.CERT_REQUIRED
    peer = Peer(script, tls)
    # not a port of the ephemeral range: another peer may be wanted on the same port of another address
    server = await asyncio.start_server(
        peer.on_connection, address, port or free_ports(1)[0], ssl=tls if script.is_smtps else None, limit=1 << 20
    )
    peer.address, peer.port = server.sockets[0].getsockname()[:2]
    try:
        yield peer
    finally:
        server.close()
        for writer in list(peer.open_writers):
            writer.transport.abort()
