"""What comes out of an expansion, and what is asked on the way: destinations or a refusal, and the questions of the walk.

Values only. walk asks and concludes, expand answers from the snapshot and says what it cannot answer. Used by smtp-in, queue and config.
"""

from msgspec import Struct

from smtpfleet.contracts.commands import ForwardQuery, TableQuery
from smtpfleet.contracts.envelope import Dispatcher
from smtpfleet.contracts.srs import SrsRestoreQuery
from smtpfleet.contracts.status import Status
from smtpfleet.mail.address import Mailbox

S550_INVALID_RECIPIENT = Status(550, "5.1.1", "Invalid recipient")
S550_RELAYING_REFUSED = Status(550, "5.7.1", "Invalid recipient")


class Destination(Struct, frozen=True):
    """One envelope to be. sender: the reverse-path, after `relay as`."""

    dest: str
    dispatcher: Dispatcher
    expire_s: int
    sender: str


class Expansion(Struct, frozen=True):
    """Destinations, at least one, or a refusal; never both. detail: why it was refused, for the log alone."""

    destinations: tuple[Destination, ...]
    refusal: Status | None
    detail: str = ""


class RuleQuery(Struct, frozen=True):
    """Which rule decides about this address? Answer: Rule or None."""

    dest: Mailbox
    is_internal: bool


class LocalDomainQuery(Struct, frozen=True):
    """Do we take mail for this domain at all? Answer: bool."""

    domain: str


class AliasQuery(Struct, frozen=True):
    """The value of the first of these keys that the table has. Answer: str or None."""

    table: str
    keys: tuple[str, ...]


class UserQuery(Struct, frozen=True):
    """Does the userbase know this user? Answer: tables.UserInfo or None."""

    table: str
    user: str


class RelayHostQuery(Struct, frozen=True):
    """The URL of the relay for this domain, or, for "", the next one of a list. Answer: str or None."""

    table: str
    domain: str


Query = RuleQuery | LocalDomainQuery | AliasQuery | UserQuery | RelayHostQuery | ForwardQuery | SrsRestoreQuery
"""What the walk asks. The last two are the contracts': what is the `.forward` of this user, whom does this SRS address stand for? Answers:
ForwardReply, SrsRestoreReply."""
Question = TableQuery | ForwardQuery | SrsRestoreQuery
"""What the snapshot cannot answer: to be asked of config, or of mda."""
