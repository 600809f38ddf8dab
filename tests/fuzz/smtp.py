"""Whole conversations with a real Connection in front of a queue: the same replies and messages however the octets are cut.

A first line `#word word` says what the listener has (SETTINGS); the rest is what the client sends, with runs of x where that is `large`
(cuts.grown). Each is played whole, in pieces, in pieces with the answers awaited between them, and with the peer gone in the middle.
"""

import asyncio
import random
import re
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from smtpfleet.contracts.commands import CommitVerdict, ForwardQuery, ForwardReply
from smtpfleet.contracts.configuration import Table
from smtpfleet.contracts.subjects import Subject
from smtpfleet.smtp_in.access_request import TlsFacts
from smtpfleet.smtp_in.crypt_library import crypt
from smtpfleet.smtp_in.failures import LocalFailures
from smtpfleet.smtp_in.state import HELD_STATES
from tests.fuzz.cuts import cut, grown
from tests.support.credentials import Credentials
from tests.support.dialog import read_dialog
from tests.support.smtp_stage import MemoryTransport, Stage, make_configuration

CONTENT_LIMIT_BYTES = 3000
SETTINGS: dict[str, dict[str, Any]] = {
    "mend": {"mends_line_ends": True},
    "no-dsn": {"no_dsn": True},
    "submission": {"port": 587},
    "tls-require": {"tls": "require"},
    "starttls": {"tls": "starttls"},
    "auth": {"auth": "required", "auth_table": "people"},
    "auth-optional": {"auth": "optional", "auth_table": "people", "received_auth": True},
    "senders": {"senders": "senders", "is_masquerade": True},
}
JUDGE_THE_BEGINNING = {"failed", "full", "taken", "senders", "submission"}
"""What may end a large message before all of it has been read, so that a refusal depends on how much came at once."""
OTHER_SETTINGS = ("secured", "forwards", "failed", "full", "taken", "down", "large", "short-memory", "local")
COMMANDS: Sequence[bytes] = (
    b"EHLO client.example\r\n", b"HELO c\r\n", b"MAIL FROM:<a@b.example>\r\n", b"MAIL FROM:<> SMTPUTF8 BODY=8BITMIME RET=HDRS\r\n",
    b"RCPT TO:<alice@example.test>\r\n", b"RCPT TO:<staff@example.test> NOTIFY=NEVER\r\n", b"RCPT TO:<nobody@example.test>\r\n",
    b"DATA\r\n", b"BDAT 3\r\n", b"BDAT 5 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT 4000\r\n", b"RSET\r\n", b"NOOP x\r\n", b"QUIT\r\n",
    b"VRFY a\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"AUTH PLAIN AGJvYgBwdw==\r\n", b"AUTH LOGIN Ym9i\r\n", b"cHc=\r\n", b"*\r\n", b"=\r\n",
    b"AUTH SCRAM-SHA-256 biwsbj1ib2Iscj1hYmM=\r\n", b"AUTH PLAIN AGJvYgBubw==\r\n", b"RCPT TO:<bob@example.test> ORCPT=rfc822;x\r\n", b"MAIL FROM:<bob@example.test>\r\n",
)  # fmt: skip
OCTETS: Sequence[bytes] = (
    b"\r", b"\n", b"\r\n", b".", b".\r\n", b"\r\n.\r\n", b"\0", b"\xff", b"x", b" ", b":", b"<", b">", b'"', b"Subject: x\r\n\r\n", b"x" * 900, b"\r\n..", b"\n.\n",
    b"Received: x\r\n" * 100, b"From: joe\r\n", b"BDAT ", b" LAST\r\n", b"AUTH PLAIN " + b"A" * 3000,
)  # fmt: skip
WORDS: Sequence[bytes] = (*COMMANDS, *OCTETS, b"#", *(f"{word} ".encode() for word in (*SETTINGS, *OTHER_SETTINGS)))
GREETED = b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\n"
DIALOGS = Path(__file__).parents[1] / "dialogs"

_is_reply_line = re.compile(rb"[2-5][0-9]{2}[ -][ -~]*").fullmatch
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
_DRAWN = (
    (re.compile(rb"[0-9a-f]{32}|[0-9a-f]{16}"), b"ID"),
    (re.compile(rb"\r\n(?:\t[A-Z][a-z]{2}, |Date: )[^\r]*(?=\r\n)"), b"DATE"),
    (re.compile(rb"334 [A-Za-z0-9+/=]{20,}"), b"334 NONCE"),
    # Of several faults of a large message, the one that is noticed first.
    (re.compile(rb"Message refused: [A-Za-z ]+"), b"Message refused: FAULT"),
)
_HASH = crypt(b"pw", b"$6$rounds=1000$saltsalt").decode()
_SECURED = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, False)

Outcome = tuple[bytes, list[bytes], bool, str]
"""What was answered, what was made durable, whether the connection was closed, and the state it ended in."""


class _AtOnce(LocalFailures):
    """Counts as ever; nobody waits."""

    async def note_failure(self, user: str, peer: str) -> float:
        await super().note_failure(user, peer)
        return 0.0


class _Mda:
    """Answers for forwards a little later."""

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        assert isinstance(payload, ForwardQuery)
        await asyncio.sleep(0)
        return ForwardReply("present" if payload.user == "bob" else "absent", "alice, |/bin/x", "")


def check(data: bytes) -> None:
    """One conversation."""
    words, talk = set[str](), data
    if data.startswith(b"#"):
        line, _, talk = data.partition(b"\n")
        words = set(line[1:].decode("latin-1").split())
    if "large" in words and not words & JUDGE_THE_BEGINNING:
        talk = grown(talk)
    whole = asyncio.run(converse([talk], words))
    answered, stored, *_ = whole
    check_replies(answered)
    for content in stored:
        assert not _BARE.search(content), "only whole lines are made durable"
    assert asyncio.run(converse(cut(talk), words)) == whole
    assert asyncio.run(converse(cut(talk, 1), words, is_patient=True)) == whole
    asyncio.run(leave_early(talk, words))


def check_replies(answered: bytes) -> None:
    """Complete lines of three digits; the lines of one reply have one code (RFC 5321 §4.2.1)."""
    *lines, end = answered.split(b"\r\n")
    assert end == b"" and all(map(_is_reply_line, lines))
    code = b""
    for line in lines:
        assert code in (b"", line[:3]) and len(line) <= 510
        code = line[:3] if line[3:4] == b"-" else b""
    assert code == b"", "the last line of a reply has no hyphen"


def make_stage(words: set[str]) -> tuple[Stage, MemoryTransport]:
    """A stage with what `words` name, and a client."""
    configuration = make_configuration(
        max_message_size_bytes=2_000_000 if "large" in words else CONTENT_LIMIT_BYTES
    )  # fmt: skip
    options = {name: value for word in sorted(words & SETTINGS.keys()) for name, value in SETTINGS[word].items()}
    listener = structs.replace(configuration.listeners[0], **options)
    senders = Table("senders", "mapping", "static", "", {"bob": "bob@example.test"})
    configuration = structs.replace(
        configuration, listeners=(listener,), tables=configuration.tables | {"senders": senders}
    )
    credentials = Credentials() if words & {"auth", "auth-optional"} else None
    if credentials is not None:
        credentials.values["bob"] = _HASH
        credentials.is_down = "down" in words
    stage = Stage(
        configuration,
        credentials=credentials,
        failures=_AtOnce(time.monotonic),
        roles=_Mda() if "forwards" in words else None,
        content_memory_bytes=100 if "short-memory" in words else 2**28,
    )
    for word in words & {"failed", "full", "taken"}:
        stage.queue.answers.append(CommitVerdict(word))
    client = stage.connect("127.0.0.1" if "local" in words else "192.0.2.9")
    if "secured" in words and not client.is_closed:
        client.protocol.session.on_tls(_SECURED, is_new=False)  # as on an smtps port
    return stage, client


async def converse(pieces: list[bytes], words: set[str], *, is_patient: bool = False) -> Outcome:
    """Plays the pieces; patient: waits for what is to be answered before each next one."""
    faults = _listen_for_faults()
    stage, client = make_stage(words)
    for piece in pieces:
        client.feed(piece)
        if is_patient and client.protocol.session.state in HELD_STATES:
            await stage.settle()
    await stage.settle()
    connection = client.protocol
    state = connection.session.state.name
    assert len(connection._buffer) <= 65536 + 12288
    stored = [_undrawn(content) for content in stage.queue.contents]
    outcome = _undrawn(client.written), stored, client.is_closed, state
    await _end(stage, client, faults)
    return outcome


async def leave_early(talk: bytes, words: set[str]) -> None:
    """The peer half closes, or is gone, in the middle: nothing is left of it, and what was answered is well formed."""
    faults = _listen_for_faults()
    stage, client = make_stage(words)
    draw = random.Random(zlib.crc32(talk))
    client.feed(talk[: draw.randrange(len(talk) + 1)])
    if draw.randrange(2):
        await stage.settle()
    if draw.randrange(2) and not client.is_closed:
        client.feed_eof()
    await _end(stage, client, faults)
    check_replies(client.written)


async def _end(stage: Stage, client: MemoryTransport, faults: list[dict[str, Any]]) -> None:
    await stage.settle()
    client.close()
    await stage.until(lambda: not stage.server.connections)
    assert stage.server.memory.held_bytes == 0
    stage.close()
    await asyncio.sleep(0)
    assert faults == []


def _listen_for_faults() -> list[dict[str, Any]]:
    """What the event loop would only have logged."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    return faults


def _undrawn(octets: bytes) -> bytes:
    for pattern, stand_in in _DRAWN:
        octets = pattern.sub(stand_in, octets)
    return octets


def seeds() -> Sequence[bytes]:
    """Every dialog of tests/dialogs that is not a bomb, and each setting with a message."""
    dialogs = [read_dialog(path) for path in sorted(DIALOGS.glob("*.dialog"))]
    talks = []
    for dialog in dialogs:
        words = ["secured"] * (dialog.settings.get("tls") == "yes") + dialog.settings.get("listener", "").split()
        talks.append((b"#" + " ".join(words).encode() + b"\n" if words else b"") + dialog.sent)
    message = GREETED + b"DATA\r\nFrom: joe\r\n\r\n..x\r\n.\r\nQUIT\r\n"
    login = b"EHLO c\r\nAUTH PLAIN AGJvYgBwdw==\r\n" + message
    talks += [f"#{word} secured auth-optional\n".encode() + login for word in (*SETTINGS, *OTHER_SETTINGS)]
    long_line = b"\xfe\xff\xf0\r\n"
    talks += [
        b"#large short-memory\n" + GREETED + b"DATA\r\nSubject: x\r\n\r\n" + long_line * 3 + b".\r\nQUIT\r\n",
        b"#large short-memory\n" + GREETED + (b"BDAT 65522\r\n" + long_line) * 2 + b"BDAT 3 LAST\r\n.\r\nQUIT\r\n",
    ]
    return [talk for talk in talks if len(talk) < 4000]
