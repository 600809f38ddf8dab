"""What a session stands on: the listener under one snapshot, and its process's clock, gate, journal and memory.

Values and protocols only. An Entrance is built when a snapshot arrives and handed to every session that begins there; a running session
keeps its own (law 9). Built by server, read by session.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from smtpfleet.contracts.configuration import LOCAL_HOST, Configuration, Listener
from smtpfleet.contracts.status import Status
from smtpfleet.mail.tables import TableError, Tables
from smtpfleet.smtp_in.expansions import Expansions
from smtpfleet.smtp_in.memory import ContentMemory
from smtpfleet.smtp_in.transaction import Origin, Transaction


@dataclass(frozen=True, slots=True)
class Entrance:
    """A listener under one snapshot."""

    configuration: Configuration
    tables: Tables
    listener: Listener
    expansions: Expansions = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expansions", Expansions(self.configuration, self.tables))

    @property
    def name(self) -> str:
        """Our name there."""
        return self.listener.hostname or self.configuration.hostname

    def is_local(self, peer: str) -> bool:
        """Whether a peer counts as local by its address (reference 2.2)."""
        try:
            return self.tables.match_netaddr(LOCAL_HOST, peer)
        except TableError:
            return False


class Journal(Protocol):
    """Who hears of what an operator wants to know."""

    def note_failed_command(self, session_id: str, line: bytes, status: Status, detail: str) -> None:
        """A command was refused; `detail` is for the log alone."""

    def note_refused_message(self, session_id: str, msgid: str, status: Status) -> None:
        """A message was refused after its content."""

    def note_accepted_message(self, session_id: str, origin: Origin, tx: Transaction) -> None:
        """250 goes out for this transaction."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session asks of its process. now_s: epoch seconds. mail_refusal: why no message may begin now, or None."""

    now_s: Callable[[], float]
    mail_refusal: Callable[[], Status | None]
    journal: Journal
    memory: ContentMemory
