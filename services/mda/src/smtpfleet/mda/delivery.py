"""One envelope made ready for its mail home: which maildir, under which name, with which header lines in front; or which way else (way.py).

Pure: made in the event loop from envelope, user and snapshot; a thread does the file work from it (group.py, stream.py). Path, folder and
name are the only places where what a peer sent becomes part of a file name: mail.formats keeps values from climbing, the rest is here.
"""

import re
from dataclasses import dataclass

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mail.address import SUBADDRESS_DELIMITER, split_address, tag_of
from smtpfleet.mail.formats import FormatError
from smtpfleet.mail.headers import header_block
from smtpfleet.mail.tables import UserInfo
from smtpfleet.mda.attempt import Attempt, tempfailed
from smtpfleet.mda.way import CONTROL, DEFAULT_POLICY, LocalPolicy, NotAllowed, Way, path_fault, way_of

JUNK_FOLDER = ".Junk"
"""Made where it is missing, as any maildir (7.8 mail.maildir -j)."""
_JUNK_MARK = re.compile(rb"\nx-spam:[ \t]*yes[ \t]*\r", re.IGNORECASE)
# Path components are at most 255 bytes on every file system we know (NAME_MAX); a longer tag has no folder.
_TAG_LIMIT_BYTES = 250


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Two deliveries of one envelope (a lease lost and claimed again) are two.

    path: the maildir, absolute. folder: `.TAG`, "" for none; used only where it exists.

    name: final file name, the same at every attempt. prefix: header lines to put in front, LF line ends.
    content: as loaded, CRLF line ends; empty where the message comes in `chunk_count` chunks of together `size_bytes`.
    is_junk: what a filter marked goes elsewhere (`place`).
    uid, gid: whose maildir it is. way: how it is delivered where that is not a maildir; then path, folder and name are "".
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
    is_junk: bool = False
    uid: int = 0
    gid: int = 0
    way: Way | None = None

    @property
    def is_large(self) -> bool:
        """Whether the content has to be streamed."""
        return self.chunk_count > 0 and not self.content

    def place(self, beginning: bytes) -> tuple[str, str]:
        """Maildir and folder, given the content or its first chunk: what a filter marked goes to a maildir of its own."""
        is_junk = self.is_junk and has_junk_mark(beginning)
        return (f"{self.path}/{JUNK_FOLDER}", "") if is_junk else (self.path, self.folder)


def new_delivery(
    message: LoadedMessage,
    envelope: Envelope,
    dispatcher: LocalDispatcher,
    user: UserInfo,
    policy: LocalPolicy = DEFAULT_POLICY,
) -> Delivery | Attempt:
    """The delivery, or the attempt that failed because no safe path, command or peer comes out of the configured one."""
    path, way = "", None
    try:
        if dispatcher.method == "maildir":
            path = policy.expand(dispatcher.target, envelope, user)
            if not path.startswith("/"):
                path = f"{user.home}/{path}"  # where OpenSMTPD's child stands (smtpd.c forkmda)
            path = path.rstrip("/")
            if fault := path_fault(path or "/"):
                raise FormatError(fault)
        else:
            way = way_of(dispatcher, envelope, user, policy)
    except FormatError as error:
        return tempfailed(envelope.evpid, f"{dispatcher.method} {dispatcher.target}: {error}")
    except NotAllowed as error:
        return tempfailed(envelope.evpid, "", Status(S451_LOCAL_ERROR.code, S451_LOCAL_ERROR.esc, str(error)))
    created_at_s = envelope.created_at_ms // 1000
    return Delivery(
        evpid=envelope.evpid,
        user=dispatcher.user,
        dest=envelope.dest,
        path=path,
        folder=folder_of(envelope.dest, policy.delimiter),
        name=f"{created_at_s}.E{envelope.evpid}.{_host_part(envelope.smtpname)}",
        created_at_s=created_at_s,
        prefix=_prefix(envelope),
        content=message.content,
        msgid=message.msgid,
        chunk_count=message.chunk_count,
        size_bytes=message.size_bytes,
        is_junk=dispatcher.is_junk,
        uid=user.uid,
        gid=user.gid,
        way=way,
    )


def has_junk_mark(content: bytes) -> bool:
    """Whether a filter marked the message: `X-Spam: Yes` in its header (7.8 mail.maildir -j)."""
    return _JUNK_MARK.search(b"\n" + header_block(content)) is not None


def folder_of(dest: str, delimiter: str = SUBADDRESS_DELIMITER) -> str:
    """The subaddress folder of `user+tag@domain` as `.tag`, or "" (reference 3.5: leading dots go, `*` and `?` become `:`)."""
    tag = tag_of(split_address(dest).user, delimiter).lstrip(".")
    if not tag or CONTROL.search(tag) or len(tag.encode()) > _TAG_LIMIT_BYTES:
        return ""
    # `/` is allowed in a local part and would leave the maildir; OpenSMTPD lets it through.
    return "." + tag.replace("*", ":").replace("?", ":").replace("/", ":")


def _host_part(smtpname: str) -> str:
    """Host part of a maildir name; `/` and `:` written as the maildir convention has them. From the envelope, not from this host: a
    redelivery by another worker must find the same name."""
    return smtpname.replace("/", r"\057").replace(":", r"\072") or "localhost"


def _prefix(envelope: Envelope) -> bytes:
    # Return-Path with brackets as in 7.8, and `<>` for the null sender, RFC 5321 §4.4; Delivered-To has the rcpt as given.
    lines = f"Return-Path: <{CONTROL.sub('', envelope.sender)}>\nDelivered-To: {CONTROL.sub('', envelope.rcpt)}\n"
    return lines.encode(errors="surrogateescape")
