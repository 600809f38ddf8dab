"""Retry times and warnings (reference 6, 5.9, 13.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.envelope import LOCAL_AGENT, REMOTE_AGENT
from smtpfleet.mail.backoff import next_try_at_ms, warn_due

CREATED_AT_MS = 1_700_000_000_000
MTA_OFFSETS_S = [400, 1600, 3600, 6400, 10000, 14400, 19600, 25600, 32400, 40000, 48400]
MDA_OFFSETS_S = [5, 20, 45, 80, 125, 180, 245, 320]


@pytest.mark.parametrize(
    ("agent", "offsets_s"), [(REMOTE_AGENT, MTA_OFFSETS_S), (LOCAL_AGENT, MDA_OFFSETS_S)], ids=["mta", "mda"]
)
def test_offsets_from_creation_when_every_attempt_is_on_time(agent: str, offsets_s: list[int]) -> None:
    tries, now_ms = [], CREATED_AT_MS
    for retry in range(1, len(offsets_s) + 1):
        now_ms = next_try_at_ms(agent=agent, created_at_ms=CREATED_AT_MS, retry=retry, now_ms=now_ms)
        tries.append((now_ms - CREATED_AT_MS) // 1000)
    assert tries == offsets_s


@pytest.mark.parametrize(
    ("retry", "penalty", "elapsed_s", "offset_s"),
    [
        pytest.param(1, 0, 400, 1600, id="a time that is now is past"),
        pytest.param(1, 0, 399, 400, id="a second before"),
        pytest.param(1, 0, 20000, 25600, id="after an outage the next time in the row"),
        pytest.param(1, 1, 0, 1600, id="a penalty counts as an attempt"),
        pytest.param(3, 0, -100, 3600, id="a clock that ran back"),
    ],
)
def test_mta_offsets(retry: int, penalty: int, elapsed_s: int, offset_s: int) -> None:
    due_at_ms = next_try_at_ms(
        agent=REMOTE_AGENT,
        created_at_ms=CREATED_AT_MS,
        retry=retry,
        now_ms=CREATED_AT_MS + elapsed_s * 1000,
        penalty=penalty,
    )
    assert due_at_ms == CREATED_AT_MS + offset_s * 1000


def test_without_a_failure_the_envelope_is_due_at_once() -> None:
    due_at_ms = next_try_at_ms(agent=REMOTE_AGENT, created_at_ms=CREATED_AT_MS, retry=0, now_ms=CREATED_AT_MS + 5)
    assert due_at_ms == CREATED_AT_MS


@given(st.sampled_from([(REMOTE_AGENT, 800), (LOCAL_AGENT, 10)]), st.integers(1, 50), st.integers(0, 3), st.integers(0, 400_000_000))  # fmt: skip
def test_the_closed_form_agrees_with_counting_up(
    agent: tuple[str, int], retry: int, penalty: int, elapsed_ms: int
) -> None:
    name, base_s = agent
    number = retry + penalty
    while base_s * 500 * number * number <= elapsed_ms:
        number += 1
    now_ms = CREATED_AT_MS + elapsed_ms
    due_at_ms = next_try_at_ms(agent=name, created_at_ms=CREATED_AT_MS, retry=retry, now_ms=now_ms, penalty=penalty)
    assert due_at_ms == CREATED_AT_MS + base_s * 500 * number * number


@pytest.mark.parametrize(
    ("delays_s", "next_try_s", "last_s", "due_s"),
    [
        pytest.param((14400,), 14400, 0, 14400, id="the attempt at 10000 s, whose next is at 14400 s"),
        pytest.param((14400,), 10000, 0, None, id="the attempt before"),
        pytest.param((14400,), 19600, 14400, None, id="once only"),
        pytest.param((3600, 14400), 19600, 0, 3600, id="the first of several"),
        pytest.param((3600, 14400), 19600, 3600, 14400, id="the next of several"),
        pytest.param((), 99999, 0, None, id="none configured"),
    ],
)
def test_warnings(delays_s: tuple[int, ...], next_try_s: int, last_s: int, due_s: int | None) -> None:
    found = warn_due(
        created_at_ms=CREATED_AT_MS,
        next_try_at_ms=CREATED_AT_MS + next_try_s * 1000,
        last_bounce_at_ms=CREATED_AT_MS + last_s * 1000 if last_s else 0,
        bounce_warn_s=delays_s,
    )
    assert found == due_s


def test_with_the_defaults_one_warning_is_sent_by_the_attempt_at_10000_s() -> None:
    now_ms, last_bounce_at_ms, warned_by_s = CREATED_AT_MS, 0, []
    for retry in range(1, 12):
        due_at_ms = next_try_at_ms(agent=REMOTE_AGENT, created_at_ms=CREATED_AT_MS, retry=retry, now_ms=now_ms)
        delay_s = warn_due(
            created_at_ms=CREATED_AT_MS,
            next_try_at_ms=due_at_ms,
            last_bounce_at_ms=last_bounce_at_ms,
            bounce_warn_s=(14400,),
        )
        warned_by_s += [] if delay_s is None else [(now_ms - CREATED_AT_MS) // 1000]
        last_bounce_at_ms = last_bounce_at_ms if delay_s is None else CREATED_AT_MS + delay_s * 1000
        now_ms = due_at_ms
    assert warned_by_s == [10000]
