"""LMTP: with a real server (aiosmtpd's), and with peers that say what no server should."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from smtpfleet.contracts.configuration import CLASSIC, MODERN
from smtpfleet.contracts.envelope import EnvelopeFlag
from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mda import lmtp
from smtpfleet.mda.attempt import Attempt
from smtpfleet.mda.lmtp import DotStuffing
from smtpfleet.mda.single import Singles
from smtpfleet.mda.way import LocalPolicy
from tests.support.fake_leases import GivenWork
from tests.support.local_mail import CONTENT, delivery_of, loaded, loaded_large, local_envelope
from tests.support.until import until


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


class Mailstore:
    """Takes every message; refuses what is for `refused`."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.hello = ""

    # The server calls it for LHLO, too.
    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.hello = session.host_name = hostname
        return responses

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("refused"):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 Saved"


@contextlib.asynccontextmanager
async def real_server(store: Mailstore, path: str = "", *, has_utf8: bool = False) -> AsyncIterator[str]:
    """A running server; yields the target that names it."""
    loop = asyncio.get_running_loop()
    sessions: list[LMTP] = []

    def factory() -> LMTP:
        sessions.append(LMTP(store, hostname="store.test", enable_SMTPUTF8=has_utf8, loop=loop))
        return sessions[-1]

    server = await (loop.create_unix_server(factory, path) if path else loop.create_server(factory, "127.0.0.1", 0))
    yield path or f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    await until(lambda: all(s._handler_coroutine.done() for s in sessions), lambda: sessions)
    await asyncio.sleep(0.01)  # transports are closed in the turn after that


async def deliver(
    target: str,
    *,
    language: str = MODERN,
    is_rcpt_to: bool = False,
    pieces: list[bytes] | None = None,
    user: str = "alice",
    sender: str = "bob@example.net",
    flags: int = 0,
) -> Attempt:
    envelope = local_envelope(method="lmtp", target=target, dest="alice+tag@example.test", user=user, sender=sender)
    envelope = msgspec.structs.replace(envelope, flags=flags)
    dispatcher = msgspec.structs.replace(envelope.dispatcher, is_rcpt_to=is_rcpt_to)
    envelope = msgspec.structs.replace(envelope, dispatcher=dispatcher)
    client = GivenWork()
    message = loaded_large(envelope, pieces) if pieces else loaded(envelope)
    client.contents[message.msgid] = pieces or []
    delivery = delivery_of(message, Path("/home/alice"), LocalPolicy(language, "mx.example.test"), uid=1000)
    singles = Singles(client.read_content)
    try:
        return await singles.deliver(delivery)
    finally:
        singles.close()


PREFIX = b"Return-Path: <bob@example.net>\r\nDelivered-To: alice+tag@example.test\r\n"


@pytest.mark.parametrize(
    ("language", "is_rcpt_to", "hello", "rcpt"),
    [
        pytest.param(MODERN, False, "localhost", "alice", id="the user"),
        pytest.param(MODERN, True, "localhost", "alice+tag@example.test", id="the address"),
        pytest.param(CLASSIC, False, "mx.example.test", "alice", id="our name in the classic form"),
    ],
)
async def test_a_message_is_handed_over(language: str, is_rcpt_to: bool, hello: str, rcpt: str) -> None:
    store = Mailstore()
    async with real_server(store) as target:
        attempt = await deliver(target, language=language, is_rcpt_to=is_rcpt_to)
    assert attempt.kind is OutcomeKind.DELIVERED, attempt
    (envelope,) = store.envelopes
    assert (store.hello, envelope.mail_from, envelope.rcpt_tos) == (hello, "bob@example.net", [rcpt])
    assert envelope.content == PREFIX + CONTENT


@pytest.mark.parametrize(
    ("user", "sender", "flags", "is_said"),
    [
        pytest.param("été", "bob@example.net", 0, True, id="user"),
        pytest.param("alice", "bób@example.net", 0, True, id="sender"),
        pytest.param("alice", "bob@example.net", EnvelopeFlag.SMTPUTF8, True, id="header"),
        pytest.param("alice", "bob@example.net", 0, False, id="nothing beyond ASCII"),
    ],
)
async def test_smtputf8_where_it_is_needed_and_known(user: str, sender: str, flags: int, is_said: bool) -> None:
    store = Mailstore()
    async with real_server(store, has_utf8=True) as target:
        attempt = await deliver(target, user=user, sender=sender, flags=flags)
    assert attempt.kind is OutcomeKind.DELIVERED, attempt
    (envelope,) = store.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos, envelope.smtp_utf8) == (sender, [user], is_said)


async def test_a_peer_that_does_not_know_smtputf8_judges_for_itself() -> None:
    async with odd_peer(b"220 hi\r\n", OK, OK, OK, b"354 go\r\n", OK) as target:
        assert (await deliver(target, sender="bób@example.net")).kind is OutcomeKind.DELIVERED


async def test_a_socket_of_this_host(tmp_path: Path) -> None:
    store = Mailstore()
    async with real_server(store, str(tmp_path / "lmtp")) as target:
        assert (await deliver(target)).kind is OutcomeKind.DELIVERED
    assert len(store.envelopes) == 1


async def test_dots_survive_wherever_pieces_are_cut() -> None:
    content = CONTENT + b".\r\n..\r\n.x\r\nlast.\r\n"
    store = Mailstore()
    async with real_server(store) as target:
        attempt = await deliver(target, pieces=[content[at : at + 1] for at in range(len(content))])
    assert attempt.kind is OutcomeKind.DELIVERED, attempt
    assert store.envelopes[0].content == PREFIX + content


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_stuffing(step: int) -> None:
    stuffing, content = DotStuffing(), b".\r\na.b\r\n..\r\n\r\n.\r\n"
    sent = b"".join(stuffing.take(content[at : at + step]) for at in range(0, len(content), step)) + stuffing.end()
    assert sent == b"..\r\na.b\r\n...\r\n\r\n..\r\n.\r\n"


@pytest.mark.parametrize(
    ("language", "kind", "status"),
    [
        pytest.param(MODERN, OutcomeKind.PERMFAIL, "550 5.1.1 No such user", id="for good"),
        pytest.param(CLASSIC, OutcomeKind.TEMPFAIL, "451 4.3.0 550 5.1.1 No such user", id="classic tries again"),
    ],
)
async def test_a_refused_recipient(language: str, kind: OutcomeKind, status: str) -> None:
    store = Mailstore()
    async with real_server(store) as target:
        attempt = await deliver(target, language=language, user="refused")
    assert (attempt.kind, attempt.status.line) == (kind, status)
    assert attempt.detail.startswith("RCPT at 127.0.0.1:")
    assert store.envelopes == []


@contextlib.asynccontextmanager
async def odd_peer(*replies: bytes) -> AsyncIterator[str]:
    """Says the replies one after the other: the first unasked, each other after a command, or after a whole message behind a 354."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            for index, reply in enumerate(replies):
                if index:
                    await reader.readuntil(b"\r\n.\r\n" if replies[index - 1].startswith(b"354") else b"\r\n")
                writer.write(reply)
                await writer.drain()
            if replies and replies[-1] == b"":
                await reader.read(1)  # hangs until we go
        writer.transport.abort()
        await asyncio.sleep(0)
        ended.append(writer)

    ended: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await until(lambda: bool(ended), lambda: ended)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.01)  # transports are closed in the turn after that


OK = b"250 ok\r\n"


@pytest.mark.parametrize(
    ("replies", "kind", "told"),
    [
        pytest.param([b"220 hi\r\n", OK, OK, OK, b"354 go\r\n", b"452 4.2.2 full\r\n"], "tempfail", "452 4.2.2 full", id="full"),
        pytest.param([b"220 hi\r\n", OK, OK, OK, b"354 go\r\n", b"554 5.7.1 no\r\n"], "permfail", "554 5.7.1 no", id="no"),
        pytest.param([b"554 go away\r\n"], "permfail", "554 go away", id="greeting"),
        pytest.param([b"250 hi\r\n", b"250-a\r\n250-b\r\n250 c\r\n", OK, OK, b"354 go\r\n", b"250 2.0.0 it is\r\n"], "delivered", "250 2.0.0 Delivered", id="many lines"),
        pytest.param([b"220 hi\r\n", b"250-a\r\n251 c\r\n"], "tempfail", "LHLO: codes of one reply differ", id="codes differ"),
        pytest.param([b"22\r\n"], "tempfail", "greeting: malformed reply", id="short line"),
        pytest.param([b"2200 hi\r\n"], "tempfail", "greeting: malformed reply", id="long code"),
        pytest.param([b"999 hi\r\n"], "tempfail", "greeting: malformed reply", id="no such class"),
        pytest.param([b"220 " + b"x" * 5000 + b"\r\n"], "tempfail", "greeting: reply line too long", id="long line"),
        pytest.param([b"220-x\r\n" * 200], "tempfail", "greeting: reply too long", id="endless reply"),
        pytest.param([b"220 hi\r\n", OK, b"354 go\r\n"], "tempfail", "MAIL: unexpected reply 354", id="go on, to MAIL"),
        pytest.param([b"220 hi\r\n", OK, OK, OK, OK], "tempfail", "DATA: unexpected reply 250", id="ok, to DATA"),
        pytest.param([b"220 hi\r\n", OK, OK], "tempfail", "connection closed by the peer|Connection reset", id="closes"),
        pytest.param([b""], "tempfail", "session: timed out", id="says nothing"),
    ],
)  # fmt: skip
async def test_what_a_peer_may_say(replies: list[bytes], kind: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmtp.hand_over, "__defaults__", (lmtp.killpoint.reach, 0.5))
    async with odd_peer(*replies) as target:
        attempt = await deliver(target)
    assert attempt.kind.value == kind
    assert any(text in f"{attempt.status.line} {attempt.detail}" for text in told.split("|")), attempt


async def test_nobody_there() -> None:
    attempt = await deliver("127.0.0.1:1")
    assert (attempt.kind, attempt.detail) == (OutcomeKind.TEMPFAIL, "127.0.0.1:1: connect: Connection refused")


async def test_a_message_that_breaks_off_is_not_ended() -> None:
    store = Mailstore()
    async with real_server(store) as target:
        client = GivenWork()
        envelope = local_envelope(method="lmtp", target=target)
        message = loaded_large(envelope, [CONTENT, CONTENT])
        client.contents[message.msgid] = [CONTENT]
        singles = Singles(client.read_content)
        attempt = await singles.deliver(delivery_of(message, Path("/home/alice"), uid=1000))
        singles.close()
    assert (attempt.kind, "content cannot be read" in attempt.detail) == (OutcomeKind.TEMPFAIL, True)
    assert store.envelopes == []
