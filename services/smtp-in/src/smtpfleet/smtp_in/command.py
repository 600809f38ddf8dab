"""A command line: verb and argument, checked for what no command may contain.

Pure; knows no state and no meaning of a verb. Lines end in CRLF and nothing else (RFC 5321 §2.3.8); a NUL or another control
character refuses the whole line, because C programs behind us would cut or split there. Called by server for every line.
"""

import re
from enum import StrEnum

from smtpfleet.contracts.status import Status
from smtpfleet.smtp_in.reply import S500_BARE_LF, S500_CONTROL_CHARACTER

COMMAND_LINE_LIMIT_BYTES = 2048
"""A line this long without its CRLF is too long; OpenSMTPD 5.4.1 SMTP_LINE_MAX. RFC 5321 §4.5.3.1.4 asks for 512 and more for extensions."""

_LINE = re.compile(rb"([A-Za-z]*)[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\r\n")


class Command(StrEnum):
    """Verbs the machine's table knows; UNKNOWN is every other one."""

    HELO = "HELO"
    EHLO = "EHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"
    HELP = "HELP"
    VRFY = "VRFY"
    EXPN = "EXPN"
    UNKNOWN = "UNKNOWN"

    # Enum's own hash is a Python function, and every command is looked up in a table.
    __hash__ = str.__hash__


def parse_line(line: bytes) -> tuple[bytes, bytes] | Status:
    """(verb in capitals, argument) of one line that ends in LF, or the refusal of it."""
    found = _LINE.fullmatch(line)
    if found is None:
        return S500_CONTROL_CHARACTER if line.endswith(b"\r\n") else S500_BARE_LF
    verb, arg = found.groups()
    return verb.upper(), arg.rstrip(b" \t")
