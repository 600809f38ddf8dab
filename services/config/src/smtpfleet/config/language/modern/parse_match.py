"""Parses `match`: conditions in any order, each with a `!` before it where it is negated, then `action NAME` or `reject`.

Also the one condition of a filter, which has subjects of its own. Called by parser.py and parse_filter.py. OpenSMTPD: match_options,
filter_phase_check_* in parse.y.
"""

from collections.abc import Sequence

from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import MatchCondition, MatchStatement
from smtpfleet.config.language.other_form import CLASSIC_CONDITIONS, CLASSIC_FROM, refuse_other_form
from smtpfleet.config.language.parse_table import begins_table, parse_table_use
from smtpfleet.config.language.source import span_from
from smtpfleet.config.language.tokens import Token
from smtpfleet.config.language.tree import InlineList, TableUse

_SUBJECTS = ("from", "for", "tag", "helo", "tls", "auth", "mail-from", "rcpt-to")
_FROM = ("any", "local", "socket", "src", "rdns", "auth", "mail-from")
_FOR = ("any", "local", "domain", "rcpt-to")
_WITH_TABLE = ("tag", "helo", "mail-from", "rcpt-to", "src", "domain")
_WITH_OPTIONAL_TABLE = ("auth", "rdns")


def parse_match(tokens: ModernTokenStream, keyword: Token) -> MatchStatement:
    """The rule after `match`."""
    conditions: list[MatchCondition] = []
    while (condition := _parse_condition(tokens)) is not None:
        conditions.append(condition)
    end = tokens.take_keyword("action", "reject")
    if end is None:
        refuse_other_form(tokens, CLASSIC_CONDITIONS)
        tokens.fail('a condition, "action" or "reject"', (*_SUBJECTS, "action", "reject"))
    action = None
    if end.text == "action":
        action = tokens.refer("action", tokens.expect_word('the name of an action after "action"'))
    if not tokens.is_at_line_end():
        word = tokens.peek().text
        if word in _SUBJECTS or word == "!":
            tokens.fail_at(tokens.peek().span, f'"{word}" is out of place', f'conditions come before "{end.text}"')
        if word == "ttl":
            tokens.fail_at(tokens.peek().span, '"ttl" is out of place', "the ttl belongs to the action")
        refuse_other_form(tokens, CLASSIC_CONDITIONS)
        tokens.fail("the end of the line")
    return MatchStatement(tuple(conditions), action, keyword.span)


def _parse_condition(tokens: ModernTokenStream) -> MatchCondition | None:
    """The next condition, None where the conditions end."""
    negation = tokens.take_symbol("!")
    subject = tokens.take_keyword(*_SUBJECTS)
    if subject is None:
        if negation is not None:
            tokens.fail('a condition after "!"', _SUBJECTS)
        return None
    if subject.text in ("from", "for"):
        choices = _FROM if subject.text == "from" else _FOR
        if misplaced := tokens.take_symbol("!"):
            hint = f"write ! {subject.text} …"
            tokens.fail_at(misplaced.span, '"!" is out of place', f"it stands before the condition: {hint}")
        refuse_other_form(tokens, CLASSIC_FROM)
        listed = ", ".join(choices[:-1])
        choice = tokens.expect_keyword(choices, f'{listed} or {choices[-1]} after "{subject.text}"')
        return _parse_argument(tokens, subject, choice.text, is_negated=negation is not None, last=choice)
    return _parse_argument(tokens, subject, "", is_negated=negation is not None, last=subject)


def parse_filter_condition(tokens: ModernTokenStream, subjects: Sequence[str], expected: str) -> MatchCondition:
    """The condition of a filter: one of `subjects`."""
    negation = tokens.take_symbol("!")
    subject = tokens.expect_keyword(subjects, expected)
    return _parse_argument(tokens, subject, "", is_negated=negation is not None, last=subject)


def _parse_argument(
    tokens: ModernTokenStream, subject: Token, choice: str, *, is_negated: bool, last: Token
) -> MatchCondition:
    """What follows a condition: nothing, a table, or `regex` and a table."""
    asked = choice or subject.text
    table: TableUse | None = None
    is_regex = False
    if asked in _WITH_TABLE or asked in _WITH_OPTIONAL_TABLE:
        is_regex = tokens.take_keyword("regex") is not None
        if is_regex or asked in _WITH_TABLE or begins_table(tokens.peek()):
            table = parse_table_use(tokens, "regex" if is_regex else asked)
        if asked == "tag" and not is_regex and isinstance(table, InlineList):
            for tag in table.items:
                tokens.refer("tag", tag)
    return MatchCondition(subject.text, choice, is_negated, is_regex, table, span_from(subject.span, last.span))
