"""Which hosts take mail for a relay, from a real DNS server."""

from typing import Any

import pytest

from smtpfleet.mta.exchanger import HostWalk
from smtpfleet.runtime.resolver import Resolver
from tests.support.zone import serve_zone
from tests.unit.mta.building import remote

ZONE = """
pref.test.    60 IN MX 20 b.mx.test.
pref.test.    60 IN MX 10 a.mx.test.
pref.test.    60 IN MX 30 c.mx.test.
equal.test.   60 IN MX 10 a.mx.test.
equal.test.   60 IN MX 10 b.mx.test.
equal.test.   60 IN MX 10 c.mx.test.
a.mx.test.    60 IN A 192.0.2.1
a.mx.test.    60 IN AAAA 2001:db8::1
b.mx.test.    60 IN A 192.0.2.2
c.mx.test.    60 IN A 192.0.2.3
nomx.test.    60 IN A 192.0.2.4
null.test.    60 IN MX 0 .
local.test.   60 IN MX 10 localhost.
holes.test.   60 IN MX 10 gone.mx.test.
holes.test.   60 IN MX 20 b.mx.test.
ill.test.     60 IN MX 10 ill.mx.test.
ill.test.     60 IN MX 20 b.mx.test.
empty.test.   60 IN MX 10 gone.mx.test.
allill.test.  60 IN MX 10 ill.mx.test.
ill.mx.test.  SERVFAIL
broken.test.  SERVFAIL
twice.test.   60 IN MX 10 b.mx.test.
twice.test.   60 IN MX 20 b2.mx.test.
b2.mx.test.   60 IN A 192.0.2.2
bare.test.    60 IN TXT x
"""


async def walk(domain: str, *, shuffle: Any = lambda records: None, **relay: Any) -> tuple[list[str], str]:
    """Addresses in order, and the failure's line."""
    relay = {"is_host": False} | relay
    async with serve_zone(ZONE) as zone:
        hosts = HostWalk(Resolver((zone.nameserver,), timeout_s=0.5), remote(domain, **relay), shuffle)
        addresses = []
        while (host := await hosts.next_host()) is not None:
            addresses.append(host.address)
        return addresses, hosts.failure.line if hosts.failure else ""


@pytest.mark.parametrize(
    ("domain", "addresses"),
    [
        pytest.param("pref.test", ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"], id="ascending preference"),
        pytest.param("nomx.test", ["192.0.2.4"], id="no MX: the domain itself"),
        pytest.param("holes.test", ["192.0.2.2"], id="an MX without address is passed over"),
        pytest.param("ill.test", ["192.0.2.2"], id="an MX nobody can look up is passed over"),
        pytest.param("twice.test", ["192.0.2.2"], id="no address twice"),
        pytest.param("[192.0.2.7]", ["192.0.2.7"], id="IPv4 literal"),
        pytest.param("[IPv6:2001:db8::7]", ["2001:db8::7"], id="IPv6 literal"),
    ],
)
async def test_order(domain: str, addresses: list[str]) -> None:
    assert await walk(domain) == (addresses, "")


@pytest.mark.parametrize(
    ("domain", "failure"),
    [
        pytest.param("null.test", "556 5.1.10 Domain does not accept mail", id="null MX (RFC 7505)"),
        pytest.param("local.test", "556 5.1.10 Domain does not accept mail", id="MX localhost"),
        pytest.param("nowhere.test", "550 5.1.2 Domain does not exist", id="NXDOMAIN"),
        pytest.param("a..b", "550 5.1.2 Invalid domain name", id="no domain name"),
        pytest.param("broken.test", "451 4.4.3 Temporary failure in MX lookup", id="SERVFAIL for the MX: no fallback"),
        pytest.param(
            "allill.test", "451 4.4.3 Temporary failure in MX lookup", id="SERVFAIL for the only MX's address"
        ),
        pytest.param("empty.test", "451 4.4.4 No MX found for domain", id="no MX has an address"),
        pytest.param("bare.test", "451 4.4.4 No MX found for domain", id="neither MX nor address"),
    ],
)
async def test_failures(domain: str, failure: str) -> None:
    assert await walk(domain) == ([], failure)


async def test_equal_preference_is_shuffled_and_preference_still_counts() -> None:
    assert (await walk("equal.test", shuffle=lambda records: records.sort(key=lambda r: r.name, reverse=True)))[0][
        0
    ] == "192.0.2.3"
    assert (await walk("pref.test", shuffle=lambda records: records.reverse()))[0][0] == "192.0.2.1"


async def test_a_host_is_not_asked_for_its_mx() -> None:
    assert await walk("b.mx.test", is_host=True) == (["192.0.2.2"], "")
    assert await walk("192.0.2.8", is_host=True) == (["192.0.2.8"], "")
    assert await walk("nowhere.test", is_host=True) == ([], "451 4.4.4 Host not found")


async def test_a_backup_hands_on_to_better_exchangers_only() -> None:
    assert (await walk("pref.test", backup="B.mx.test"))[0] == ["192.0.2.1", "2001:db8::1"]
    assert await walk("pref.test", backup="a.mx.test") == ([], "451 4.4.4 No MX found for destination")
    assert len((await walk("pref.test", backup="other.test"))[0]) == 4
