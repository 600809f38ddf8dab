"""Statements that could not be read to their end: the names in the part that was read are looked up all the same.

So that one run reports a misspelt table and the misspelt word behind it. Adds nothing to the model. Called by compiler.py for both forms.
"""

from collections.abc import Callable

from smtpfleet.config.language.compile_filter import use_filter
from smtpfleet.config.language.compile_pki import use_pki
from smtpfleet.config.language.compile_table import find_table
from smtpfleet.config.language.modern.compile_filter import find_filter, find_processor
from smtpfleet.config.language.modern.compile_local import find_wrapper
from smtpfleet.config.language.modern.compile_match import find_action
from smtpfleet.config.language.modern.compile_relay import use_ca
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import BrokenStatement, Word


def compile_broken(scope: Scope, statement: BrokenStatement) -> None:
    """Reports the names that are not declared; those that are count as used."""
    # What it would have declared is not known: a tag that seems to be nobody's may be its.
    scope.has_broken_listener |= statement.keyword == "listen"
    for reference in statement.references:
        _FINDERS[reference.kind](scope, reference.name)


def _note_tag(scope: Scope, name: Word) -> None:
    scope.rule_tags.append((name.text, name.span))


def _note_pki(scope: Scope, name: Word) -> None:
    scope.broken_pkis.add(name.text.lower())


_FINDERS: dict[str, Callable[[Scope, Word], object]] = {
    "table": find_table,
    "pki": use_pki,
    "declared pki": _note_pki,
    "filter": use_filter,
    "tag": _note_tag,
    "ca": use_ca,
    "action": find_action,
    "wrapper": find_wrapper,
    "processor": find_processor,
    "filter or chain": find_filter,
}
"""By what TokenStream.refer was told."""
