"""Losses and duplicates are told apart by mark and attempt."""

from bench.account import msgid_of_reply, tally
from bench.load import Attempt
from bench.mark import Arrival, Mark

RUN = "aaaaaaaa"
OK = "250 2.0.0 1a20a0dba15dd024 Message accepted for delivery"
SECOND_NS = 1_000_000_000


def attempt(number: int, fate: str = "accepted", *, tries: int = 1, text: str = OK, stage: str = "DOT") -> Attempt:
    return Attempt(Mark(RUN, number, tries, 0), fate, 0, 0, stage, text)


def arrival(number: int, *, tries: int = 1, at_ns: int = 0, run: str = RUN) -> Arrival:
    return Arrival(Mark(run, number, tries, 0), at_ns)


def test_what_is_acknowledged_and_arrives_once_is_neither_lost_nor_doubled() -> None:
    found = tally([attempt(1), attempt(2)], [arrival(1), arrival(2)], RUN)
    assert (found.acknowledged, found.delivered, found.missing, found.twice) == (2, 2, (), 0)


def test_what_is_acknowledged_and_does_not_arrive_is_missing_by_its_msgid() -> None:
    assert tally([attempt(1)], [], RUN).missing == ("1a20a0dba15dd024",)


def test_an_arrival_of_another_attempt_does_not_stand_for_the_acknowledged_one() -> None:
    found = tally([attempt(1, "unknown", text="end of file"), attempt(1, tries=2)], [arrival(1)], RUN)
    assert (found.missing, found.unknown) == (("1a20a0dba15dd024",), 1)


def test_the_same_attempt_twice_is_the_fleets_duplicate() -> None:
    found = tally([attempt(1)], [arrival(1), arrival(1), arrival(1)], RUN)
    assert (found.twice, found.unknown, found.refused) == (2, 0, 0)


def test_a_refused_attempt_that_arrives_is_counted_apart() -> None:
    attempts = [attempt(1, "refused", text="451 4.3.0 Temporary failure"), attempt(1, tries=2)]
    found = tally(attempts, [arrival(1), arrival(1, tries=2)], RUN)
    assert (found.refused, found.twice, found.refusals) == (1, 0, {"451": 1})


def test_arrivals_of_other_runs_do_not_count() -> None:
    found = tally([attempt(1)], [arrival(1, run="bbbbbbbb"), Arrival(None, 0)], RUN)
    assert (found.delivered, len(found.missing)) == (0, 1)


def test_slowed_is_what_arrived_more_than_a_second_after_it_fell_due() -> None:
    found = tally([attempt(1), attempt(2)], [arrival(1, at_ns=SECOND_NS), arrival(2, at_ns=3 * SECOND_NS)], RUN)
    assert (found.slowed, found.last_slow_ns) == (1, 3 * SECOND_NS)


def test_a_reply_without_a_msgid_is_shown_whole() -> None:
    assert msgid_of_reply("250 2.0.0 Ok: queued as ABC") == "250 2.0.0 Ok: queued as ABC"
