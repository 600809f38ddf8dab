"""`limit mta` in a fleet with three mta: what the peers see of it. Connections are counted where they arrive."""

import itertools
import time
from collections.abc import Iterator

import pytest

from smtpfleet.contracts import keys
from smtpfleet.local.replica import Replica
from tests.path.ground import DEADLINE_S, Ground, mail, until
from tests.support.peer import Peer, Script

pytestmark = [pytest.mark.path, pytest.mark.connected]

WORKERS = 3
LEASE_S = 3.0
RECHECK_S = 5.1
"""scripts/connect.lua RECHECK_MS, with one in line."""

CONFIG = """\
table domains { "example.test" }
table users file:@ETC@/users
limit mta session-mail-max 5 session-keepalive 1
limit mta for domain two.test max-conn-per-host 2
limit mta for domain narrow.test max-conn-per-host 2
limit mta for domain one.test max-conn-per-host 1
limit mta for domain left.test max-conn-per-host 1
limit mta for domain right.test max-conn-per-host 1
limit mta for domain long.test max-conn-per-host 1
limit mta for domain scheduler.test max-conn-per-host 2
limit mta for domain nats.test max-conn-per-host 2
limit mta for domain spaced.test conn-delay-route 1
limit mta for domain restful.test max-conn-per-host 1 reconn-delay-route 1
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
accept from any for domain <domains> userbase <users> deliver to maildir "~/Maildir"
accept from local for domain "via.test" relay via "smtp://narrow.test:@PEER_PORT@"
accept from local for any relay
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    scheduler: dict[str, object] = {"lease_ms": int(LEASE_S * 1000)}
    root = tmp_path_factory.mktemp("limits")
    with Ground(root, replicas={"mta": WORKERS}, config=CONFIG, settings={"scheduler": scheduler}) as running:
        yield running


def send(ground: Ground, domain: str, count: int) -> list[str]:
    """So many messages over one session; their msgids."""
    with ground.client() as client:
        return [client.deliver("alice@example.test", [f"carol@{domain}"], mail(domain)) for _ in range(count)]


def gaps_s(peer: Peer) -> list[float]:
    """Seconds between each connection and the one before."""
    return [after - before for before, after in itertools.pairwise(peer.connected_at)]


def held_count(ground: Ground, peer: Peer) -> int:
    """Permits of the host that have not run out."""
    redis = ground.fleet.redis
    now = redis.command("TIME")
    assert isinstance(now, list)
    key = f"{keys.CONNECTIONS_TAG}held:host:{peer.address}"
    return int(str(redis.command("ZCOUNT", key, int(str(now[0])) * 1000, "+inf")))


def worker_at(ground: Ground, peer: Peer) -> Replica:
    """The mta that connected to the peer last."""

    def look() -> list[tuple[str, Replica]]:
        found = []
        for index in range(WORKERS):
            replica = ground.fleet.replica("mta", index)
            lines = [line for line in replica.log_text.splitlines() if f"smtp://{peer.address}:" in line]
            found += [(lines[-1], replica)] if lines else []
        return found

    return max(until(look, "a worker that connects"), key=lambda pair: pair[0])[1]


@pytest.mark.parametrize(
    ("domain", "exchanger"),
    [("two.test", ""), ("via.test", "narrow.test")],
    ids=["a domain", "a host that is relayed via"],
)
def test_no_host_sees_more_connections_than_the_limit_says(ground: Ground, domain: str, exchanger: str) -> None:
    script = Script(slow_s=0.02)
    if exchanger:
        peer = ground.world.peer(script)
        ground.world.publish(f"{exchanger}. 60 IN A {peer.address}")
    else:
        peer = ground.world.exchanger(domain, script)
    for msgid in send(ground, domain, 60):
        ground.await_done(msgid)
    assert len(peer.messages) == 60 and peer.most_open_count == 2
    per_connection = [sum(m.connection == n for m in peer.messages) for n in range(1, peer.connection_count + 1)]
    assert max(per_connection) == 5, "session-mail-max of the defaults above"
    until(lambda: held_count(ground, peer) == 0, "no permit left")


def test_a_limit_of_one_domain_is_none_of_another(ground: Ground) -> None:
    peer = ground.world.exchanger("free.test", Script(slow_s=0.02))
    for msgid in send(ground, "free.test", 60):
        ground.await_done(msgid)
    assert len(peer.messages) == 60 and 2 < peer.most_open_count <= 5
    assert min(gaps_s(peer)) < 0.5


def test_connections_of_a_route_are_spaced(ground: Ground) -> None:
    peer = ground.world.exchanger("spaced.test", Script(slow_s=0.01))
    for msgid in send(ground, "spaced.test", 20):
        ground.await_done(msgid)
    assert len(peer.messages) == 20 and peer.connection_count >= 4
    # A worker connects some milliseconds after it was allowed to: the gaps at the peer waver about the second.
    assert min(gaps_s(peer)) > 0.8


def test_a_route_rests_between_two_connections(ground: Ground) -> None:
    peer = ground.world.exchanger("restful.test")
    for msgid in send(ground, "restful.test", 15):
        ground.await_done(msgid)
    assert len(peer.messages) == 15 and peer.most_open_count == 1
    assert min(gaps_s(peer)) > 0.8


def test_two_domains_on_one_host_take_turns(ground: Ground) -> None:
    peer = ground.world.exchanger("left.test", Script(slow_s=0.02))
    ground.world.publish("right.test. 60 IN MX 10 mx.left.test.")
    started_at = time.monotonic()
    for msgid in send(ground, "left.test", 25) + send(ground, "right.test", 25):
        ground.await_done(msgid)
    order = [message.rcpts[0].partition("@")[2] for message in peer.messages]
    assert (len(order), peer.most_open_count) == (50, 1)
    turns = [name for name, _ in itertools.groupby(order)]
    assert len(turns) >= 6, turns
    assert time.monotonic() - started_at < 2 * RECHECK_S + 10, "turns are passed on, not waited for"


def test_a_dead_worker_blocks_a_host_no_longer_than_its_lease(ground: Ground) -> None:
    script = Script(raw={"greeting": b""})  # says nothing, so the session stays where it is
    peer = ground.world.exchanger("one.test", script)
    (msgid,) = send(ground, "one.test", 1)
    until(lambda: peer.connection_count == 1, "a connection")
    dead = worker_at(ground, peer)
    dead.kill9()
    killed_at = time.monotonic()
    script.raw.clear()
    assert held_count(ground, peer) == 1
    until(lambda: held_count(ground, peer) == 0 or peer.connection_count > 1, "the permit gone", LEASE_S + 1)
    ground.await_done(msgid, deadline_s=LEASE_S + RECHECK_S + 3)
    assert time.monotonic() - killed_at < LEASE_S + RECHECK_S + 3
    assert len(peer.messages) == 1
    dead.start()


def test_a_session_longer_than_a_lease_keeps_its_permits(ground: Ground) -> None:
    # Workers that never had a lease do not know yet how long one is.
    for index in range(WORKERS):
        worker = ground.fleet.replica("mta", index)
        worker.term()
        assert worker.wait(DEADLINE_S) == 0
        worker.start()
    peer = ground.world.exchanger("long.test", Script(slow_s=0.3))
    started_at = time.monotonic()
    for msgid in send(ground, "long.test", 10):
        ground.await_done(msgid)
    assert time.monotonic() - started_at > 2 * LEASE_S
    assert len(peer.messages) == 10 and peer.most_open_count == 1


@pytest.mark.parametrize("victim", ["scheduler", "nats"])
def test_what_dies_takes_neither_mail_nor_permits_with_it(ground: Ground, victim: str) -> None:
    peer = ground.world.exchanger(f"{victim}.test", Script(slow_s=0.02))
    msgids = send(ground, f"{victim}.test", 40)
    until(lambda: len(peer.messages) > 5, "some mail there")
    dying = ground.fleet.nats if victim == "nats" else ground.fleet.replica(victim)
    dying.kill9()
    time.sleep(0.5)
    dying.start()
    until(lambda: len(peer.messages) >= 40, "all the mail there")
    ground.fleet.await_ready()
    for msgid in msgids:
        ground.await_done(msgid)
    assert len(peer.messages) == 40 and peer.most_open_count == 2
    until(lambda: held_count(ground, peer) == 0, "no permit left")
