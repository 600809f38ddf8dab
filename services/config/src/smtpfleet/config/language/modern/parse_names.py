"""Parses lists of names of the modern form: one, or several in braces.

Called by parse_* of this package. OpenSMTPD: filter_list, listen's filter in parse.y.
"""

from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import Names
from smtpfleet.config.language.parse_table import parse_element, take_closing


def parse_names(tokens: ModernTokenStream, what: str) -> Names:
    """A name, or names in braces."""
    opening = tokens.take_symbol("{")
    if opening is None:
        return Names((tokens.expect_word(what),))
    names = [parse_element(tokens, what)]
    while not take_closing(tokens, opening.span):
        names.append(parse_element(tokens, what))
    return Names(tuple(names))
