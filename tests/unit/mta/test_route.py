"""Penalties of routes over time (OpenSMTPD 7.8, reference 7.5 and 13.3)."""

import pytest

from smtpfleet.mta.route import DISABLED_MAX_S, ERRORS_MAX, RouteTable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_route_is_disabled_at_once_and_comes_back() -> None:
    clock = Clock()
    routes = RouteTable(15.0, clock)
    assert routes.mark_failed("", "192.0.2.1") == 60.0
    assert routes.is_disabled("", "192.0.2.1")
    assert not routes.is_disabled("192.0.2.9", "192.0.2.1")
    clock.now = 60.0
    assert not routes.is_disabled("", "192.0.2.1")


def test_a_proven_route_may_fail_a_few_times() -> None:
    routes = RouteTable(15.0, Clock())
    routes.mark_ready("", "h")
    assert [routes.mark_failed("", "h") for _ in range(ERRORS_MAX + 1)] == [0.0] * ERRORS_MAX + [60.0]


def test_success_forgets_errors() -> None:
    routes = RouteTable(15.0, Clock())
    for _ in range(3):
        routes.mark_ready("", "h")
        assert [routes.mark_failed("", "h") for _ in range(ERRORS_MAX)] == [0.0] * ERRORS_MAX


def test_repeated_failures_cost_more_up_to_a_bound() -> None:
    routes = RouteTable(15.0, Clock())
    assert [routes.mark_failed("", "h") for _ in range(5)] == [60.0, 240.0, 540.0, 960.0, 1500.0]
    for _ in range(20):
        last = routes.mark_failed("", "h")
    assert last == DISABLED_MAX_S


@pytest.mark.parametrize(("passed_s", "delay_s"), [(59.0, 240.0), (61.0, 135.0), (76.0, 60.0)])
def test_penalty_decays_while_the_route_rests(passed_s: float, delay_s: float) -> None:
    clock = Clock()
    routes = RouteTable(15.0, clock)
    routes.mark_failed("", "h")
    clock.now = passed_s
    assert routes.mark_failed("", "h") == delay_s


def test_zero_never_disables() -> None:
    routes = RouteTable(0.0, Clock())
    assert [routes.mark_failed("", "h") for _ in range(9)] == [0.0] * 9
    assert not routes.is_disabled("", "h")
