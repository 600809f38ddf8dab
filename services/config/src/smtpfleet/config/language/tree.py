"""The syntax tree: what is written, with the place of every part, before anything is looked up or filled in.

One node per statement of the 5.4 grammar (reference section 1.3). Frozen; made by parse_*, read by compile_*. What only the form of 6.4
and later has (action, match) is in modern/tree.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpfleet.config.language.source import Span
from smtpfleet.contracts.configuration import CLASSIC

if TYPE_CHECKING:  # its nodes are made of these
    from smtpfleet.config.language.modern.tree import ModernStatement


@dataclass(frozen=True, slots=True)
class Word:
    """A word or quoted string."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Number:
    """A number without unit."""

    value: int
    span: Span


# Tables where they are used: `<name>`, `{ … }` or a single value.


@dataclass(frozen=True, slots=True)
class TableName:
    """`<name>`."""

    name: Word


@dataclass(frozen=True, slots=True)
class InlineList:
    """`{ a, b }`, or a single value without braces. place: see TokenStream.place."""

    items: tuple[Word, ...]
    span: Span
    place: str = ""


@dataclass(frozen=True, slots=True)
class InlineMapping:
    """`{ a = b, c => d }`. place: as above."""

    pairs: tuple[tuple[Word, Word], ...]
    span: Span
    place: str = ""


TableUse = TableName | InlineList | InlineMapping


# Statements.


@dataclass(frozen=True, slots=True)
class TableStatement:
    """`table NAME …`. value: entries, or the text that names backend and path; None where it could not be read (already reported)."""

    name: Word
    value: InlineList | InlineMapping | Word | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A condition. subject: tagged, from, for, sender, recipient, authenticated. choice: any, local, source, domain, "" where there is
    none.

    argument: the tag, or the table; None for any, local and authenticated.
    """

    subject: str
    choice: str
    is_negated: bool
    argument: Word | TableUse | None
    span: Span


@dataclass(frozen=True, slots=True)
class Lookup:
    """kind: userbase, alias or virtual."""

    kind: str
    table: TableUse
    span: Span


@dataclass(frozen=True, slots=True)
class Deliver:
    """`deliver to`. method: maildir, mbox, mda or lmtp. is_rcpt_to: of lmtp."""

    method: str
    argument: Word | None
    span: Span
    is_rcpt_to: bool = False


@dataclass(frozen=True, slots=True)
class RelayOption:
    """An option of relay. For `tls` and `backup` without argument it is None; `tls verify` is two options."""

    name: str
    argument: Word | TableUse | None
    span: Span


@dataclass(frozen=True, slots=True)
class Relay:
    """`relay` (url None) or `relay via URL`."""

    url: Word | None
    options: tuple[RelayOption, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class RuleParameter:
    """`expire DELAY` or `forward-only`."""

    name: str
    argument: Word | None
    span: Span


@dataclass(frozen=True, slots=True)
class RuleStatement:
    """`accept` or `reject`."""

    is_accept: bool
    decisions: tuple[Decision, ...]
    lookups: tuple[Lookup, ...]
    action: Deliver | Relay | None
    parameters: tuple[RuleParameter, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class ListenOption:
    """An option of listen; an option of an option (`smtps verify`) follows as one of its own."""

    name: str
    argument: Word | Number | TableUse | None
    span: Span


@dataclass(frozen=True, slots=True)
class ListenStatement:
    """`listen on`. is_socket: `listen on socket`, written without quotes."""

    on: Word
    options: tuple[ListenOption, ...]
    span: Span
    is_socket: bool = False


@dataclass(frozen=True, slots=True)
class ExpireStatement:
    """Global `expire`."""

    delay: Word
    span: Span


@dataclass(frozen=True, slots=True)
class BounceWarnStatement:
    """`bounce-warn`."""

    delays: tuple[Word, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class SizeStatement:
    """`max-message-size`."""

    size: Word | Number
    span: Span


@dataclass(frozen=True, slots=True)
class MaxDeferredStatement:
    """`max-mta-deferred`."""

    count: Number
    span: Span


@dataclass(frozen=True, slots=True)
class LimitSetting:
    """`KEY NUMBER`, or a family (inet4, inet6) without number."""

    key: Word
    value: Number | None


@dataclass(frozen=True, slots=True)
class LimitStatement:
    """`limit`. agent: mta, mda, scheduler or session. domain: of `limit mta for domain`, else None."""

    agent: str
    domain: Word | None
    settings: tuple[LimitSetting, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class QueueStatement:
    """`queue compression` or `queue encryption [key …]`."""

    feature: str
    key: Word | None
    span: Span


@dataclass(frozen=True, slots=True)
class PkiStatement:
    """`pki NAME …`: arguments by option (certificate, key, ca, dhparams, dhe), the last one of each."""

    name: Word
    files: dict[str, Word]
    span: Span


@dataclass(frozen=True, slots=True)
class TextStatement:
    """A keyword and a text: `ciphers STRING`, `subaddressing-delimiter STRING`."""

    keyword: str
    text: Word
    span: Span


@dataclass(frozen=True, slots=True)
class FilterStatement:
    """`filter NAME PATH` or `filterchain NAME …`."""

    keyword: str
    name: Word
    arguments: tuple[Word, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Reference:
    """A name of something that is declared elsewhere. kind: of compile_broken.py."""

    kind: str
    name: Word


@dataclass(frozen=True, slots=True)
class BrokenStatement:
    """What could not be read to its end. keyword: its first word. references: names in what could be read, in order."""

    keyword: str
    references: tuple[Reference, ...]


Statement = (
    TableStatement
    | RuleStatement
    | ListenStatement
    | ExpireStatement
    | BounceWarnStatement
    | SizeStatement
    | MaxDeferredStatement
    | LimitStatement
    | QueueStatement
    | PkiStatement
    | TextStatement
    | FilterStatement
    | BrokenStatement
)


@dataclass(frozen=True, slots=True)
class Tree:
    """All statements that could be read, in order. main: start of the main file, for what is missing as a whole. language: its form.
    places: how many tables without a name are in each place."""

    statements: "tuple[Statement | ModernStatement, ...]"
    main: Span
    language: str = CLASSIC
    places: Mapping[str, int] = field(default_factory=dict)
