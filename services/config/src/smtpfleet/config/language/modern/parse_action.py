"""Parses `action`: a name, a way of delivery, its options in any order, and the ttl last.

What may be combined and that options come once is the business of compile_*. Called by parser.py. OpenSMTPD: dispatcher in parse.y.
"""

from typing import NoReturn

from smtpfleet.config.language.modern.parse_names import parse_names
from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import ActionStatement, Argument, Option
from smtpfleet.config.language.other_form import CLASSIC_DELIVER, CLASSIC_LOCAL, CLASSIC_RELAY, refuse_other_form
from smtpfleet.config.language.parse_table import parse_table_use
from smtpfleet.config.language.source import span_from
from smtpfleet.config.language.stream import Unparsable
from smtpfleet.config.language.tokens import Token
from smtpfleet.config.language.tree import Word

_METHODS = ("mbox", "maildir", "lmtp", "mda", "forward-only", "expand-only", "relay")
_LOCAL_TABLES = ("alias", "virtual", "userbase")
_LOCAL_WORDS = {"user": "the name of a user", "wrapper": "the name of a wrapper"}
_RELAY_TABLES = ("helo-src", "src", "host", "domain", "auth")
_RELAY_WORDS = {
    "helo": "a name",
    "pki": "the name of a pki",
    "ca": "the name of a ca",
    "ciphers": "a list of ciphers",
    "protocols": "a list of protocols",
    "mail-from": "an address",
}
_RELAY_FLAGS = ("tls", "backup", "srs")
LOCAL_OPTIONS = (*_LOCAL_TABLES, *_LOCAL_WORDS)
RELAY_OPTIONS = (*_RELAY_TABLES, *_RELAY_WORDS, *_RELAY_FLAGS, "filter")
_DETAILS = {"maildir": "junk", "lmtp": "rcpt-to"}


def parse_action(tokens: ModernTokenStream, keyword: Token) -> ActionStatement:
    """The action after `action`."""
    name = tokens.expect_word("the name of the action")
    try:
        return _parse_delivery(tokens, keyword, name)
    except Unparsable:
        # The name is known: matches that refer to it are not wrong because of this.
        tokens.skip_statement()
        return ActionStatement(name, "", None, "", (), (), keyword.span)


def _parse_delivery(tokens: ModernTokenStream, keyword: Token, name: Word) -> ActionStatement:
    refuse_other_form(tokens, CLASSIC_DELIVER)
    method = tokens.expect_keyword(_METHODS, "mbox, maildir, lmtp, mda, forward-only, expand-only or relay")
    argument = None
    match method.text:
        case "maildir":
            argument = tokens.take_word()
        case "lmtp":
            argument = tokens.expect_word('a destination such as "/path" or host:port after "lmtp"')
        case "mda":
            argument = tokens.expect_word('a command after "mda"')
    detail = tokens.take_keyword(_DETAILS[method.text]) if method.text in _DETAILS else None
    known = RELAY_OPTIONS if method.text == "relay" else LOCAL_OPTIONS
    options: list[Option] = []
    while option := tokens.take_keyword(*known):
        options.append(_parse_option(tokens, option))
    ttls: list[Option] = []
    while ttl := tokens.take_keyword("ttl"):
        ttls.append(Option("ttl", tokens.expect_word('a delay such as 4d after "ttl"'), ttl.span))
    if not tokens.is_at_line_end():
        _fail_after_options(tokens, method.text, known, has_ttl=bool(ttls))
    shown = detail.text if detail else ""
    span = span_from(keyword.span, method.span)
    return ActionStatement(name, method.text, argument, shown, tuple(options), tuple(ttls), span)


def _parse_option(tokens: ModernTokenStream, option: Token) -> Option:
    argument: Argument = None
    detail = ""
    if option.text in _LOCAL_TABLES or option.text in _RELAY_TABLES:
        argument = parse_table_use(tokens, option.text)
    elif what := _LOCAL_WORDS.get(option.text) or _RELAY_WORDS.get(option.text):
        argument = tokens.expect_word(f'{what} after "{option.text}"')
        if option.text in ("pki", "ca", "wrapper"):
            tokens.refer(option.text, argument)
    elif option.text == "filter":
        argument = parse_names(tokens, "the name of a filter")
    elif option.text == "tls":
        detail = "no-verify" if tokens.take_keyword("no-verify") else ""
    elif option.text == "backup" and tokens.take_keyword("mx"):
        argument, detail = tokens.expect_word('a name after "backup mx"'), "mx"
    return Option(option.text, argument, option.span, detail)


def _fail_after_options(tokens: ModernTokenStream, method: str, known: tuple[str, ...], *, has_ttl: bool) -> NoReturn:
    word = tokens.peek().text
    if has_ttl and word in known:
        tokens.fail_at(tokens.peek().span, f'"{word}" is out of place', "the ttl comes last")
    refuse_other_form(tokens, CLASSIC_RELAY if method == "relay" else CLASSIC_LOCAL)
    if word in (*LOCAL_OPTIONS, *RELAY_OPTIONS) and word not in known:
        kind = "relay" if method == "relay" else "an action that delivers here"
        tokens.fail_at(tokens.peek().span, f'"{word}" does not belong to {kind}', f"{method} takes {', '.join(known)}")
    if word in _DETAILS.values():
        tokens.fail_at(tokens.peek().span, f'"{word}" is out of place', "maildir [path] junk, lmtp destination rcpt-to")
    tokens.fail("an option of the action or the end of the line", (*known, "ttl"))
