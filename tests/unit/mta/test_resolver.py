"""DNS over real sockets: answers, kinds of failure, and what is kept how long."""

import asyncio

import pytest

from smtpfleet.runtime.resolver import (
    BadNameservers,
    DnsBadName,
    DnsNoSuchDomain,
    DnsTemporary,
    MxHost,
    Resolver,
)
from tests.support.zone import NEGATIVE_TTL_S, serve_zone

ZONE = """
two.test.    60 IN MX 10 MX1.two.test.
two.test.    60 IN MX 20 mx2.two.test.
null.test.   60 IN MX 0 .
mx1.two.test. 60 IN A 192.0.2.1
mx1.two.test. 60 IN AAAA 2001:db8::1
mx2.two.test. 60 IN A 192.0.2.2
alias.test.  60 IN CNAME mx2.two.test.
forever.test. 0 IN A 192.0.2.3
1.2.0.192.in-addr.arpa. 60 IN PTR Mx1.two.test.
broken.test. SERVFAIL
refused.test. REFUSED
silent.test. TIMEOUT
big.test. TRUNCATE
big.test.    60 IN A 192.0.2.9
"""


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_answers() -> None:
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,))
        assert sorted(await resolver.mx("two.test")) == [MxHost(10, "mx1.two.test"), MxHost(20, "mx2.two.test")]
        assert await resolver.mx("null.test") == [MxHost(0, "")]
        assert await resolver.mx("mx2.two.test") == []
        assert await resolver.addresses("mx1.two.test") == ["192.0.2.1", "2001:db8::1"]
        assert await resolver.addresses("alias.test") == ["192.0.2.2"]
        assert await resolver.addresses("null.test") == []
        assert await resolver.ptr("192.0.2.1") == "mx1.two.test"
        assert await resolver.ptr("192.0.2.77") == ""


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("nowhere.test", DnsNoSuchDomain),
        ("broken.test", DnsTemporary),
        ("refused.test", DnsTemporary),
        ("silent.test", DnsTemporary),
        ("a..b.test", DnsBadName),
        ("x" * 64 + ".test", DnsBadName),
    ],
)
async def test_failures_are_told_apart(name: str, failure: type[Exception]) -> None:
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,), timeout_s=0.3)
        with pytest.raises(failure):
            await resolver.mx(name)
        with pytest.raises(failure):
            await resolver.addresses(name)


async def test_a_truncated_answer_is_asked_again_over_tcp() -> None:
    async with serve_zone(ZONE) as zone:
        assert await Resolver((zone.nameserver,)).addresses("big.test") == ["192.0.2.9"]
        assert zone.over_tcp >= 1


async def test_the_next_server_is_asked_when_one_is_silent() -> None:
    async with serve_zone("mx2.two.test. TIMEOUT") as silent, serve_zone(ZONE) as zone:
        resolver = Resolver((silent.nameserver, zone.nameserver), timeout_s=2.0)
        assert await resolver.addresses("mx2.two.test") == ["192.0.2.2"]


async def test_answers_are_kept_for_their_ttl() -> None:
    clock = Clock()
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,), clock=clock)
        for now, asked in ((1000.0, 1), (1059.0, 1), (1061.0, 2)):
            clock.now = now
            await resolver.mx("two.test")
            assert zone.asked[("two.test", "MX")] == asked


async def test_negative_answers_are_kept_and_failures_are_not() -> None:
    clock = Clock()
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,), timeout_s=0.3, clock=clock)
        for now, asked in ((1000.0, 1), (999.0 + NEGATIVE_TTL_S, 1), (1001.0 + NEGATIVE_TTL_S, 2)):
            clock.now = now
            with pytest.raises(DnsNoSuchDomain):
                await resolver.mx("nowhere.test")
            assert zone.asked[("nowhere.test", "MX")] == asked
        zone.asked.clear()
        for _ in range(2):
            with pytest.raises(DnsTemporary):
                await resolver.mx("broken.test")
        assert zone.asked[("broken.test", "MX")] >= 2


async def test_a_ttl_of_zero_is_no_question_per_message() -> None:
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,))
        await resolver.addresses("forever.test")
        await resolver.addresses("forever.test")
        assert zone.asked[("forever.test", "A")] == 1


async def test_the_same_question_at_once_is_asked_once() -> None:
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,))
        await asyncio.gather(*(resolver.mx("two.test") for _ in range(50)))
        assert zone.asked[("two.test", "MX")] == 1


async def test_what_is_kept_is_bounded() -> None:
    async with serve_zone(ZONE) as zone:
        resolver = Resolver((zone.nameserver,), cache_limit=2)
        for domain in ("two.test", "null.test", "mx2.two.test", "two.test"):
            await resolver.mx(domain)
        assert zone.asked[("two.test", "MX")] == 2
        assert len(resolver._kept) == 2


async def test_localhost_is_never_asked() -> None:
    async with serve_zone(ZONE) as zone:
        assert await Resolver((zone.nameserver,)).addresses("LOCALHOST") == ["127.0.0.1", "::1"]
        assert not zone.asked


@pytest.mark.parametrize(
    "text", ["dns.example.test", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:70000", "[::1", "[::1]53", "::zz"]
)
def test_bad_nameservers_are_refused(text: str) -> None:
    with pytest.raises(BadNameservers):
        Resolver((text,))


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]", "[::1]:5353"])
def test_good_nameservers_are_taken(text: str) -> None:
    Resolver((text,))
