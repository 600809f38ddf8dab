"""Before the banner: names looked up over real DNS and confirmed, deadlines, early talkers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from smtpfleet.contracts.configuration import LOCAL_HOST, Table
from smtpfleet.runtime.resolver import Resolver
from smtpfleet.smtp_in.welcome import SILENCES_LIMIT, Welcome
from tests.support.smtp_stage import PEER, Stage, make_configuration
from tests.support.zone import Zone, serve_zone

ZONE = """
9.2.0.192.in-addr.arpa.  60 IN PTR Mx.abroad.test.
mx.abroad.test.          60 IN A 192.0.2.9
10.2.0.192.in-addr.arpa. 60 IN PTR mx.liar.test.
mx.liar.test.            60 IN A 198.51.100.1
11.2.0.192.in-addr.arpa. 60 IN PTR nowhere.test.
12.2.0.192.in-addr.arpa. SERVFAIL
13.2.0.192.in-addr.arpa. TIMEOUT
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 IN PTR six.abroad.test.
six.abroad.test.         60 IN AAAA 2001:db8:0:0::1
"""


@pytest.fixture
async def zone(stage: Stage) -> AsyncIterator[Zone]:
    """A stage that looks up names in ZONE."""
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,), timeout_s=2.0)
        stage.server.welcome = Welcome(resolver, stage.background.spawn, within_s=0.3)
        yield zone


@pytest.mark.parametrize(
    ("peer", "hostname"),
    [
        pytest.param("192.0.2.9", "mx.abroad.test", id="confirmed"),
        pytest.param("2001:db8::1", "six.abroad.test", id="IPv6"),
        pytest.param("192.0.2.10", "<unknown>", id="a name that leads elsewhere"),
        pytest.param("192.0.2.11", "<unknown>", id="a name that does not exist"),
        pytest.param("192.0.2.12", "<unknown>", id="DNS fails"),
        pytest.param("192.0.2.13", "<unknown>", id="DNS is silent"),
        pytest.param("192.0.2.14", "<unknown>", id="no name"),
        pytest.param("127.0.0.1", "<unknown>", id="loopback is not asked for"),
    ],
)
async def test_names(stage: Stage, zone: Zone, peer: str, hostname: str) -> None:
    client = stage.connect(peer)
    await stage.until(lambda: client.written)
    assert client.written.startswith(b"220 mx.example.test ")
    await stage.until(lambda: f"host={hostname}" in stage.log_text.getvalue())
    client.feed(b"HELO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: x\r\n.\r\n")
    await stage.settle()
    (envelope,) = stage.queue.messages[0].envelopes
    assert envelope.hostname == hostname
    assert f"({hostname} [".encode() in stage.queue.contents[0]


async def test_the_rules_hear_only_of_confirmed_names(stage: Stage, zone: Zone) -> None:
    for peer, rdns in ((PEER, "mx.abroad.test"), ("192.0.2.10", "")):
        client = stage.connect(peer)
        await stage.until(lambda: client.written)  # noqa: B023
        client.feed(b"HELO a.test\r\nMAIL FROM:<>\r\n")
        assert client.protocol.session.tx.facts.rdns == rdns


async def test_an_early_talker_is_not_greeted(stage: Stage, zone: Zone) -> None:
    client = stage.connect()
    client.feed(b"HELO a.test\r\n")
    await stage.until(lambda: client.is_closed)
    assert client.written == b"554 5.5.1 Data before the greeting\r\n"


async def test_a_peer_of_our_own_machine_may_talk_early(stage: Stage, zone: Zone) -> None:
    ours = Table(LOCAL_HOST, "list", "static", "", {PEER: ""})
    configuration = make_configuration()
    stage.apply(structs.replace(configuration, tables=configuration.tables | {LOCAL_HOST: ours}))
    client = stage.connect()
    client.feed(b"HELO a.test\r\n")
    await stage.until(lambda: b"250 " in client.written)
    assert client.written.startswith(b"220 mx.example.test ")


async def test_a_peer_that_leaves_before_its_banner(stage: Stage, zone: Zone) -> None:
    client = stage.connect()
    client.feed_eof()
    client.close()
    await stage.until(lambda: not stage.server.connections)
    await stage.until(lambda: stage.server.welcome is not None and stage.server.welcome._under_way == 0)
    stage.log.flush()
    lines = stage.log_text.getvalue().splitlines()
    assert [line.split()[4] for line in lines] == ["connected", "disconnected"], lines
    assert client.written == b""


async def test_answers_are_kept(stage: Stage, zone: Zone) -> None:
    for _ in range(3):
        client = stage.connect()
        await stage.until(lambda: client.written)  # noqa: B023
    assert zone.asked[("9.2.0.192.in-addr.arpa", "PTR")] == 1


async def test_lost_dns_does_not_delay_every_banner(stage: Stage, zone: Zone) -> None:
    loop = asyncio.get_running_loop()
    clients = [stage.connect("192.0.2.13") for _ in range(SILENCES_LIMIT)]
    await stage.until(lambda: all(client.written for client in clients))
    began = loop.time()
    client = stage.connect("192.0.2.13")
    assert client.written.startswith(b"220 ") and loop.time() - began < 0.2


async def test_draining_ends_a_session_that_waits_for_its_banner(stage: Stage, zone: Zone) -> None:
    client = stage.connect("192.0.2.13")
    await asyncio.wait_for(stage.server.drain(), 5)
    assert (client.written.startswith(b"220 ") and b"421 4.3.2" in client.written) or client.written.startswith(b"421 ")
