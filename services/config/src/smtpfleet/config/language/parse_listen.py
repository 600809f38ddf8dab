"""Parses `listen on`. Options are order-free and may repeat, as in OpenSMTPD; the last one of each counts (compile_listen.py).

What came after 5.4.1 (no-dsn, senders, received-auth, filter, socket) and ours are no reserved words, so they stay usable as
names of tables. Called by parser.py.
"""

from typing import NoReturn

from smtpfleet.config.language.other_form import MODERN_LISTEN, refuse_other_form
from smtpfleet.config.language.parse_table import begins_table, parse_table_use
from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.config.language.tree import ListenOption, ListenStatement, Number, TableUse, Word

_FLAGS = (
    "inet4",
    "inet6",
    "tls",
    "secure",
    "mask-source",
    "no-dsn",
    "received-auth",
    "proxy-v2",
    "proxy-v1",
    "mend-line-ends",
)
_WITH_VERIFY = ("smtps", "tls-require")
_WITH_WORD = ("pki", "tag", "hostname", "filter")
_AUTH = ("auth", "auth-optional")
_WITH_TABLE = ("hostnames", "senders")
_OPTIONS = (*_FLAGS, *_WITH_VERIFY, *_WITH_WORD, *_AUTH, *_WITH_TABLE, "port")
_SOCKET_OPTIONS = ("mask-source", "no-dsn", "tag", "filter", "mend-line-ends")
"""OpenSMTPD 5.9 has mask-source and filter; the others are those of 7.x, mend-line-ends is ours."""


def parse_listen(tokens: TokenStream, keyword: Token) -> ListenStatement:
    """The listener after `listen`."""
    tokens.expect_keyword(("on",), '"on" after "listen"')
    known: tuple[str, ...] = _OPTIONS
    if socket := tokens.take_option("socket"):
        on, known = Word(socket.text, socket.span), _SOCKET_OPTIONS
    else:
        on = tokens.expect_word("an address, an interface, a host name or socket")
    options: list[ListenOption] = []
    while option := tokens.take_option(*known):
        options.append(ListenOption(option.text, _parse_argument(tokens, option.text), option.span))
        if option.text in _WITH_VERIFY and (verify := tokens.take_keyword("verify")):
            options.append(ListenOption("verify", None, verify.span))
        if option.text == "senders" and (masquerade := tokens.take_option("masquerade")):
            options.append(ListenOption("masquerade", None, masquerade.span))
    if not tokens.is_at_line_end():
        _fail_after_options(tokens, is_socket=socket is not None)
    return ListenStatement(on, tuple(options), keyword.span, socket is not None)


def _parse_argument(tokens: TokenStream, option: str) -> Word | Number | TableUse | None:
    if option == "port":
        return tokens.take_number() or tokens.expect_word('a port number or the quoted name of a service after "port"')
    if option in _WITH_WORD:
        name = tokens.expect_word(f'a name after "{option}"')
        return tokens.refer(option, name) if option in ("pki", "filter") else name
    if option in _WITH_TABLE or (option in _AUTH and _begins_table(tokens.peek())):
        return parse_table_use(tokens, option)
    return None


def _begins_table(token: Token) -> bool:
    """Whether a table follows where it may be left out: a bare word that names an option is that option."""
    is_option = token.kind is TokenKind.WORD and not token.is_quoted and token.text in _OPTIONS
    return begins_table(token) and not is_option


def _fail_after_options(tokens: TokenStream, *, is_socket: bool) -> NoReturn:
    token = tokens.peek()
    if is_socket and token.kind in (TokenKind.KEYWORD, TokenKind.WORD) and token.text in _OPTIONS:
        known = ", ".join(_SOCKET_OPTIONS)
        tokens.fail_at(token.span, f'"{token.text}" does not belong to listen on socket', f"it takes {known}")
    refuse_other_form(tokens, MODERN_LISTEN)
    if token.kind is TokenKind.KEYWORD and token.text == "verify":
        tokens.fail_at(token.span, '"verify" is out of place', 'it follows "smtps" or "tls-require"')
    if token.kind is TokenKind.WORD and token.text == "masquerade":
        tokens.fail_at(token.span, '"masquerade" is out of place', 'it follows "senders <table>"')
    tokens.fail("an option of listen or the end of the line", _SOCKET_OPTIONS if is_socket else _OPTIONS)
