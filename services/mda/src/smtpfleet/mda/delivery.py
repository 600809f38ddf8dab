"""One envelope made ready for its mail home: which maildir, under which name, with which header lines in front.

Pure: made in the event loop from envelope, user and snapshot; a thread does the file work from it (group.py, stream.py). Path, folder and
name are the only places where what a peer sent becomes part of a file name: mail.formats keeps values from climbing, the rest is here.
"""

import re
from dataclasses import dataclass

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.mail.formats import FormatError, expand_format
from smtpfleet.mail.tables import UserInfo
from smtpfleet.mda.attempt import Attempt, tempfailed

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Path components are at most 255 bytes on every file system we know (NAME_MAX); a longer tag has no folder.
_TAG_LIMIT_BYTES = 250


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Two deliveries of one envelope (a lease lost and claimed again) are two.

    path: the maildir, absolute. folder: `.TAG`, "" for none; used only where it exists.

    name: final file name, the same at every attempt. prefix: header lines to put in front, LF line ends.
    content: as loaded, CRLF line ends; empty where the message comes in `chunk_count` chunks of together `size_bytes`.
    """

    evpid: str
    user: str
    dest: str
    path: str
    folder: str
    name: str
    created_at_s: int
    prefix: bytes
    content: bytes
    msgid: str
    chunk_count: int
    size_bytes: int

    @property
    def is_large(self) -> bool:
        """Whether the content has to be streamed."""
        return self.chunk_count > 0 and not self.content


def new_delivery(
    message: LoadedMessage, envelope: Envelope, dispatcher: LocalDispatcher, user: UserInfo
) -> Delivery | Attempt:
    """The delivery, or the attempt that failed because no safe path comes out of the configured one."""
    try:
        path = expand_format(dispatcher.target, envelope=envelope, home=user.home, username=user.user)
    except FormatError as error:
        return tempfailed(envelope.evpid, f"maildir {dispatcher.target}: {error}")
    if fault := _path_fault(path):
        return tempfailed(envelope.evpid, f"maildir {dispatcher.target}: {fault}")
    created_at_s = envelope.created_at_ms // 1000
    return Delivery(
        evpid=envelope.evpid,
        user=dispatcher.user,
        dest=envelope.dest,
        path=path.rstrip("/"),
        folder=folder_of(envelope.dest),
        name=f"{created_at_s}.E{envelope.evpid}.{_host_part(envelope.smtpname)}",
        created_at_s=created_at_s,
        prefix=_prefix(envelope),
        content=message.content,
        msgid=message.msgid,
        chunk_count=message.chunk_count,
        size_bytes=message.size_bytes,
    )


def folder_of(dest: str) -> str:
    """The subaddress folder of `user+tag@domain` as `.tag`, or "" (reference 3.5: leading dots go, `*` and `?` become `:`)."""
    local = dest.rpartition("@")[0] or dest
    tag = local.partition("+")[2].lstrip(".")
    if not tag or _CONTROL.search(tag) or len(tag.encode()) > _TAG_LIMIT_BYTES:
        return ""
    # `/` is allowed in a local part and would leave the maildir; OpenSMTPD lets it through.
    return "." + tag.replace("*", ":").replace("?", ":").replace("/", ":")


def _path_fault(path: str) -> str:
    if not path.startswith("/"):
        return "does not expand to an absolute path"
    if _CONTROL.search(path):
        return "expands to a path with control characters"
    return ""


def _host_part(smtpname: str) -> str:
    """Host part of a maildir name; `/` and `:` written as the maildir convention has them. From the envelope, not from this host: a
    redelivery by another worker must find the same name."""
    return smtpname.replace("/", r"\057").replace(":", r"\072") or "localhost"


def _prefix(envelope: Envelope) -> bytes:
    # Return-Path with brackets as in 7.8, and `<>` for the null sender, RFC 5321 §4.4; Delivered-To has the rcpt as given.
    lines = f"Return-Path: <{_CONTROL.sub('', envelope.sender)}>\nDelivered-To: {_CONTROL.sub('', envelope.rcpt)}\n"
    return lines.encode(errors="surrogateescape")
