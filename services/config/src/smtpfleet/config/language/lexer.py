"""Characters to tokens, one at a time, as OpenSMTPD's lexer does (parse.y: lgetc, yylex).

Tokens are made on demand, because a macro defined on one line is expanded on the next. `$name` puts the value in front of what
follows and reads on, so a value may give several tokens, or part of one. Never raises: a fault is reported once, the rest of its line
skipped, and a FAULT token returned. Called by stream.py.
"""

import re
import string
from typing import NamedTuple

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.macros import EXPANSION_MAX, Macros
from smtpfleet.config.language.source import SourceText, Span
from smtpfleet.config.language.tokens import KEYWORDS_5_4, Token, TokenKind

TOKEN_LIMIT = 8095
"""Longest token, as in OpenSMTPD (buf[8096] in yylex)."""

_NUMBER_DIGITS = 18
"""Longest number: what fits 64 bits whatever its digits are (OpenSMTPD: LLONG_MIN to LLONG_MAX)."""

_ALNUM = frozenset(string.ascii_letters + string.digits)
_DIGITS = frozenset(string.digits)
_MACRO_NAME = _ALNUM | {"_"}
_WORD_START = _ALNUM | {":", "_"}
_WORD = _ALNUM | (frozenset(string.punctuation) - frozenset("(){}<>!=#,"))
_WORD_RUN = re.compile(f"[{re.escape(''.join(_WORD - {chr(92)}))}]+")
_BLANK_RUN = re.compile(r"[ \t]+")
_COMMENT_RUN = re.compile(r"[^\\\n]+")
_QUOTED_RUN = re.compile(r"[^\\\n\"']+")
"""What may be taken in one step, because each of its characters would do the same; never a backslash, never past the line."""
_ENDS_NUMBER = frozenset(" \t\n\v\f\r),/}=") | {""}


class _Char(NamedTuple):
    """A character and where it stands; "" at the end of the text. expansion: of the macro it came from, else ""."""

    char: str
    line: int
    column: int
    width: int
    expansion: str


class _Reader:
    """The characters of a text with macro values put in and continued lines joined."""

    def __init__(self, source: SourceText) -> None:
        self._text = source.text
        self._index = 0
        self._line = 1
        self._column = 1
        self._pending: list[_Char] = []  # what was given back, and values of macros; the last is next

    def _raw(self) -> _Char:
        if self._index >= len(self._text):
            return _Char("", self._line, self._column, 0, "")
        got = _Char(self._text[self._index], self._line, self._column, 1, "")
        self._index += 1
        if got.char == "\n":
            self._line, self._column = self._line + 1, 1
        else:
            self._column += 1
        return got

    def get(self) -> _Char:
        """The next character outside quotes: backslash and newline are nothing, any other backslash is dropped."""
        if self._pending:
            return self._pending.pop()
        got = self._raw()
        while got.char == "\\":
            got = self._raw()
            if got.char != "\n":
                break
            got = self._raw()
        return got

    def get_quoted(self) -> _Char:
        """The next character inside quotes: every one counts."""
        return self._pending.pop() if self._pending else self._raw()

    def take_run(self, pattern: re.Pattern[str]) -> str:
        """What `pattern` matches here, within the line; "" where the next character comes from elsewhere than the text."""
        found = None if self._pending else pattern.match(self._text, self._index)
        if found is None:
            return ""
        self._index = found.end()
        self._column += found.end() - found.start()
        return found.group()

    def taken(self, run: str) -> _Char:
        """The last character of the run that was just taken."""
        return _Char(run[-1], self._line, self._column - 1, 1, "")

    def unget(self, char: _Char) -> None:
        """Gives one back."""
        self._pending.append(char)

    def expand(self, value: str, start: _Char, width: int, expansion: str) -> None:
        """The characters of a macro's value come next, all at the place of its `$name`."""
        self._pending.extend(_Char(char, start.line, start.column, width, expansion) for char in reversed(value))

    def skip_line(self) -> None:
        """On to the newline, which stays; the rest of a macro's value is dropped."""
        newline = next((char for char in reversed(self._pending) if char.char == "\n" and not char.expansion), None)
        self._pending.clear()
        if newline is not None:
            self._pending.append(newline)
            return
        while (got := self.get()).char not in ("\n", ""):
            pass
        self.unget(got)


class Lexer:
    """Tokens of one text."""

    def __init__(self, source: SourceText, macros: Macros, diagnostics: Diagnostics) -> None:
        self.source = source
        self._reader = _Reader(source)
        self._macros = macros
        self._diagnostics = diagnostics
        self._has_told_of_return = False

    def next(self) -> Token:
        """The next token; END for ever at the end."""
        while True:
            first = self._skip_blanks()
            if first.char == "$" and not first.expansion:
                if not self._expand_macro(first):
                    return self._fault(first)
                continue
            return self._token(first)

    def _token(self, first: _Char) -> Token:
        match first.char:
            case "":
                return Token(TokenKind.END, "", self._span(first, first))
            case "\n":
                return Token(TokenKind.NEWLINE, "", self._span(first, first))
            case '"' | "'":
                return self._quoted(first)
        if (first.char == "-" or first.char in _DIGITS) and (number := self._number(first)):
            return number
        if first.char in _WORD_START:
            return self._word(first)
        if first.char == "=":
            following = self._reader.get()
            if following.char == ">":
                return Token(TokenKind.ARROW, "=>", self._span(first, following))
            self._reader.unget(following)
        return Token(TokenKind.SYMBOL, first.char, self._span(first, first))

    def _skip_blanks(self) -> _Char:
        while True:
            self._reader.take_run(_BLANK_RUN)
            got = self._reader.get()
            if got.char == "#":
                while got.char not in ("\n", ""):
                    self._reader.take_run(_COMMENT_RUN)
                    got = self._reader.get()
                return got
            if got.char == "\r" and not self._has_told_of_return:
                self._has_told_of_return = True  # once for the whole file: every line would say the same
                self._diagnostics.error(
                    self._span(got, got),
                    "syntax error: carriage return",
                    "the file has Windows line ends; save it with LF",
                )
            if got.char not in (" ", "\t", "\r"):
                return got

    def _expand_macro(self, dollar: _Char) -> bool:
        name = ""
        while (got := self._reader.get()).char in _MACRO_NAME:
            name += got.char
        self._reader.unget(got)
        width = len(name) + 1
        value = self._macros.get(name)
        if value is None:
            place = Span(self.source, dollar.line, dollar.column, width)
            hint = (
                self._diagnostics.suggest(name, self._macros.names)
                if name
                else "quote a dollar sign that does not name a macro"
            )
            self._diagnostics.error(place, f"macro '{name}' not defined", hint)
            return False
        if not self._macros.may_expand(value):
            place = Span(self.source, dollar.line, dollar.column, width)
            self._diagnostics.error(place, "macros expand to too much", f"at most {EXPANSION_MAX} characters in all")
            return False
        self._reader.expand(value, dollar, width, f"${name} = {value}")
        return True

    def _quoted(self, opening: _Char) -> Token:
        quote, text, last = opening.char, "", opening
        while True:
            if run := self._reader.take_run(_QUOTED_RUN):
                text, last = text + run, self._reader.taken(run)
                if len(text) > TOKEN_LIMIT:
                    return self._too_long(opening, last)
            got = self._reader.get_quoted()
            if got.char == "":
                place = self._span(opening, opening)
                self._diagnostics.error(place, "syntax error: unterminated string", f"no closing {quote} up to the end")
                self._reader.unget(got)
                return Token(TokenKind.FAULT, text, place)
            if got.char == quote:
                return Token(TokenKind.WORD, text, self._span(opening, got), is_quoted=True)
            last = got
            if got.char == "\\":
                following = self._reader.get_quoted()
                if following.char == "\n":
                    continue
                # OpenSMTPD 5.4 means to unescape blanks here and tests the wrong variable; 7.x does what was meant.
                if following.char in (quote, " ", "\t"):
                    text += following.char
                    continue
                self._reader.unget(following)
            if got.char != "\n":
                text += got.char
            if len(text) > TOKEN_LIMIT:
                return self._too_long(opening, last)

    def _number(self, first: _Char) -> Token | None:
        taken = [first]
        while (got := self._reader.get()).char in _DIGITS:
            taken.append(got)
        self._reader.unget(got)
        text = "".join(char.char for char in taken)
        if text != "-" and got.char in _ENDS_NUMBER and len(text) <= TOKEN_LIMIT:
            if len(text) > _NUMBER_DIGITS:
                hint = f"a number has at most {_NUMBER_DIGITS} digits"
                self._diagnostics.error(self._span(first, taken[-1]), f'"{text}" invalid number', hint)
                return self._fault(first)
            return Token(TokenKind.NUMBER, text, self._span(first, taken[-1]))
        for char in reversed(taken[1:]):
            self._reader.unget(char)
        return None

    def _word(self, first: _Char) -> Token:
        text, last = first.char, first
        while True:
            if run := self._reader.take_run(_WORD_RUN):
                text, last = text + run, self._reader.taken(run)
            got = self._reader.get()
            if got.char in _WORD:
                text, last = text + got.char, got
            if len(text) > TOKEN_LIMIT:
                return self._too_long(first, last)
            if got.char not in _WORD:
                break
        self._reader.unget(got)
        kind = TokenKind.KEYWORD if text in KEYWORDS_5_4 else TokenKind.WORD
        return Token(kind, text, self._span(first, last))

    def _too_long(self, first: _Char, last: _Char) -> Token:
        self._diagnostics.error(self._span(first, last), "string too long", f"at most {TOKEN_LIMIT} characters")
        return self._fault(first)

    def _fault(self, first: _Char) -> Token:
        self._reader.skip_line()
        return Token(TokenKind.FAULT, "", self._span(first, first))

    def _span(self, first: _Char, last: _Char) -> Span:
        if last.line == first.line:
            length = last.column + last.width - first.column
        else:
            length = len(self.source.lines[first.line - 1]) - first.column + 1
        return Span(self.source, first.line, first.column, max(1, length), first.expansion or last.expansion)
