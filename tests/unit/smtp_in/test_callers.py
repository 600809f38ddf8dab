"""Limits by address and network: who is turned away, for how long, and that what is remembered is bounded."""

import pytest

from smtpfleet.smtp_in.callers import FAILURE_WINDOW_S, WINDOW_S, Caller, CallerLimits, Callers
from smtpfleet.smtp_in.reply import (
    S421_TOO_MANY_CONNECTIONS,
    S421_TOO_MANY_FAILURES,
    S421_TOO_MANY_FAILURES_BEFORE,
    S450_TOO_MANY_RCPTS_LATELY,
)
from tests.support.smtp_stage import Stage


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def admitted(callers: Callers, peer: str) -> Caller:
    caller = callers.admit(peer)
    assert isinstance(caller, Caller), caller
    return caller


@pytest.mark.parametrize(
    ("first", "second", "is_one_caller"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", True, id="the same address"),
        pytest.param("192.0.2.1", "192.0.2.2", False, id="another address"),
        pytest.param("2001:db8::1", "2001:db8::ffff:2", True, id="one IPv6 network of a customer"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", False, id="another one"),
        pytest.param("fe80::1%eth0", "fe80::1%eth1", True, id="a scope"),
        pytest.param("", "", True, id="no address at all"),
    ],
)
def test_connections_at_once(first: str, second: str, is_one_caller: bool) -> None:
    callers = Callers(CallerLimits(connections=1, network_factor=100), Clock())
    held = admitted(callers, first)
    answer = callers.admit(second)
    assert (answer == S421_TOO_MANY_CONNECTIONS) is is_one_caller
    held.leave()
    assert isinstance(callers.admit(first), Caller)


def test_a_network_has_a_limit_of_its_own() -> None:
    callers = Callers(CallerLimits(connections=1, network_factor=3), Clock())
    for host in (1, 2, 3):
        admitted(callers, f"192.0.2.{host}")
    assert callers.admit("192.0.2.4") is S421_TOO_MANY_CONNECTIONS
    admitted(callers, "192.0.3.4")


def test_the_rate_of_connections_and_the_minute_after() -> None:
    clock = Clock()
    callers = Callers(CallerLimits(connections_per_minute=2), clock)
    for _ in range(2):
        admitted(callers, "192.0.2.1").leave()
    assert callers.admit("192.0.2.1") is S421_TOO_MANY_CONNECTIONS
    clock.now_s += WINDOW_S
    admitted(callers, "192.0.2.1")


def test_recipients_a_minute() -> None:
    clock = Clock()
    callers = Callers(CallerLimits(rcpts_per_minute=10), clock)
    caller = admitted(callers, "192.0.2.1")
    caller.note_rcpts(9)
    assert caller.mail_refusal() is None
    caller.note_rcpts(1)
    assert caller.mail_refusal() is S450_TOO_MANY_RCPTS_LATELY
    assert admitted(callers, "192.0.2.1").mail_refusal() is S450_TOO_MANY_RCPTS_LATELY
    assert admitted(callers, "192.0.2.2").mail_refusal() is None
    clock.now_s += WINDOW_S
    assert caller.mail_refusal() is None


def test_failures_are_remembered_for_a_while() -> None:
    clock = Clock()
    callers = Callers(CallerLimits(failures=2), clock)
    for _ in range(2):
        caller = admitted(callers, "192.0.2.1")
        caller.note_failure()
        caller.leave()
    assert callers.admit("192.0.2.1") is S421_TOO_MANY_FAILURES_BEFORE
    clock.now_s += FAILURE_WINDOW_S
    admitted(callers, "192.0.2.1")


def test_without_limits_nobody_is_turned_away() -> None:
    callers = Callers(CallerLimits(), Clock())
    for _ in range(1000):
        caller = admitted(callers, "192.0.2.1")
        caller.note_rcpts(1000)
        caller.note_failure()
        assert caller.mail_refusal() is None


def test_what_is_remembered_is_bounded() -> None:
    callers = Callers(CallerLimits(connections=5), Clock(), known_limit=100)
    for number in range(10_000):
        admitted(callers, f"2001:db8:{number:x}::1").leave()
    assert len(callers._known) == 100


async def test_a_session_in_front_of_the_limits(stage: Stage) -> None:
    clock = Clock()
    stage.server.callers = Callers(CallerLimits(connections=1, rcpts_per_minute=1, failures=1), clock)
    client = stage.connect()
    second = stage.connect()
    assert second.written == f"{S421_TOO_MANY_CONNECTIONS.line}\r\n".encode() and second.is_closed
    assert stage.connect("127.0.0.1").written.startswith(b"220 ")  # local peers are not counted
    transaction = b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: x\r\n.\r\n"
    client.feed(b"HELO a.test\r\n" + transaction)
    await stage.settle()
    client.feed(b"MAIL FROM:<>\r\n" + b"X\r\n" * 10)
    await stage.settle()
    lines = client.written.decode().splitlines()
    assert S450_TOO_MANY_RCPTS_LATELY.line in lines and lines[-1] == S421_TOO_MANY_FAILURES.line
    await stage.until(lambda: client.protocol not in stage.server.connections)
    banned = stage.connect()
    assert banned.written == f"{S421_TOO_MANY_FAILURES_BEFORE.line}\r\n".encode()
