"""Which host a message ends at: several exchangers on several addresses, some of them down or unwilling."""

import pytest

from tests.support.peer import Script, scripted_peer
from tests.support.zone import serve_zone
from tests.unit.mta.building import fleet, message, remote
from tests.unit.mta.test_delivery import lines

ZONE = """
two.test.      60 IN MX 10 first.test.
two.test.      60 IN MX 20 second.test.
first.test.    60 IN A 127.0.0.1
second.test.   60 IN A 127.0.0.2
null.test.     60 IN MX 0 .
broken.test.   SERVFAIL
"""
DELIVERED = ("delivered", "250 2.0.0 Ok: queued")
TWO = remote("two.test", is_host=False)


async def test_the_best_exchanger_gets_the_mail() -> None:
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer() as first,
        scripted_peer(address="127.0.0.2", port=first.port) as second,
        fleet(mx_port=first.port, nameserver=zone.nameserver) as sender,
    ):
        sender.work.add(message(1, TWO))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
        assert next(iter(sender.work.outcomes.values())).remote == "first.test"
    assert (len(first.messages), second.connection_count) == (1, 0)


@pytest.mark.parametrize(
    "script",
    [
        Script(drop_at="connect"),
        Script(drop_at="greeting"),
        Script(replies={"greeting": "554 5.7.1 Not you"}),
        Script(replies={"greeting": "421 4.3.2 Busy"}),
        Script(drop_at="ehlo"),
        Script(raw={"ehlo": b"\x00\r\n"}),
        Script(replies={"ehlo": "500 No", "helo": "500 No"}),
    ],
    ids=["drops", "drops at greeting", "greets with 554", "greets with 421", "drops at EHLO", "garbage", "no HELO"],
)
async def test_the_next_one_when_the_best_is_not_ready_for_mail(script: Script) -> None:
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer(script) as first,
        scripted_peer(address="127.0.0.2", port=first.port) as second,
        fleet(mx_port=first.port, nameserver=zone.nameserver) as sender,
    ):
        sender.work.add(message(1, TWO), message(2, TWO))
        assert lines(await sender.outcomes(2)) == [DELIVERED] * 2
    assert (len(first.messages), len(second.messages), second.connection_count) == (0, 2, 1)


async def test_what_was_not_tried_goes_to_the_next_host_when_a_session_dies() -> None:
    script = Script(drop_at="mail")
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer(script) as first,
        scripted_peer(address="127.0.0.2", port=first.port) as second,
        fleet(mx_port=first.port, nameserver=zone.nameserver) as sender,
    ):
        sender.work.add(*(message(n, TWO) for n in range(1, 5)))
        outcomes = lines(await sender.outcomes(4))
    assert outcomes == [("tempfail", "451 4.4.2 Connection closed unexpectedly"), DELIVERED, DELIVERED, DELIVERED]
    assert (first.connection_count, len(second.messages)) == (1, 3)


async def test_a_session_that_worked_before_it_died_is_opened_anew() -> None:
    script = Script(drop_at="eom", drop_count=0)
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port, keepalive_s=5) as sender:
        sender.work.add(message(1, remote()))
        await sender.outcomes(1)
        script.drop_count = 1  # from now on the first connection dies at the dot
        sender.work.add(*(message(n, remote()) for n in range(2, 6)))
        outcomes = lines(await sender.outcomes(5))
    lost = ("tempfail", "451 4.4.2 Connection closed unexpectedly")
    assert outcomes == [DELIVERED, lost, DELIVERED, DELIVERED, DELIVERED]
    assert (peer.connection_count, len(peer.messages)) == (2, 4)


async def test_permanent_and_temporary_answers_of_dns() -> None:
    async with serve_zone(ZONE) as zone, fleet(nameserver=zone.nameserver) as sender:
        for number, domain in enumerate(("null.test", "nowhere.test", "broken.test"), 1):
            sender.work.add(message(number, remote(domain, is_host=False)))
        assert lines(await sender.outcomes(3)) == [
            ("permfail", "556 5.1.10 Domain does not accept mail"),
            ("permfail", "550 5.1.2 Domain does not exist"),
            ("tempfail", "451 4.4.3 Temporary failure in MX lookup"),
        ]


async def test_a_route_that_failed_is_left_alone() -> None:
    async with serve_zone(ZONE) as zone, scripted_peer() as first:
        port = first.port
    async with (
        serve_zone(ZONE) as zone,
        fleet(mx_port=port, nameserver=zone.nameserver, route_penalty_s=15.0) as sender,
    ):
        sender.work.add(message(1, TWO))
        assert lines(await sender.outcomes(1)) == [("tempfail", "451 4.4.1 Connection refused")]
        sender.work.add(message(2, TWO))
        assert lines(await sender.outcomes(2))[1] == ("tempfail", "451 4.4.1 Network error on destination MXs")
        assert sender.log.count("mta connecting") == 2
        assert "route disabled" in sender.log


async def test_source_addresses() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, source_address="127.0.0.7") as sender:
        sender.work.add(message(1, remote()))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
        assert 'source="127.0.0.7"' in sender.log
        sender.work.add(message(2, remote(source="nowhere")))
        assert lines(await sender.outcomes(2))[1] == ("tempfail", "451 4.3.5 Could not retrieve source address")


async def test_a_family_that_does_not_fit() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, source_address="::1") as sender:
        sender.work.add(message(1, remote()))
        assert lines(await sender.outcomes(1)) == [("tempfail", "451 4.4.4 Address family mismatch on destination MXs")]


@pytest.mark.parametrize(
    ("relay", "failure"),
    [
        ({"auth": "secrets:label"}, "Could not retrieve credentials"),
        ({"pki": "name"}, "Could not retrieve certificate"),
    ],
)
async def test_what_cannot_be_had_is_not_done_without(relay: dict[str, str], failure: str) -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote(**relay)))
        assert lines(await sender.outcomes(1)) == [("tempfail", f"451 4.7.0 {failure}")]
    assert peer.connection_count == 0
