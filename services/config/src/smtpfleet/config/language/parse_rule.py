"""Parses `accept` and `reject`: conditions, then lookups, then the action, then parameters.

Keeps OpenSMTPD's order and says so where it is broken. What may be combined with what is the business of compile_rule.py. Called by
parser.py.
"""

from typing import NoReturn

from smtpfleet.config.language.other_form import (
    MODERN_ACTIONS,
    MODERN_CONDITIONS,
    MODERN_FOR,
    MODERN_FROM,
    MODERN_LOCAL,
    MODERN_RELAY,
    refuse_other_form,
)
from smtpfleet.config.language.parse_table import parse_table_use
from smtpfleet.config.language.source import span_from
from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.config.language.tree import (
    Decision,
    Deliver,
    Lookup,
    Relay,
    RelayOption,
    RuleParameter,
    RuleStatement,
    TableUse,
    Word,
)

_DECISIONS = ("tagged", "from", "for", "sender", "recipient", "authenticated")
"""authenticated came with OpenSMTPD 6.0; it is no reserved word here."""
_LOOKUPS = ("userbase", "alias", "virtual")
_ACTIONS = ("deliver", "relay")
_PARAMETERS = ("expire", "forward-only")
_METHODS = ("maildir", "mbox", "mda", "lmtp")
_FROM = ("any", "local", "source")
_FOR = ("any", "local", "domain")
_COMMON_OPTIONS = ("as", "source", "hostname", "hostnames", "pki")
_DIRECT_OPTIONS = ("backup", "tls")
_VIA_OPTIONS = ("auth", "verify")


def parse_rule(tokens: TokenStream, keyword: Token) -> RuleStatement:
    """The rule after `accept` or `reject`."""
    decisions = []
    while opening := tokens.take_option(*_DECISIONS):
        decisions.append(_parse_decision(tokens, opening))
    lookups: list[Lookup] = []
    action: Deliver | Relay | None = None
    parameters: list[RuleParameter] = []
    is_accept = keyword.text == "accept"
    if is_accept:
        while opening := tokens.take_keyword(*_LOOKUPS):
            table = parse_table_use(tokens, opening.text)
            lookups.append(Lookup(opening.text, table, opening.span))
        if opening := tokens.take_keyword(*_ACTIONS):
            action = _parse_deliver(tokens, opening) if opening.text == "deliver" else _parse_relay(tokens, opening)
        while opening := tokens.take_keyword(*_PARAMETERS):
            delay = tokens.expect_word("a delay such as 4d") if opening.text == "expire" else None
            parameters.append(RuleParameter(opening.text, delay, opening.span))
    if not tokens.is_at_line_end():
        _fail_after_rule(tokens, action, is_accept=is_accept)
    return RuleStatement(is_accept, tuple(decisions), tuple(lookups), action, tuple(parameters), keyword.span)


def _parse_decision(tokens: TokenStream, opening: Token) -> Decision:
    is_negated = opening.text != "authenticated" and tokens.take_symbol("!") is not None
    choice = ""
    argument: Word | TableUse | None = None
    span = opening.span
    match opening.text:
        case "tagged":
            argument = tokens.refer("tag", tokens.expect_word("a tag"))
        case "from" | "for":
            choices = _FROM if opening.text == "from" else _FOR
            refuse_other_form(tokens, MODERN_FROM if opening.text == "from" else MODERN_FOR)
            chosen = tokens.expect_keyword(
                choices, f'{choices[0]}, {choices[1]} or {choices[2]} after "{opening.text}"'
            )
            choice = chosen.text
            span = span_from(opening.span, chosen.span)
            if choice in ("source", "domain"):
                argument = parse_table_use(tokens, choice)
        case "authenticated":
            pass
        case _:
            argument = parse_table_use(tokens, opening.text)
    return Decision(opening.text, choice, is_negated, argument, span)


def _parse_deliver(tokens: TokenStream, opening: Token) -> Deliver:
    tokens.expect_keyword(("to",), '"to" after "deliver"')
    method = tokens.expect_keyword(_METHODS, 'maildir, mbox, mda or lmtp after "deliver to"')
    span = span_from(opening.span, method.span)
    if method.text == "mbox":
        return Deliver(method.text, None, span)
    if method.text == "maildir":
        return Deliver(method.text, tokens.take_word(), span)
    what = "a command" if method.text == "mda" else 'a destination such as host:port or "/path"'
    argument = tokens.expect_word(what)
    is_rcpt_to = method.text == "lmtp" and tokens.take_option("rcpt-to") is not None
    return Deliver(method.text, argument, span, is_rcpt_to)


def _parse_relay(tokens: TokenStream, opening: Token) -> Relay:
    url = tokens.expect_word('a URL such as "smtp://host:port" after "via"') if tokens.take_keyword("via") else None
    own = _DIRECT_OPTIONS if url is None else _VIA_OPTIONS
    options: list[RelayOption] = []
    while option := tokens.take_keyword(*_COMMON_OPTIONS, *own):
        argument: Word | TableUse | None = None
        match option.text:
            case "as":
                argument = tokens.expect_word('an address after "as"')
            case "hostname":
                argument = tokens.expect_word('a name after "hostname"')
            case "pki":
                argument = tokens.refer("pki", tokens.expect_word('a name after "pki"'))
            case "source" | "hostnames" | "auth":
                argument = parse_table_use(tokens, option.text)
            case "backup":
                argument = tokens.take_word()
        options.append(RelayOption(option.text, argument, option.span))
        if option.text == "tls" and (verify := tokens.take_keyword("verify")):
            options.append(RelayOption("verify", None, verify.span))
    return Relay(url, tuple(options), opening.span)


def _fail_after_rule(tokens: TokenStream, action: Deliver | Relay | None, *, is_accept: bool) -> NoReturn:
    token = tokens.peek()
    if action is None:
        refuse_other_form(tokens, MODERN_CONDITIONS | (MODERN_ACTIONS if is_accept else {"action": ""}))
    word = token.text if token.kind is TokenKind.KEYWORD or token.text == "authenticated" else ""
    known = (*_DECISIONS, *_LOOKUPS, *_ACTIONS, *_PARAMETERS)
    if not is_accept and word in known:
        tokens.fail_at(token.span, f'"{word}" does not belong to reject', "reject takes conditions only")
    if word in known:
        order = "conditions (tagged, from, for, sender, recipient), then userbase, alias or virtual, then the action, then expire"
        tokens.fail_at(token.span, f'"{word}" is out of place', f"the order is: {order}")
    if word in _DIRECT_OPTIONS:
        tokens.fail_at(
            token.span, f'"{word}" does not belong to relay via', "the scheme of the URL says how, as in tls://host"
        )
    if word in _VIA_OPTIONS:
        tokens.fail_at(
            token.span, f'"{word}" is out of place', 'auth and verify belong to "relay via URL"; "tls verify" to relay'
        )
    if token.kind is TokenKind.WORD and "://" in token.text:
        tokens.fail_at(token.span, f"a URL is out of place: {token.text}", f'write relay via "{token.text}"')
    if token.text == "rcpt-to" and not token.is_quoted:
        hint = "it follows deliver to lmtp DESTINATION; as a condition this form says recipient"
        tokens.fail_at(token.span, '"rcpt-to" is out of place', hint)
    refuse_other_form(tokens, MODERN_CONDITIONS | (MODERN_RELAY if isinstance(action, Relay) else MODERN_LOCAL))
    if token.kind is TokenKind.SYMBOL and token.text == "!":
        tokens.fail_at(token.span, '"!" is out of place', "it stands in the condition, as in from ! local")
    tokens.fail("the end of the line", (*known, *_COMMON_OPTIONS, *_DIRECT_OPTIONS, *_VIA_OPTIONS))
