"""Parses `listen on` of the modern form. Options come in any order; that each comes once is checked by compile_listener.py.

The socket takes a few options only. Called by parser.py. OpenSMTPD: listen, opt_sock_listen, opt_if_listen in parse.y.
"""

from typing import NoReturn

from smtpfleet.config.language.modern.parse_names import parse_names
from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import Argument, ListenerStatement, Option
from smtpfleet.config.language.other_form import CLASSIC_LISTEN, refuse_other_form
from smtpfleet.config.language.parse_table import begins_table, parse_table_use
from smtpfleet.config.language.source import span_from
from smtpfleet.config.language.tokens import Token
from smtpfleet.config.language.tree import Word

_SOCKET_OPTIONS = ("filter", "mask-src", "no-dsn", "tag")
_OURS = ("mend-line-ends",)
"""Not reserved, as OpenSMTPD has no such word."""
_WORDS = {
    "tag": "a tag",
    "pki": "the name of a pki",
    "ca": "the name of a ca",
    "hostname": "a name",
    "ciphers": "a list of ciphers",
    "protocols": "a list of protocols",
}
_OPTIONS = (
    *_SOCKET_OPTIONS, "inet4", "inet6", "port", "tls", "smtps", "tls-require", "pki", "ca", "ciphers", "protocols", "auth",
    "auth-optional", "hostname", "hostnames", "senders", "received-auth", "proxy-v2",
)  # fmt: skip


def parse_listener(tokens: ModernTokenStream, keyword: Token) -> ListenerStatement:
    """The listener after `listen`."""
    tokens.expect_keyword(("on",), '"on" after "listen"')
    socket = tokens.take_keyword("socket")
    on = None if socket else tokens.expect_word("an address, an interface, a host name or socket")
    known = _SOCKET_OPTIONS if socket else _OPTIONS
    options: list[Option] = []
    while option := tokens.take_keyword(*known) or tokens.take_option(*_OURS):
        options.append(_parse_option(tokens, option))
    if not tokens.is_at_line_end():
        _fail_after_options(tokens, is_socket=socket is not None)
    at = socket.span if socket else on.span if on else keyword.span
    return ListenerStatement(on, tuple(options), at, keyword.span)


def _parse_option(tokens: ModernTokenStream, option: Token) -> Option:
    argument: Argument = None
    detail, span = "", option.span
    match option.text:
        case "filter":
            argument = parse_names(tokens, "the name of a filter")
        case "port":
            argument = _parse_port(tokens)
        case "hostnames" | "senders":
            argument = parse_table_use(tokens, option.text)
        case "auth" | "auth-optional" if begins_table(tokens.peek()):
            argument = parse_table_use(tokens, option.text)
        case name if name in _WORDS:
            argument = tokens.expect_word(f'{_WORDS[name]} after "{name}"')
            if name in ("pki", "ca"):
                tokens.refer(name, argument)
    following = {"smtps": "verify", "tls-require": "verify", "senders": "masquerade"}.get(option.text, "")
    if following and (extra := tokens.take_keyword(following)):
        detail, span = following, span_from(option.span, extra.span)
    return Option(option.text, argument, span, detail)


def _parse_port(tokens: ModernTokenStream) -> Argument:
    if named := tokens.take_keyword("smtp", "smtps"):
        return Word(named.text, named.span)
    return tokens.take_number() or tokens.expect_word('a port number or the name of a service after "port"')


def _fail_after_options(tokens: ModernTokenStream, *, is_socket: bool) -> NoReturn:
    token = tokens.peek()
    if is_socket and token.text in _OPTIONS:
        known = ", ".join(_SOCKET_OPTIONS)
        tokens.fail_at(token.span, f'"{token.text}" does not belong to listen on socket', f"it takes {known}")
    refuse_other_form(tokens, CLASSIC_LISTEN)
    if token.text == "verify":
        tokens.fail_at(token.span, '"verify" is out of place', 'it follows "smtps" or "tls-require"')
    if token.text == "secure":
        tokens.fail_at(token.span, '"secure" is gone since 6.0', "write one listener with tls and one with smtps")
    tokens.fail("an option of listen or the end of the line", _SOCKET_OPTIONS if is_socket else _OPTIONS)
