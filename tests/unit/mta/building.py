"""What mta's tests have in common: envelopes, messages, and an Outbound over the fake work client and real sockets."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, DEFAULT_RELAY_LIMITS, Configuration
from smtpfleet.contracts.envelope import Envelope, RemoteDispatcher
from smtpfleet.contracts.ids import evpid_of
from smtpfleet.contracts.outcome import Outcome
from smtpfleet.mta.connector import Outbound
from smtpfleet.mta.demands import Demands
from smtpfleet.mta.route import RouteTable
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.mta.srs import SenderRewriter
from smtpfleet.mta.tls import TlsContexts
from smtpfleet.mta.transaction import Timeouts
from smtpfleet.mta.worker import Worker
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.resolver import Resolver
from smtpfleet.runtime.srs_client import SrsClient
from smtpfleet.runtime.table_client import TableClient
from tests.support.fake_bus import FakeBus
from tests.support.fake_work import FakeWork

CONTENT = b"From: a@sender.test\r\nSubject: hello\r\n\r\n.a line with a dot\r\nbye\r\n"
CONFIGURATION = Configuration(
    version="1-test",
    hostname="our.name.test",
    listeners=(),
    tables={},
    rules=(),
    limits=DEFAULT_LIMITS,
    max_message_size_bytes=35 << 20,
    expire_s=345600,
    bounce_warn_s=(),
)
QUICK = Timeouts(greeting_s=2.0, mail_s=2.0, rcpt_s=2.0, data_s=2.0, block_s=2.0, eom_s=2.0, quit_s=1.0)
DEADLINE_S = 10.0


def remote(domain: str = "127.0.0.1", *, port: int = 0, tls: str = "opportunistic", **more: Any) -> RemoteDispatcher:
    """`relay via` a host, unless is_host says otherwise."""
    values = {"is_host": True, "verify": False, "auth": "", "source": "", "helo": "", "pki": "", "backup": ""} | more
    return RemoteDispatcher(domain=domain, port=port, tls=tls, **values)


def message(
    number: int,
    dispatcher: RemoteDispatcher,
    *dests: str,
    content: bytes = CONTENT,
    sender: str = "a@sender.test",
    chunk_count: int = 0,
    size_bytes: int = -1,
) -> LoadedMessage:
    """Message `number` for the dests."""
    msgid = f"{number:016x}"
    envelopes = [
        Envelope(
            evpid=evpid_of(msgid, n),
            sender=sender,
            rcpt=dest,
            dest=dest,
            dispatcher=dispatcher,
            tag="",
            helo="client",
            hostname="client",
            peer="192.0.2.1",
            smtpname="our.name.test",
            created_at_ms=1,
            expire_s=345600,
        )
        for n, dest in enumerate(dests or ("b@rcpt.test",), 1)
    ]
    size = size_bytes if size_bytes >= 0 else len(content)
    return LoadedMessage(msgid, size, b"" if chunk_count else content, chunk_count, envelopes)


class FixedSnapshot:
    """A snapshot that is always there."""

    def __init__(self, configuration: Configuration = CONFIGURATION) -> None:
        self.current = configuration
        self.has_snapshot = True

    def limit(self, domain: str = "", **limits: int | str) -> None:
        """Changes `limit mta` from now on, for all relays or those to one domain."""
        known = self.current.relay_limits
        changed = msgspec.structs.replace(known.get(domain) or known.get("", DEFAULT_RELAY_LIMITS), **limits)
        self.current = msgspec.structs.replace(self.current, relay_limits=known | {domain: changed})


@dataclass
class Fleet:
    """A worker at work, and all one may want to look at."""

    work: FakeWork
    worker: Worker
    outbound: Outbound
    snapshot: FixedSnapshot
    stream: io.StringIO

    @property
    def log(self) -> str:
        self.outbound.log.flush()
        return self.stream.getvalue()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for the condition, which is looked at whenever outcomes, releases or permits changed."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    self.work.changed.clear()
                    await self.work.changed.wait()
        except TimeoutError:
            raise AssertionError(f"not so; outcomes {self.work.outcomes}, log:\n{self.log}") from None

    async def outcomes(self, count: int) -> list[Outcome]:
        """The first `count` outcomes by evpid, once they are there."""
        await self.until(lambda: len(self.work.outcomes) >= count)
        return [self.work.outcomes[evpid] for evpid in sorted(self.work.outcomes)]


@contextlib.asynccontextmanager
async def fleet(
    *,
    mx_port: int = 0,
    nameserver: str = "",
    timeouts: Timeouts = QUICK,
    keepalive_s: int = 0,
    configuration: Configuration = CONFIGURATION,
    bus: FakeBus | None = None,
    **settings: Any,
) -> AsyncIterator[Fleet]:
    """A worker that delivers to `mx_port`, drained at the end. bus: where config answers; nobody does without it."""
    values: dict[str, Any] = {"connect_timeout_s": 2.0, "route_penalty_s": 0.0, "dns_timeout_s": 1.0} | settings
    mta_settings = MtaSettings(mx_port=mx_port or 25, **values)
    stream = io.StringIO()
    log = MailLog("mta", stream=stream)
    work, snapshot = FakeWork(), FixedSnapshot(configuration)
    snapshot.limit(session_keepalive_s=keepalive_s)
    bus = bus or FakeBus()
    outbound = Outbound(
        work=work,
        log=log,
        snapshot=snapshot,
        settings=mta_settings,
        resolver=Resolver((nameserver or "127.0.0.1:9",), timeout_s=mta_settings.dns_timeout_s),
        routes=RouteTable(mta_settings.route_penalty_s),
        demands=Demands(
            mta_settings,
            TlsContexts(mta_settings.tls_ca_file, mta_settings.config_root),
            TableClient(bus),
            log,
            replace(timeouts),
        ),
        tables=TableClient(bus),
        srs=SenderRewriter(SrsClient(bus), log),
    )
    worker = Worker(outbound, mta_settings.max_sessions)
    running = asyncio.ensure_future(worker.run())
    try:
        yield Fleet(work, worker, outbound, snapshot, stream)
    finally:
        outbound.draining.set()
        work.stop()
        await worker.drain()
        await running
    assert not work.permits, f"permits left: {work.permits}"
    assert not work.connections, f"permits of connections left: {work.connections}"
