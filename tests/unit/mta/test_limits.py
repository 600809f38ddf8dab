"""What `limit mta` does to a worker's sessions: permits asked for, hosts passed over, work given back, pauses, families, failures."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from smtpfleet.contracts.configuration import Table
from smtpfleet.contracts.permits import NOT_COUNTED, PermitWish, TakeReply
from smtpfleet.mta.limits import Limited
from tests.support.peer import Script, scripted_peer
from tests.support.zone import serve_zone
from tests.unit.mta.building import CONFIGURATION, fleet, message, remote
from tests.unit.mta.test_delivery import lines

DELIVERED = ("delivered", "250 2.0.0 Ok: queued")
ZONE = """
two.test.      60 IN MX 10 first.test.
two.test.      60 IN MX 10 second.test.
two.test.      60 IN MX 20 third.test.
first.test.    60 IN A 127.0.0.1
second.test.   60 IN A 127.0.0.2
third.test.    60 IN A 127.0.0.3
six.test.      60 IN A 127.0.0.1
six.test.      60 IN AAAA ::1
"""
TWO = remote("two.test", is_host=False)
WAIT = 5000


def refused(name: str) -> TakeReply:
    return TakeReply(WAIT, name)


async def test_a_connection_asks_for_all_its_permits_and_a_kept_one_for_none() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, keepalive_s=5) as sender:
        sender.snapshot.limit(
            max_conn_per_domain=1, conn_delay_domain_s=2, conn_delay_relay_s=3, max_conn_per_source=4, conn_delay_source_s=5,
            max_conn_per_connector=6, conn_delay_connector_s=7, max_conn_per_host=8, conn_delay_host_s=9,
            max_conn_per_route=10, conn_delay_route_s=11, reconn_delay_route_s=12,
        )  # fmt: skip
        for number in range(1, 4):
            sender.work.add(message(number, remote()))
            await sender.outcomes(number)
        (request,) = sender.work.taken
        relay = "host=127.0.0.1,tls=opportunistic"
        assert request.holder == "mta-test:1.1" and request.relay == relay
        assert request.wishes == [
            PermitWish("domain:host=127.0.0.1", 1, 2000),
            PermitWish(f"relay:{relay}", NOT_COUNTED, 3000),
            PermitWish("source:any@mta-test", 4, 5000),
            PermitWish(f"connector:{relay}|any", 6, 7000),
            PermitWish("host:127.0.0.1", 8, 9000),
            PermitWish("route:any|127.0.0.1", 10, 11000, 12000),
        ]
        assert sender.work.connections == {"mta-test:1.1"}
    (end,) = sender.work.ended
    assert (end.holder, end.route, end.reconnect_delay_ms) == ("mta-test:1.1", "route:any|127.0.0.1", 12000)


async def test_limits_of_a_domain_are_for_that_domain_alone() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.snapshot.limit("127.0.0.1", max_conn_per_host=2, session_mail_max=1)
        sender.work.add(
            message(1, remote()), message(2, remote()), message(3, remote("localhost")), message(4, remote("LOCALHOST"))
        )
        await sender.outcomes(4)
        limits = {request.relay.partition(",")[0]: request.wishes[4].most_count for request in sender.work.taken}
    assert limits == {"host=127.0.0.1": 2, "host=localhost": 10, "host=LOCALHOST": 10}
    assert len(sender.work.taken) == 4  # two for the domain with session-mail-max 1


@pytest.mark.parametrize("kind", ["domain", "relay", "source", "connector", "host", "route"])
async def test_what_a_limit_forbids_goes_back_untried_until_then(kind: str) -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        relay = "host=127.0.0.1,tls=opportunistic"
        name = {
            "domain": "domain:host=127.0.0.1", "relay": f"relay:{relay}", "source": "source:any@mta-test",
            "connector": f"connector:{relay}|any", "host": "host:127.0.0.1", "route": "route:any|127.0.0.1",
        }[kind]  # fmt: skip
        sender.work.refusals[name] = refused(name)
        sender.work.add(*(message(n, remote()) for n in range(1, 4)))
        await sender.until(lambda: len(sender.work.released) == 3 and not sender.work.permits)
        assert sender.work.waits_ms == [WAIT]
        del sender.work.refusals[name]
        sender.work.add(message(4, remote()))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
    assert peer.connection_count == 1


async def test_another_host_of_the_same_preference_when_one_is_full() -> None:
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer() as first,
        scripted_peer(address="127.0.0.2", port=first.port) as second,
        scripted_peer(address="127.0.0.3", port=first.port) as third,
        fleet(mx_port=first.port, nameserver=zone.nameserver) as sender,
    ):
        sender.work.refusals["host:127.0.0.1"] = refused("host:127.0.0.1")
        sender.work.add(*(message(n, TWO) for n in range(1, 4)))
        assert lines(await sender.outcomes(3)) == [DELIVERED] * 3
    assert (first.connection_count, len(second.messages), third.connection_count) == (0, 3, 0)


async def test_no_host_of_a_worse_preference_while_a_better_one_is_only_full() -> None:
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer() as first,
        scripted_peer(Script(drop_at="connect"), address="127.0.0.2", port=first.port) as second,
        scripted_peer(address="127.0.0.3", port=first.port) as third,
        fleet(mx_port=first.port, nameserver=zone.nameserver) as sender,
    ):
        sender.work.refusals["route:any|127.0.0.1"] = refused("route:any|127.0.0.1")
        sender.work.add(message(1, TWO))
        await sender.until(lambda: len(sender.work.released) == 1 and not sender.work.permits)
        assert sender.work.waits_ms == [WAIT] and not sender.work.outcomes
    assert (first.connection_count, second.connection_count, third.connection_count) == (0, 1, 0)


async def test_the_permits_of_a_host_that_fails_are_given_back_before_the_next_is_asked_for() -> None:
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer(Script(drop_at="greeting")) as first,
        scripted_peer(Script(drop_at="greeting"), address="127.0.0.2", port=first.port),
        scripted_peer(address="127.0.0.3", port=first.port) as third,
        fleet(mx_port=first.port, nameserver=zone.nameserver, keepalive_s=5) as sender,
    ):
        sender.work.add(message(1, TWO))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
        assert [end.holder for end in sender.work.ended] == ["mta-test:1.1", "mta-test:1.2"]
        assert sender.work.connections == {"mta-test:1.3"}
    assert len(third.messages) == 1


async def test_a_session_ends_before_the_next_asks_for_its_permits() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.snapshot.limit(session_mail_max=1)
        sender.work.add(*(message(n, remote()) for n in range(1, 4)))
        await sender.outcomes(3)
    assert [request.holder for request in sender.work.taken] == ["mta-test:1.1", "mta-test:1.2", "mta-test:1.3"]
    assert [end.holder for end in sender.work.ended] == ["mta-test:1.1", "mta-test:1.2", "mta-test:1.3"]
    assert (peer.connection_count, peer.quit_count) == (3, 3)


async def test_the_rest_of_a_lease_goes_back_when_the_next_session_is_forbidden() -> None:
    async with scripted_peer(Script(slow_s=0.05)) as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.snapshot.limit(session_mail_max=2)
        sender.work.add(*(message(n, remote()) for n in range(1, 6)))
        await sender.outcomes(1)
        sender.work.refusals["route:any|127.0.0.1"] = refused("route:any|127.0.0.1")
        await sender.until(lambda: len(sender.work.outcomes) + len(sender.work.released) == 5)
        assert lines(list(sender.work.outcomes.values())) == [DELIVERED] * 2
    assert len(peer.messages) == 2


async def test_another_address_of_ours_when_one_is_at_its_limit() -> None:
    sources = Table("sources", "list", "static", "", {"127.0.0.5": "", "127.0.0.6": "", "127.0.0.7": ""})
    configuration = replace(CONFIGURATION, tables={"sources": sources})
    async with scripted_peer() as peer, fleet(mx_port=peer.port, configuration=configuration) as sender:
        for name in ("source:127.0.0.5", "route:127.0.0.6|127.0.0.1"):
            sender.work.refusals[name] = refused(name)
        sender.work.add(message(1, remote(source="sources")))
        (outcome,) = await sender.outcomes(1)
        assert lines([outcome]) == [DELIVERED]
        assert 'source="127.0.0.7"' in sender.log
        await sender.until(lambda: not sender.work.connections)
        sender.work.refusals["route:127.0.0.7|127.0.0.1"] = refused("route:127.0.0.7|127.0.0.1")
        sender.work.add(message(2, remote(source="sources")))
        await sender.until(lambda: len(sender.work.released) == 1)
    assert peer.connection_count == 1


async def test_an_address_of_ours_that_cannot_reach_the_host_fails_nothing_while_another_has_to_wait() -> None:
    sources = Table("sources", "list", "static", "", {"127.0.0.5": "", "::1": ""})
    configuration = replace(CONFIGURATION, tables={"sources": sources})
    async with scripted_peer() as peer, fleet(mx_port=peer.port, configuration=configuration) as sender:
        sender.work.refusals["source:127.0.0.5"] = refused("source:127.0.0.5")
        sender.work.add(message(1, remote(source="sources")))
        await sender.until(lambda: len(sender.work.released) == 1 and not sender.work.permits)
        assert sender.work.waits_ms == [WAIT]
    assert (peer.connection_count, sender.work.outcomes) == (0, {})


async def test_nobody_to_ask_means_to_ask_again() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.work.refusals["host:127.0.0.1"] = None
        sender.work.add(message(1, remote()))
        await sender.until(lambda: len(sender.work.taken) > 3)
        assert {request.holder for request in sender.work.taken} == {"mta-test:1.1"}
        sender.work.refusals.clear()
        assert lines(await sender.outcomes(1)) == [DELIVERED]
    assert peer.connection_count == 1


async def test_nobody_to_ask_until_the_lease_is_lost() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.work.refusals["host:127.0.0.1"] = None
        sender.work.add(message(1, remote()))
        await sender.until(lambda: len(sender.work.taken) > 1)
        sender.work.leases[0].is_lost = True
        await sender.until(lambda: not sender.work.permits)
    assert (peer.connection_count, sender.work.outcomes) == (0, {})


async def test_a_drain_does_not_wait_for_somebody_to_ask() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.work.refusals["host:127.0.0.1"] = None
        sender.work.add(message(1, remote()))
        await sender.until(lambda: len(sender.work.taken) > 1)
    assert (len(sender.work.released), sender.work.waits_ms, peer.connection_count) == (1, [0], 0)


async def test_a_connection_others_wait_for_is_not_kept_idle() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, keepalive_s=60) as sender:
        sender.work.add(message(1, remote()))
        await sender.outcomes(1)
        started_at = time.monotonic()
        sender.work.crowded.add("mta-test:1.1")
        await sender.until(lambda: not sender.work.connections)
        assert time.monotonic() - started_at < 5
    assert peer.quit_count == 1


async def test_transactions_of_a_session_are_spaced() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.snapshot.limit(session_transaction_delay_s=1)
        sender.work.add(*(message(n, remote()) for n in range(1, 4)))
        started_at = time.monotonic()
        assert lines(await sender.outcomes(3)) == [DELIVERED] * 3
        assert 2.0 <= time.monotonic() - started_at < 4
    assert peer.connection_count == 1


async def test_a_drain_does_not_wait_for_the_pause_between_transactions() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.snapshot.limit(session_transaction_delay_s=60)
        sender.work.add(*(message(n, remote()) for n in range(1, 4)))
        await sender.outcomes(1)
        await asyncio.sleep(0.05)
        drained_at = time.monotonic()
    assert time.monotonic() - drained_at < 5
    assert (len(peer.messages), len(sender.work.released)) == (1, 2)


@pytest.mark.parametrize(("family", "address"), [("inet4", "127.0.0.1"), ("inet6", "::1")])
async def test_only_hosts_of_the_family(family: str, address: str) -> None:
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer() as four,
        scripted_peer(address="::1", port=four.port) as six,
        fleet(mx_port=four.port, nameserver=zone.nameserver) as sender,
    ):
        sender.snapshot.limit("six.test", family=family)
        sender.work.add(message(1, remote("six.test", is_host=False)))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
        assert [request.wishes[4].name for request in sender.work.taken] == [f"host:{address}"]
    assert len(four.messages) + len(six.messages) == 1


async def test_no_host_of_the_family() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.snapshot.limit(family="inet6")
        sender.work.add(message(1, remote()))
        assert lines(await sender.outcomes(1)) == [("tempfail", "451 4.4.4 Address family mismatch on destination MXs")]
    assert peer.connection_count == 0


NOBODY = ("permfail", "550 5.1.1 Nobody")


@pytest.mark.parametrize("has_pipelining", [True, False], ids=["pipelined", "one by one"])
async def test_a_host_that_refuses_recipient_after_recipient_is_left_alone(has_pipelining: bool) -> None:
    script = Script(rcpts={f"bad{n}@rcpt.test": "550 5.1.1 Nobody" for n in range(1, 9)})
    if not has_pipelining:
        script.extensions = ()
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port, max_sessions=1, route_penalty_s=15.0) as sender:
        sender.snapshot.limit(max_failures_per_session=3)
        sender.work.add(message(1, remote(), "bad1@rcpt.test", "bad2@rcpt.test", "good@rcpt.test"))
        sender.work.add(message(2, remote(), "bad3@rcpt.test"), message(3, remote(), "bad4@rcpt.test"))
        sender.work.add(message(4, remote(), "bad5@rcpt.test"), message(5, remote(), "good@rcpt.test"))
        outcomes = lines(await sender.outcomes(7))
        # Two in a row, then one that is taken, then three in a row: that was enough.
        assert outcomes[:6] == [NOBODY, NOBODY, DELIVERED, NOBODY, NOBODY, NOBODY]
        assert outcomes[6] == ("tempfail", "451 4.4.1 Host temporarily disabled")
        assert "route disabled" in sender.log
        sender.work.add(message(6, remote(), "good@rcpt.test"))
        assert lines(await sender.outcomes(8))[7] == ("tempfail", "451 4.4.1 Network error on destination MXs")
    assert (peer.connection_count, len(peer.messages), peer.quit_count) == (1, 1, 1)


async def test_a_message_taken_for_some_is_finished_although_the_others_were_too_many() -> None:
    script = Script(rcpts={f"bad{n}@rcpt.test": "550 5.1.1 Nobody" for n in range(1, 9)})
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.snapshot.limit(max_failures_per_session=3)
        sender.work.add(message(1, remote(), "bad1@rcpt.test", "bad2@rcpt.test", "bad3@rcpt.test", "good@rcpt.test"))
        sender.work.add(message(2, remote(), "good@rcpt.test"))
        outcomes = lines(await sender.outcomes(5))
        assert outcomes[:4] == [NOBODY, NOBODY, NOBODY, DELIVERED]
    assert peer.messages[0].connection == 1 and peer.quit_count >= 1


def test_which_limits_leave_other_hosts_and_other_addresses_of_ours() -> None:
    kinds = ("domain", "relay", "source", "connector", "host", "route")
    assert [kind for kind in kinds if Limited(1, kind).is_of_host] == ["host", "route"]
    assert [kind for kind in kinds if Limited(1, kind).is_of_source] == ["source", "connector", "route"]
