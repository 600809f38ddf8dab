"""Bytes that nobody meant well: the command parser, and whole conversations, generated and from the corpus (tests/corpus/smtp).

A conversation is played in one piece and in pieces, and must come to the same. What hypothesis once finds goes into the corpus.
"""

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpfleet.contracts.status import Status
from smtpfleet.smtp_in.command import parse_line
from smtpfleet.smtp_in.data import DataReader
from tests.support.smtp_stage import MemoryTransport, Stage, make_configuration
from tests.unit.smtp_in.test_data import cut

CORPUS = sorted((Path(__file__).parents[2] / "corpus" / "smtp").glob("*.bin"))
LIMIT_BYTES = 3000
_is_reply_line = re.compile(rb"[2-5][0-9]{2}[ -][ -~]*").fullmatch
_MSGID = re.compile(rb"[0-9a-f]{16}")
_DATE = re.compile(rb"\r\n\t[A-Z][a-z]{2}, [^\r]*\r\n")

Outcome = tuple[bytes, list[bytes], bool, str]
"""What was answered, what was made durable, whether the connection was closed, and the state it ended in."""

COMMANDS = [
    b"EHLO client.example\r\n", b"HELO c\r\n", b"MAIL FROM:<a@b.example>\r\n", b"MAIL FROM:<> SMTPUTF8 BODY=8BITMIME RET=HDRS\r\n",
    b"RCPT TO:<alice@example.test>\r\n", b"RCPT TO:<staff@example.test> NOTIFY=NEVER\r\n", b"RCPT TO:<nobody@example.test>\r\n",
    b"DATA\r\n", b"BDAT 3\r\n", b"BDAT 5 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT 4000\r\n", b"RSET\r\n", b"NOOP x\r\n", b"QUIT\r\n",
    b"VRFY a\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n",
]  # fmt: skip
OCTETS = [b"\r", b"\n", b"\r\n", b".", b"\r\n.\r\n", b"\0", b"\xff", b"x", b" ", b":", b"<", b">", b'"', b"Subject: x\r\n\r\n", b"x" * 900]  # fmt: skip
TALK = st.lists(
    st.one_of(st.sampled_from(COMMANDS), st.sampled_from(OCTETS), st.binary(max_size=8)), max_size=25
).map(b"".join)  # fmt: skip
GREETED = b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\n"


@settings(max_examples=300)
@given(st.binary(max_size=60))
@example(b"NOOP\t\x7f")
@example(b"noop \xff")
def test_what_is_taken_for_a_command_has_no_control_character(octets: bytes) -> None:
    parsed = parse_line(octets.replace(b"\n", b"") + b"\r\n")
    if isinstance(parsed, Status):
        assert parsed.code == 500
        return
    verb, arg = parsed
    assert verb.isalpha() or not verb
    assert verb == verb.upper() and not arg.endswith((b" ", b"\t"))
    assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", arg)


@given(st.binary(max_size=60))
def test_a_line_that_ends_in_lf_alone_is_no_command(octets: bytes) -> None:
    assert isinstance(parse_line(octets.replace(b"\n", b"").rstrip(b"\r") + b"\n"), Status)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.lists(st.integers(0, 220), max_size=6))
def test_content_of_any_octets_is_taken_as_it_is_or_not_at_all(octets: bytes, places: list[int]) -> None:
    reader = DataReader(1000)
    for piece in cut(octets + b"\r\n.\r\n", places):
        if not reader.is_complete:
            reader.feed(piece)
    assert reader.is_complete
    if reader.refusal is None:
        kept = reader.peek()
        assert b"\0" not in kept and not re.search(rb"(?<!\r)\n|\r(?!\n)", kept)
        raw = b"\r\n" + octets + b"\r\n.\r\n"
        assert kept == re.sub(rb"(?:\A|(?<=\r\n))\.", b"", raw[2 : raw.find(b"\r\n.\r\n") + 2])


async def converse(pieces: list[bytes]) -> Outcome:
    stage = Stage(make_configuration(max_message_size_bytes=LIMIT_BYTES))
    client: MemoryTransport = stage.connect()
    connection = client.protocol
    for piece in pieces:
        client.feed(piece)
    await stage.settle()
    state = connection.session.state.name
    assert len(connection._buffer) <= 65536
    stage.close()
    stored = [_DATE.sub(b"DATE", _MSGID.sub(b"MSGID", content)) for content in stage.queue.contents]
    return _MSGID.sub(b"MSGID", client.written), stored, client.is_closed, state


def check(talk: bytes, pieces: list[bytes]) -> None:
    whole = asyncio.run(converse([talk]))
    answered, stored, *_ = whole
    *lines, end = answered.split(b"\r\n")
    assert end == b"" and all(map(_is_reply_line, lines))
    for content in stored:
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", content)
    assert asyncio.run(converse(pieces)) == whole


@settings(max_examples=200)
@given(talk=TALK, is_in_transaction=st.booleans(), places=st.lists(st.integers(0, 3000), max_size=8))
def test_a_conversation_comes_to_the_same_however_it_is_cut(
    talk: bytes, is_in_transaction: bool, places: list[int]
) -> None:
    talk = GREETED + talk if is_in_transaction else talk
    check(talk, cut(talk, places))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus(path: Path) -> None:
    talk = path.read_bytes()
    check(talk, [talk[at : at + 1] for at in range(len(talk))])


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 20
