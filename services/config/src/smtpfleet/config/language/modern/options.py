"""Options of a statement by name, each at most once, as OpenSMTPD demands of the modern form.

Some options share a place: an action has one of alias and virtual. Called by compile_* of this package. OpenSMTPD: `… already specified`
in parse.y.
"""

from collections.abc import Iterable, Mapping

from smtpfleet.config.language.modern.tree import Names, Option
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import InlineList, InlineMapping, TableName, TableUse, Word

Places = Mapping[str, tuple[str, str]]
"""By option: the place it takes, and what stands there in words. An option without a row has a place and a name of its own."""


def options_by_name(scope: Scope, options: Iterable[Option], places: Places, suffix: str = "") -> dict[str, Option]:
    """The first of each; a second one in a place is reported. suffix: what OpenSMTPD says after `already specified`."""
    found: dict[str, Option] = {}
    taken: dict[str, str] = {}
    for option in options:
        place, words = places.get(option.name, (option.name, option.name))
        if place in taken:
            hint = "it comes once" if option.name in found else "only one of the two"
            scope.diagnostics.error(option.span, f"{taken[place]} already specified{suffix}", hint)
            continue
        taken[place] = words
        found[option.name] = option
    return found


def word_of(options: Mapping[str, Option], name: str) -> Word | None:
    """The word after the option, None where there is none."""
    argument = options[name].argument if name in options else None
    return argument if isinstance(argument, Word) else None


def text_of(options: Mapping[str, Option], name: str) -> str:
    """The text after the option, "" where there is none."""
    word = word_of(options, name)
    return word.text if word is not None else ""


def table_of(options: Mapping[str, Option], name: str) -> TableUse | None:
    """The table after the option, None where there is none."""
    argument = options[name].argument if name in options else None
    return argument if isinstance(argument, TableName | InlineList | InlineMapping) else None


def names_of(options: Mapping[str, Option], name: str) -> Names | None:
    """The names after the option, None where there are none."""
    argument = options[name].argument if name in options else None
    return argument if isinstance(argument, Names) else None
