"""What is wrong with a configuration: where, what, and what was probably meant.

Owns the form `FILE:LINE:COLUMN: message`, the source line with its caret, and suggestions. Collects; decides nothing and prints
nothing. Where OpenSMTPD has words for a fault, the message begins with them (yyerror and errx in parse.y).
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from smtpfleet.config.language.source import Span

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SIMILARITY = 0.7
"""Least similarity of a suggestion (difflib's ratio); its default of 0.6 offers `for` where somebody wrote `port`. Chosen."""


class Severity(Enum):
    """An error leaves the last good configuration in force; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing the operator should know. hint: how to mend it, "" where the message says it all."""

    severity: Severity
    span: Span
    message: str
    hint: str

    @property
    def headline(self) -> str:
        """`FILE:LINE:COLUMN: message` on one line."""
        kind = "warning: " if self.severity is Severity.WARNING else ""
        return printable(f"{self.span.source.name}:{self.span.line}:{self.span.column}: {kind}{self.message}")

    @property
    def line(self) -> str:
        """Headline and hint on one line, for the log."""
        return f"{self.headline} ({printable(self.hint)})" if self.hint else self.headline

    def render(self) -> str:
        """Headline, the line of the source, a caret under the place, the hint; ends in a newline."""
        span = self.span
        source_line = printable(span.source.lines[span.line - 1].rstrip("\r"))
        # Tabs are kept in the padding, so that the caret stands right whatever a tab is worth.
        padding = "".join(char if char == "\t" else " " for char in source_line[: span.column - 1])
        room = max(1, len(source_line) - span.column + 1)
        caret = "^" + "~" * (min(span.length, room) - 1)
        shown = [self.headline]
        if source_line:  # empty where the file is, or could not be read
            shown += [f"    {source_line}", f"    {padding}{caret}"]
        if span.expansion:
            shown.append(f"    where {printable(span.expansion)}")
        if self.hint:
            shown.append(f"    {printable(self.hint)}")
        return "\n".join(shown) + "\n"


class Diagnostics:
    """All diagnostics of one compilation."""

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []

    def error(self, span: Span, message: str, hint: str = "") -> None:
        """Something that keeps the configuration from being used."""
        self._items.append(Diagnostic(Severity.ERROR, span, message, hint))

    def warning(self, span: Span, message: str, hint: str = "") -> None:
        """Something legal that probably is not what the operator wants."""
        self._items.append(Diagnostic(Severity.WARNING, span, message, hint))

    @property
    def has_errors(self) -> bool:
        """Whether there is an error among them."""
        return any(item.severity is Severity.ERROR for item in self._items)

    def in_order(self) -> tuple[Diagnostic, ...]:
        """By file in the order of reading, then by line and column."""
        return tuple(sorted(self._items, key=lambda d: (d.span.source.order, d.span.line, d.span.column)))


def printable(text: str) -> str:
    """`text` with control characters spelled out: a configuration must not steer the operator's terminal or forge log lines."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text.replace("\n", "\\n"))


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean "…"?` where one of the candidates is similar, else ""."""
    close = difflib.get_close_matches(word.lower(), list(candidates), n=1, cutoff=_SIMILARITY)
    return f'did you mean "{close[0]}"?' if close else ""
