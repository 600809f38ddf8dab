"""What the parameters of MAIL and RCPT and the listener lead to: in the envelopes, in the content, in Received."""

from typing import Any

import pytest
from msgspec import structs

from smtpfleet.contracts.commands import CHUNK_BYTES, INLINE_CONTENT_LIMIT_BYTES
from smtpfleet.contracts.envelope import DsnNotify, Envelope, EnvelopeFlag
from smtpfleet.contracts.status import S451_LOCAL_ERROR
from smtpfleet.smtp_in.reply import S552_HEADER_TOO_BIG
from smtpfleet.smtp_in.server import Connection
from tests.support.smtp_stage import MemoryTransport, Stage, make_configuration

HELLO = b"EHLO client.example\r\n"
CONTENT = b"DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n"


async def converse(stage: Stage, sent: bytes, peer: str = "192.0.2.9") -> MemoryTransport:
    client = stage.connect(peer)
    client.feed(HELLO + sent)
    await stage.settle()
    return client


def accepted(stage: Stage) -> tuple[list[Envelope], bytes]:
    """Envelopes and content of the one message."""
    (message,), (content,) = stage.queue.messages, stage.queue.contents
    return message.envelopes, content


async def test_what_is_to_be_reported_is_in_the_envelopes(stage: Stage) -> None:
    await converse(
        stage,
        b"MAIL FROM:<a@b.example> RET=hdrs ENVID=QQ+2B1\r\n"
        b"RCPT TO:<alice@example.test>\r\n"
        b"RCPT TO:<staff@example.test> NOTIFY=SUCCESS ORCPT=rfc822;s+2Bx@c.example\r\n" + CONTENT,
    )
    envelopes, _ = accepted(stage)
    assert [(e.dsn_ret, e.dsn_envid) for e in envelopes] == [("HDRS", "QQ+2B1")] * 3
    assert [(e.dsn_notify, e.dsn_orcpt) for e in envelopes] == [
        (0, ""),
        (DsnNotify.SUCCESS, "rfc822;s+2Bx@c.example"),
        (DsnNotify.SUCCESS, "rfc822;s+2Bx@c.example"),
    ]


async def test_nothing_asked_leaves_no_trace_in_the_next_transaction(stage: Stage) -> None:
    plain = b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n"
    await converse(
        stage,
        b"MAIL FROM:<> RET=FULL SMTPUTF8\r\nRCPT TO:<alice@example.test> NOTIFY=NEVER\r\nRSET\r\n" + plain + CONTENT,
    )
    (envelope,), content = accepted(stage)
    assert (envelope.dsn_ret, envelope.dsn_notify, envelope.flags) == ("", 0, 0)
    assert b" with ESMTP id " in content


@pytest.mark.parametrize(
    ("parameter", "header", "flags", "protocol"),
    [
        pytest.param(b" SMTPUTF8", "Subject: grüße", EnvelopeFlag.SMTPUTF8, b"UTF8SMTP", id="asked for and needed"),
        pytest.param(b" SMTPUTF8", "Subject: x", 0, b"UTF8SMTP", id="asked for and not needed"),
        pytest.param(b"", "Subject: grüße", 0, b"ESMTP", id="not asked for"),
    ],
)
@pytest.mark.parametrize("size", [10, 600_000], ids=["small", "in chunks"])
async def test_a_header_beyond_ascii(
    stage: Stage, parameter: bytes, header: str, flags: int, protocol: bytes, size: int
) -> None:
    body = header.encode() + b"\r\n\r\n" + "ü\r\n".encode() * (size // 4)
    await converse(
        stage, b"MAIL FROM:<>" + parameter + b"\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n" + body + b".\r\n"
    )
    (envelope,), content = accepted(stage)
    assert envelope.flags == flags
    assert b" with " + protocol + b" id " in content and content.endswith(body)


async def test_a_recipient_beyond_ascii_is_not_told_in_received(stage: Stage) -> None:
    sent = "MAIL FROM:<jürgen@bücher.example> SMTPUTF8\r\nRCPT TO:<jürgen@bücher.example>\r\n".encode() + CONTENT
    await converse(stage, sent, "127.0.0.1")
    (envelope,), content = accepted(stage)
    assert envelope.sender == envelope.dest == "jürgen@xn--bcher-kva.example"
    assert envelope.dispatcher.domain == "xn--bcher-kva.example"  # type: ignore[union-attr]
    assert content.partition(b"Subject")[0].isascii() and b"\tfor <" not in content


def listening(stage: Stage, **options: Any) -> None:
    configuration = make_configuration()
    listener = structs.replace(configuration.listeners[0], **options)
    stage.apply(structs.replace(configuration, listeners=(listener,)))


TRANSACTION = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
DRAFT = b"From: Root <root>\r\nTo: alice, bob@c.example\r\nBcc: x@c.example\r\n\r\nBcc: text\r\n"


async def test_submission_is_completed(stage: Stage) -> None:
    listening(stage, port=587)
    await converse(stage, TRANSACTION + DRAFT + b".\r\n")
    _, content = accepted(stage)
    received, _, rest = content.partition(b"From: ")
    assert received.startswith(b"Received: from client.example ")
    lines = rest.split(b"\r\n")
    assert lines[:2] == [b"Root <root@mx.example.test>", b"To: alice@mx.example.test, bob@c.example"]
    assert (
        lines[2].startswith(b"Date: ")
        and lines[3].startswith(b"Message-ID: <")
        and lines[4:] == [b"", b"Bcc: text", b""]
    )
    assert lines[3].endswith(b"@mx.example.test>")


async def test_mail_from_others_is_not_touched(stage: Stage) -> None:
    await converse(stage, TRANSACTION + DRAFT + b".\r\n")
    assert accepted(stage)[1].endswith(b"\r\n" + DRAFT)


async def test_a_large_submission_is_completed_before_its_first_chunk(stage: Stage) -> None:
    listening(stage, port=587)
    body = (b"x" * 98 + b"\r\n") * 8000
    await converse(stage, TRANSACTION + b"Subject: x\r\n\r\n" + body + b".\r\n")
    _, content = accepted(stage)
    assert b"\r\nDate: " in content[:1000] and content.endswith(b"\r\n\r\n" + body)


async def test_a_submission_whose_header_does_not_end_is_refused(stage: Stage) -> None:
    listening(stage, port=587)
    client = await converse(stage, TRANSACTION)
    for _ in range(60):
        client.feed(b"X-Header: y\r\n" * 1000)
        await stage.settle()
    client.feed(b"\r\n.\r\nNOOP\r\n")
    assert client.written.endswith(f"{S552_HEADER_TOO_BIG.line}\r\n250 2.0.0 Ok\r\n".encode())


async def test_a_large_body_without_a_header_is_parted_from_ours(stage: Stage) -> None:
    body = b"just text\r\n" * 60_000
    await converse(stage, TRANSACTION + body + b".\r\n")
    _, content = accepted(stage)
    received, _, rest = content.partition(b"\r\n\r\n")
    assert received.startswith(b"Received: from client.example ") and rest == body


async def test_what_completion_adds_takes_a_message_over_the_inline_limit(stage: Stage) -> None:
    listening(stage, port=587)
    client = await converse(stage, TRANSACTION)
    head = b"To: " + b",".join([b"a"] * 1000) + b"\r\n"
    rest = b"X: y\r\n" * ((INLINE_CONTENT_LIMIT_BYTES - 4096 - len(head) - 100) // 6) + b"\r\ntext\r\n"
    client.feed(head + rest + b".\r\n")
    most_bytes = stage.server.memory.held_bytes
    await stage.settle()
    (message,), (content,) = stage.queue.messages, stage.queue.contents
    assert message.chunk_count > 1 and not message.content
    completed = b"To: " + b",".join([b"a@mx.example.test"] * 1000) + b"\r\n"
    assert completed in content and content.endswith(b"\r\n\r\ntext\r\n")
    # The first chunk is on its way.
    assert len(content) - CHUNK_BYTES <= most_bytes <= len(content) and not stage.server.memory.held_bytes


async def test_a_long_header_is_put_off_while_memory_is_short(stage: Stage) -> None:
    listening(stage, port=587)
    client = await converse(stage, TRANSACTION)
    stage.server.memory.limit_bytes = 0
    for _ in range(10):
        client.feed(b"X-Header: y\r\n" * 1000)
        await stage.settle()
    client.feed(b"\r\ntext\r\n.\r\nNOOP\r\n")
    assert client.written.endswith(f"{S451_LOCAL_ERROR.line}\r\n250 2.0.0 Ok\r\n".encode())
    assert not stage.queue.messages


@pytest.mark.parametrize("is_authenticated", [True, False])
async def test_masquerade_is_for_whoever_is_authenticated(stage: Stage, is_authenticated: bool) -> None:
    listening(stage, is_masquerade=True)
    client = stage.connect()
    connection: Connection = client.protocol
    client.feed(HELLO)
    connection.session.origin = structs.replace(connection.session.origin, is_authenticated=is_authenticated)
    client.feed(TRANSACTION + DRAFT + b".\r\n")
    await stage.settle()
    _, content = accepted(stage)
    wanted = b"From: Root <a@b.example>\r\n" if is_authenticated else b"From: Root <root>\r\n"
    assert wanted in content and b"Bcc: x@c.example" in content
