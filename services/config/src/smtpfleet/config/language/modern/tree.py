"""What the modern form adds to the syntax tree: actions, matches, its listeners, filters and the settings only it has.

Frozen; made by parse_*, read by compile_*. What both forms have (tables, limits, sizes, pki, queue features) is a node of the tree beside.
OpenSMTPD: parse.y of 7.8 (reference 11.1).
"""

from dataclasses import dataclass, field

from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tree import Number, TableUse, Word


@dataclass(frozen=True, slots=True)
class Names:
    """`NAME` or `{ NAME, NAME }`."""

    words: tuple[Word, ...]


Argument = Word | Number | TableUse | Names | None


@dataclass(frozen=True, slots=True)
class Option:
    """An option of an action, a listener or a processor. detail: the keyword that follows it (no-verify, mx, verify, masquerade), or ""."""

    name: str
    argument: Argument
    span: Span
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ActionStatement:
    """`action NAME …`. method: mbox, maildir, lmtp, mda, forward-only, expand-only, relay, or "" where it could not be read.

    detail: junk of maildir, rcpt-to of lmtp, or "". ttls: as often as written.
    """

    name: Word
    method: str
    argument: Word | None
    detail: str
    options: tuple[Option, ...]
    ttls: tuple[Option, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class MatchCondition:
    """subject: tag, helo, tls, auth, mail-from, rcpt-to, from, for; of a filter also fcrdns, rdns, src.

    choice: what follows from (any, local, socket, src, rdns, auth, mail-from) and for (any, local, domain, rcpt-to), else "".
    """

    subject: str
    choice: str
    is_negated: bool
    is_regex: bool
    table: TableUse | None
    span: Span


@dataclass(frozen=True, slots=True)
class MatchStatement:
    """`match … action NAME`, or `reject` where action is None."""

    conditions: tuple[MatchCondition, ...]
    action: Word | None
    span: Span


@dataclass(frozen=True, slots=True)
class ListenerStatement:
    """`listen on`; on is None for the socket. on_span: of the word `socket` or of the address."""

    on: Word | None
    options: tuple[Option, ...]
    on_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class ProcessorStatement:
    """`proc NAME COMMAND …`."""

    name: Word
    command: Word
    options: tuple[Option, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class FilterPhaseStatement:
    """`filter NAME phase PHASE match CONDITION DECISION [TEXT]`."""

    name: Word
    phase: str
    condition: MatchCondition
    decision: str
    text: Word | None
    span: Span


@dataclass(frozen=True, slots=True)
class FilterProcessStatement:
    """`filter NAME proc PROCESSOR` (command None) or `filter NAME proc-exec COMMAND …` (processor None)."""

    name: Word
    processor: Word | None
    command: Word | None
    options: tuple[Option, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class FilterChainStatement:
    """`filter NAME chain { … }`."""

    name: Word
    members: Names
    span: Span


@dataclass(frozen=True, slots=True)
class CaStatement:
    """`ca NAME cert FILE`."""

    name: Word
    certificate: Word
    span: Span


@dataclass(frozen=True, slots=True)
class WrapperStatement:
    """`mda wrapper NAME COMMAND`."""

    name: Word
    command: Word
    span: Span


@dataclass(frozen=True, slots=True)
class QueueTtlStatement:
    """`queue ttl DELAY`."""

    delay: Word
    span: Span


@dataclass(frozen=True, slots=True)
class SrsKeyStatement:
    """`srs key [backup] KEY`. The key must not reach the model, a log or a message."""

    key: Word = field(repr=False)
    is_backup: bool
    span: Span


@dataclass(frozen=True, slots=True)
class SrsTtlStatement:
    """`srs ttl DELAY`."""

    delay: Word
    span: Span


@dataclass(frozen=True, slots=True)
class AdmdStatement:
    """`admd NAME`."""

    name: Word
    span: Span


ModernStatement = (
    ActionStatement
    | MatchStatement
    | ListenerStatement
    | ProcessorStatement
    | FilterPhaseStatement
    | FilterProcessStatement
    | FilterChainStatement
    | CaStatement
    | WrapperStatement
    | QueueTtlStatement
    | SrsKeyStatement
    | SrsTtlStatement
    | AdmdStatement
)
