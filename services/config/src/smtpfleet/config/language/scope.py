"""What has been declared so far while a tree is compiled, in the order of the file, because only what stands earlier can be referred to.

Mutable, lives for one compilation, owned by compiler.py; compile_* read and extend it. OpenSMTPD: struct smtpd *conf in parse.y.
"""

from dataclasses import dataclass, field

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.host import Host
from smtpfleet.config.language.source import Span
from smtpfleet.contracts.configuration import Listener, Rule, Table

DEFAULT_EXPIRE_S = 4 * 86400
"""OpenSMTPD SMTPD_QUEUE_EXPIRY."""
DEFAULT_MAX_MESSAGE_SIZE_BYTES = 35 * 1024 * 1024
"""OpenSMTPD DEFAULT_MAX_BODY_SIZE."""
DEFAULT_BOUNCE_WARN_S = (4 * 3600,)
"""OpenSMTPD BOUNCE_WARN: one warning after four hours."""


@dataclass(frozen=True, slots=True)
class DeclaredTable:
    """A table with the places of its entries, for messages about them; span is None for the predefined ones."""

    table: Table
    span: Span | None = None
    entry_spans: dict[str, Span] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """The state of one compilation."""

    host: Host
    files: ConfigFiles
    diagnostics: Diagnostics
    tables: dict[str, DeclaredTable] = field(default_factory=dict)
    broken_tables: set[str] = field(default_factory=set)  # declared, but wrong: already reported
    pkis: set[str] = field(default_factory=set)
    listeners: list[Listener] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    rule_tags: list[tuple[str, Span]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    expire_s: int = DEFAULT_EXPIRE_S
    bounce_warn_s: tuple[int, ...] = DEFAULT_BOUNCE_WARN_S
    max_message_size_bytes: int = DEFAULT_MAX_MESSAGE_SIZE_BYTES
    dynamic_table_count: int = 0
    catch_all: Span | None = None  # a rule that takes everything: later ones are never reached

    def not_supported_yet(self, span: Span, what: str, hint: str = "") -> None:
        """An error for what OpenSMTPD has and this program has not, yet."""
        self.diagnostics.error(span, f"{what} is not supported yet", hint)

    def not_applied_yet(self, span: Span, what: str) -> None:
        """A warning for what can be ignored without harm."""
        self.diagnostics.warning(span, f"{what}: accepted, not applied yet")
