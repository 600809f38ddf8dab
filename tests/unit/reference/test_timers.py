"""Reference 13.3, row by row: retries, expiry, penalties of routes, the warning. tests/unit/mail/test_backoff.py has more of them.

Local retries and bounces keep 5.4.1's times in both forms (7.8: twice as long), routes rest as in 7.8 (5.4.1: longer); docs/parity.md.
"""

import itertools
from pathlib import Path

import pytest

from smtpfleet.contracts.envelope import LOCAL_AGENT, REMOTE_AGENT
from smtpfleet.mail.backoff import next_try_at_ms, warn_due
from smtpfleet.mta.route import RouteTable
from smtpfleet.mta.settings import MtaSettings
from tests.unit.config.stage import LISTENER, RULE, compile_text

CREATED_AT_MS = 1_386_338_853_000


def tries_s(agent: str, count: int) -> list[int]:
    """When each of `count` attempts is made, if every one fails and is made in time; seconds from creation."""
    found, now_ms = [], CREATED_AT_MS
    for retry in range(1, count + 1):
        now_ms = next_try_at_ms(agent=agent, created_at_ms=CREATED_AT_MS, retry=retry, now_ms=now_ms)
        found.append((now_ms - CREATED_AT_MS) // 1000)
    return found


def test_mta_retries() -> None:
    assert tries_s(REMOTE_AGENT, 11) == [400, 1600, 3600, 6400, 10000, 14400, 19600, 25600, 32400, 40000, 48400]


def test_mda_retries() -> None:
    assert tries_s(LOCAL_AGENT, 8) == [5, 20, 45, 80, 125, 180, 245, 320]


@pytest.mark.parametrize("text", [RULE, "action a relay\nmatch for any action a\n"], ids=["classic", "modern"])
def test_four_days_until_a_message_expires(text: str, tmp_path: Path) -> None:
    # That it then bounces: tests/unit/queue/test_life_of_a_message.py, and end to end tests/path/test_failures.py.
    compiled = compile_text(tmp_path, LISTENER + text)
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.rules[0].expire_s == compiled.configuration.expire_s == 345600


def test_routes_rest_as_in_7_8() -> None:
    routes = RouteTable(MtaSettings().route_penalty_s, lambda: 0.0)
    assert [routes.mark_failed("", "192.0.2.1") for _ in range(5)] == [60, 240, 540, 960, 1500]
    assert max(routes.mark_failed("", "192.0.2.1") for _ in range(20)) == 3600


def test_the_default_warning_is_sent_by_the_attempt_at_10000_s(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, LISTENER + RULE)
    assert compiled.configuration is not None
    offsets_s = tries_s(REMOTE_AGENT, 8)
    warned = [
        made_s
        for made_s, next_s in itertools.pairwise(offsets_s)
        if warn_due(
            created_at_ms=CREATED_AT_MS,
            next_try_at_ms=CREATED_AT_MS + next_s * 1000,
            last_bounce_at_ms=0,
            bounce_warn_s=compiled.configuration.bounce_warn_s,
        )
    ]
    assert warned[0] == 10000
