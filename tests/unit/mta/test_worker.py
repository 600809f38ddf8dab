"""Leases, permits, keep-alive, limits and drain of a worker."""

import asyncio

from smtpfleet.mta.connector import FIRST_BATCH
from smtpfleet.mta.session import NEXT_STATES, SessionState
from tests.support.peer import Script, scripted_peer
from tests.unit.mta.building import fleet, message, remote
from tests.unit.mta.test_delivery import lines

DELIVERED = ("delivered", "250 2.0.0 Ok: queued")


async def test_many_messages_share_a_connection_up_to_the_limit() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.snapshot.limit(session_mail_max=4)
        sender.work.add(*(message(n, remote()) for n in range(1, 11)))
        assert lines(await sender.outcomes(10)) == [DELIVERED] * 10
    assert [received.connection for received in peer.messages] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert peer.quit_count == 3


async def test_an_idle_session_is_kept_and_used_again() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, keepalive_s=5) as sender:
        for number in range(1, 4):
            sender.work.add(message(number, remote()))
            await sender.outcomes(number)
    assert (peer.connection_count, len(peer.messages), peer.quit_count) == (1, 3, 1)


async def test_a_peer_that_hung_up_meanwhile_costs_no_attempt() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, keepalive_s=5) as sender:
        sender.work.add(message(1, remote()))
        await sender.outcomes(1)
        peer.hang_up()
        sender.work.add(message(2, remote()))
        assert lines(await sender.outcomes(2)) == [DELIVERED] * 2
    assert peer.connection_count == 2


async def test_the_first_lease_is_small_and_the_next_fits_the_pace() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.work.add(*(message(n, remote()) for n in range(1, 131)))
        await sender.outcomes(130)
        sizes = [len(lease.evpids) for lease in sender.work.leases]
    assert sizes[0] == FIRST_BATCH
    assert max(sizes[1:]) > FIRST_BATCH


async def test_a_slow_peer_gets_small_leases() -> None:
    """Four replies a message and 20 ms each: about six messages fit into the half second a lease is to last."""
    async with scripted_peer(Script(slow_s=0.02)) as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.work.add(*(message(n, remote()) for n in range(1, 2 * FIRST_BATCH + 1)))
        await sender.outcomes(2 * FIRST_BATCH)
        sizes = [len(lease.evpids) for lease in sender.work.leases]
    assert sizes[0] == FIRST_BATCH
    assert 1 <= sizes[1] < FIRST_BATCH


async def test_outcomes_travel_together() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.work.add(*(message(n, remote()) for n in range(1, 41)))
        await sender.outcomes(40)
    assert len(sender.work.report_sizes) < 20
    assert sum(sender.work.report_sizes) == 40


async def test_permits_are_held_while_a_session_lives_and_given_back() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port, keepalive_s=5) as sender:
        relay = remote()
        sender.work.add(message(1, relay))
        await sender.outcomes(1)
        assert [holder for _, holder in sender.work.permits] == ["mta-test:1"]
    assert sender.work.permits == set()


async def test_nothing_is_sent_under_a_lost_lease() -> None:
    async with scripted_peer(Script(slow_s=0.05)) as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.work.add(*(message(n, remote()) for n in range(1, 6)))
        await sender.outcomes(1)
        sender.work.leases[0].is_lost = True
        await sender.until(lambda: bool(sender.work.leases[0].is_finished))
    assert len(sender.work.outcomes) + len(sender.work.released) == 5
    # The message whose turn it was when the lease was lost may be finished; none after it.
    assert len(peer.messages) == len(sender.work.outcomes) < 5


async def test_drain_finishes_the_transaction_and_gives_back_the_rest() -> None:
    async with scripted_peer(Script(slow_s=0.05)) as peer, fleet(mx_port=peer.port, max_sessions=1) as sender:
        sender.work.add(*(message(n, remote()) for n in range(1, 9)))
        await sender.outcomes(1)
    work = sender.work
    assert len(work.outcomes) + len(work.released) == 8
    assert work.released
    assert {kind for kind, _ in lines(list(work.outcomes.values()))} == {"delivered"}
    assert len(peer.messages) == len(work.outcomes)
    assert sender.worker.connector_count == 0


async def test_relays_do_not_wait_for_each_other() -> None:
    async with (
        scripted_peer(Script(raw={"greeting": b""})) as silent,
        scripted_peer() as peer,
        fleet(mx_port=peer.port) as sender,
    ):
        sender.work.add(message(1, remote(port=silent.port)))
        sender.work.add(message(2, remote()))
        await sender.outcomes(1)
        assert lines(list(sender.work.outcomes.values())) == [DELIVERED]


async def test_no_more_sessions_than_allowed() -> None:
    async with scripted_peer(Script(slow_s=0.02)) as peer, fleet(mx_port=peer.port, max_sessions=2) as sender:
        seen = 0
        for number in range(1, 41):
            sender.work.add(message(number, remote(helo=f"h{number}.test")))
        while len(sender.work.outcomes) < 40:
            sender.work.changed.clear()
            seen = max(seen, sender.worker.connector_count)
            async with asyncio.timeout(5):
                await sender.work.changed.wait()
    assert seen <= 2
    assert {received.helo for received in peer.messages} == {f"h{number}.test" for number in range(1, 41)}


def test_every_state_has_a_way_out_and_only_closed_is_the_end() -> None:
    assert set(NEXT_STATES) == set(SessionState)
    assert [state for state, following in NEXT_STATES.items() if not following] == [SessionState.CLOSED]
    assert all(
        SessionState.CLOSED in following for state, following in NEXT_STATES.items() if state is not SessionState.CLOSED
    )
