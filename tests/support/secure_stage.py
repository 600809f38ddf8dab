"""smtp-in in this process behind real sockets, with TLS and AUTH: certificates of a CA of its own, credentials given by the test.

What is real: sockets, OpenSSL on both sides, listeners, doorway, session, hashing. What is not: queue, NATS, config. Built on smtp_stage.
"""

import asyncio
import base64
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec
import trustme

from smtpfleet.contracts.configuration import Ca, Configuration, Listener, Pki
from smtpfleet.contracts.events import AcceptedEvents
from smtpfleet.contracts.subjects import EVENT_MESSAGE_ACCEPTED
from smtpfleet.mail.tables import Tables
from smtpfleet.smtp_in.callers import Callers
from smtpfleet.smtp_in.connections import Server
from smtpfleet.smtp_in.credentials import Authenticator
from smtpfleet.smtp_in.journal import FactLog
from smtpfleet.smtp_in.listener import Listeners
from smtpfleet.smtp_in.server import Connection
from smtpfleet.smtp_in.tls import TlsContexts
from tests.support.credentials import Credentials, QuickFailures
from tests.support.smtp_stage import Stage, make_configuration

HOST = "127.0.0.1"
NAME = "mx.example.test"
REPLY_WITHIN_S = 5.0


class Peer:
    """A client of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """One whole reply, lines joined by LF; "" once the connection is closed."""
        lines: list[str] = []
        while True:
            try:
                line = (await asyncio.wait_for(self.reader.readline(), REPLY_WITHIN_S)).decode()
            except ConnectionResetError:
                line = ""
            lines.append(line.rstrip("\r\n"))
            if not line or line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, text: str | bytes) -> str:
        """Sends a line, or bytes as they are, and returns the reply."""
        self.writer.write(text if isinstance(text, bytes) else f"{text}\r\n".encode())
        return await self.reply()

    async def start_tls(self, context: ssl.SSLContext, name: str = NAME) -> None:
        assert (await self.say("STARTTLS")) == "220 2.0.0 Ready to start TLS"
        await self.writer.start_tls(context, server_hostname=name)

    async def close(self) -> None:
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), REPLY_WITHIN_S)
        except (ConnectionError, ssl.SSLError):
            return


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class SecureStage:
    """A running smtp-in; `listen` first."""

    def __init__(self, folder: Path, *, callers: Callers | None = None) -> None:
        self.folder = folder
        self.applied = make_configuration()
        self.authority = trustme.CA()
        self.credentials = Credentials()
        self.inner = Stage()
        self.log_text = self.inner.log_text
        self.failures = QuickFailures(time.monotonic)
        self.authenticator = Authenticator(
            self.credentials, self.failures, self.inner.background.spawn, self.inner.log, threads=2
        )
        queue = self.inner.queue
        journal = FactLog(self.inner.log, lambda events: queue.publish(EVENT_MESSAGE_ACCEPTED, events), time.time)
        self.server = Server(
            committer=self.inner.committer,
            gate=self.inner.gate,
            journal=journal,
            max_sessions=1000,
            content_memory_bytes=2**28,
            authenticator=self.authenticator,
            callers=callers,
        )
        self.tls = TlsContexts(self.inner.log, str(folder))
        self.listeners = Listeners(
            self.inner.log,
            lambda entrance, arrived: Connection(self.server, entrance, arrived),
            self.tls,
            str(folder / "smtp.sock"),
            journal.note_turned_back,
            callers,
        )
        self.port = 0

    def issue(self, pki: str, *names: str) -> Pki:
        """Writes a certificate for `names`."""
        issued = self.authority.issue_cert(*(names or (NAME,)))
        (self.folder / f"{pki}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        (self.folder / f"{pki}.key").write_bytes(issued.private_key_pem.bytes())
        return Pki(pki, f"/{pki}.pem", f"/{pki}.key", "", "none")

    def configuration(self, pki: list[Pki], **options: Any) -> Configuration:
        """One listener with these options, on a free port."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                self.port = probe.getsockname()[1]
        if "tls" in options:
            options.setdefault("pki", tuple(each.name for each in pki))
        listener = Listener(HOST, self.port, NAME, "in")
        (self.folder / "ca.pem").write_bytes(self.authority.cert_pem.bytes())
        return msgspec.structs.replace(
            make_configuration(),
            listeners=(msgspec.structs.replace(listener, **options),),
            pki={each.name: each for each in pki},
            cas={"ours": Ca("ours", "/ca.pem")},
        )

    async def apply(self, configuration: Configuration) -> None:
        self.applied = configuration
        await self.listeners.apply(configuration, Tables(configuration))

    async def listen(self, **options: Any) -> None:
        """One pki, one listener."""
        await self.apply(self.configuration([self.issue("mx")], **options))
        assert not self.listeners.missing, self.log_text.getvalue()

    def client_context(self, certificate: str = "") -> ssl.SSLContext:
        """Trusts our CA; shows a certificate for `certificate`."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate:
            self.authority.issue_cert(certificate).configure_cert(context)
        return context

    async def connect(self, **options: Any) -> Peer:
        return Peer(*await asyncio.open_connection(HOST, self.port, **options))

    async def greeted(self, **options: Any) -> Peer:
        """A client that has said EHLO."""
        peer = await self.connect(**options)
        assert (await peer.reply()).startswith("220 ")
        assert (await peer.say("EHLO client.example")).startswith("250-")
        return peer

    async def secured(self, **options: Any) -> Peer:
        """One that has said it again under TLS."""
        peer = await self.greeted(**options)
        await peer.start_tls(self.client_context())
        assert (await peer.say("EHLO client.example")).startswith("250-")
        return peer

    @property
    def accepted(self) -> list[Any]:
        published = self.inner.queue.published
        return [event for _, kind in published if isinstance(kind, AcceptedEvents) for event in kind.events]

    async def close(self) -> None:
        self.listeners.close()
        self.server.abort()
        self.authenticator.close()
        await asyncio.sleep(0)
        self.inner.close()
