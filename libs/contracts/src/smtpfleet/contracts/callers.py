"""What smtp-in and scheduler say to each other of peers: connections asked for and held, failures noted, bans.

An address is an IPv4 address or an IPv6 /64, a network a /24 or a /48; both by name (smtp_in.peer_names). Limits are not in here: both sides
have them from the configuration. Which subject carries which is in subjects.py.
"""

from enum import StrEnum

from msgspec import Struct

CALLER_BATCH = 256
"""Most entries in one request of this module; each is a script call of a few microseconds. Chosen."""
NAME_LIMIT = 256
"""Characters of a name that is counted or banned; what is longer is cut. Users are what a peer says, of any length."""


class CallerCount(Struct, frozen=True, array_like=True):
    """What a replica of smtp-in has to say of one address.

    address_open, network_open: its connections now, without those asked for; absolute, so that a repeated or lost report does no harm.
    asked: connections that wait for a permit. rcpts: recipients of messages accepted since the last report.
    """

    address: str
    network: str
    address_open: int
    network_open: int
    asked: int
    rcpts: int


class AdmitCallers(Struct, frozen=True, array_like=True):
    """Permits for connections, and what has become of earlier ones. replica: the holder; what it does not repeat in time expires."""

    replica: str
    callers: list[CallerCount]


class CallerVerdict(Struct, frozen=True, array_like=True):
    """admitted: how many of those asked for may go on. limit: which one turned the rest away (connections | rate), "" for none.
    retry_ms: asking again sooner is no use. rcpts_wait_ms: no message from there for so long, 0 for no bar."""

    admitted: int
    limit: str
    retry_ms: int
    rcpts_wait_ms: int


class AdmitReply(Struct, frozen=True, array_like=True):
    """One verdict per caller, in order."""

    verdicts: list[CallerVerdict]


class BanKind(StrEnum):
    """Whom a ban is on. address, network: may not connect, because sessions from there ended for what the peer did.
    auth-address, auth-user: may not authenticate, because there were too many wrong passwords."""

    ADDRESS = "address"
    NETWORK = "network"
    AUTH_ADDRESS = "auth-address"
    AUTH_USER = "auth-user"


class Failure(Struct, frozen=True, array_like=True):
    """One more failure of somebody."""

    kind: BanKind
    name: str


class NoteFailures(Struct, frozen=True, array_like=True):
    """Failures to count. Repeating it counts them again."""

    failures: list[Failure]


class FailuresReply(Struct, frozen=True, array_like=True):
    """How many failures each has in the window now, in order."""

    counts: list[int]


class NoteSuccess(Struct, frozen=True, array_like=True):
    """Somebody has authenticated: his address is forgiven, and he is welcome from there while others guess at him."""

    user: str
    address: str


class WelcomeQuery(Struct, frozen=True, array_like=True):
    """Whether a user who is banned has come from this address lately."""

    user: str
    address: str


class WelcomeReply(Struct, frozen=True, array_like=True):
    """is_welcome: he has."""

    is_welcome: bool


class Ban(Struct, frozen=True, array_like=True):
    """A ban that holds. ends_in_ms: from now, by the store's clock."""

    kind: BanKind
    name: str
    ends_in_ms: int


class BansQuery(Struct, frozen=True, array_like=True):
    """Who is banned now?"""


class BansReply(Struct, frozen=True, array_like=True):
    """At most BANS_LIMIT, those that end last."""

    bans: list[Ban]


BANS_LIMIT = 10_000
"""Bans that are kept; the next one ends the oldest. A list of all fits one reply. Chosen."""


class LiftBan(Struct, frozen=True, array_like=True):
    """End a ban and forget the failures that led to it."""

    kind: BanKind
    name: str


class LiftReply(Struct, frozen=True, array_like=True):
    """found: whether there was such a ban."""

    found: bool


class BansChanged(Struct, frozen=True, array_like=True):
    """Bans that began, and those that were lifted. A hint: who missed it reads the list soon."""

    begun: list[Ban]
    lifted: list[Failure]
