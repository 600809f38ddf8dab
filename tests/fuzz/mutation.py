"""One good input made into another that may not be good: by words and lines, where the fuzzer's own mutations work by octets.

Pure: what is drawn comes from the seed. Called by engine for every other input.
"""

import random
import re
from collections.abc import Sequence

_PIECE = re.compile(rb"[^\n]*\n|[^\n]+")
_WORD = re.compile(rb"[A-Za-z0-9]+|[^A-Za-z0-9]")


def mutate(data: bytes, words: Sequence[bytes], limit_bytes: int, seed: int) -> bytes:
    """`data` with one to four things changed."""
    draw = random.Random(seed)
    for _ in range(draw.choice((1, 1, 2, 4))):
        pieces = (_PIECE if draw.randrange(2) else _WORD).findall(data)
        data = b"".join(_changed(pieces, words, draw))
    return data[:limit_bytes]


def _changed(pieces: list[bytes], words: Sequence[bytes], draw: random.Random) -> list[bytes]:
    at = draw.randrange(len(pieces) + 1)
    if not pieces or at == len(pieces):
        return [*pieces, draw.choice(words)]
    match draw.randrange(7):
        case 0:
            return [*pieces[:at], draw.choice(words), *pieces[at:]]
        case 1:
            return [*pieces[:at], draw.choice(words), *pieces[at + 1 :]]
        case 2:
            return [*pieces[:at], *pieces[at + 1 :]]
        case 3:
            return [*pieces[:at], *[pieces[at]] * draw.choice((2, 3, 30)), *pieces[at + 1 :]]
        case 4:
            other = draw.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
            return pieces
        case 5:
            end = min(len(pieces), at + draw.randrange(1, 5))
            to = draw.randrange(len(pieces) + 1)
            return [*pieces[:to], *pieces[at:end], *pieces[to:]]
        case _:
            piece = pieces[at]
            cut = draw.randrange(len(piece) + 1)
            return [*pieces[:at], piece[:cut], draw.choice(words), piece[cut:], *pieces[at + 1 :]]
