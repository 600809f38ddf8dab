"""Parses tables: the `table` statement, and tables where they are used.

Line ends are allowed between elements only, as in OpenSMTPD 5.4.1 (7.5 and later are more lenient); the messages say how to write it.
Knows nothing of kinds and backends. Called by parser.py, parse_rule.py and parse_listen.py.
"""

from smtpfleet.config.language.source import Span, span_from
from smtpfleet.config.language.stream import TokenStream, Unparsable
from smtpfleet.config.language.tokens import STATEMENT_KEYWORDS, Token, TokenKind
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
    if opening := tokens.take_symbol("{"):
        return _parse_entries(tokens, opening.span)
    if tokens.take_symbol("<"):
        name = tokens.expect_word("the name of a table")
        tokens.expect_symbol(">", '">" after the name of the table')
        return TableName(name)
    value = tokens.expect_word(f'a table after "{option}" (<name>, {{ list }} or one value)')
    return InlineList((value,), value.span)


def _parse_entries(tokens: TokenStream, opening: Span) -> InlineList | InlineMapping:
    """Elements after the opening brace, and the closing one."""
    first = _parse_element(tokens)
    if _take_arrow(tokens):
        pairs = [(first, _parse_element(tokens))]
        while not (closing := tokens.take_symbol("}")):
            _skip_separator(tokens, opening)
            key = _parse_element(tokens)
            if not _take_arrow(tokens):
                tokens.fail('"=" or "=>" (a table is a list or a mapping, never both)')
            pairs.append((key, _parse_element(tokens)))
        return InlineMapping(tuple(pairs), span_from(opening, closing.span))
    items = [first]
    while not (closing := tokens.take_symbol("}")):
        _skip_separator(tokens, opening)
        items.append(_parse_element(tokens))
        if tokens.peek().text in ("=", "=>") and tokens.peek().kind is not TokenKind.WORD:
            tokens.fail('"," or "}" (a table is a list or a mapping, never both)')
    return InlineList(tuple(items), span_from(opening, closing.span))


def _take_arrow(tokens: TokenStream) -> bool:
    return tokens.take_symbol("=", "=>") is not None


def _parse_element(tokens: TokenStream) -> Word:
    if tokens.peek().kind is TokenKind.NEWLINE:
        tokens.fail_at(
            tokens.peek().span, "expected an element of the table, found the end of the line", _LINE_ENDS_HINT
        )
    return tokens.expect_word("an element of the table")


def _skip_separator(tokens: TokenStream, opening: Span) -> None:
    """A comma, line ends, or nothing."""
    if tokens.take_symbol(","):
        return
    newline = tokens.peek()
    while tokens.peek().kind is TokenKind.NEWLINE:
        tokens.next()
    following = tokens.peek()
    begins_statement = following.kind is TokenKind.KEYWORD and following.text in STATEMENT_KEYWORDS
    if following.kind is TokenKind.END or (newline.kind is TokenKind.NEWLINE and begins_statement):
        tokens.fail_at(opening, 'this "{" is never closed')
    if newline.kind is TokenKind.NEWLINE and tokens.peek().text == "}" and tokens.peek().kind is TokenKind.SYMBOL:
        tokens.fail_at(tokens.peek().span, 'the closing "}" must follow the last element on its line', _LINE_ENDS_HINT)
