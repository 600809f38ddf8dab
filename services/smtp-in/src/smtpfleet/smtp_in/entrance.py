"""What a session stands on: the listener under one snapshot, and its process's clock, gate, journal and memory.

Values and protocols only. An Entrance is built when a snapshot arrives and handed to every session that begins there; a running session
keeps its own (law 9). Built by server, read by session.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from smtpfleet.contracts.commands import TableQuery, TableService
from smtpfleet.contracts.configuration import LOCAL_HOST, Configuration, Listener
from smtpfleet.contracts.status import Status
from smtpfleet.mail.addrname import addrname_key
from smtpfleet.mail.tables import NotInline, TableError, Tables
from smtpfleet.runtime.forwards import Forwards
from smtpfleet.smtp_in.completion import Completion, completion_of
from smtpfleet.smtp_in.expansions import Expansions
from smtpfleet.smtp_in.greeting import extension_lines
from smtpfleet.smtp_in.memory import ContentMemory
from smtpfleet.smtp_in.tls import ListenerTls
from smtpfleet.smtp_in.transaction import Origin, Transaction


@dataclass(frozen=True, slots=True)
class Entrance:
    """A listener under one snapshot. tls: None where it has none."""

    configuration: Configuration
    tables: Tables
    listener: Listener
    expansions: Expansions = field(init=False)
    extensions: tuple[Status, ...] = field(init=False)
    completion: Completion | None = field(init=False)
    tls: ListenerTls | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "expansions", Expansions(self.configuration, self.tables))
        object.__setattr__(self, "extensions", extension_lines(self.configuration, self.listener))
        object.__setattr__(self, "completion", completion_of(self.listener))

    @property
    def name(self) -> str:
        """Our name there."""
        return self.listener.hostname or self.configuration.hostname

    @property
    def password_kinds(self) -> tuple[str, ...]:
        """What kinds of hash the listener's table holds, as far as config knows; () where it does not."""
        table = self.configuration.tables.get(self.listener.auth_table)
        return table.password_kinds if table is not None else ()

    @property
    def is_submission(self) -> bool:
        """Whether messages begin their way there, and get what they lack."""
        return self.completion is not None and self.completion.is_submission

    def name_at(self, local_address: str) -> str:
        """Our name on this address of ours, by the table `hostnames`."""
        key = addrname_key(local_address)
        try:
            return self.tables.lookup(self.listener.hostnames, TableService.ADDRNAME, key) or self.name
        except TableError:
            return self.name

    def name_question(self, local_address: str) -> TableQuery | None:
        """What to ask config about our name on this address; None where the snapshot says it, or the listener."""
        if not self.listener.hostnames:
            return None
        key = addrname_key(local_address)
        try:
            self.tables.lookup(self.listener.hostnames, TableService.ADDRNAME, key)
        except NotInline as missing:
            return TableQuery(missing.table, TableService.ADDRNAME, "lookup", [key])
        except TableError:
            return None
        return None

    def is_local(self, peer: str) -> bool:
        """Whether a peer counts as local by its address (reference 2.2)."""
        try:
            return self.tables.match_netaddr(LOCAL_HOST, peer)
        except TableError:
            return False


class Authentication(Protocol):
    """What a session asks at once of who verifies passwords."""

    def is_banned(self, peer: str) -> bool:
        """Whether this address may not even try."""

    def has_scram_keys(self, table: str) -> bool:
        """Whether to offer SCRAM for a table of credentials, by what lookups have shown."""


class Journal(Protocol):
    """Who hears of what an operator wants to know."""

    def note_failed_command(self, session_id: str, line: bytes, status: Status, detail: str) -> None:
        """A command was refused; `detail` is for the log alone."""

    def note_tls(self, session_id: str, text: str) -> None:
        """The session is encrypted; `text` says how."""

    def note_authentication(self, session_id: str, peer: str, user: str, mechanism: str, result: str) -> None:
        """Somebody tried to authenticate."""

    def note_refused_message(self, session_id: str, msgid: str, status: Status) -> None:
        """A message was refused after its content."""

    def note_accepted_message(self, session_id: str, origin: Origin, tx: Transaction) -> None:
        """250 goes out for this transaction."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session asks of its process. now_s: epoch seconds. mail_refusal: why no message may begin now, or None.
    forwards: where `.forward` files are asked for; None without an mda: then nobody has one. authenticator: None where nobody can."""

    now_s: Callable[[], float]
    mail_refusal: Callable[[], Status | None]
    journal: Journal
    memory: ContentMemory
    forwards: Forwards | None = None
    authenticator: Authentication | None = None
