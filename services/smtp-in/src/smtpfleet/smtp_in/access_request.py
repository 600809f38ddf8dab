"""What a session asks of its process about access, and what it is told: a TLS handshake, whether somebody is who he says.

Values only. Made by access, passed on by server, answered by handshake and credentials. Counterpart: IMSG_SMTP_AUTHENTICATE and
IMSG_SMTP_TLS_INIT of OpenSMTPD.
"""

import ssl
from dataclasses import dataclass
from enum import Enum, auto

from smtpfleet.smtp_in.auth import Question
from smtpfleet.smtp_in.scram import ScramKeys


@dataclass(frozen=True, slots=True)
class StartTls:
    """Secure the connection with this context, once the replies so far are sent."""

    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """How a connection is secured. version and cipher as OpenSSL names them. is_verified: the peer has shown a certificate that verifies."""

    version: str
    cipher: str
    bits: int
    is_verified: bool

    @property
    def text(self) -> str:
        """As in Received and in the log: `TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO` (OpenSMTPD 7.8)."""
        return f"{self.version}:{self.cipher}:{self.bits}:{'YES' if self.is_verified else 'NO'}"


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """A question of a session. table: of credentials. secret: what salts of unknown users are made from."""

    question: Question
    peer: str
    table: str
    secret: bytes


class AuthVerdict(Enum):
    """What became of a claim. BANNED: nobody may try to be this user for a while."""

    OK = auto()
    FAILED = auto()
    TEMPORARY = auto()
    BANNED = auto()


AuthAnswer = AuthVerdict | ScramKeys
AccessRequest = StartTls | AuthRequest
