"""Parses tables of both forms: the `table` statement, and tables where they are used.

In the classic form line ends are allowed between elements only, as in OpenSMTPD 5.4.1; the messages say how to write it. In the modern one
they are allowed anywhere between the braces (7.5). Knows nothing of kinds and backends. Called by the parsers and parse_* of both forms.
"""

from dataclasses import replace

from smtpfleet.config.language.source import Span, span_from
from smtpfleet.config.language.stream import TokenStream, Unparsable
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.config.language.tree import InlineList, InlineMapping, TableName, TableStatement, TableUse, Word

_LINE_ENDS_HINT = "in braces, lines may end between elements only; elsewhere end the line with a backslash"


def parse_table_statement(tokens: TokenStream, keyword: Token) -> TableStatement:
    """`table NAME "/path"`, `table NAME backend:/path` or `table NAME { … }`."""
    name = tokens.expect_word("the name of a table")
    try:
        if opening := tokens.take_symbol("{"):
            return TableStatement(name, _parse_entries(tokens, opening.span))
        value = tokens.expect_word('entries in braces or a file such as "/path" or file:/path')
        if not tokens.is_at_line_end():
            tokens.fail("the end of the line")
        return TableStatement(name, value)
    except Unparsable:
        # The name is known: rules that refer to it are not wrong because of this.
        tokens.skip_statement()
        return TableStatement(name, None)


def parse_table_use(tokens: TokenStream, option: str) -> TableUse:
    """`<name>`, `{ … }` or a single value, after `option`."""
    if tokens.take_symbol("<"):
        name = tokens.refer("table", tokens.expect_word("the name of a table"))
        tokens.expect_symbol(">", '">" after the name of the table')
        return TableName(name)
    place = tokens.place()
    if opening := tokens.take_symbol("{"):
        return replace(_parse_entries(tokens, opening.span), place=place)
    value = tokens.expect_word(f'a table after "{option}" (<name>, {{ list }} or one value)')
    return InlineList((value,), value.span, place)


def begins_table(token: Token) -> bool:
    """Whether a table follows, where it may be left out."""
    return token.kind is TokenKind.WORD or (token.kind is TokenKind.SYMBOL and token.text in "<{")


def _parse_entries(tokens: TokenStream, opening: Span) -> InlineList | InlineMapping:
    """Elements after the opening brace, and the closing one."""
    first = parse_element(tokens, "an element of the table")
    if _take_arrow(tokens):
        pairs = [(first, parse_element(tokens, "a value"))]
        while not (closing := take_closing(tokens, opening)):
            key = parse_element(tokens, "an element of the table")
            if not _take_arrow(tokens):
                tokens.fail('"=" or "=>" (a table is a list or a mapping, never both)')
            pairs.append((key, parse_element(tokens, "a value")))
        return InlineMapping(tuple(pairs), span_from(opening, closing.span))
    items = [first]
    while not (closing := take_closing(tokens, opening)):
        items.append(parse_element(tokens, "an element of the table"))
        following = tokens.peek()
        if following.kind in (TokenKind.SYMBOL, TokenKind.ARROW) and following.text in ("=", "=>"):
            tokens.fail('"," or "}" (a table is a list or a mapping, never both)')
    return InlineList(tuple(items), span_from(opening, closing.span))


def _take_arrow(tokens: TokenStream) -> bool:
    return tokens.take_symbol("=", "=>") is not None


def parse_element(tokens: TokenStream, what: str) -> Word:
    """A word between braces, where a separator cannot stand."""
    if tokens.may_end_lines_in_braces:
        tokens.skip_newlines()
    elif (token := tokens.peek()).kind is TokenKind.NEWLINE:
        tokens.fail_at(token.span, f"expected {what}, found {token.shown}", _LINE_ENDS_HINT)
    return tokens.expect_word(what)


def take_closing(tokens: TokenStream, opening: Span) -> Token | None:
    """The closing brace, or None after a separator: a comma, line ends, or nothing."""
    has_ended_line = tokens.skip_newlines()
    following = tokens.peek()
    if following.kind is TokenKind.SYMBOL and following.text == "}":
        if has_ended_line and not tokens.may_end_lines_in_braces:
            message = 'the closing "}" must follow the last element on its line'
            tokens.fail_at(following.span, message, _LINE_ENDS_HINT)
        return tokens.next()
    if (tokens.may_end_lines_in_braces or not has_ended_line) and tokens.take_symbol(","):
        return None
    begins_statement = following.kind is TokenKind.KEYWORD and following.text in tokens.statement_keywords
    if following.kind is TokenKind.END or (has_ended_line and begins_statement):
        tokens.fail_at(opening, 'this "{" is never closed')
    return None
