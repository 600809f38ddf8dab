"""POSIX extended expressions, matched in time that grows with the text alone.

Owns syntax and search: alternation, groups, repetition, brackets with classes, anchors. Python's own engine backtracks, and what is
matched here (names and addresses) comes from the peer, so one careless expression of the operator would let a peer stop a session: we
walk all alternatives at once and keep the steps met so far. What is no POSIX (back references, `\\b`, look-around) is a fault. Knows no
tables; used by patterns and by config's checks. OpenSMTPD: table_regex_match (table.c), regcomp with REG_EXTENDED.
"""

import string
from dataclasses import dataclass

REPEAT_LIMIT = 255
"""RE_DUP_MAX of POSIX."""
PROGRAM_LIMIT = 4096
"""Most instructions of one expression; `(a{255}){255}` has more. Chosen, no source."""
STEP_CACHE_COUNT = 4096
"""Steps remembered per expression; forgotten all together when there are more. Chosen, no source."""
NESTING_LIMIT = 64
"""Deepest groups. Chosen, far below Python's recursion limit."""

_PUNCTUATION = frozenset(string.punctuation)
_CLASSES = {
    "alpha": frozenset(string.ascii_letters),
    "digit": frozenset(string.digits),
    "alnum": frozenset(string.ascii_letters + string.digits),
    "upper": frozenset(string.ascii_letters),  # texts are compared in lower case: upper and lower are one
    "lower": frozenset(string.ascii_letters),
    "space": frozenset(" \t\n\r\v\f"),
    "blank": frozenset(" \t"),
    "punct": _PUNCTUATION,
    "print": frozenset(map(chr, range(0x20, 0x7F))),
    "graph": frozenset(map(chr, range(0x21, 0x7F))),
    "cntrl": frozenset(map(chr, (*range(0x20), 0x7F))),
    "xdigit": frozenset(string.hexdigits),
}


class BadExpression(ValueError):
    """The text is no POSIX extended expression; says why, for the operator."""


@dataclass(frozen=True, slots=True)
class _Characters:
    """One character out of a set; is_negated: one that is not in it."""

    singles: frozenset[str]
    ranges: tuple[tuple[str, str], ...] = ()
    is_negated: bool = False

    def holds(self, char: str) -> bool:
        is_in = char in self.singles or any(low <= char <= high for low, high in self.ranges)
        return is_in is not self.is_negated


@dataclass(frozen=True, slots=True)
class _Split:
    """Goes on at both places."""

    first: int
    second: int


_BEGIN = "^"
_END = "$"
_MATCH = "match"
_Instruction = _Characters | _Split | str
# An expression being built: instructions whose jumps are relative to their own place, so that they can be copied.
_Piece = list[_Instruction]

_ANY = _Characters(frozenset(), is_negated=True)


class Expression:
    """One compiled expression. Raises BadExpression. Letter case does not count: a table's keys and what is asked are lower case."""

    def __init__(self, text: str) -> None:
        piece = _Parser(text.removeprefix("(?i)").lower()).parse()
        self._program: list[_Instruction] = [*piece, _MATCH]
        self._start = self._closure({0}, is_begin=True)
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        """Whether the expression is found anywhere in `text`."""
        match_at = len(self._program) - 1
        places = self._start
        for char in text.lower():
            if match_at in places:
                return True
            following = self._steps.get((places, char))
            if following is None:
                following = self._step(places, char)
            places = following
        return match_at in places or match_at in self._closure(set(places), is_begin=not text, is_end=True)

    def _step(self, places: frozenset[int], char: str) -> frozenset[int]:
        reached = {0}  # the search may begin at every character
        for place in places:
            instruction = self._program[place]
            if isinstance(instruction, _Characters) and instruction.holds(char):
                reached.add(place + 1)
        following = self._closure(reached)
        if len(self._steps) >= STEP_CACHE_COUNT:
            self._steps.clear()
        self._steps[places, char] = following
        return following

    def _closure(self, places: set[int], *, is_begin: bool = False, is_end: bool = False) -> frozenset[int]:
        """All places reached without a character. An anchor that does not hold yet stays, for the end may still come."""
        waiting, reached = list(places), set(places)
        while waiting:
            place = waiting.pop()
            instruction = self._program[place]
            if isinstance(instruction, _Split):
                following = [place + instruction.first, place + instruction.second]
            elif (instruction == _BEGIN and is_begin) or (instruction == _END and is_end):
                following = [place + 1]
            else:
                continue
            for each in following:
                if each not in reached:
                    reached.add(each)
                    waiting.append(each)
        return frozenset(reached)


class _Parser:
    """Recursive descent over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> _Piece:
        piece = self._alternation()
        if self._at < len(self._text):
            raise BadExpression("a closing parenthesis without an opening one")
        return piece

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, what: str) -> str:
        char = self._peek()
        if not char:
            raise BadExpression(f"it ends where {what} should follow")
        self._at += 1
        return char

    def _alternation(self) -> _Piece:
        piece = self._sequence()
        while self._peek() == "|":
            self._at += 1
            other = self._sequence()
            skip: _Instruction = _Split(len(other) + 1, len(other) + 1)
            piece = _checked([_Split(1, len(piece) + 2), *piece, skip, *other])
        return piece

    def _sequence(self) -> _Piece:
        piece: _Piece = []
        while self._peek() not in ("", "|", ")"):
            atom = self._atom()
            while (found := self._repetition()) is not None:
                atom = _repeat(atom, *found)
            piece = _checked([*piece, *atom])
        return piece

    def _atom(self) -> _Piece:
        char = self._take("a character")
        match char:
            case "(":
                self._depth += 1
                if self._depth > NESTING_LIMIT:
                    raise BadExpression("groups are nested too deeply")
                piece = self._alternation()
                if self._peek() != ")":
                    raise BadExpression("a group is never closed")
                self._at += 1
                self._depth -= 1
                return piece
            case "[":
                return [self._bracket()]
            case ".":
                return [_ANY]
            case "^" | "$":
                return [char]
            case "*" | "+" | "?" | "{":
                raise BadExpression(f'"{char}" has nothing to repeat')
            case "\\":
                char = self._take("a character after the backslash")
                if char.isalnum():
                    raise BadExpression(f'"\\{char}" is no POSIX expression')
        return [_Characters(frozenset(char))]

    def _repetition(self) -> tuple[int, int | None] | None:
        """Least and most, None for no bound; None where nothing repeats."""
        match self._peek():
            case "*":
                bounds: tuple[int, int | None] = (0, None)
            case "+":
                bounds = (1, None)
            case "?":
                bounds = (0, 1)
            case "{":
                return self._interval()
            case _:
                return None
        self._at += 1
        return bounds

    def _interval(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at + 1 : max(end, self._at + 1)].partition(",")
        if end < 0 or not _is_count(low) or not (high == "" or _is_count(high)):
            raise BadExpression('an interval is {n}, {n,} or {n,m}; a brace as itself is "\\{"')
        self._at = end + 1
        least = int(low)
        most = least if not comma else int(high) if high else None
        if max(least, most or 0) > REPEAT_LIMIT or (most is not None and most < least):
            raise BadExpression(f"an interval counts from low to high, up to {REPEAT_LIMIT}")
        return least, most

    def _bracket(self) -> _Characters:
        is_negated = self._peek() == "^"
        self._at += is_negated
        singles: set[str] = set()
        ranges: list[tuple[str, str]] = []
        is_first = True
        while (char := self._take("the closing bracket")) != "]" or is_first:
            is_first = False
            if char == "[" and self._peek() == ":":
                singles |= self._class()
                continue
            if char == "[" and self._peek() in (".", "="):
                raise BadExpression("collating elements are not supported")
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._take("the end of the range")
                if high < char:
                    raise BadExpression(f'the range "{char}-{high}" runs backwards')
                ranges.append((char, high))
            else:
                singles.add(char)
        return _Characters(frozenset(singles), tuple(ranges), is_negated)

    def _class(self) -> frozenset[str]:
        end = self._text.find(":]", self._at)
        name = self._text[self._at + 1 : max(end, self._at + 1)]
        if end < 0 or name not in _CLASSES:
            raise BadExpression(f'there is no class "[:{name}:]"')
        self._at = end + 2
        return _CLASSES[name]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(REPEAT_LIMIT))


def _checked(piece: _Piece) -> _Piece:
    if len(piece) > PROGRAM_LIMIT:
        raise BadExpression("it is too large")
    return piece


def _repeat(piece: _Piece, least: int, most: int | None) -> _Piece:
    """`piece` least to most times, written out."""
    size = len(piece)
    if size * max(least, most or 0, 1) > PROGRAM_LIMIT:
        raise BadExpression("it is too large")
    repeated = piece * least
    if most is None:
        # Again and again: a loop around one more copy.
        repeated = [*repeated, _Split(1, size + 2), *piece, _Split(-size - 1, -size - 1)]
    else:
        for left in range(most - least, 0, -1):
            # Each optional copy leads past all that follow where it is left out.
            repeated = [*repeated, _Split(1, left * (size + 1)), *piece]
    return _checked(repeated)
