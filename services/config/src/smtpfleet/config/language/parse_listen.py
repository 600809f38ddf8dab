"""Parses `listen on`. Options are order-free and may repeat, as in OpenSMTPD; the last one of each counts (compile_listen.py).

Called by parser.py.
"""

from smtpfleet.config.language.parse_table import parse_table_use
from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.config.language.tree import ListenOption, ListenStatement, Number, TableUse, Word

_FLAGS = ("inet4", "inet6", "tls", "secure", "mask-source")
_WITH_VERIFY = ("smtps", "tls-require")
_WITH_WORD = ("pki", "tag", "hostname")
_AUTH = ("auth", "auth-optional")
_OPTIONS = (*_FLAGS, *_WITH_VERIFY, *_WITH_WORD, *_AUTH, "port", "hostnames")


def parse_listen(tokens: TokenStream, keyword: Token) -> ListenStatement:
    """The listener after `listen`."""
    tokens.expect_keyword(("on",), '"on" after "listen"')
    on = tokens.expect_word("an address, an interface or a host name")
    options: list[ListenOption] = []
    while option := tokens.take_keyword(*_OPTIONS):
        options.append(ListenOption(option.text, _parse_argument(tokens, option.text), option.span))
        if option.text in _WITH_VERIFY and (verify := tokens.take_keyword("verify")):
            options.append(ListenOption("verify", None, verify.span))
    if not tokens.is_at_line_end():
        tokens.fail("an option of listen or the end of the line", _OPTIONS)
    return ListenStatement(on, tuple(options), keyword.span)


def _parse_argument(tokens: TokenStream, option: str) -> Word | Number | TableUse | None:
    if option == "port":
        return tokens.take_number() or tokens.expect_word('a port number or the quoted name of a service after "port"')
    if option in _WITH_WORD:
        return tokens.expect_word(f'a name after "{option}"')
    if option == "hostnames":
        return parse_table_use(tokens, option)
    if option in _AUTH and _begins_table(tokens.peek()):
        return parse_table_use(tokens, option)
    return None


def _begins_table(token: Token) -> bool:
    return token.kind is TokenKind.WORD or (token.kind is TokenKind.SYMBOL and token.text in "<{")
