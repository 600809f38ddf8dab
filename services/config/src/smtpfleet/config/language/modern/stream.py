"""The token stream of the modern form: the same tokens, other reserved words.

The lexer marks the reserved words of the classic form; here each token is looked at again. Called by parser.py. OpenSMTPD: lookup() in
parse.y of 7.8.
"""

from dataclasses import replace

from smtpfleet.config.language.modern.keywords import KEYWORDS, STATEMENT_KEYWORDS
from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import Token, TokenKind


class ModernTokenStream(TokenStream):
    """Tokens of the main file and whatever it includes, with the modern reserved words."""

    statement_keywords = STATEMENT_KEYWORDS
    other_form = "5.4 to 6.3"
    may_end_lines_in_braces = True

    def _read(self) -> Token:
        token = super()._read()
        if token.kind not in (TokenKind.WORD, TokenKind.KEYWORD) or token.is_quoted:
            return token
        kind = TokenKind.KEYWORD if token.text in KEYWORDS else TokenKind.WORD
        return token if token.kind is kind else replace(token, kind=kind)
