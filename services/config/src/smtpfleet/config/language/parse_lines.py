"""The loop both parsers have: one statement after the other, includes followed, going on with the next where one cannot be read.

What a line may begin with is the business of the two parsers, which call this. OpenSMTPD: grammar in parse.y, error recovery at newline.
"""

from collections.abc import Callable
from typing import TypeVar

from smtpfleet.config.language.stream import TokenStream, Unparsable
from smtpfleet.config.language.tokens import TokenKind
from smtpfleet.config.language.tree import BrokenStatement, Word

Tokens = TypeVar("Tokens", bound=TokenStream)
Node = TypeVar("Node")


def parse_lines(tokens: Tokens, parse_statement: Callable[[Tokens], Node | None]) -> tuple[Node | BrokenStatement, ...]:
    """All nodes of a file and what it includes, in order; parse_statement stops before the line end and gives None for what is no node."""
    nodes: list[Node | BrokenStatement] = []
    while (token := tokens.peek()).kind is not TokenKind.END:
        if token.kind is TokenKind.NEWLINE:
            tokens.next()
            continue
        tokens.begin_statement()
        node: Node | None = None
        try:
            if tokens.take_keyword("include"):
                _parse_include(tokens)
                continue
            node = parse_statement(tokens)
            _expect_line_end(tokens)
        except Unparsable:
            tokens.skip_statement()
            node = None
        nodes += [each for each in (tokens.broken_statement(token.text), node) if each is not None]
    return tuple(nodes)


def parse_macro_value(tokens: TokenStream, name: Word) -> Word:
    """The value, after `name =`. Of a wrong one, too, the name is known: what uses the macro is not wrong because of it."""
    if (token := tokens.peek()).kind in (TokenKind.NUMBER, TokenKind.KEYWORD):
        tokens.macros.define(name.text, token.text)
    value = tokens.expect_word("the value of a macro")
    tokens.macros.define(name.text, value.text)
    return value


def _parse_include(tokens: TokenStream) -> None:
    path = tokens.expect_word('the path of a file after "include"')
    _expect_line_end(tokens)
    tokens.next()
    tokens.include(path)


def _expect_line_end(tokens: TokenStream) -> None:
    if not tokens.is_at_line_end():
        tokens.fail("the end of the line")
