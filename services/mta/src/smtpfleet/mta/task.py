"""The task: envelopes of one message for one relay, sent in one transaction.

Owns how a loaded message becomes a task and the commands that announce it. Never touches a socket. Made by connector.py, sent by
transaction.py. OpenSMTPD: struct mta_task.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.envelope import Envelope
from smtpfleet.contracts.status import S554_LOOP_DETECTED, Status
from smtpfleet.mail.headers import HOP_LIMIT, count_received

S553_NOT_ASCII = Status(553, "5.6.7", "Address cannot be sent without SMTPUTF8")
S553_BAD_ADDRESS = Status(553, "5.1.3", "Invalid address")

# What would end or split a command. NUL ends strings of careless peers.
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")
# What would end the path and begin a parameter; only a quoted local part may have it.
_DELIMITER = re.compile(r"[ <>]")

Chunks = Callable[[], AsyncIterator[bytes]]


@dataclass(slots=True, eq=False)
class Task:
    """One transaction to be.

    content: whole, or empty where `chunks` reads it in pieces. is_8bit: whether it has bytes above 127; unknown counts as yes.
    """

    msgid: str
    sender: str
    envelopes: list[Envelope]
    size_bytes: int
    content: bytes
    chunks: Chunks | None
    is_8bit: bool


def tasks_of(message: LoadedMessage, chunks: Chunks | None) -> list[Task]:
    """The message's envelopes as tasks: one, unless `relay as` gave them different senders."""
    by_sender: dict[str, list[Envelope]] = {}
    for envelope in message.envelopes:
        by_sender.setdefault(envelope.sender, []).append(envelope)
    is_8bit = chunks is not None or not message.content.isascii()
    return [
        Task(message.msgid, sender, envelopes, message.size_bytes, message.content, chunks, is_8bit)
        for sender, envelopes in by_sender.items()
    ]


def address_fault(address: str) -> Status | None:
    """Why this address cannot be part of a command, or None."""
    if _UNSENDABLE.search(address) or (_DELIMITER.search(address) and not address.startswith('"')):
        return S553_BAD_ADDRESS
    return None if address.isascii() else S553_NOT_ASCII


def check_content(content: bytes) -> Status | None:
    """Whether a message (or its first chunk) has made too many hops (reference 7.7: Received count)."""
    # One C call that settles it for nearly every message: a hop needs a colon.
    if content.count(b":") < HOP_LIMIT:
        return None
    return S554_LOOP_DETECTED if count_received(content) >= HOP_LIMIT else None


def mail_command(task: Task, *, has_size: bool, has_8bitmime: bool) -> bytes:
    """MAIL with the parameters the peer knows (RFC 1870, RFC 6152). 8-bit content goes to others undeclared, as OpenSMTPD does."""
    size = f" SIZE={task.size_bytes}" if has_size else ""
    body = " BODY=8BITMIME" if has_8bitmime and task.is_8bit else ""
    return f"MAIL FROM:<{task.sender}>{size}{body}\r\n".encode("ascii")


def rcpt_commands(task: Task) -> list[bytes]:
    """RCPT of every envelope."""
    return [f"RCPT TO:<{envelope.dest}>\r\n".encode("ascii") for envelope in task.envelopes]
