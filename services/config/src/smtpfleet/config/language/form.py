"""Which of the two forms a file is in: the first statement that only one of them has decides.

Looks ahead over the first words of the lines, includes and macros followed, before anything is parsed: what stands before the first rule
(pki, listen, table) has the same first word in both forms and other options. Reports nothing. Called by parser.py. OpenSMTPD has one form
per release (6.4 brought the modern one).
"""

import copy
from dataclasses import dataclass

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.files import ConfigFiles, ReadFile
from smtpfleet.config.language.lexer import Lexer
from smtpfleet.config.language.macros import Macros
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.contracts.configuration import CLASSIC, MODERN

CLASSIC_STATEMENTS = (
    "accept", "reject", "expire", "bounce-warn", "max-message-size", "max-mta-deferred", "limit", "filterchain", "ciphers",
    "subaddressing-delimiter",
)  # fmt: skip
"""First words of statements that only the classic form has."""
MODERN_STATEMENTS = ("action", "match", "ca", "srs", "smtp", "mta", "mda", "scheduler", "bounce", "admd", "proc")
"""First words of statements that only the modern form has."""


@dataclass(frozen=True, slots=True)
class Form:
    """language: classic or modern. word, span: what decided; span is None where nothing did."""

    language: str
    word: str
    span: Span | None

    @property
    def began(self) -> str:
        """Why the file is in this form, for messages."""
        name = "5.4 to 6.3" if self.language == CLASSIC else "6.4 and later"
        if self.span is None:
            return f"this file is in the form of {name}"
        where = f"line {self.span.line} of {self.span.source.name}"
        return f'this file is in the form of {name} since "{self.word}" on {where}'


def find_form(main: ReadFile, files: ConfigFiles, macros: Macros) -> Form:
    """The form of a main file that has been read. Nothing of it remains: macros, diagnostics and the place in the text are its own."""
    # Where nothing decides, a brace may have been forgotten and have swallowed the rest: look again, line by line.
    found = _look_ahead(main, files, macros, is_by_line=False) or _look_ahead(main, files, macros, is_by_line=True)
    return found or Form(CLASSIC, "", None)


def _look_ahead(main: ReadFile, files: ConfigFiles, macros: Macros, *, is_by_line: bool) -> Form | None:
    own_macros, unheard = copy.deepcopy(macros), Diagnostics()
    tokens = TokenStream(Lexer(main.source, own_macros, unheard), own_macros, files, unheard)
    while (token := tokens.next()).kind is not TokenKind.END:
        if token.kind is TokenKind.NEWLINE:
            continue
        if _is_bare(token):
            following = tokens.peek()
            if following.kind is TokenKind.SYMBOL and following.text == "=":
                tokens.next()
                if value := tokens.take_word():
                    own_macros.define(token.text, value.text)
            elif token.text in CLASSIC_STATEMENTS:
                return Form(CLASSIC, token.text, token.span)
            elif token.text in MODERN_STATEMENTS:
                return Form(MODERN, token.text, token.span)
            elif token.text == "include" and (path := tokens.take_word()):
                tokens.skip_statement()
                tokens.next()
                tokens.include(path)
                continue
        if not is_by_line:
            tokens.skip_statement()
        while is_by_line and not tokens.is_at_line_end():
            tokens.next()
    return None


def _is_bare(token: Token) -> bool:
    return token.kind in (TokenKind.WORD, TokenKind.KEYWORD) and not token.is_quoted
