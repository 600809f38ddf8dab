"""Tokens to tree: one statement after the other, going on with the next where one cannot be read.

Handles the whole 5.4 grammar (reference section 1.3), also what the compiler does not support yet, so that it can say so. Has no side
effects beyond diagnostics and the stamps of files read. Called by compilation.py.
"""

from collections.abc import Callable
from typing import NoReturn

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.files import ConfigFiles, ReadFile
from smtpfleet.config.language.form import MODERN_STATEMENTS, find_form
from smtpfleet.config.language.lexer import Lexer
from smtpfleet.config.language.macros import Macros, is_usable_name
from smtpfleet.config.language.modern.parser import parse_modern
from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.parse_global import (
    parse_bounce_warn,
    parse_expire,
    parse_filter,
    parse_limit,
    parse_max_deferred,
    parse_pki,
    parse_queue,
    parse_size,
    parse_text,
)
from smtpfleet.config.language.parse_lines import parse_lines, parse_macro_value
from smtpfleet.config.language.parse_listen import parse_listen
from smtpfleet.config.language.parse_rule import parse_rule
from smtpfleet.config.language.parse_table import parse_table_statement
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.stream import TokenStream, Unparsable
from smtpfleet.config.language.tokens import KEYWORDS_5_4, STATEMENT_KEYWORDS, Token, TokenKind
from smtpfleet.config.language.tree import Statement, Tree, Word
from smtpfleet.contracts.configuration import MODERN

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

_BARE_STATEMENTS = {"ciphers": parse_text, "subaddressing-delimiter": parse_text}
"""Statements that came after 5.4.1. Their words are not reserved: with `=` after them they name a macro, as they used to."""


def parse(main: ReadFile, files: ConfigFiles, macros: Macros, diagnostics: Diagnostics) -> Tree:
    """The tree of a main file that has been read; statements that could not be read are left out and reported."""
    if main.bad_byte is not None:
        bad = main.bad_byte
        diagnostics.error(Span(main.source, bad.line, bad.column, 1), f"syntax error: {bad.reason}")
    form = find_form(main, files, macros)
    if form.language == MODERN:
        modern = ModernTokenStream(Lexer(main.source, macros, diagnostics), macros, files, diagnostics)
        return Tree(parse_modern(modern, form), Span(main.source, 1, 1, 1), MODERN, modern.places)
    tokens = TokenStream(Lexer(main.source, macros, diagnostics), macros, files, diagnostics)
    tokens.began = form.began
    return Tree(parse_lines(tokens, _parse_statement), Span(main.source, 1, 1, 1), places=tokens.places)


def _parse_statement(tokens: TokenStream) -> Statement | None:
    """What a line holds; None for a macro."""
    token = tokens.peek()
    if token.kind is TokenKind.KEYWORD and token.text in _STATEMENTS:
        return _STATEMENTS[tokens.next().text](tokens, token)
    if name := tokens.take_word():
        is_assignment = tokens.peek().kind is TokenKind.SYMBOL and tokens.peek().text == "="
        if name.text in _BARE_STATEMENTS and not token.is_quoted and not is_assignment:
            return _BARE_STATEMENTS[name.text](tokens, token)
        _parse_macro(tokens, name)
        return None
    _fail_to_begin(tokens, token.span, token.shown, token.text)


def _fail_to_begin(tokens: TokenStream, span: Span, shown: str, text: str) -> NoReturn:
    """Nothing begins like this."""
    if tokens.peek().kind is TokenKind.FAULT:
        raise Unparsable
    if text in MODERN_STATEMENTS:
        tokens.fail_at(span, f'"{text}" belongs to the form of OpenSMTPD 6.4 and later', tokens.began)
    if text == "hostname":
        hint = "the server name is the first line of /etc/mail/mailname, or SMTPFLEET_SERVER_NAME"
    elif text in KEYWORDS_5_4:
        hint = f"{text} is a reserved word; it begins no statement and names no macro"
    else:
        hint = tokens.diagnostics.suggest(text, (*STATEMENT_KEYWORDS, *_BARE_STATEMENTS))
    tokens.fail_at(span, f"expected a statement or a macro assignment, found {shown}", hint)


def _parse_macro(tokens: TokenStream, name: Word) -> None:
    if not tokens.take_symbol("="):
        _fail_to_begin(tokens, name.span, f'"{name.text}"', name.text)
    parse_macro_value(tokens, name)
    if not is_usable_name(name.text):
        tokens.diagnostics.warning(
            name.span, f'macro "{name.text}" can never be used', "names are letters, digits and _"
        )
