"""Tokens to tree: one statement after the other, going on with the next where one cannot be read.

Handles the whole 5.4 grammar (reference section 1.3), also what the compiler does not support yet, so that it can say so. Has no side
effects beyond diagnostics and the stamps of files read. Called by compilation.py.
"""

from collections.abc import Callable
from typing import NoReturn

from smtpfleet.config.language.diagnostics import Diagnostics, did_you_mean
from smtpfleet.config.language.files import ConfigFiles, ReadFile
from smtpfleet.config.language.lexer import Lexer
from smtpfleet.config.language.macros import Macros, is_usable_name
from smtpfleet.config.language.parse_global import (
    parse_bounce_warn,
    parse_expire,
    parse_filter,
    parse_limit,
    parse_max_deferred,
    parse_pki,
    parse_queue,
    parse_size,
)
from smtpfleet.config.language.parse_listen import parse_listen
from smtpfleet.config.language.parse_rule import parse_rule
from smtpfleet.config.language.parse_table import parse_table_statement
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.stream import TokenStream, Unparsable
from smtpfleet.config.language.tokens import KEYWORDS_5_4, STATEMENT_KEYWORDS, Token, TokenKind
from smtpfleet.config.language.tree import Statement, Tree, Word

_STATEMENTS: dict[str, Callable[[TokenStream, Token], Statement]] = {
    "table": parse_table_statement,
    "accept": parse_rule,
    "reject": parse_rule,
    "listen": parse_listen,
    "expire": parse_expire,
    "bounce-warn": parse_bounce_warn,
    "max-message-size": parse_size,
    "max-mta-deferred": parse_max_deferred,
    "limit": parse_limit,
    "queue": parse_queue,
    "pki": parse_pki,
    "filter": parse_filter,
    "filterchain": parse_filter,
}

_LATER_STATEMENTS = ("action", "match", "mta", "smtp", "srs", "proc", "admd", "bounce", "ca")
"""First words of the form of OpenSMTPD 6.4 and later that are no statements of this one."""


def parse(main: ReadFile, files: ConfigFiles, macros: Macros, diagnostics: Diagnostics) -> Tree:
    """The tree of a main file that has been read; statements that could not be read are left out and reported."""
    if main.bad_byte is not None:
        bad = main.bad_byte
        diagnostics.error(Span(main.source, bad.line, bad.column, 1), f"syntax error: {bad.reason}")
    tokens = TokenStream(Lexer(main.source, macros, diagnostics), macros, files, diagnostics)
    statements: list[Statement] = []
    while (token := tokens.peek()).kind is not TokenKind.END:
        if token.kind is TokenKind.NEWLINE:
            tokens.next()
            continue
        try:
            _parse_line(tokens, statements)
        except Unparsable:
            tokens.skip_statement()
    return Tree(tuple(statements), Span(main.source, 1, 1, 1))


def _parse_line(tokens: TokenStream, statements: list[Statement]) -> None:
    """One statement and its line end."""
    if tokens.take_keyword("include"):
        path = tokens.expect_word('the path of a file after "include"')
        _expect_line_end(tokens)
        tokens.next()
        tokens.include(path)
        return
    token = tokens.peek()
    if token.kind is TokenKind.KEYWORD and token.text in _STATEMENTS:
        statement = _STATEMENTS[tokens.next().text](tokens, token)
        _expect_line_end(tokens)
        statements.append(statement)
        return
    if name := tokens.take_word():
        _parse_macro(tokens, name)
        _expect_line_end(tokens)
        return
    _fail_to_begin(tokens, token.span, token.shown, token.text)


def _fail_to_begin(tokens: TokenStream, span: Span, shown: str, text: str) -> NoReturn:
    """Nothing begins like this."""
    if tokens.peek().kind is TokenKind.FAULT:
        raise Unparsable
    if text in _LATER_STATEMENTS:
        hint = "this looks like the form of OpenSMTPD 6.4 and later, which is not supported yet; write accept and reject rules"
    elif text == "hostname":
        hint = "the server name is the first line of /etc/mail/mailname, or SMTPFLEET_SERVER_NAME"
    elif text in KEYWORDS_5_4:
        hint = f"{text} is a reserved word; it begins no statement and names no macro"
    else:
        hint = did_you_mean(text, STATEMENT_KEYWORDS)
    tokens.fail_at(span, f"expected a statement or a macro assignment, found {shown}", hint)


def _parse_macro(tokens: TokenStream, name: Word) -> None:
    if not tokens.take_symbol("="):
        _fail_to_begin(tokens, name.span, f'"{name.text}"', name.text)
    if (token := tokens.peek()).kind in (TokenKind.NUMBER, TokenKind.KEYWORD):
        tokens.macros.define(name.text, token.text)  # an error, but what uses the macro is not wrong because of it
    value = tokens.expect_word("the value of a macro")
    if not is_usable_name(name.text):
        tokens.diagnostics.warning(
            name.span, f'macro "{name.text}" can never be used', "names are letters, digits and _"
        )
    tokens.macros.define(name.text, value.text)


def _expect_line_end(tokens: TokenStream) -> None:
    if not tokens.is_at_line_end():
        tokens.fail("the end of the line")
