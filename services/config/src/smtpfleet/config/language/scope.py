"""What has been declared so far while a tree is compiled, in the order of the file, because only what stands earlier can be referred to.

Mutable, lives for one compilation, owned by compiler.py; compile_* read and extend it. OpenSMTPD: struct smtpd *conf in parse.y.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.host import Host
from smtpfleet.config.language.modern.scope import ModernScope
from smtpfleet.config.language.source import Span
from smtpfleet.contracts.configuration import (
    DEFAULT_RELAY_LIMITS,
    Filter,
    Listener,
    Processor,
    RelayLimits,
    Rule,
    Table,
)

DEFAULT_EXPIRE_S = 4 * 86400
"""OpenSMTPD SMTPD_QUEUE_EXPIRY."""
DEFAULT_MAX_MESSAGE_SIZE_BYTES = 35 * 1024 * 1024
"""OpenSMTPD DEFAULT_MAX_BODY_SIZE."""
DEFAULT_BOUNCE_WARN_S = (4 * 3600,)
"""OpenSMTPD BOUNCE_WARN: one warning after four hours."""


@dataclass(frozen=True, slots=True)
class DeclaredTable:
    """A table with the places of its entries, for messages about them; span is None for the predefined ones.

    name_span: of its name in a `table` statement, None for what is written where it is used.
    credentials: of a passwd file, whose table.entries are its userinfo; None for all others.
    clean_for: what the entries were looked through for without finding anything; kept with a file that does not change.
    """

    table: Table
    span: Span | None = None
    entry_spans: Mapping[str, Span] = field(default_factory=dict)
    name_span: Span | None = None
    credentials: dict[str, str] | None = field(default=None, repr=False)
    clean_for: set[str] = field(default_factory=set)


@dataclass(slots=True)
class DeclaredPki:
    """A pki with the files it was given so far, by option; several statements may add to one. span: of its name, where it is first."""

    name: str
    span: Span
    files: dict[str, str] = field(default_factory=dict)
    is_used: bool = False


@dataclass(slots=True)
class Scope:
    """The state of one compilation."""

    host: Host
    files: ConfigFiles
    diagnostics: Diagnostics
    tables: dict[str, DeclaredTable] = field(default_factory=dict)
    broken_tables: set[str] = field(default_factory=set)  # declared, but wrong: already reported
    used_tables: set[str] = field(default_factory=set)
    table_uses: set[tuple[str, str]] = field(
        default_factory=set
    )  # tables and what for: their entries have been looked at
    secret_tables: set[str] = field(default_factory=set)  # used for passwords: their entries stay here
    pkis: dict[str, DeclaredPki] = field(default_factory=dict)
    broken_pkis: set[str] = field(default_factory=set)  # declared, but wrong: already reported
    filters: dict[str, Filter] = field(default_factory=dict)
    processors: dict[str, Processor] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    endpoints: set[tuple[str, int]] = field(default_factory=set)  # addresses and ports of the listeners
    rules: list[Rule] = field(default_factory=list)
    rule_tags: list[tuple[str, Span]] = field(default_factory=list)
    has_broken_listener: bool = False
    rule_spans: list[Span] = field(default_factory=list)  # one for each rule
    limits: dict[str, int] = field(default_factory=dict)
    relay_limits: dict[str, RelayLimits] = field(default_factory=lambda: {"": DEFAULT_RELAY_LIMITS})
    expire_s: int = DEFAULT_EXPIRE_S
    bounce_warn_s: tuple[int, ...] = DEFAULT_BOUNCE_WARN_S
    max_message_size_bytes: int = DEFAULT_MAX_MESSAGE_SIZE_BYTES
    dynamic_table_count: int = 0
    places: Mapping[str, int] = field(default_factory=dict)  # of tables without a name, and how many are in each
    nameless_tables: dict[str, dict[tuple[tuple[str, str], ...], int]] = field(
        default_factory=dict
    )  # by what they are known by, those known alike: their entries, and a number each
    has_queue_compression: bool = False
    has_queue_encryption: bool = False
    subaddress_delimiter: str = "+"
    smtp_ciphers: str = ""
    modern: ModernScope = field(default_factory=ModernScope)  # what only that form declares

    def not_applied_yet(self, span: Span, what: str) -> None:
        """A warning for what can be ignored without harm."""
        self.diagnostics.warning(span, f"{what}: accepted, not applied yet")
