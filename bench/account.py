"""Both ends of a run joined: what was acknowledged, what arrived, what is missing and what arrived twice, and whose doing that is.

A duplicate is told apart by its attempt. The same attempt twice: the fleet delivered it twice. An attempt that never got a 250 but
arrived: SMTP itself cannot exclude it (RFC 5321 §4.5.5 and RFC 1047), because the client could not know and sent it again.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bench.load import Attempt
from bench.mark import Arrival

SLOW_NS = 1_000_000_000
"""A message that takes longer than this from falling due to arriving was held up by the fault."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of messages. twice: copies beyond the first of one attempt. unknown, refused: attempts without 250 that arrived all the
    same, by what the client saw (the connection ended after the dot; a 4xx to the dot). missing: acknowledged attempts that did not
    arrive, as msgids. given_up: messages the client never got rid of."""

    acknowledged: int
    delivered: int
    missing: tuple[str, ...]
    twice: int
    unknown: int
    refused: int
    refusals: dict[str, int]
    given_up: int
    slowed: int
    last_slow_ns: int


def msgid_of_reply(text: str) -> str:
    """The msgid in `250 2.0.0 MSGID Message accepted for delivery`; the whole text where there is none."""
    words = text.split()
    return words[2] if len(words) > 2 and len(words[2]) == 16 else text


def tally(attempts: Iterable[Attempt], arrivals: Iterable[Arrival], run: str, given_up: int = 0) -> Tally:
    """Join them by mark."""
    arrived: Counter[tuple[int, int]] = Counter()
    first: dict[int, int] = {}
    for arrival in arrivals:
        if arrival.mark is None or arrival.mark.run != run:
            continue
        arrived[arrival.mark.number, arrival.mark.attempt] += 1
        first[arrival.mark.number] = min(arrival.at_ns, first.get(arrival.mark.number, arrival.at_ns))
    missing: list[str] = []
    due: dict[int, int] = {}
    acknowledged = unknown = refused = 0
    refusals: Counter[str] = Counter()
    for attempt in attempts:
        mark = attempt.mark
        due[mark.number] = min(mark.sent_ns, due.get(mark.number, mark.sent_ns))
        copies = arrived[mark.number, mark.attempt]
        if attempt.fate == "accepted":
            acknowledged += 1
            if not copies:
                missing.append(msgid_of_reply(attempt.text))
        else:
            refusals[attempt.text[:3] if attempt.fate == "refused" else attempt.fate] += 1
            unknown += bool(copies) and attempt.fate == "unknown"
            refused += bool(copies) and attempt.fate == "refused"
    slow = [first[number] for number, at_ns in due.items() if number in first and first[number] - at_ns > SLOW_NS]
    return Tally(
        acknowledged=acknowledged,
        delivered=len(first),
        missing=tuple(missing),
        twice=sum(copies - 1 for copies in arrived.values() if copies > 1),
        unknown=unknown,
        refused=refused,
        refusals=dict(refusals),
        given_up=given_up,
        slowed=len(slow),
        last_slow_ns=max(slow, default=0),
    )
