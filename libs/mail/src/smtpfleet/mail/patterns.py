"""What a list table matches: domains with wildcards, networks, mail addresses, expressions. Compiled once, asked per recipient.

Owns OpenSMTPD's matching, odd corners included: `*` runs to the first occurrence of the character after it and never tries again,
so `*.example.com` holds for one label only. Exact entries and `*.suffix` cost one dict lookup however long the list is. Used by tables.
OpenSMTPD: util.c hostname_match; table.c table_domain_match, table_netaddr_match, table_mailaddr_match.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from smtpfleet.mail.address import without_tag
from smtpfleet.mail.expressions import BadExpression, Expression

PEER_CACHE_COUNT = 4096
"""Peer texts whose parsed address is kept; a session asks for the same one at every RCPT. Chosen, no source."""


class DomainPatterns:
    """Domain names and wildcard patterns. Keys are given in lower case."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._suffixes: set[str] = set()
        rest: list[str] = []
        for entry in entries:
            if "*" not in entry:
                self._exact.add(entry)
            elif entry.startswith("*.") and "*" not in entry[2:]:
                self._suffixes.add(entry[2:])
            else:
                rest.append(_wildcard_source(entry))
        self._is_wildcard_match = re.compile("|".join(rest), re.DOTALL).fullmatch if rest else None

    def matches(self, domain: str) -> bool:
        """Whether an entry matches `domain`, which is in lower case."""
        if domain in self._exact:
            return True
        if self._suffixes:
            _, dot, suffix = domain.partition(".")
            if dot and suffix in self._suffixes:
                return True
        return self._is_wildcard_match is not None and self._is_wildcard_match(domain) is not None


def _wildcard_source(pattern: str) -> str:
    """The pattern as a regular expression without backtracking. A `*` at the end needs one character, any other needs none."""
    parts = re.split(r"\*+", pattern)
    source = [re.escape(parts[0])]
    for part in parts[1:]:
        source.append(rf"[^{re.escape(part[0])}]*+{re.escape(part)}" if part else ".++")
    return "".join(source)


class NetworkPatterns:
    """Addresses, networks in CIDR form and words such as `local`. Entries are given in lower case."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._networks: dict[tuple[int, int], set[int]] = {}
        for entry in entries:
            text = bare_address(entry)
            self._exact.add(text)
            try:
                network = ipaddress.ip_network(text, strict=False)
            except ValueError:
                continue  # a word: equality is all it can have
            shift = network.max_prefixlen - network.prefixlen
            self._networks.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)

    def matches(self, peer: str) -> bool:
        """Whether `peer`, an address with or without `IPv6:` or a word, is among the entries or inside a network of them."""
        if peer in self._exact:
            return True
        found = _parse_peer(peer)
        if found is None:
            return False
        version, number = found
        for (network_version, shift), networks in self._networks.items():
            if network_version == version and (number >> shift) in networks:
                return True
        return False


def bare_address(text: str) -> str:
    """Without brackets and `ipv6:`, both of which OpenSMTPD writes."""
    text = text.strip().lower()
    if text.startswith("[") and "]" in text:
        text = text[1:].replace("]", "", 1)
    return text.removeprefix("ipv6:")


@lru_cache(maxsize=PEER_CACHE_COUNT)
def _parse_peer(peer: str) -> tuple[int, int] | None:
    """Family and number of an address. A scope is dropped; an IPv4 address mapped into IPv6 counts as IPv4."""
    try:
        address = ipaddress.ip_address(bare_address(peer).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


class AddressPatterns:
    """Entries `user@domain`, `@domain`, both with wildcards in the domain, `user` (any domain) and `@` (the null sender)."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._users: set[str] = set()
        wildcards: dict[str, list[str]] = {}
        for entry in entries:
            user, at, domain = entry.rpartition("@")
            if not at:
                self._users.add(entry)
            elif "*" in domain:
                wildcards.setdefault(user, []).append(domain)
            else:
                self._exact.add(entry)
        self._wildcards = {user: DomainPatterns(domains) for user, domains in wildcards.items()}

    def matches(self, address: str) -> bool:
        """Whether an entry matches `address`, in lower case; "" is the null sender."""
        if not address:
            return "@" in self._exact
        if address in self._exact:
            return True
        user, _, domain = address.rpartition("@")
        if user in self._users or (domain and f"@{domain}" in self._exact):
            return True
        return bool(self._wildcards) and any(
            patterns.matches(domain)
            for patterns in (self._wildcards.get(user), self._wildcards.get(""))
            if patterns is not None
        )


class ModernAddressPatterns:
    """The same entries as OpenSMTPD 7.x reads them: `@` is everyone, a subaddress counts only where the entry has one itself."""

    def __init__(self, entries: Iterable[str], delimiter: str) -> None:
        self._delimiter = delimiter
        self._is_catch_all = False
        self._exact: set[str] = set()
        self._users: set[str] = set()
        domains: list[str] = []
        wildcards: dict[str, list[str]] = {}
        for entry in entries:
            user, at, domain = entry.rpartition("@")
            if not at:
                self._users.add(entry)
            elif not domain:
                if user:
                    self._users.add(user)
                else:
                    self._is_catch_all = True
            elif not user:
                domains.append(domain)
            elif "*" in domain:
                wildcards.setdefault(user, []).append(domain)
            else:
                self._exact.add(entry)
        self._domains = DomainPatterns(domains)
        self._wildcards = {user: DomainPatterns(patterns) for user, patterns in wildcards.items()}

    def matches(self, address: str) -> bool:
        """Whether an entry matches `address`, in lower case; "" is the null sender, which only `@` matches."""
        if self._is_catch_all:
            return True
        user, at, domain = address.rpartition("@")
        if not at:
            user, domain = address, ""
        if domain and self._domains.matches(domain):
            return True
        if not user:
            return False
        # An entry with a delimiter can only equal the whole user, one without only the user without its tag.
        untagged = without_tag(user, self._delimiter)
        return any(self._has_user(each, domain) for each in {user, untagged} if each)

    def _has_user(self, user: str, domain: str) -> bool:
        if user in self._users or f"{user}@{domain}" in self._exact:
            return True
        patterns = self._wildcards.get(user)
        return patterns is not None and patterns.matches(domain)


class RegexPatterns:
    """POSIX extended expressions. One that cannot be read matches nothing, as in OpenSMTPD; config warns of it."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._expressions: list[Expression] = []
        for entry in entries:
            try:
                self._expressions.append(Expression(entry))
            except BadExpression:
                continue

    def matches(self, text: str) -> bool:
        """Whether an expression is found in `text`."""
        return any(expression.matches(text) for expression in self._expressions)
