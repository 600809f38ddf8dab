"""A text of the configuration and places in it.

Owns the two types every token, tree node and diagnostic points with. Never reads files (files.py does). A place inside the value of a
macro points at its `$name`, and says what the value was.
"""

from dataclasses import dataclass, field
from functools import cached_property

from smtpfleet.contracts.configuration import Location


@dataclass(frozen=True, eq=False)
class SourceText:
    """name: as shown to the operator. order: in which the texts of one compilation were read, for sorting diagnostics.

    included_at: the path in the include statement that led here, None in the main file and in tables. secret_lines: numbers of lines
    that hold passwords, found out while the text is compiled; messages do not quote them.
    """

    name: str
    text: str = field(repr=False)
    order: int
    included_at: "Span | None" = None
    secret_lines: set[int] = field(default_factory=set)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Parted when first asked for: a large table is mostly read without."""
        return tuple(self.text.split("\n"))


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Characters of one line. line and column count from 1; expansion is `$name = value` for what came out of a macro."""

    source: SourceText
    line: int
    column: int
    length: int
    expansion: str = ""

    @property
    def includes(self) -> "tuple[Span, ...]":
        """The places that led to this text, the nearest first."""
        chain: list[Span] = []
        at = self.source.included_at
        while at is not None:
            chain.append(at)
            at = at.source.included_at
        return tuple(chain)

    @property
    def location(self) -> Location:
        """The start, in the form the compiled model carries."""
        return Location(self.source.name, self.line, self.column)


def span_from(first: Span, last: Span) -> Span:
    """From `first` to the end of `last`, or to the end of the line where `last` is on another one."""
    if last.source is first.source and last.line == first.line:
        end = last.column + last.length
    else:
        end = len(first.source.lines[first.line - 1]) + 1
    return Span(first.source, first.line, first.column, max(1, end - first.column), first.expansion)
