"""Local envelopes, loaded messages and a configuration with a userbase, for unit tests of mda."""

import os
from pathlib import Path

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Configuration, Table
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.contracts.ids import evpid_of
from smtpfleet.mail.tables import UserInfo
from smtpfleet.mda.attempt import Attempt
from smtpfleet.mda.delivery import Delivery, new_delivery
from smtpfleet.mda.way import DEFAULT_POLICY, LocalPolicy

CREATED_AT_S = 1_700_000_000
CONTENT = b"Received: from x\r\nSubject: hello\r\n\r\nline one\r\nline two\r\n"


def local_envelope(
    number: int = 1,
    *,
    dest: str = "alice@example.test",
    sender: str = "bob@example.net",
    user: str = "alice",
    target: str = "~/Maildir",
    method: str = "maildir",
    userbase: str = "users",
    created_at_s: int = CREATED_AT_S,
) -> Envelope:
    """Envelope `number`, each of a message of its own."""
    return Envelope(
        evpid=evpid_of(f"{number:016x}", 1),
        sender=sender,
        rcpt=dest,
        dest=dest,
        dispatcher=LocalDispatcher(method, target, user, userbase),
        tag="",
        helo="peer.example.net",
        hostname="peer.example.net",
        peer="192.0.2.1",
        smtpname="mx.example.test",
        created_at_ms=created_at_s * 1000,
        expire_s=4 * 86400,
    )


def loaded(envelope: Envelope, content: bytes = CONTENT) -> LoadedMessage:
    """The envelope's message with its whole content."""
    return LoadedMessage(envelope.evpid[:16], len(content), content, 0, [envelope])


def loaded_large(envelope: Envelope, chunks: list[bytes]) -> LoadedMessage:
    """The envelope's message, whose content is to be read in chunks."""
    return LoadedMessage(envelope.evpid[:16], sum(map(len, chunks)), b"", len(chunks), [envelope])


def delivery_of(
    message: LoadedMessage, home: Path, policy: LocalPolicy = DEFAULT_POLICY, *, uid: int | None = None
) -> Delivery:
    """The delivery of a message's one envelope into `home`, of a user who is ourselves unless a uid is given."""
    envelope = message.envelopes[0]
    assert isinstance(envelope.dispatcher, LocalDispatcher)
    uid = os.geteuid() if uid is None else uid
    delivery = new_delivery(
        message, envelope, envelope.dispatcher, UserInfo(envelope.dispatcher.user, uid, uid, str(home)), policy
    )
    assert not isinstance(delivery, Attempt), delivery
    return delivery


def expected_file(envelope: Envelope, content: bytes = CONTENT) -> bytes:
    """What the maildir has to hold."""
    head = f"Return-Path: <{envelope.sender}>\nDelivered-To: {envelope.rcpt}\n"
    return head.encode() + content.replace(b"\r\n", b"\n")


def files_in(directory: Path) -> dict[str, bytes]:
    """Names and contents; empty where the directory is missing."""
    return {file.name: file.read_bytes() for file in directory.iterdir()} if directory.is_dir() else {}


def local_configuration(userbase: dict[str, str]) -> Configuration:
    """A snapshot with a table `users`, and a table `people` that config has to be asked for."""
    return Configuration(
        version="1-test",
        hostname="mx.example.test",
        listeners=(),
        tables={
            "users": Table("users", "mapping", "static", "", userbase),
            "people": Table("people", "dynamic", "sqlite", "/people.conf", {}, is_inline=False),
        },
        rules=(),
        limits=DEFAULT_LIMITS,
        max_message_size_bytes=35 * 1024 * 1024,
        expire_s=4 * 86400,
        bounce_warn_s=(),
    )
