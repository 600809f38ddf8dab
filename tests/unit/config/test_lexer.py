"""Characters to tokens: the odd corners of OpenSMTPD's lexer."""

import pytest

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.lexer import TOKEN_LIMIT, Lexer
from smtpfleet.config.language.macros import Macros
from smtpfleet.config.language.source import SourceText
from smtpfleet.config.language.tokens import KEYWORDS_5_4, TokenKind

W, N, K, S, A, NL, F = (
    TokenKind.WORD,
    TokenKind.NUMBER,
    TokenKind.KEYWORD,
    TokenKind.SYMBOL,
    TokenKind.ARROW,
    TokenKind.NEWLINE,
    TokenKind.FAULT,
)
MACROS = {"m": "a b", "n": "mx", "q": "'x y'", "d": "$n", "open": '"begin'}

ROWS = {
    "a b\tc": [(W, "a"), (W, "b"), (W, "c")],
    "10.0.0.0/8 ::1 a@b x-y_z _ tls://h:25 35M 4h": [
        (W, "10.0.0.0/8"), (W, "::1"), (W, "a@b"), (W, "x-y_z"), (W, "_"), (W, "tls://h:25"), (W, "35M"), (W, "4h"),
    ],
    "25 -3 25, 25}25)25=25/8": [
        (N, "25"), (N, "-3"), (N, "25"), (S, ","), (N, "25"), (S, "}"), (N, "25"), (S, ")"), (N, "25"), (S, "="), (N, "25"), (S, "/"),
        (N, "8"),
    ],
    "25#x": [(W, "25")],
    "123456789012345678 a\n1234567890123456789 b\nc": [(N, "123456789012345678"), (W, "a"), (NL, ""), (F, ""), (NL, ""), (W, "c")],
    "25;6": [(W, "25;6")],
    "-x": [(S, "-"), (W, "x")],
    "/path @d ~ *": [(S, "/"), (W, "path"), (S, "@"), (W, "d"), (S, "~"), (S, "*")],
    "a=b=>c = >d": [(W, "a"), (S, "="), (W, "b"), (A, "=>"), (W, "c"), (S, "="), (S, ">"), (W, "d")],
    "listen Listen 'listen' \"on\"": [(K, "listen"), (W, "Listen"), (W, "listen"), (W, "on")],
    "tls-require tls-requires": [(K, "tls-require"), (W, "tls-requires")],
    "a # b \\\n c\nd": [(W, "a"), (NL, ""), (W, "d")],
    "a \\\nb\\c d\\ e": [(W, "a"), (W, "bc"), (W, "d"), (W, "e")],
    "'a\"b' \"a'b\" 'a\\'b' 'a\\nb' 'a\\\\'": [(W, 'a"b'), (W, "a'b"), (W, "a'b"), (W, "a\\nb"), (F, "a\\'")],
    "'a\nb\\\nc' 'd\\ e'": [(W, "abc"), (W, "d e")],
    "$m": [(W, "a"), (W, "b")],
    "$n.test x$n": [(W, "mx.test"), (W, "x$n")],
    "$n/$n $q '$n'": [(W, "mx/$n"), (W, "x y"), (W, "$n")],
    "$d": [(S, "$"), (W, "n")],
    '$open end"': [(W, "begin end")],
    "$undefined rest of it\na": [(F, ""), (NL, ""), (W, "a")],
    "é": [(S, "é")],
}  # fmt: skip


def lex(text: str) -> list[tuple[TokenKind, str]]:
    lexer = Lexer(SourceText("text", text, 1), Macros(MACROS), Diagnostics())
    found: list[tuple[TokenKind, str]] = []
    while (token := lexer.next()).kind is not TokenKind.END:
        found.append((token.kind, token.text))
    return found


@pytest.mark.parametrize("text", ROWS)
def test_tokens(text: str) -> None:
    assert lex(text) == ROWS[text]


def test_positions_are_those_of_the_source() -> None:
    lexer = Lexer(SourceText("text", 'ab \\\n  "c\nd" $n.x # e\nf', 1), Macros(MACROS), Diagnostics())
    places = []
    while (token := lexer.next()).kind is not TokenKind.END:
        places.append((token.text, token.span.line, token.span.column, token.span.length))
    assert places == [("ab", 1, 1, 2), ("cd", 2, 3, 2), ("mx.x", 3, 4, 4), ("", 3, 12, 1), ("f", 4, 1, 1)]


def test_there_are_sixty_odd_reserved_words_and_all_are_lower_case() -> None:
    assert {"accept", "bounce-warn", "max-message-size", "virtual", "tls-require"} <= KEYWORDS_5_4
    assert all(word == word.lower() for word in KEYWORDS_5_4)


def test_a_token_may_not_be_endless() -> None:
    assert lex("a" * TOKEN_LIMIT) == [(W, "a" * TOKEN_LIMIT)]
    assert lex("a" * (TOKEN_LIMIT + 1) + " b\nc") == [(F, ""), (NL, ""), (W, "c")]
    assert lex("'" + "a" * (TOKEN_LIMIT + 1) + "' b\nc") == [(F, ""), (NL, ""), (W, "c")]
    assert lex("1" * (TOKEN_LIMIT + 1) + "\nc") == [(F, ""), (NL, ""), (W, "c")]
