"""Reads the configuration files of OpenSMTPD's table helpers (sqlite, mysql, postgres, ldap, redis): a key and its value per line.

The form is that of a table file (reference 9.6, 9.2): the key ends at a blank, tab or colon; blanks and a lone colon are skipped before
the value, which goes to the end of the line. Values may be passwords: no fault quotes one. Knows the keys' names only from its caller.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from smtpfleet.config.tables.bad_file import BadTableFile


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """values: by key as written; of equal keys the first counts, as in the helpers. lines: where each stands. warnings: (line, text)."""

    values: dict[str, str]
    lines: dict[str, int]
    warnings: list[tuple[int, str]] = field(default_factory=list)


def parse_settings(text: str, known: Collection[str]) -> SettingsFile | BadTableFile:
    """The settings in `text`. Duplicate and unknown keys are warned of; a key without value is a fault."""
    found = SettingsFile({}, {})
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        end = next((index for index, char in enumerate(stripped) if char in " \t:"), len(stripped))
        key, value = stripped[:end], _value_after(stripped[end + 1 :])
        if not key:
            return BadTableFile("a line begins with the name of a setting", number)
        if not value:
            return BadTableFile(f"{key} has no value", number)
        if key in found.values:
            found.warnings.append((number, f"{key} is here twice; the first one counts"))
            continue
        if key not in known:
            found.warnings.append((number, f"{key} is no setting of this backend; it is not used"))
            continue
        found.values[key] = value
        found.lines[key] = number
    return found


def missing_setting(values: Mapping[str, str], required: Collection[str]) -> str:
    """What to say where a required key is not there, or ""."""
    absent = [key for key in required if key not in values]
    return f"it does not set {', '.join(absent)}" if absent else ""


def _value_after(rest: str) -> str:
    value = rest.lstrip()
    while value.startswith(":") and value[1:2] in ("", " ", "\t"):
        value = value[1:].lstrip()
    return value
