"""Peers that drop, stall and talk garbage: what is in flight fails for now, the rest goes on, and what nobody can know is counted."""

import pytest

from smtpfleet.mta import connector
from smtpfleet.mta.transaction import Timeouts
from tests.support.peer import Script, scripted_peer
from tests.unit.mta.building import fleet, message, remote
from tests.unit.mta.test_delivery import WITHOUT_PIPELINING, both_ways, deliver, lines

CLOSED = "451 4.4.2 Connection closed unexpectedly"


def unanswered() -> float:
    return connector._unanswered.value


@both_ways
@pytest.mark.parametrize("stage", ["connect", "greeting", "ehlo", "mail", "rcpt", "data", "content", "eom"])
async def test_a_drop_at_any_stage_defers_and_is_no_bounce(extensions: tuple[str, ...], stage: str) -> None:
    before = unanswered()
    outcomes, peer, _ = await deliver(Script(extensions=extensions, drop_at=stage), "b@r.test", "c@r.test")
    assert [kind for kind, _ in outcomes] == ["tempfail"] * 2
    assert {status for _, status in outcomes} <= {CLOSED, "451 4.4.2 Connection reset by peer"}
    assert peer.messages == []
    # Content of this size is in one write with its dot, so a drop amid it leaves the same doubt as one after it.
    assert unanswered() - before == (stage in ("content", "eom"))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"hello there\r\n", "reply code out of range"),
        (b"250 a\x00b\r\n", "non-printable character in reply"),
        (b"2\r\n", "line too short"),
        (b"250 " + b"x" * 3000 + b"\r\n", "line too long"),
        (b"x" * 3000, "line too long"),
        (b"250-again\r\n" * 4000, "reply too long"),
    ],
)
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "data", "eom"])
async def test_garbage_defers(stage: str, raw: bytes, reason: str) -> None:
    outcomes, _, _ = await deliver(Script(raw={stage: raw}))
    assert outcomes == [("tempfail", f"451 4.4.2 {reason}")]


async def test_rcpts_answered_before_the_garbage_keep_their_answer() -> None:
    script = Script(
        extensions=WITHOUT_PIPELINING,
        rcpts={"b@r.test": "550 5.1.1 No", "c@r.test": "250 Ok"},
        raw={"data": b"!\r\n"},
    )
    outcomes, _, _ = await deliver(script, "b@r.test", "c@r.test")
    assert outcomes == [("permfail", "550 5.1.1 No"), ("tempfail", "451 4.4.2 line too short")]


async def test_more_replies_than_commands_end_the_session_but_not_the_delivery() -> None:
    script = Script(raw={"eom": b"250 2.0.0 Taken\r\n250 2.0.0 And another\r\n"})
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote()), message(2, remote()))
        # Message 2's commands were out with the dot. What it gets depends on when the surplus is seen; what counts is that it is true.
        first, second = lines(await sender.outcomes(2))
    assert first == ("delivered", "250 2.0.0 Taken")
    assert second[0] in ("tempfail", "delivered")
    assert len(peer.messages) == 1 + (second[0] == "delivered")


@pytest.mark.parametrize(
    "extra", [b"250 there\r\n", b"250-there\r\n", b"25"], ids=["reply", "first line", "two digits"]
)
async def test_data_nobody_asked_for_is_a_fault(extra: bytes) -> None:
    """Even half a reply: it would become the beginning of the next one, and so of what the peer is held to offer."""
    outcomes, _, sender = await deliver(Script(raw={"greeting": b"220 hi\r\n" + extra}))
    assert outcomes == [("tempfail", "451 4.4.2 Remote host sent too much data")]
    assert 'mta error reason="Remote host sent too much data"' in sender.log


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data", "eom"])
async def test_silence_ends_by_timeout(stage: str) -> None:
    short = Timeouts(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
    script = Script(raw={stage: b""}, extensions=WITHOUT_PIPELINING)
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port, timeouts=short) as sender:
        sender.work.add(message(1, remote()))
        assert lines(await sender.outcomes(1)) == [("tempfail", "451 4.4.2 Connection timeout")]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({"mail": b""}, id="MAIL is not answered"),
        pytest.param({"mail": b"250 a\r\n250 b\r\n"}, id="MAIL is answered twice"),
        pytest.param({"rcpt": b"550 5.1.1 No\r\n250 b\r\n"}, id="RCPT is answered twice"),
        pytest.param({"rcpt": b""}, id="RCPT is not answered"),
    ],
)
async def test_replies_out_of_step_with_commands_never_make_a_bounce(raw: dict[str, bytes]) -> None:
    short = Timeouts(*[0.2] * 7)
    async with scripted_peer(Script(raw=raw)) as peer, fleet(mx_port=peer.port, timeouts=short) as sender:
        sender.work.add(message(1, remote(), "b@r.test", "c@r.test"))
        assert {kind for kind, _ in lines(await sender.outcomes(2))} == {"tempfail"}


async def test_a_slow_peer_is_waited_for_as_long_as_it_answers() -> None:
    short = Timeouts(*[0.5] * 7)
    dests = [f"r{n}@r.test" for n in range(8)]
    async with scripted_peer(Script(slow_s=0.1)) as peer, fleet(mx_port=peer.port, timeouts=short) as sender:
        sender.work.add(message(1, remote(), *dests))
        assert lines(await sender.outcomes(8)) == [("delivered", "250 2.0.0 Ok: queued")] * 8


async def test_half_replies_do_not_keep_a_session_alive() -> None:
    short = Timeouts(*[0.2] * 7)
    async with (
        scripted_peer(Script(raw={"mail": b"250-a\r\n"})) as peer,
        fleet(mx_port=peer.port, timeouts=short) as sender,
    ):
        sender.work.add(message(1, remote()))
        assert [kind for kind, _ in lines(await sender.outcomes(1))] == ["tempfail"]


@both_ways
async def test_a_limit_of_messages_per_connection_costs_nothing(extensions: tuple[str, ...]) -> None:
    """A peer that takes two messages per connection and says 421 to the third MAIL costs no message its attempt."""
    script = Script(extensions=extensions, mails_max=2)
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(*(message(n, remote()) for n in range(1, 8)))
        outcomes = await sender.outcomes(7)
    assert lines(outcomes) == [("delivered", "250 2.0.0 Ok: queued")] * 7
    assert len(peer.messages) == 7
    assert peer.connection_count == 4


async def test_a_dot_without_an_answer_is_counted_once_and_the_rest_fails_with_its_reason() -> None:
    """The connection had delivered nothing, so there is no reason to think better of the host; it is the only one."""
    before = unanswered()
    async with scripted_peer(Script(drop_at="eom")) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(*(message(n, remote()) for n in range(1, 4)))
        assert lines(await sender.outcomes(3)) == [("tempfail", CLOSED)] * 3
    assert (unanswered() - before, peer.connection_count) == (1, 1)


@pytest.mark.parametrize("greeting", ["554 5.7.1 Blocked", "421 4.3.2 Busy"])
async def test_a_refused_connection_is_temporary_whatever_its_digit(greeting: str) -> None:
    outcomes, _, _ = await deliver(Script(replies={"greeting": greeting}))
    assert outcomes == [("tempfail", f"451 4.3.0 BANNER rejected: {greeting}")]


async def test_nobody_listens() -> None:
    async with scripted_peer() as peer:
        port = peer.port
    async with fleet(mx_port=port) as sender:
        sender.work.add(message(1, remote(), "b@r.test", "c@r.test"), message(2, remote()))
        assert lines(await sender.outcomes(3)) == [("tempfail", "451 4.4.1 Connection refused")] * 3
        assert sender.log.count("mta connecting") == 1
