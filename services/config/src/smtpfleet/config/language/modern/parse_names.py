"""Parses lists of names of the modern form: one, or several in braces.

Called by parse_* of this package. OpenSMTPD: filter_list, listen's filter in parse.y.
"""

from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import Names
from smtpfleet.config.language.parse_table import parse_element, take_closing


def parse_names(tokens: ModernTokenStream, what: str) -> Names:
    """The name of a filter, or names in braces."""
    opening = tokens.take_symbol("{")
    if opening is None:
        return Names((tokens.refer("filter or chain", tokens.expect_word(what)),))
    names = [tokens.refer("filter or chain", parse_element(tokens, what))]
    while not take_closing(tokens, opening.span):
        names.append(tokens.refer("filter or chain", parse_element(tokens, what)))
    return Names(tuple(names))
