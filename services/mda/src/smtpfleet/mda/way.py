"""How one envelope is delivered where it is not a maildir: the program, the file, or the LMTP peer, ready to be used.

Pure: made in the event loop from dispatcher, user and what the configuration says. What comes out of formats is checked here, once;
single.py only carries it out. Refuses what OpenSMTPD refuses for root. OpenSMTPD: mda.c (7.8 mda_unpriv.c) and delivery_*.c.
"""

import re
from dataclasses import dataclass

from smtpfleet.contracts.configuration import CLASSIC, MODERN
from smtpfleet.contracts.envelope import Envelope, EnvelopeFlag, LocalDispatcher
from smtpfleet.mail.address import SUBADDRESS_DELIMITER, local_part, split_address
from smtpfleet.mail.formats import FormatError, expand_format
from smtpfleet.mail.tables import UserInfo
from smtpfleet.mda.shell import environment, shell_line

LMTP_PORT = 25
"""Where the target names none (7.8 mail.lmtp)."""
NULL_SENDER = "MAILER-DAEMON"
"""Stands for the null sender in a `From ` line (delivery_mbox.c)."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_PEER = re.compile(r"(?:\[(?:IPv6:)?([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", re.IGNORECASE).fullmatch
# A user's file is a name in the spool folder, and must not be another's lock.
_SPOOL_NAME = re.compile(r"(?!\.)[^/\x00-\x1f\x7f]{1,250}(?<!\.lock)").fullmatch


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """What configuration and settings say about local deliveries. language, hostname, delimiter: as in Configuration."""

    language: str = CLASSIC
    hostname: str = "localhost"
    delimiter: str = SUBADDRESS_DELIMITER
    mbox_folder: str = "/var/mail"

    def expand(self, text: str, envelope: Envelope, user: UserInfo) -> str:
        """A format string of the configured language. Raises FormatError."""
        return expand_format(
            text,
            envelope=envelope,
            home=user.home,
            username=user.user,
            is_modern=self.is_modern,
            delimiter=self.delimiter,
        )

    @property
    def is_modern(self) -> bool:
        """Whether the configuration is in the form since 6.4, which differs in a few meanings."""
        return self.language == MODERN


DEFAULT_POLICY = LocalPolicy()


@dataclass(frozen=True, slots=True)
class ProgramWay:
    """`line` for /bin/sh in `folder`, with the user's rights. is_strict: most exit codes are permanent failures (7.8)."""

    line: str
    variables: dict[str, str]
    folder: str
    uid: int
    gid: int
    is_strict: bool


@dataclass(frozen=True, slots=True)
class FileWay:
    """Append to a mailbox file. is_spool: the file of the user in the spool folder, whose owner we look at; else any file of the user's
    choice. from_name: the sender as in the `From ` line."""

    path: str
    from_name: str
    is_spool: bool
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class LmtpWay:
    """Hand to an LMTP peer: host and port, or the path of a socket with port 0. is_strict: 5xx is permanent (7.8). is_utf8: an address or
    the header is beyond ASCII."""

    host: str
    port: int
    hello: str
    sender: str
    rcpt: str
    is_strict: bool
    is_utf8: bool = False

    @property
    def text(self) -> str:
        """The peer as an operator writes it."""
        return f"{self.host}:{self.port}" if self.port else self.host


Way = ProgramWay | FileWay | LmtpWay


class NotAllowed(Exception):
    """OpenSMTPD does not deliver to this user by this method; the text is for the peer, too."""


def way_of(dispatcher: LocalDispatcher, envelope: Envelope, user: UserInfo, policy: LocalPolicy) -> Way:
    """Raises FormatError for what the operator or the user has to mend, NotAllowed for root."""
    if user.uid == 0 and dispatcher.method != "mbox":
        raise NotAllowed(f"not allowed to deliver to: {user.user}")
    is_strict = policy.is_modern
    match dispatcher.method:
        case "mda":
            line = shell_line(dispatcher.target, dispatcher.wrapper, envelope, user, policy.expand)
            variables = environment(envelope, user, policy.delimiter)
            return ProgramWay(line, variables, user.home, user.uid, user.gid, is_strict)
        case "lmtp":
            return _lmtp_way(dispatcher, envelope, user, policy, is_strict=is_strict)
        case "mbox":
            if not _SPOOL_NAME(user.user):
                raise FormatError(f"{user.user} cannot be the name of a file")
            path = f"{policy.mbox_folder.rstrip('/')}/{user.user}"
            return FileWay(path, _from_name(envelope), True, user.uid, user.gid)
        case "file":
            path = policy.expand(dispatcher.target, envelope, user)
            if fault := path_fault(path):
                raise FormatError(fault)
            return FileWay(path, _from_name(envelope), False, user.uid, user.gid)
        case method:
            raise FormatError(f"this version of mda does not deliver by {method}")


def path_fault(path: str) -> str:
    """Why no file may be written there, or ""."""
    if not path.startswith("/"):
        return "does not expand to an absolute path"
    if CONTROL.search(path):
        return "expands to a path with control characters"
    return ""


def _from_name(envelope: Envelope) -> str:
    # A blank would end the name in a `From ` line.
    return re.sub(r"[\x00-\x20\x7f]", "_", envelope.sender) or NULL_SENDER


def _lmtp_way(
    dispatcher: LocalDispatcher, envelope: Envelope, user: UserInfo, policy: LocalPolicy, *, is_strict: bool
) -> LmtpWay:
    target = policy.expand(dispatcher.target, envelope, user)
    host, port = _lmtp_peer(target)
    rcpt = envelope.dest if dispatcher.is_rcpt_to else local_part(user.user)
    if CONTROL.search(rcpt + envelope.sender) or re.search(r"[<>\s]", split_address(rcpt).domain):
        raise FormatError("an address cannot be written in a command")
    # 7.8 says localhost whoever we are; 5.4 says our name.
    hello = "localhost" if is_strict else policy.hostname
    is_utf8 = bool(envelope.flags & EnvelopeFlag.SMTPUTF8) or not (envelope.sender + rcpt).isascii()
    return LmtpWay(host, port, hello, envelope.sender, rcpt, is_strict, is_utf8)


def _lmtp_peer(target: str) -> tuple[str, int]:
    if target.startswith("/"):
        if fault := path_fault(target):
            raise FormatError(fault)
        return target, 0
    found = _PEER(target)
    if found is None:
        raise FormatError(f"{target}: expected HOST:PORT, [IPV6]:PORT or the path of a socket")
    port = int(found.group(3) or LMTP_PORT)
    if not 0 < port < 65536:
        raise FormatError(f"{target}: no such port")
    return found.group(1) or found.group(2), port
