"""Limits by address and network as one process knows them: who is turned away, for how long, and that what is remembered is bounded."""

from typing import Any

import msgspec
import pytest

from smtpfleet.contracts.callers import BanKind, CallerVerdict
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Limits
from smtpfleet.smtp_in.callers import WINDOW_S, Caller, Callers
from smtpfleet.smtp_in.reply import (
    S421_TOO_MANY_CONNECTIONS,
    S421_TOO_MANY_FAILURES,
    S421_TOO_MANY_FAILURES_BEFORE,
    S450_TOO_MANY_RCPTS_LATELY,
)
from tests.support.smtp_stage import Stage

NONE = msgspec.structs.replace(DEFAULT_LIMITS, max_conn_per_address=0, max_conn_per_network=0)


def limits(**values: int) -> Limits:
    changes: dict[str, Any] = values
    return msgspec.structs.replace(NONE, **changes)


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
    callers = Callers(Clock(), limits=limits(max_conn_per_address=1))
    held = admitted(callers, first)
    answer = callers.admit(second)
    assert (answer == S421_TOO_MANY_CONNECTIONS) is is_one_caller
    held.leave()
    assert isinstance(callers.admit(first), Caller)


def test_a_network_has_a_limit_of_its_own() -> None:
    callers = Callers(Clock(), limits=limits(max_conn_per_network=3))
    for host in (1, 2, 3):
        admitted(callers, f"192.0.2.{host}")
    assert callers.admit("192.0.2.4") is S421_TOO_MANY_CONNECTIONS
    admitted(callers, "192.0.3.4")


@pytest.mark.parametrize("limit", ["max_conn_rate_per_address", "max_conn_rate_per_network"])
def test_the_rate_of_connections_and_the_minute_after(limit: str) -> None:
    clock = Clock()
    callers = Callers(clock, limits=limits(**{limit: 2}))
    for _ in range(2):
        admitted(callers, "192.0.2.1").leave()
    assert callers.admit("192.0.2.1") is S421_TOO_MANY_CONNECTIONS
    clock.now_s += WINDOW_S
    admitted(callers, "192.0.2.1")


@pytest.mark.parametrize("limit", ["max_rcpt_rate_per_address", "max_rcpt_rate_per_network"])
def test_recipients_a_minute(limit: str) -> None:
    clock = Clock()
    callers = Callers(clock, limits=limits(**{limit: 10}))
    caller = admitted(callers, "192.0.2.1")
    caller.note_rcpts(9)
    assert caller.mail_refusal() is None
    caller.note_rcpts(1)
    assert caller.mail_refusal() is S450_TOO_MANY_RCPTS_LATELY
    assert admitted(callers, "192.0.2.1").mail_refusal() is S450_TOO_MANY_RCPTS_LATELY
    assert admitted(callers, "198.51.100.1").mail_refusal() is None
    clock.now_s += WINDOW_S
    assert caller.mail_refusal() is None


def test_what_the_fleet_has_said_holds_for_as_long_as_it_said() -> None:
    clock = Clock()
    callers = Callers(clock, limits=limits(max_conn_rate_per_address=100, max_rcpt_rate_per_address=100))
    caller = admitted(callers, "192.0.2.1")
    callers.note_verdict(caller, CallerVerdict(0, "rate", 7000, 9000))
    assert callers.admit("192.0.2.1") is S421_TOO_MANY_CONNECTIONS
    assert caller.mail_refusal() is S450_TOO_MANY_RCPTS_LATELY
    admitted(callers, "192.0.2.2")
    clock.now_s += 7.1
    assert admitted(callers, "192.0.2.1").mail_refusal() is S450_TOO_MANY_RCPTS_LATELY
    clock.now_s += 2
    assert caller.mail_refusal() is None


@pytest.mark.parametrize("banned", [(BanKind.ADDRESS, "192.0.2.1"), (BanKind.NETWORK, "192.0.2.0/24")])
def test_who_is_banned_does_not_come_in(banned: tuple[BanKind, str]) -> None:
    bans = {banned}
    callers = Callers(Clock(), lambda kind, name: (kind, name) in bans, limits=NONE)
    assert callers.admit("192.0.2.1") is S421_TOO_MANY_FAILURES_BEFORE
    admitted(callers, "198.51.100.1")
    bans.clear()
    admitted(callers, "192.0.2.1")


def test_without_limits_nobody_is_turned_away() -> None:
    callers = Callers(Clock(), limits=NONE)
    for _ in range(1000):
        caller = admitted(callers, "192.0.2.1")
        caller.note_rcpts(1000)
        caller.note_failure()
        assert caller.mail_refusal() is None


def test_what_is_remembered_is_bounded() -> None:
    callers = Callers(Clock(), limits=limits(max_conn_per_address=5), known_limit=100)
    for number in range(10_000):
        admitted(callers, f"2001:db8:{number:x}::1").leave()
    assert len(callers._known) == 100


async def test_a_session_in_front_of_the_limits(stage: Stage) -> None:
    failed: list[str] = []
    callers = Callers(Clock(), limits=limits(max_conn_per_address=1, max_rcpt_rate_per_address=1))
    callers.on_failure = lambda caller: failed.append(caller.address.name)
    stage.server.callers = callers
    client = stage.connect()
    await stage.until(lambda: client.written.startswith(b"220 "))
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
    assert failed == [client.protocol.session.peer]
