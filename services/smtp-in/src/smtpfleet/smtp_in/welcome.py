"""What happens between a connection and its banner: the peer's name is looked up and confirmed, and it must keep silent.

Owns the question, its deadline and the memory of answers beyond the resolver's; the session waits in AWAITING_WELCOME meanwhile. A name
counts only when it leads back to the address (FCrDNS), so a DNS zone cannot claim to be someone else. Called by server; switched off by a
setting. OpenSMTPD: smtp.c smtp_lookup_servername, which asks for PTR alone; 7.8's fcrdns phase.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from smtpfleet.mail.received import UNKNOWN_HOST
from smtpfleet.runtime import metrics
from smtpfleet.runtime.asking import Spawn
from smtpfleet.runtime.resolver import DnsFailure

LOOKUP_WITHIN_S = 5.0
"""How long a banner may wait for DNS; far below the 300 s a peer grants (RFC 5321 §4.5.3.2.1). Chosen."""
LOOKUPS_LIMIT = 500
"""Lookups under way at once; peers beyond it stay unknown rather than wait in line. Chosen: a flood must not become one of DNS."""
SILENCES_LIMIT = 5
"""Timeouts in a row after which DNS is taken to be away. Chosen."""
SILENT_FOR_S = 30.0
"""How long nothing is asked then, so that a lost DNS server does not delay every banner. Chosen."""
_LOOPBACK_PREFIXES = ("127.", "::1")

_lookups = metrics.counter("smtp_rdns_lookups", "Names of peers looked up, by result", ("result",))


class NameSource(Protocol):
    """The part of runtime.resolver.Resolver that is needed here."""

    async def confirmed_name(self, address: str) -> str:
        """As Resolver.confirmed_name."""


class Welcome:
    """The lookups of this process."""

    def __init__(self, names: NameSource, spawn: Spawn, *, within_s: float = LOOKUP_WITHIN_S) -> None:
        self._names = names
        self._spawn = spawn
        self._within_s = within_s
        self._under_way = 0
        self._silence_count = 0
        self._silent_until_s = 0.0

    def look_up(self, peer: str, resume: Callable[[str], None]) -> bool:
        """Asks for the peer's name; `resume` hears it, or `<unknown>`, later and exactly once. False: there is nothing to ask."""
        if peer.startswith(_LOOPBACK_PREFIXES):
            return False
        if self._under_way >= LOOKUPS_LIMIT or asyncio.get_running_loop().time() < self._silent_until_s:
            _lookups.labels("skipped").inc()
            return False
        self._under_way += 1
        self._spawn(self._ask(peer, resume), name="rdns")
        return True

    async def _ask(self, peer: str, resume: Callable[[str], None]) -> None:
        name, result = "", "failed"
        try:
            async with asyncio.timeout(self._within_s):
                name = await self._names.confirmed_name(peer)
                result = "confirmed" if name else "none"
            self._silence_count = 0
        except TimeoutError:
            result = "timeout"
            self._note_silence()
        except (DnsFailure, ValueError):  # ValueError: the peer is no IP address
            result = "failed"
        finally:
            self._under_way -= 1
        _lookups.labels(result).inc()
        resume(name or UNKNOWN_HOST)

    def _note_silence(self) -> None:
        self._silence_count += 1
        if self._silence_count >= SILENCES_LIMIT:
            self._silence_count = 0
            self._silent_until_s = asyncio.get_running_loop().time() + SILENT_FOR_S
