"""Macros: `name = "value"` in the file and `-D name=value` from outside, which the file cannot change.

Owns names and values only; the lexer expands them. OpenSMTPD: symset, symget, cmdline_symset in parse.y.
"""

import re
from collections.abc import Iterable, KeysView, Mapping

EXPANSION_MAX = 256 * 1024
"""Characters all macros of a compilation may expand to; OpenSMTPD has no limit. Chosen: a value of 8,000 characters, named on every line of
a large file, would keep config busy for minutes."""
_USABLE_NAME = re.compile(r"[A-Za-z0-9_]+")


class BadMacro(Exception):
    """A definition from outside that has no `=`; the text is for the operator."""


class Macros:
    """The macros in force while a file is read."""

    def __init__(self, persistent: Mapping[str, str]) -> None:
        self._persistent = dict(persistent)
        self._values = dict(persistent)
        self._expanded_count = 0

    @property
    def names(self) -> KeysView[str]:
        """What is defined now; no copy, as every misspelt name of a large file asks."""
        return self._values.keys()

    def get(self, name: str) -> str | None:
        """The value in force, or None."""
        return self._values.get(name)

    def may_expand(self, value: str) -> bool:
        """Whether there is room for one more expansion; counts it."""
        self._expanded_count += len(value)
        return self._expanded_count <= EXPANSION_MAX

    def define(self, name: str, value: str) -> None:
        """An assignment in the file: the last one counts, a persistent macro stays as it is."""
        if name not in self._persistent:
            self._values[name] = value


def is_usable_name(name: str) -> bool:
    """Whether `$name` can refer to it."""
    return _USABLE_NAME.fullmatch(name) is not None


def parse_definitions(definitions: Iterable[str]) -> dict[str, str]:
    """`name=value` each, split at the last `=` as OpenSMTPD's -D does, whatever the name is then. Raises BadMacro."""
    macros: dict[str, str] = {}
    for definition in definitions:
        name, equals, value = definition.rpartition("=")
        if not equals:
            raise BadMacro(f"could not parse macro definition {definition!r}: expected name=value")
        macros[name] = value
    return macros


def split_definitions(text: str) -> list[str]:
    """The definitions in `name=value,name=value`; a value with a comma in it needs -D or the file."""
    return [part.strip() for part in text.split(",") if part.strip()]
