"""Tokens to tree for the modern form: one statement after the other, going on with the next where one cannot be read.

Handles the grammar of OpenSMTPD 6.4 to 7.8 (reference 11.1). A statement that only the classic form has is an error that says where each
form began. Has no side effects beyond diagnostics and the stamps of files read. Called by the parser beside. OpenSMTPD: parse.y.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from smtpfleet.config.language.form import CLASSIC_STATEMENTS, Form
from smtpfleet.config.language.modern.keywords import KEYWORDS, STATEMENT_KEYWORDS
from smtpfleet.config.language.modern.parse_action import parse_action
from smtpfleet.config.language.modern.parse_filter import parse_filter, parse_processor
from smtpfleet.config.language.modern.parse_listener import parse_listener
from smtpfleet.config.language.modern.parse_match import parse_match
from smtpfleet.config.language.modern.parse_setting import (
    parse_admd,
    parse_bounce,
    parse_ca,
    parse_mda,
    parse_mta,
    parse_pki,
    parse_queue,
    parse_scheduler,
    parse_smtp,
    parse_srs,
)
from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import ModernStatement
from smtpfleet.config.language.parse_lines import parse_lines, parse_macro_value
from smtpfleet.config.language.parse_table import parse_table_statement
from smtpfleet.config.language.stream import Unparsable
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.config.language.tree import Statement, Word

_STATEMENTS: dict[str, Callable[[ModernTokenStream, Token], Any]] = {
    "action": parse_action,
    "match": parse_match,
    "listen": parse_listener,
    "table": parse_table_statement,
    "pki": parse_pki,
    "ca": parse_ca,
    "srs": parse_srs,
    "smtp": parse_smtp,
    "mta": parse_mta,
    "mda": parse_mda,
    "queue": parse_queue,
    "scheduler": parse_scheduler,
    "bounce": parse_bounce,
    "admd": parse_admd,
    "proc": parse_processor,
    "filter": parse_filter,
}

_COUNTERPARTS = {
    "accept": "write an action and a match",
    "expire": "write queue ttl",
    "bounce-warn": "write bounce warn-interval",
    "max-message-size": "write smtp max-message-size",
    "max-mta-deferred": "write mta max-deferred",
    "limit": "write mta limit, mda limit, scheduler limit or smtp limit",
    "filterchain": "write filter NAME chain { … }",
    "ciphers": "write smtp ciphers",
    "subaddressing-delimiter": "write smtp sub-addr-delim",
    "reject": "write match … reject",
}


def parse_modern(tokens: ModernTokenStream, form: Form) -> tuple[Statement | ModernStatement, ...]:
    """All statements of a file and what it includes; those that could not be read are left out and reported."""

    def parse_statement(tokens: ModernTokenStream) -> Statement | ModernStatement | None:
        return _parse_statement(tokens, form)

    tokens.began = form.began
    return parse_lines(tokens, parse_statement)


def _parse_statement(tokens: ModernTokenStream, form: Form) -> Statement | ModernStatement | None:
    """What a line holds; None for a macro."""
    token = tokens.peek()
    if token.kind is TokenKind.KEYWORD and token.text in _STATEMENTS:
        statement: Statement | ModernStatement = _STATEMENTS[tokens.next().text](tokens, token)
        return statement
    name = tokens.take_word()
    if name is None or not tokens.take_symbol("="):
        _fail_to_begin(tokens, token, form)
    _parse_macro(tokens, name)
    return None


def _parse_macro(tokens: ModernTokenStream, name: Word) -> None:
    """The value, after `name =`."""
    parse_macro_value(tokens, name)
    if any(char.isspace() for char in name.text):
        tokens.diagnostics.error(name.span, "macro name cannot contain whitespace")


def _fail_to_begin(tokens: ModernTokenStream, token: Token, form: Form) -> NoReturn:
    """Nothing begins like this."""
    if tokens.peek().kind is TokenKind.FAULT:
        raise Unparsable
    if token.text in CLASSIC_STATEMENTS and not token.is_quoted:
        hint = f"{form.began}; {_COUNTERPARTS[token.text]}"
        tokens.fail_at(token.span, f'"{token.text}" belongs to the form of OpenSMTPD 5.4 to 6.3', hint)
    if token.text in KEYWORDS and not token.is_quoted:
        hint = f"{token.text} is a reserved word; it begins no statement and names no macro"
    elif token.text == "hostname":
        hint = "the server name is the first line of /etc/mail/mailname, or SMTPFLEET_SERVER_NAME"
    else:
        hint = tokens.diagnostics.suggest(token.text, STATEMENT_KEYWORDS)
    tokens.fail_at(token.span, f"expected a statement or a macro assignment, found {token.shown}", hint)
