"""DNS: MX, addresses and PTR, asked through dnspython and kept as long as their TTL allows. The only importer of dns.

Answers are values; what a caller must treat differently is an exception of its own (no such domain, no answer for now, no valid name).
Negative answers are kept too (RFC 2308), temporary failures never. Questions asked at the same time are asked once. Decides nothing
about mail: preference, fallback and null MX are mta's. OpenSMTPD: dns.c over libasr, which keeps nothing.
"""

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename

TTL_MIN_S = 5.0
"""A TTL of 0 would mean a question per message; chosen."""
TTL_MAX_S = 86400.0
"""RFC 2181 §8 leaves the bound to us: a day, so that a slip in a zone does not stay for weeks."""
NEGATIVE_TTL_S = 60.0
"""For a negative answer without SOA, which RFC 2308 §5 says not to keep for long; chosen."""
CACHE_LIMIT = 20_000
"""Answers kept, about 1 KiB each; chosen."""


class DnsFailure(Exception):
    """There is no answer; the subclass says what that means."""


class DnsTemporary(DnsFailure):
    """Nobody could say: timeout, SERVFAIL, refused. Ask later."""


class DnsNoSuchDomain(DnsFailure):
    """The name does not exist (NXDOMAIN)."""


class DnsBadName(DnsFailure):
    """The text is no domain name."""


class BadNameservers(ValueError):
    """The setting that names the DNS servers cannot be used."""


class MxHost(NamedTuple):
    """One MX record; name is lower case without the final dot, "" for the null MX (RFC 7505)."""

    preference: int
    name: str


class _Kept(NamedTuple):
    expires_at: float
    value: Any
    failure: type[DnsFailure] | None


class Resolver:
    """Asks the given servers (`ADDRESS` or `ADDRESS:PORT`), or the system's where none are given."""

    def __init__(
        self,
        nameservers: tuple[str, ...] = (),
        *,
        timeout_s: float = 10.0,
        cache_limit: int = CACHE_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_system = not nameservers
        self._asker = _build_asker(nameservers, timeout_s)
        self._cache_limit = cache_limit
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[Any]] = {}

    async def mx(self, domain: str) -> list[MxHost]:
        """MX records in no order; empty where the domain exists and has none. Raises DnsFailure."""
        found: list[MxHost] = await self._once("MX", domain, lambda: self._ask("MX", domain, _read_mx))
        return found

    async def addresses(self, name: str) -> list[str]:
        """IPv4 addresses, then IPv6 (container networks rarely route it); empty where the name has none. Raises DnsFailure."""
        if name.lower() == "localhost":  # RFC 6761 §6.3: never asked
            return ["127.0.0.1", "::1"]
        if self._is_system and "." not in name:
            hosts: list[str] = await self._once("host", name, lambda: self._ask_system(name))
            return hosts
        results = await asyncio.gather(
            self._once("A", name, lambda: self._ask("A", name, _read_address)),
            self._once("AAAA", name, lambda: self._ask("AAAA", name, _read_address)),
            return_exceptions=True,
        )
        found: list[str] = []
        failures: list[DnsFailure] = []
        for result in results:
            if isinstance(result, DnsFailure):
                failures.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                found.extend(result)
        if failures and not found:
            # One family's NXDOMAIN is the name's; a mere failure of one family hides what it might have had.
            raise next((f for f in failures if isinstance(f, DnsNoSuchDomain)), failures[0])
        return found

    async def ptr(self, address: str) -> str:
        """The name of an address, lower case without the final dot; "" where it has none. Raises DnsTemporary, DnsBadName."""
        try:
            name = dns.reversename.from_address(address.partition("%")[0]).to_text(omit_final_dot=True)
        except (dns.exception.DNSException, ValueError):
            raise DnsBadName(address) from None
        try:
            names: list[str] = await self._once("PTR", name, lambda: self._ask("PTR", name, _read_ptr))
        except DnsNoSuchDomain:
            return ""
        return names[0] if names else ""

    async def confirmed_name(self, address: str) -> str:
        """The PTR name of `address` where that name leads back to it (RFC 1912 §2.1); "" where there is none or it lies. Raises
        DnsTemporary where nobody could say."""
        try:
            name = await self.ptr(address)
            known = await self.addresses(name) if name else []
        except DnsTemporary:
            raise
        except DnsFailure:
            return ""
        wanted = ipaddress.ip_address(address.partition("%")[0])
        return name if any(ipaddress.ip_address(each) == wanted for each in known) else ""

    # one question at a time, kept

    async def _once(self, kind: str, name: str, ask: Callable[[], Awaitable[_Kept]]) -> Any:
        key = (kind, name.lower())
        kept = self._kept.get(key)
        if kept is None or kept.expires_at <= self._clock():
            asking = self._asking.get(key)
            if asking is None:
                asking = asyncio.ensure_future(self._keep(key, ask))
                self._asking[key] = asking
                asking.add_done_callback(lambda _: self._asking.pop(key, None))
            # Shielded: one impatient caller must not take the answer from the others.
            kept = await asyncio.shield(asking)
        else:
            self._kept.move_to_end(key)
        assert kept is not None
        if kept.failure is not None:
            raise kept.failure(name)
        return kept.value

    async def _keep(self, key: tuple[str, str], ask: Callable[[], Awaitable[_Kept]]) -> _Kept:
        kept = await ask()
        if kept.failure not in (DnsTemporary, DnsBadName):
            self._kept[key] = kept
            self._kept.move_to_end(key)
            if len(self._kept) > self._cache_limit:
                self._kept.popitem(last=False)
        return kept

    async def _ask(self, kind: str, name: str, read: Callable[[Any], Any]) -> _Kept:
        try:
            qname = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return _Kept(0.0, None, DnsBadName)
        try:
            answer = await self._asker.resolve(qname, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            response: dns.message.QueryMessage = error.response(qname)  # type: ignore[no-untyped-call]
            return self._made(None, _negative_ttl_s(response), DnsNoSuchDomain)
        except (dns.exception.DNSException, OSError):
            # NoNameservers (SERVFAIL, REFUSED, garbage), LifetimeTimeout, YXDOMAIN, network errors: nobody could say.
            return _Kept(0.0, None, DnsTemporary)
        if answer.rrset is None:
            return self._made([], _negative_ttl_s(answer.response))
        return self._made([read(record) for record in answer.rrset], float(answer.chaining_result.minimum_ttl))

    async def _ask_system(self, name: str) -> _Kept:
        """Names of one label: the hosts file and search list of the machine know them (`sink`, `postfix` in a compose network)."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            is_unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            return self._made(None, TTL_MIN_S, DnsNoSuchDomain) if is_unknown else _Kept(0.0, None, DnsTemporary)
        return self._made(list(dict.fromkeys(str(row[4][0]) for row in found)), TTL_MIN_S)

    def _made(self, value: Any, ttl_s: float, failure: type[DnsFailure] | None = None) -> _Kept:
        return _Kept(self._clock() + min(max(ttl_s, TTL_MIN_S), TTL_MAX_S), value, failure)


def _build_asker(nameservers: tuple[str, ...], timeout_s: float) -> dns.asyncresolver.Resolver:
    try:
        asker = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:
        raise BadNameservers("the system names no DNS server; set the nameservers") from None
    if nameservers:
        asker.nameservers = [_nameserver(text) for text in nameservers]
    asker.lifetime = timeout_s
    # So that a silent server leaves time for the next one.
    asker.timeout = min(asker.timeout, timeout_s / 2)
    return asker


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`."""
    address, port = text, "53"
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise BadNameservers(f"{text!r}: expected [ADDRESS]:PORT of a DNS server")
        port = rest[1:] or port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise BadNameservers(f"{text!r}: expected ADDRESS or ADDRESS:PORT of a DNS server") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadNameservers(f"{text!r}: the port must be a number from 1 to 65535")
    return dns.nameserver.Do53Nameserver(address, int(port))


def _negative_ttl_s(response: dns.message.QueryMessage) -> float:
    """How long a negative answer may be kept: the SOA says (RFC 2308 §5)."""
    if any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority):
        return float(response.resolve_chaining().minimum_ttl)
    return NEGATIVE_TTL_S


def _read_mx(record: Any) -> MxHost:
    return MxHost(int(record.preference), _name_text(record.exchange))


def _read_address(record: Any) -> str:
    return str(record.address)


def _read_ptr(record: Any) -> str:
    return _name_text(record.target)


def _name_text(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()
