"""Reference 13.4, sample by sample: a conversation, the envelope that comes of it, and its line in the queue.

Where ours is not the sample's: the product in the banner, extensions OpenSMTPD 5.4.1 has not, enhanced codes before the texts it has, longer
ids, and no mda-buffer for an mbox, whose folder is a setting of mda (docs/parity.md).
"""

from pathlib import Path

from msgspec.structs import replace

from smtpfleet.contracts.commands import EnvelopeState, EnvelopeView
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.mail.listing import envelope_text, queue_line
from tests.support.secure_stage import HOST, SecureStage
from tests.unit.config.stage import compile_text

CONFIG = """
table users { b = "1000:1000:/home/b" }
listen on lo0
accept from any for domain example.org userbase <users> deliver to mbox
"""
THEIR_EHLO = [
    f"250-mx.example.org Hello client.example.net [{HOST}], pleased to meet you",
    "250-8BITMIME",
    "250-ENHANCEDSTATUSCODES",
    "250-SIZE 36700160",
    "250-STARTTLS",
    "250 HELP",
]
EVPID = "6fd2a1b35c0e11d2" + "00000000"


async def test_the_conversation(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, CONFIG)
    assert compiled.configuration is not None, compiled.render()
    stage = SecureStage(tmp_path)
    listening = stage.configuration([stage.issue("mx")], tls="starttls", hostname="mx.example.org")
    await stage.apply(replace(compiled.configuration, listeners=listening.listeners, pki=listening.pki))
    try:
        client = await stage.connect()
        assert await client.reply() == "220 mx.example.org ESMTP smtpfleet"
        hello = (await client.say("EHLO client.example.net")).splitlines()
        assert [line for line in hello if line in THEIR_EHLO] == THEIR_EHLO
        assert await client.say("MAIL FROM:<a@example.net> SIZE=100") == "250 2.0.0 Ok"
        assert await client.say("RCPT TO:<b@example.org>") == "250 2.1.5 Recipient ok"
        assert await client.say("DATA") == '354 Enter mail, end with "." on a line by itself'
        accepted = await client.say("Subject: x\r\n\r\nx\r\n.")
        await client.close()
        (message,) = stage.inner.queue.messages
        assert accepted == f"250 2.0.0 {message.msgid} Message accepted for delivery"
    finally:
        await stage.close()

    (envelope,) = message.envelopes
    lines = envelope_text(envelope).splitlines()
    for line in (
        "version: 2", "type: mda", "smtpname: mx.example.org", "helo: client.example.net", f"sockaddr: {HOST}", "sender: a@example.net",
        "rcpt: b@example.org", "dest: b@example.org", "expire: 345600", "retry: 0", "mda-method: mbox", "mda-user: b",
    ):  # fmt: skip
        assert line in lines


SAMPLE = Envelope(
    evpid=EVPID,
    sender="a@example.net",
    rcpt="b@example.org",
    dest="b@example.org",
    dispatcher=LocalDispatcher("mbox", "", "b", "<getpwnam>"),
    tag="",
    helo="client.example.net",
    hostname="client.example.net",
    peer="192.0.2.9",
    smtpname="mx.example.org",
    created_at_ms=1386338853_000,
    expire_s=345600,
)


def test_the_envelope() -> None:
    assert envelope_text(SAMPLE) == (
        "version: 2\n"
        "type: mda\n"
        "smtpname: mx.example.org\n"
        "helo: client.example.net\n"
        "hostname: client.example.net\n"
        "sockaddr: 192.0.2.9\n"
        "sender: a@example.net\n"
        "rcpt: b@example.org\n"
        "dest: b@example.org\n"
        "ctime: 1386338853\n"
        "last-try: 0\n"
        "last-bounce: 0\n"
        "expire: 345600\n"
        "retry: 0\n"
        "mda-method: mbox\n"
        "mda-user: b\n"
        "mda-usertable: <getpwnam>\n"
    )


def test_its_line_in_the_queue_after_one_temporary_failure() -> None:
    failed = replace(SAMPLE, retry=1, error_line='"mail.local: quota"')
    view = EnvelopeView(EVPID, EnvelopeState.PENDING, SAMPLE.created_at_ms + 5000, "", failed)
    assert queue_line(view, SAMPLE.created_at_ms + 2000) == (
        "6fd2a1b35c0e11d200000000|inet4|mda||a@example.net|b@example.org|b@example.org|1386338853|1386684453|0|1|pending|3|"
        '"mail.local: quota"'
    )
