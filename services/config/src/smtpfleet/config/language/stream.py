"""The tokens of a configuration with its includes spliced in, and the few questions a parser asks of them.

One token of lookahead. `fail` reports what was expected and raises Unparsable, which parser.py alone catches to go on with the next
line. Knows no statement. OpenSMTPD: the file stack of parse.y (pushfile, popfile).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NoReturn

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.files import ConfigFiles, Unreadable
from smtpfleet.config.language.lexer import Lexer
from smtpfleet.config.language.macros import Macros
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tokens import STATEMENT_KEYWORDS, Token, TokenKind
from smtpfleet.config.language.tree import BrokenStatement, Number, Reference, Word

INCLUDE_LIMIT = 16
"""Deepest nesting of includes; OpenSMTPD stops at its open-file limit. Chosen, no source."""
INCLUDES_MAX = 1000
"""Includes in all: sixteen files that include each the next twice would be read 65,535 times. Chosen, no source."""


class Unparsable(Exception):
    """The statement cannot be read; the reason is among the diagnostics. Unwinds the recursive descent, nothing else."""


class TokenStream:
    """Tokens of the main file and whatever it includes.

    statement_keywords: where a broken statement is given up; of the classic form. other_form: the one this is not. may_end_lines_in_braces: also after the opening one,
    around commas and before the closing one.
    """

    statement_keywords: tuple[str, ...] = STATEMENT_KEYWORDS
    other_form = "6.4 and later"
    may_end_lines_in_braces = False

    def __init__(self, lexer: Lexer, macros: Macros, files: ConfigFiles, diagnostics: Diagnostics) -> None:
        self.began = ""  # why the file is in this form, for messages about statements of the other
        self.macros = macros
        self.diagnostics = diagnostics
        self._files = files
        self._lexers = [lexer]
        self._ahead: Token | None = None
        self._behind: Token | None = None  # comes after _ahead; only while recovering
        self._last_was_newline = True
        self._open_braces = 0
        self._include_count = 0
        self._taken: Token | None = None
        self._references: list[Reference] = []
        self._has_failed = False
        self._first_words: list[str] = []  # of the statement: two
        self._last_word = ""
        self._all_words = hashlib.sha256()  # a statement may have any number of them, and of places
        self.places: Counter[str] = Counter()

    def peek(self) -> Token:
        """The next token, which stays."""
        if self._ahead is None:
            self._ahead, self._behind = self._behind or self._read(), None
        return self._ahead

    def next(self) -> Token:
        """The next token."""
        token = self.peek()
        self._ahead, self._taken = None, token
        if token.kind is TokenKind.SYMBOL and token.text in ("{", "}"):
            self._open_braces += 1 if token.text == "{" else -1
        elif self._open_braces == 0:
            self._note_word(token.text)
        return token

    def _note_word(self, text: str) -> None:
        if len(self._first_words) < 2:
            self._first_words.append(text)
        self._last_word = text
        self._all_words.update(text.encode() + b"\0")

    def _read(self) -> Token:
        while True:
            token = self._lexers[-1].next()
            if token.kind is TokenKind.END:
                if not self._last_was_newline:  # a last line without newline is a line
                    self._last_was_newline = True
                    return Token(TokenKind.NEWLINE, "", token.span)
                if len(self._lexers) > 1:
                    self._lexers.pop()
                    continue
            self._last_was_newline = token.kind is TokenKind.NEWLINE
            return token

    def include(self, path: Word) -> None:
        """Continues with the tokens of a file; called when the line of the include statement is finished."""
        where = self._files.resolve(path.text)
        if any(lexer.source.name == str(where) for lexer in self._lexers):
            self.diagnostics.error(path.span, f"failed to include file {path.text}: it includes itself")
            return
        self._include_count += 1
        if len(self._lexers) > INCLUDE_LIMIT or self._include_count > INCLUDES_MAX:
            fault = "nested too deeply" if self._include_count <= INCLUDES_MAX else "too many includes"
            self.diagnostics.error(path.span, f"failed to include file {path.text}: {fault}")
            return
        got = self._files.read(where)
        if isinstance(got, Unreadable):
            self.diagnostics.error(path.span, f"failed to include file {path.text}: {got.reason}")
            return
        source = replace(got.source, included_at=path.span)
        if got.bad_byte is not None:
            bad = got.bad_byte
            self.diagnostics.error(Span(source, bad.line, bad.column, 1), f"syntax error: {bad.reason}")
        self._lexers.append(Lexer(source, self.macros, self.diagnostics))

    # The statement that is being read.

    def begin_statement(self) -> None:
        """What was referred to and what failed before belongs to another one."""
        self._references, self._has_failed = [], False
        self._first_words, self._last_word, self._all_words = [], "", hashlib.sha256()

    def place(self) -> str:
        """Where a table is that has no name: a digest of the words of the statement so far, without what stands in braces; of an action,
        whose options come in any order, of its name and the last word. `places` counts them."""
        if self._first_words[:1] == ["action"]:
            words = "\0".join((*self._first_words, self._last_word))
            place = hashlib.sha256(words.encode()).hexdigest()
        else:
            place = self._all_words.copy().hexdigest()
        self.places[place] += 1
        return place

    def refer(self, kind: str, name: Word) -> Word:
        """Notes that the statement names something declared elsewhere, for the case that it cannot be read to its end; gives `name`."""
        self._references.append(Reference(kind, name))
        return name

    def broken_statement(self, keyword: str) -> BrokenStatement | None:
        """What is known of a statement that failed, None where it did not or named nothing."""
        is_worth_it = self._has_failed and (self._references or keyword == "listen")
        return BrokenStatement(keyword, tuple(self._references)) if is_worth_it else None

    # Questions that take the token where the answer is yes.

    def take_keyword(self, *keywords: str) -> Token | None:
        """The next token if it is one of the keywords."""
        token = self.peek()
        return self.next() if token.kind is TokenKind.KEYWORD and token.text in keywords else None

    def take_option(self, *names: str) -> Token | None:
        """The next token if it is one of the names, reserved or not, but not in quotes.

        What came after 5.4.1 is reserved here only where it has a meaning, so that it stays usable as a name everywhere else.
        """
        token = self.peek()
        is_bare_word = token.kind is TokenKind.WORD and not token.is_quoted
        is_name = is_bare_word or token.kind is TokenKind.KEYWORD
        return self.next() if is_name and token.text in names else None

    def take_symbol(self, *symbols: str) -> Token | None:
        """The next token if it is one of the symbols."""
        token = self.peek()
        return self.next() if token.kind in (TokenKind.SYMBOL, TokenKind.ARROW) and token.text in symbols else None

    def take_word(self) -> Word | None:
        """The next token if it is a word or a quoted string."""
        token = self.peek()
        if token.kind is not TokenKind.WORD:
            return None
        self.next()
        return Word(token.text, token.span)

    def take_number(self) -> Number | None:
        """The next token if it is a number."""
        token = self.peek()
        if token.kind is not TokenKind.NUMBER:
            return None
        self.next()
        return Number(int(token.text), token.span)

    def is_at_line_end(self) -> bool:
        """Whether the statement ends here."""
        return self.peek().kind in (TokenKind.NEWLINE, TokenKind.END)

    def skip_newlines(self) -> bool:
        """Passes line ends, where a statement may go on after them; whether there were any."""
        has_skipped = False
        while self.peek().kind is TokenKind.NEWLINE:
            self.next()
            has_skipped = True
        return has_skipped

    def skip_statement(self) -> None:
        """On to the end of the statement that could not be read; its newline stays.

        Inside braces that is after the closing one. Where that is missing, a blank line or the beginning of another statement ends it
        too, so that one forgotten brace does not hide every other error of the file.
        """
        while not self._is_at_statement_end():
            self.next()
        self._open_braces = 0

    def _is_at_statement_end(self) -> bool:
        token = self.peek()
        if token.kind is TokenKind.END:
            return True
        if token.kind is TokenKind.NEWLINE and self._open_braces <= 0:
            return True
        if self._taken is None or self._taken.kind is not TokenKind.NEWLINE:
            return False
        begins_statement = token.kind is TokenKind.KEYWORD and token.text in self.statement_keywords
        if begins_statement or token.kind is TokenKind.NEWLINE:
            self._put_back_newline(self._taken)
            return True
        return False

    def _put_back_newline(self, newline: Token) -> None:
        assert self._ahead is not None
        self._behind, self._ahead = self._ahead, newline

    # Demands.

    def expect_keyword(self, keywords: Sequence[str], what: str) -> Token:
        """One of the keywords, or fail."""
        return self.take_keyword(*keywords) or self.fail(what, keywords)

    def expect_symbol(self, symbol: str, what: str) -> Token:
        """The symbol, or fail."""
        return self.take_symbol(symbol) or self.fail(what)

    def expect_word(self, what: str) -> Word:
        """A word or string, or fail; says so where a keyword or number only lacks its quotes."""
        return self.take_word() or self.fail(what, needs_word=True)

    def expect_number(self, what: str) -> Number:
        """A number, or fail."""
        return self.take_number() or self.fail(what)

    def fail(self, expected: str, candidates: Iterable[str] = (), *, needs_word: bool = False) -> NoReturn:
        """Reports that something else stands where `expected` should, and unwinds."""
        token = self.peek()
        self._has_failed = True
        if token.kind is TokenKind.FAULT:  # the lexer has said why
            raise Unparsable
        is_word = token.kind in (TokenKind.WORD, TokenKind.KEYWORD)
        hint = self.diagnostics.suggest(token.text, candidates) if is_word else ""
        if needs_word and token.kind in (TokenKind.KEYWORD, TokenKind.NUMBER):
            hint = f'to use it as a string, quote it: "{token.text}"'
        elif token.kind is TokenKind.SYMBOL and token.text in "/@~*-%|":
            hint = f"a string that begins with {token.text} must be quoted"
        self.diagnostics.error(token.span, f"syntax error: expected {expected}, found {token.shown}", hint)
        raise Unparsable

    def fail_at(self, span: Span, message: str, hint: str = "") -> NoReturn:
        """Reports a syntax error in words of its own, and unwinds."""
        self._has_failed = True
        self.diagnostics.error(span, f"syntax error: {message}", hint)
        raise Unparsable
