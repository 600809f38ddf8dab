"""Parses `filter` and `proc`: built-in filters with their phase, condition and decision, chains, and filter programs.

Which condition a phase can know is part of the grammar, as in OpenSMTPD: at connect there is no sender yet. Called by parser.py.
OpenSMTPD: filter_phase_*, proc in parse.y.
"""

from smtpfleet.config.language.modern.parse_match import parse_filter_condition
from smtpfleet.config.language.modern.parse_names import parse_names
from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import (
    FilterChainStatement,
    FilterPhaseStatement,
    FilterProcessStatement,
    Option,
    ProcessorStatement,
)
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.config.language.tree import Word

_AT_CONNECT = ("fcrdns", "rdns", "src")
_AT_HELO = (*_AT_CONNECT, "helo")
_AT_AUTH = (*_AT_HELO, "auth")
_AT_MAIL = (*_AT_AUTH, "mail-from")
_PHASES = {
    "connect": _AT_CONNECT,
    "helo": _AT_HELO,
    "ehlo": _AT_HELO,
    "auth": _AT_AUTH,
    "mail-from": _AT_MAIL,
    "rcpt-to": (*_AT_MAIL, "rcpt-to"),
    "data": _AT_MAIL,
    "commit": _AT_MAIL,
}
_KNOWN_FROM = {
    "helo": "helo",
    "auth": "auth",
    "mail-from": "mail-from",
    "rcpt-to": "rcpt-to, the only one that knows it",
}
_WITH_TEXT = ("reject", "disconnect", "rewrite", "report")
_BARE = ("junk", "bypass")
_PROCESSOR_OPTIONS = ("user", "group", "chroot")


def parse_processor(tokens: ModernTokenStream, keyword: Token) -> ProcessorStatement:
    """`proc NAME COMMAND {user|group|chroot TEXT}`."""
    name = tokens.expect_word("the name of the processor")
    command = tokens.expect_word("a command")
    return ProcessorStatement(name, command, _parse_options(tokens), keyword.span)


def parse_filter(
    tokens: ModernTokenStream, keyword: Token
) -> FilterPhaseStatement | FilterProcessStatement | FilterChainStatement:
    """`filter NAME phase|chain|proc|proc-exec …`."""
    name = tokens.expect_word("the name of the filter")
    kind = tokens.expect_keyword(("phase", "chain", "proc", "proc-exec"), "phase, chain, proc or proc-exec")
    match kind.text:
        case "phase":
            return _parse_phase(tokens, name, keyword)
        case "chain":
            if tokens.peek().kind is not TokenKind.SYMBOL:
                tokens.fail('"{" and the names of filters after "chain"')
            return FilterChainStatement(name, parse_names(tokens, "the name of a filter"), keyword.span)
        case "proc":
            processor = tokens.refer("processor", tokens.expect_word("the name of a processor"))
            return FilterProcessStatement(name, processor, None, (), keyword.span)
    command = tokens.expect_word("a command")
    return FilterProcessStatement(name, None, command, _parse_options(tokens), keyword.span)


def _parse_options(tokens: ModernTokenStream) -> tuple[Option, ...]:
    options: list[Option] = []
    while option := tokens.take_keyword(*_PROCESSOR_OPTIONS):
        what = "a path" if option.text == "chroot" else "a name"
        options.append(Option(option.text, tokens.expect_word(f'{what} after "{option.text}"'), option.span))
    if not tokens.is_at_line_end():
        tokens.fail("user, group, chroot or the end of the line", _PROCESSOR_OPTIONS)
    return tuple(options)


def _parse_phase(tokens: ModernTokenStream, name: Word, keyword: Token) -> FilterPhaseStatement:
    phase = tokens.expect_keyword(tuple(_PHASES), f"a phase: {', '.join(_PHASES)}")
    tokens.expect_keyword(("match",), f'"match" after "phase {phase.text}"')
    subjects = _PHASES[phase.text]
    following = tokens.peek().text
    if following in _KNOWN_FROM and following not in subjects:
        hint = f"it is known from phase {_KNOWN_FROM[following]}"
        tokens.fail_at(tokens.peek().span, f'"{following}" is not known at {phase.text}', hint)
    condition = parse_filter_condition(tokens, subjects, f"a condition: {', '.join(subjects)}")
    decisions = _WITH_TEXT if phase.text == "commit" else (*_WITH_TEXT, *_BARE)
    if phase.text == "commit" and tokens.peek().text in _BARE:
        shown = tokens.peek().text
        tokens.fail_at(tokens.peek().span, f'"{shown}" has no meaning at commit', "the message is complete by then")
    decision = tokens.expect_keyword(decisions, f"a decision: {', '.join(decisions)} (a filter has one condition)")
    text = tokens.expect_word(f'a text after "{decision.text}"') if decision.text in _WITH_TEXT else None
    return FilterPhaseStatement(name, phase.text, condition, decision.text, text, keyword.span)
