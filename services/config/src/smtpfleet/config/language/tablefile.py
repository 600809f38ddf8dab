"""The text of a table file to entries: a key per line, or a key and a value.

Knows the form only (reference 9.2), not what the table is used for. A comment `# @list` before it, or else the first line with data,
decides between list and mapping; a key in brackets may have colons, and so may all of a list once it is one. Every line that breaks the
form is reported with its place. OpenSMTPD: table_static.c; parse_table_line of 7.6 for brackets and `@list`.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.source import SourceText, Span

LIST = "list"
MAPPING = "mapping"
DYNAMIC = "dynamic"
"""Table.kind where the backend decides what it answers."""

_SEPARATOR = re.compile("[ \t:]")
_IS_LIST = re.compile(r"#\s*@list")
_IS_LIST_LINE = re.compile(r"^[ \t]*#[ \t]*@list[ \t\r]*$", re.MULTILINE)
_PLAIN_LINE = re.compile(
    r"^[ \t]*+(?:#.*|([^\s:#\[][^\s:]*+)(?:(?::?[ \t]++(?!:)|:(?=[^\s:]++(?:[ \t]|$)))(\S(?:.*\S)?))?)?[ \t\r]*+$",
    re.MULTILINE,
)
"""A line about which nothing can be said: empty, a comment, or a key with or without a value, whose colons are not those of IPv6."""


@dataclass(slots=True)
class FileEntries:
    """kind: list or mapping; an empty file is a mapping, as in OpenSMTPD. spans: of each key."""

    spans: "KeySpans"
    kind: str = MAPPING
    entries: dict[str, str] = field(default_factory=dict)


class KeySpans(Mapping[str, Span]):
    """Where each key of a file stands. Looked for when it is asked for: a table may have a million keys and nothing wrong with it."""

    def __init__(self, source: SourceText) -> None:
        self.source = source

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The line of each key; the last one counts."""
        texts = (line.strip() for line in self.source.lines)
        return {
            self._key_of(text).lower(): n for n, text in enumerate(texts, start=1) if text and not text.startswith("#")
        }

    @cached_property
    def has_whole_lines(self) -> bool:
        """Whether each line is a key as it stands: `# @list` comes before any other."""
        for line in self.source.lines:
            text = line.strip()
            if text and not text.startswith("#"):
                return False
            if _IS_LIST.fullmatch(text):
                return True
        return False

    def at(self, number: int) -> Span:
        """The key of a line that has one."""
        line = self.source.lines[number - 1]
        key = self._key_of(line.strip())
        return Span(self.source, number, len(line) - len(line.lstrip()) + 1, max(1, len(key)))

    def _key_of(self, text: str) -> str:
        return text if self.has_whole_lines or _is_bare_ipv6(text) else _split(text)[0]

    def __getitem__(self, key: str) -> Span:
        return self.at(self.numbers[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def parse_table_file(source: SourceText, diagnostics: Diagnostics) -> FileEntries:
    """The entries of a table file; keys in lower case, the last of equal keys counts."""
    return _parse_plain(source) or _parse_lines(source, diagnostics)


def _parse_plain(source: SourceText) -> FileEntries | None:
    """The same four times as fast, for a file in which every line is plain and no key is there twice; None for any other."""
    if "@list" in source.text and _IS_LIST_LINE.search(source.text):
        return None
    pairs = _PLAIN_LINE.findall(source.text)
    if len(pairs) != source.text.count("\n") + 1:
        return None
    entries = dict(pairs) if source.text == source.text.lower() else {key.lower(): value for key, value in pairs}
    key_count = sum(1 for key, _ in pairs if key)
    entries.pop("", None)  # lines without a key
    value_count = len(entries) - list(entries.values()).count("")
    if len(entries) != key_count or value_count not in (0, key_count):
        return None
    return FileEntries(KeySpans(source), LIST if entries and not value_count else MAPPING, entries)


def _parse_lines(source: SourceText, diagnostics: Diagnostics) -> FileEntries:
    """Line by line, with everything there is to say."""
    spans = KeySpans(source)
    found = FileEntries(spans, LIST if spans.has_whole_lines else MAPPING)
    entries = found.entries
    numbers: dict[str, int] = {}
    decided_at = 1 if spans.has_whole_lines else 0
    for number, line in enumerate(source.lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        is_ipv6 = _is_bare_ipv6(text)
        is_whole_line = spans.has_whole_lines or (
            is_ipv6 and decided_at and found.kind == LIST and len(text.split()) == 1
        )
        key, value = (text, "") if is_whole_line else _split(text)
        if is_ipv6 and not is_whole_line:
            hint = 'write [2001:db8::1]; a list of addresses may also begin with the line "# @list"'
            diagnostics.error(spans.at(number), "the first colon of an IPv6 address would end the key here", hint)
            continue
        if not key:
            diagnostics.error(spans.at(number), "a line of a table begins with its key")
            continue
        if key.startswith("[") and "]" not in key:
            diagnostics.error(spans.at(number), "a key that begins with [ needs its ]")
            continue
        kind = MAPPING if value else LIST
        if not decided_at:
            found.kind, decided_at = kind, number
        elif kind != found.kind:
            what = "this line has a value" if value else "this line has no value"
            diagnostics.error(spans.at(number), f"{what}, but line {decided_at} makes the table a {found.kind}")
            continue
        key = key.lower()
        if key in entries:
            hint = f"the last one counts; the other is on line {numbers[key]}"
            diagnostics.warning(spans.at(number), f'"{key}" is here twice', hint)
        entries[key] = value
        numbers[key] = number
    return found


def _end_of_key(text: str) -> int:
    # What brackets enclose is key, whatever it is; without the closing one all of the line is, and wrong.
    bracket = (text.find("]") if "]" in text else len(text)) if text.startswith("[") else 0
    found = _SEPARATOR.search(text, bracket)
    return found.start() if found else len(text)


def _split(text: str) -> tuple[str, str]:
    """Key up to the first blank, tab or colon outside brackets; the value after blanks and a lone colon. `text` has no blanks around it."""
    end = _end_of_key(text)
    rest = text[end + 1 :].lstrip()
    while rest.startswith(":") and rest[1:2] in ("", " ", "\t"):
        rest = rest[1:].lstrip()
    return text[:end], rest


def _is_bare_ipv6(text: str) -> bool:
    # Asking ipaddress of every line would take longer than all the rest.
    if text.count(":") < 2:
        return False
    try:
        return ipaddress.ip_interface(text.split(maxsplit=1)[0]).version == 6
    except ValueError:
        return False
