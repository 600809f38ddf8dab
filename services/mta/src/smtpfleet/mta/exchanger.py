"""Which hosts take mail for a relay, in the order they are to be tried.

Owns RFC 5321 §5.1 (preference, equal preference shuffled, the domain itself where there is no MX), the null MX (RFC 7505), literals,
`relay via` hosts and `backup`. Addresses of an exchanger are looked up only when its turn comes. Never connects. Used by connector.py.
OpenSMTPD: dns.c, mta.c:mta_on_mx; texts of reference 7.4.
"""

import ipaddress
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smtpfleet.contracts.envelope import RemoteDispatcher
from smtpfleet.contracts.status import Status
from smtpfleet.runtime.resolver import DnsBadName, DnsFailure, DnsNoSuchDomain, DnsTemporary, MxHost, Resolver

S556_NULL_MX = Status(556, "5.1.10", "Domain does not accept mail")
S550_NO_SUCH_DOMAIN = Status(550, "5.1.2", "Domain does not exist")
S550_BAD_DOMAIN = Status(550, "5.1.2", "Invalid domain name")
S451_LOOKUP_FAILED = Status(451, "4.4.3", "Temporary failure in MX lookup")
S451_NO_MX = Status(451, "4.4.4", "No MX found for domain")
S451_NO_BETTER_MX = Status(451, "4.4.4", "No MX found for destination")
S451_HOST_NOT_FOUND = Status(451, "4.4.4", "Host not found")


@dataclass(frozen=True, slots=True)
class Host:
    """One remote address. name: the exchanger's, or the address in brackets where it has none; tls_name: what its certificate is to
    show, "" for a bare address. preference: of its MX record, 0 without one."""

    address: str
    name: str
    tls_name: str
    preference: int = 0


class HostWalk:
    """The hosts of one relay, one after the other. `failure` says, after the first None, why there was none at all."""

    def __init__(
        self, resolver: Resolver, dispatcher: RemoteDispatcher, shuffle: Callable[[list[Any]], None] = random.shuffle
    ) -> None:
        self._resolver = resolver
        self._dispatcher = dispatcher
        self._shuffle = shuffle
        self._names: list[tuple[int, str]] | None = None
        self._hosts: list[Host] = []
        self._seen: set[str] = set()
        self._had_temporary = False
        self.failure: Status | None = None

    async def next_host(self) -> Host | None:
        """The next host, or None when there is no more."""
        if self._names is None:
            self._names = await self._find_names()
        while not self._hosts and self._names:
            await self._look_up(*self._names.pop(0))
        if self._hosts:
            return self._hosts.pop(0)
        if not self._seen and self.failure is None:
            self.failure = self._nothing_found()
        return None

    def put_back(self, hosts: list[Host]) -> None:
        """These come next, as if they had not been taken."""
        self._hosts[:0] = hosts

    def _nothing_found(self) -> Status:
        if self._had_temporary:
            return S451_LOOKUP_FAILED
        return S451_HOST_NOT_FOUND if self._dispatcher.is_host else S451_NO_MX

    async def _look_up(self, preference: int, name: str) -> None:
        """Addresses of one exchanger; an exchanger without any is passed over (RFC 5321 §5.1 has no word for it, everybody does)."""
        try:
            addresses = await self._resolver.addresses(name)
        except DnsTemporary:
            self._had_temporary = True
            return
        except DnsFailure:
            return
        for address in addresses:
            if address not in self._seen:
                self._seen.add(address)
                self._hosts.append(Host(address, name, name, preference))

    async def _find_names(self) -> list[tuple[int, str]]:
        """Preferences and names of exchangers in order, or an empty list with `failure` set or the literal's host at hand."""
        domain = self._dispatcher.domain
        address = _literal(domain)
        if address:
            self._seen.add(address)
            self._hosts.append(Host(address, f"[{address}]", ""))
            return []
        if self._dispatcher.is_host:
            return [(0, domain)]
        try:
            records = await self._resolver.mx(domain)
        except DnsTemporary:
            self.failure = S451_LOOKUP_FAILED
        except DnsNoSuchDomain:
            self.failure = S550_NO_SUCH_DOMAIN
        except DnsBadName:
            self.failure = S550_BAD_DOMAIN
        else:
            return self._order(records) if records else [(0, domain)]
        return []

    def _order(self, records: list[MxHost]) -> list[tuple[int, str]]:
        # RFC 7505 §3 knows the null MX as the only record; `localhost` means the same in the wild (OpenSMTPD 7.8).
        names = [record.name for record in records]
        if all(name in ("", "localhost") for name in names):
            self.failure = S556_NULL_MX
            return []
        records = [record for record in records if record.name]
        own = self._dispatcher.backup.lower().rstrip(".")
        limit = min((record.preference for record in records if own and record.name == own), default=None)
        if limit is not None:
            # We are one of the exchangers: only better ones, or mail would go in circles (reference 7.4).
            records = [record for record in records if record.preference < limit]
            if not records:
                self.failure = S451_NO_BETTER_MX
        self._shuffle(records)
        return [(record.preference, record.name) for record in sorted(records, key=lambda record: record.preference)]


def _literal(domain: str) -> str:
    """The address in `[192.0.2.1]`, `[IPv6:2001:db8::1]` or a bare address; "" where `domain` is a name."""
    text = domain[1:-1] if domain.startswith("[") and domain.endswith("]") else domain
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
