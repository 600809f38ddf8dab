"""The text of a table file to entries: a key per line, or a key and a value.

Knows the form only (reference 9.2), not what the table is used for. The first line with data decides between list and mapping. Every
line that breaks the form is reported with its place. OpenSMTPD: table_static.c.
"""

import ipaddress
from dataclasses import dataclass, field

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.source import SourceText, Span

LIST = "list"
MAPPING = "mapping"
DYNAMIC = "dynamic"
"""Table.kind where the backend decides what it answers."""


@dataclass(slots=True)
class FileEntries:
    """kind: list or mapping; an empty file is a mapping, as in OpenSMTPD. spans: of each key."""

    kind: str = MAPPING
    entries: dict[str, str] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)


def parse_table_file(source: SourceText, diagnostics: Diagnostics) -> FileEntries:
    """The entries of a table file; keys in lower case, the last of equal keys counts."""
    found = FileEntries()
    decided_at = 0
    for number, line in enumerate(source.lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, value = _split(text)
        span = Span(source, number, len(line) - len(line.lstrip()) + 1, max(1, len(key)))
        if not key:
            diagnostics.error(span, "a line of a table begins with its key")
            continue
        if _is_bare_ipv6(text):
            hint = 'write it in the configuration, as in table NAME { "2001:db8::/32" }'
            diagnostics.error(
                span, "an IPv6 address cannot stand in a table file: its first colon would end the key", hint
            )
            continue
        kind = MAPPING if value else LIST
        if not decided_at:
            found.kind, decided_at = kind, number
        elif kind != found.kind:
            what = "this line has a value" if value else "this line has no value"
            diagnostics.error(span, f"{what}, but line {decided_at} makes the table a {found.kind}")
            continue
        key = key.lower()
        if key in found.entries:
            hint = f"the last one counts; the other is on line {found.spans[key].line}"
            diagnostics.warning(span, f'"{key}" is here twice', hint)
        found.entries[key] = value
        found.spans[key] = span
    return found


def _split(text: str) -> tuple[str, str]:
    """Key up to the first blank, tab or colon; the value after blanks and a lone colon. `text` has no blanks around it."""
    end = next((index for index, char in enumerate(text) if char in " \t:"), len(text))
    rest = text[end + 1 :].lstrip()
    while rest.startswith(":") and rest[1:2] in ("", " ", "\t"):
        rest = rest[1:].lstrip()
    return text[:end], rest


def _is_bare_ipv6(text: str) -> bool:
    first = text.split()[0]
    try:
        return ipaddress.ip_interface(first).version == 6
    except ValueError:
        return False
