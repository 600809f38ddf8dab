"""What we say to peers: every reply smtp-in chooses itself, and how replies become bytes.

Texts are OpenSMTPD 5.4.1's (reference 4.3) with the enhanced codes 7.8 gives the same conditions (reference 11.3); RFC 3463 for the
rest. Refusals of addresses come from mail.grammar and mail.expand. Used by session, data and server.
"""

from functools import lru_cache

from smtpfleet.contracts.status import Status

S214_HELP = (Status(214, "2.0.0", "This is smtpfleet"), Status(214, "2.0.0", "End of HELP info"))
S220_READY_FOR_TLS = Status(220, "2.0.0", "Ready to start TLS")
S221_BYE = Status(221, "2.0.0", "Bye")
S235_AUTHENTICATED = Status(235, "2.7.0", "Authentication succeeded")
S250_AUTH = Status(250, "", "AUTH PLAIN LOGIN")
S250_AUTH_SCRAM = Status(250, "", "AUTH SCRAM-SHA-256 PLAIN LOGIN")
S250_OK = Status(250, "2.0.0", "Ok")
S250_RCPT_OK = Status(250, "2.1.5", "Recipient ok")
S250_RESET = Status(250, "2.0.0", "Reset state")
S250_STARTTLS = Status(250, "", "STARTTLS")
S252_CANNOT_VERIFY = Status(252, "2.5.0", "Cannot verify the address, but will take mail for it and try to deliver")
S354_ENTER_MAIL = Status(354, "", 'Enter mail, end with "." on a line by itself')
S421_OVERLOADED = Status(421, "4.3.2", "Not accepting messages now, try again later")
S421_TOO_MANY_CONNECTIONS = Status(421, "4.7.0", "Too many connections from your address, try again later")
S421_AUTH_BANNED = Status(421, "4.7.0", "Too many failed authentications, try again later")
S421_TOO_MANY_FAILURES = Status(421, "4.7.0", "Too many failed commands")
S421_TOO_MANY_FAILURES_BEFORE = Status(421, "4.7.0", "Too many failures from your address, try again later")
S421_TOO_MANY_IDLE_COMMANDS = Status(421, "4.7.0", "Too many commands without a message")
S421_TOO_MANY_SESSIONS = Status(421, "4.3.2", "Too many sessions, try again later")
S450_TOO_MANY_RCPTS_LATELY = Status(450, "4.7.1", "Too many recipients from your address, try again later")
S452_TOO_MANY_MAILS = Status(452, "4.5.3", "Too many messages sent")
S452_TOO_MANY_RCPTS = Status(452, "4.5.3", "Too many recipients")
S454_AUTH_BANNED = Status(454, "4.7.0", "Too many failed authentications, try again later")
S454_AUTH_UNAVAILABLE = Status(454, "4.7.0", "Temporary authentication failure")
S454_TLS_UNAVAILABLE = Status(454, "4.7.0", "TLS not available now")
S500_AUTH_LINE_TOO_LONG = Status(500, "5.5.6", "Authentication exchange line too long")
S500_BARE_LF = Status(500, "5.5.2", "Line must end with CRLF")
S500_CONTROL_CHARACTER = Status(500, "5.5.2", "Control character in command")
S500_LINE_TOO_LONG = Status(500, "5.5.2", "Line too long")
S500_UNRECOGNIZED = Status(500, "5.5.1", "Command unrecognized")
S501_AUTH_CANCELLED = Status(501, "5.7.0", "Authentication cancelled")
S501_BDAT_SYNTAX = Status(501, "5.5.4", "Syntax: BDAT size [LAST]")
S501_EHLO_NEEDS_NAME = Status(501, "5.5.1", "EHLO requires domain name")
S501_HELO_NEEDS_NAME = Status(501, "5.5.1", "HELO requires domain name")
S501_INVALID_NAME = Status(501, "5.5.4", "Invalid domain name")
S501_NO_MECHANISM = Status(501, "5.5.4", "No parameters given")
S501_NO_PARAMETERS = Status(501, "5.5.4", "No parameters allowed")
S502_NOT_IMPLEMENTED = Status(502, "5.5.1", "Command not implemented")
S503_ALREADY_AUTHENTICATED = Status(503, "5.5.1", "Already authenticated")
S503_ALREADY_SECURE = Status(503, "5.5.1", "Channel already secured")
S503_NO_RCPT = Status(503, "5.5.1", "No recipient specified")
S503_NOT_NOW = Status(503, "5.5.1", "Command not allowed at this point.")
S503_NOT_SUPPORTED = Status(503, "5.5.1", "Command not supported")
S530_AUTH_FIRST = Status(530, "5.7.0", "Must issue an AUTH command first")
S530_SENDER_REJECTED = Status(530, "5.7.1", "Sender rejected")
S530_STARTTLS_FIRST = Status(530, "5.7.0", "Must issue a STARTTLS command first")
S535_AUTH_FAILED = Status(535, "5.7.8", "Authentication failed")
S538_ENCRYPTION_REQUIRED = Status(538, "5.7.11", "Must issue a STARTTLS command first")
S552_HEADER_TOO_BIG = Status(552, "5.3.4", "Message header too big")
S552_TOO_BIG = Status(552, "5.3.4", "Message too big")
S554_EARLY_TALKER = Status(554, "5.5.1", "Data before the greeting")
S554_PLAINTEXT_BEFORE_TLS = Status(554, "5.5.1", "Commands after STARTTLS before the handshake")
S554_TOO_BIG = Status(554, "5.3.4", "Message too big")

Reply = Status | tuple[Status, ...]
"""One line, or several lines of one code (RFC 5321 §4.2.1)."""


def refuse_content(fault: str) -> Status:
    """The refusal of content that mail.dots calls faulty; `fault` is its text, fit for a peer."""
    return Status(550, "5.6.0", f"Message refused: {fault}")


def encode_reply(reply: Reply) -> bytes:
    """The reply on the wire, CRLF included. Ours are formatted once, at import."""
    return _known.get(id(reply)) or _format(reply)


def _format(reply: Reply) -> bytes:
    if isinstance(reply, Status):
        return f"{reply.line}\r\n".encode("utf-8", "replace")
    first, *others, last = reply
    lines = [_as_continued(first), *map(_continued, others), f"{last.line}\r\n"]
    return "".join(lines).encode("utf-8", "replace")


def _as_continued(status: Status) -> str:
    """A line that is not the last of its reply (RFC 5321 §4.2.1)."""
    line = status.line
    return f"{line[:3]}-{line[4:]}\r\n"


# What EHLO offers is the same for every session of a listener; the first line names the peer.
_continued = lru_cache(maxsize=256)(_as_continued)


# By identity: our statuses live as long as the process, and hashing three fields costs more than formatting them.
_known = {
    id(value): _format(value) for name, value in globals().items() if name[0] == "S" and isinstance(value, Status)
}
