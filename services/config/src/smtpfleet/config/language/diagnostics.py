"""What is wrong with a configuration: where, what, and what was probably meant.

Owns the form `FILE:LINE:COLUMN: message`, the source line with its caret, and suggestions. Collects; decides nothing and prints
nothing. Where OpenSMTPD has words for a fault, the message begins with them (yyerror and errx in parse.y).
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from smtpfleet.config.language.source import Span

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SIMILARITY = 0.7
"""Least similarity of a suggestion (difflib's ratio); its default of 0.6 offers `for` where somebody wrote `port`. Chosen."""

SUGGESTIONS_MAX = 100
CANDIDATES_MAX = 1000
"""Slips that get a suggestion, and names that are compared for one: each pair costs some microseconds. Chosen: a second at worst."""
SHOWN_MAX = 1000
"""Errors, and warnings, that are kept; the others are counted. Chosen: more than anyone reads, and no more than a log can take."""
LINE_SHOWN_MAX = 160
_SHOWN_BEFORE = 60
"""Characters of a line that are shown, and how many of them before the place itself: a table of a megabyte may be one line. Chosen."""


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
        """Headline, the line of the source, a caret under the place, who included it, the hint; ends in a newline."""
        span = self.span
        if span.line in span.source.secret_lines:
            return self._render_without_line()
        source_line, column = _excerpt(span.source.lines[span.line - 1].rstrip("\r"), span.column)
        # Tabs are kept in the padding, so that the caret stands right whatever a tab is worth.
        padding = "".join(char if char == "\t" else " " for char in source_line[: column - 1])
        room = max(1, len(source_line) - column + 1)
        caret = "^" + "~" * (min(span.length, room) - 1)
        shown = [self.headline]
        if source_line:  # empty where the file is, or could not be read
            shown += [f"    {source_line}", f"    {padding}{caret}"]
        if span.expansion:
            shown.append(f"    where {printable(span.expansion)}")
        return "\n".join([*shown, *self._notes()]) + "\n"

    def _render_without_line(self) -> str:
        """For a line with a password in it: what is wrong is said, the line is not shown to whoever reads the output."""
        return "\n".join([self.headline, "    (not shown: the line may hold a password)", *self._notes()]) + "\n"

    def _notes(self) -> list[str]:
        chain = ", from ".join(f"{place.source.name}:{place.line}" for place in self.span.includes)
        notes = [f"included from {chain}"] if chain else []
        return [f"    {printable(note)}" for note in (*notes, self.hint) if note]


class Diagnostics:
    """All diagnostics of one compilation."""

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []
        self._counts = dict.fromkeys(Severity, 0)
        self._suggestions_left = SUGGESTIONS_MAX
        self._first_hidden: dict[Severity, Span] = {}

    def error(self, span: Span, message: str, hint: str = "") -> None:
        """Something that keeps the configuration from being used."""
        self._add(Diagnostic(Severity.ERROR, span, message, hint))

    def warning(self, span: Span, message: str, hint: str = "") -> None:
        """Something legal that probably is not what the operator wants."""
        self._add(Diagnostic(Severity.WARNING, span, message, hint))

    def _add(self, item: Diagnostic) -> None:
        self._counts[item.severity] += 1
        if self._counts[item.severity] <= SHOWN_MAX:
            self._items.append(item)
        else:
            self._first_hidden.setdefault(item.severity, item.span)

    @property
    def count(self) -> int:
        """How many there are, shown or not."""
        return sum(self._counts.values())

    @property
    def has_errors(self) -> bool:
        """Whether there is an error among them."""
        return self._counts[Severity.ERROR] > 0

    def suggest(self, word: str, names: Iterable[str]) -> str:
        """did_you_mean, as often as time allows: there may be any number of slips, and of names."""
        if self._suggestions_left <= 0:
            return ""
        self._suggestions_left -= 1
        return did_you_mean(word, islice(names, CANDIDATES_MAX))

    def in_order(self) -> tuple[Diagnostic, ...]:
        """By file in the order of reading, then by line and column; last, how many are not among them."""
        shown = sorted(self._items, key=lambda d: (d.span.source.order, d.span.line, d.span.column))
        for severity, span in self._first_hidden.items():
            message = f"{self._counts[severity] - SHOWN_MAX} more {severity.value}s, from here on, are not shown"
            shown.append(Diagnostic(severity, span, message, ""))
        return tuple(shown)


def _excerpt(line: str, column: int) -> tuple[str, int]:
    """What is shown of a line, and the column of the place in it; the whole line unless it is long."""
    if len(line) <= LINE_SHOWN_MAX:
        return printable(line), column
    begin = max(0, min(column - 1 - _SHOWN_BEFORE, len(line) - LINE_SHOWN_MAX))
    end = begin + LINE_SHOWN_MAX
    before, after = "… " if begin else "", " …" if end < len(line) else ""
    return before + printable(line[begin:end]) + after, column - begin + len(before)


def printable(text: str) -> str:
    """`text` with control characters spelled out: a configuration must not steer the operator's terminal or forge log lines."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text.replace("\n", "\\n"))


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean "…"?` where one of the candidates is similar, else "". Two letters in the wrong order are the likeliest slip."""
    lower, names = word.lower(), list(candidates)
    close = [name for name in names if _is_transposed(lower, name)]
    close = close or difflib.get_close_matches(lower, names, n=1, cutoff=_SIMILARITY)
    return f'did you mean "{close[0]}"?' if close else ""


def _is_transposed(word: str, name: str) -> bool:
    """Whether they differ by two neighbouring characters that have changed places."""
    if len(word) != len(name) or word == name:
        return False
    at = next(index for index, (a, b) in enumerate(zip(word, name, strict=True)) if a != b)
    return word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :] == name
