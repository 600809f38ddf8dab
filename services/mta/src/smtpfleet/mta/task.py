"""The task: envelopes of one message for one relay, sent in one transaction.

Owns how a loaded message becomes a task and the commands that announce it. Never touches a socket. Made by connector.py, sent by
transaction.py. OpenSMTPD: struct mta_task.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.envelope import DsnNotify, Envelope, EnvelopeFlag
from smtpfleet.contracts.status import S554_LOOP_DETECTED, Status
from smtpfleet.mail.headers import HOP_LIMIT, count_received

S553_NOT_ASCII = Status(553, "5.6.7", "Address cannot be sent without SMTPUTF8")
S553_BAD_ADDRESS = Status(553, "5.1.3", "Invalid address")

# What would end or split a command. NUL ends strings of careless peers.
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")
# What would end the path and begin a parameter; only a quoted local part may have it.
_DELIMITER = re.compile(r"[ <>]")
_NOTIFY_WORDS = (
    (DsnNotify.NEVER, "NEVER"),
    (DsnNotify.SUCCESS, "SUCCESS"),
    (DsnNotify.FAILURE, "FAILURE"),
    (DsnNotify.DELAY, "DELAY"),
)

Chunks = Callable[[], AsyncIterator[bytes]]


@dataclass(slots=True, eq=False)
class Task:
    """One transaction to be.

    content: whole, or empty where `chunks` reads it in pieces. is_8bit: whether it has bytes above 127; unknown counts as yes.
    is_utf8: an address or the header is beyond ASCII, so the peer must offer SMTPUTF8.
    """

    msgid: str
    sender: str
    envelopes: list[Envelope]
    size_bytes: int
    content: bytes
    chunks: Chunks | None
    is_8bit: bool
    is_utf8: bool = False


def tasks_of(message: LoadedMessage, chunks: Chunks | None) -> list[Task]:
    """The message's envelopes as tasks: one, unless `relay as` gave them different senders or only some need SMTPUTF8."""
    groups: dict[tuple[str, bool], list[Envelope]] = {}
    for envelope in message.envelopes:
        groups.setdefault((envelope.sender, _needs_utf8(envelope)), []).append(envelope)
    is_8bit = chunks is not None or not message.content.isascii()
    return [
        Task(message.msgid, sender, envelopes, message.size_bytes, message.content, chunks, is_8bit, is_utf8)
        for (sender, is_utf8), envelopes in groups.items()
    ]


def _needs_utf8(envelope: Envelope) -> bool:
    """RFC 6531 §3.6: such a message goes to no peer without SMTPUTF8."""
    is_header_utf8 = bool(envelope.flags & EnvelopeFlag.SMTPUTF8)
    return is_header_utf8 or not (envelope.sender.isascii() and envelope.dest.isascii())


def address_fault(address: str) -> Status | None:
    """Why this address cannot be part of a command, or None."""
    if _UNSENDABLE.search(address) or (_DELIMITER.search(address) and not address.startswith('"')):
        return S553_BAD_ADDRESS
    return None


def check_content(content: bytes) -> Status | None:
    """Whether a message (or its first chunk) has made too many hops (reference 7.7: Received count)."""
    # One C call that settles it for nearly every message: a hop needs a colon.
    if content.count(b":") < HOP_LIMIT:
        return None
    return S554_LOOP_DETECTED if count_received(content) >= HOP_LIMIT else None


def mail_command(task: Task, *, has_size: bool, has_8bitmime: bool, has_dsn: bool = False) -> bytes:
    """MAIL with the parameters the peer knows (RFC 1870, 6152, 3461, 6531). 8-bit content goes to others undeclared, as OpenSMTPD does."""
    size = f" SIZE={task.size_bytes}" if has_size else ""
    body = " BODY=8BITMIME" if has_8bitmime and task.is_8bit else ""
    utf8 = " SMTPUTF8" if task.is_utf8 else ""
    asked = ""
    if has_dsn:
        first = task.envelopes[0]  # what MAIL asked for is the same for all of a message
        asked = (f" RET={first.dsn_ret}" if first.dsn_ret else "") + (
            f" ENVID={first.dsn_envid}" if first.dsn_envid else ""
        )
    return f"MAIL FROM:<{task.sender}>{size}{body}{utf8}{asked}\r\n".encode()


def rcpt_commands(task: Task, *, has_dsn: bool = False) -> list[bytes]:
    """RCPT of every envelope."""
    if has_dsn:
        return [f"RCPT TO:<{envelope.dest}>{_asked_of(envelope)}\r\n".encode() for envelope in task.envelopes]
    return [f"RCPT TO:<{envelope.dest}>\r\n".encode() for envelope in task.envelopes]


def _asked_of(envelope: Envelope) -> str:
    """NOTIFY and ORCPT as the sender gave them (RFC 3461 §5.2.1)."""
    words = [word for bit, word in _NOTIFY_WORDS if envelope.dsn_notify & bit]
    notify = f" NOTIFY={','.join(words)}" if words else ""
    # One of type utf-8 that is not ASCII may only go where SMTPUTF8 is in force (RFC 6533 §3).
    orcpt = envelope.dsn_orcpt if envelope.dsn_orcpt.isascii() or _needs_utf8(envelope) else ""
    return notify + (f" ORCPT={orcpt}" if orcpt else "")
