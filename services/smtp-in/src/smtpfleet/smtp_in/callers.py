"""Who calls how often: connections, their rate, recipients and failures by address and by network, and who is turned away for it.

Counts of this process alone; a limit that holds for the fleet needs a permit of the scheduler and a contract of its own. Bounded: what is
idle is forgotten, and with CALLERS_LIMIT known addresses a new one costs the oldest its record. Local peers are never counted. Called by
server; asked by session at MAIL. OpenSMTPD has no such limits; the windows are Postfix's (anvil_rate_time_unit).
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from smtpfleet.contracts.status import Status
from smtpfleet.runtime import metrics
from smtpfleet.smtp_in.reply import S421_TOO_MANY_CONNECTIONS, S421_TOO_MANY_FAILURES_BEFORE, S450_TOO_MANY_RCPTS_LATELY

WINDOW_S = 60.0
"""What "a minute" is for rates (Postfix anvil_rate_time_unit)."""
FAILURE_WINDOW_S = 600.0
"""How long sessions that ended in failure count. Chosen."""
CALLERS_LIMIT = 50_000
"""Addresses and networks remembered, about 300 bytes each. Chosen."""
_ADDRESS_BITS = {4: 32, 6: 64}  # a customer's IPv6 network is one caller
_NETWORK_BITS = {4: 24, 6: 48}

_turned_away = metrics.counter("smtp_turned_away", "Peers turned away for what they did, by limit", ("limit",))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLimits:
    """0 is no limit. A network may have `network_factor` times what an address may."""

    connections: int = 0
    connections_per_minute: int = 0
    rcpts_per_minute: int = 0
    failures: int = 0
    network_factor: int = 4


@dataclass(slots=True)
class _Record:
    """Of one address or network. Windows are fixed: they begin with their first event."""

    open_count: int = 0
    window_began_at_s: float = 0.0
    connection_count: int = 0
    rcpt_count: int = 0
    failures_began_at_s: float = 0.0
    failure_count: int = 0


class Caller:
    """One connection's hold on the records of its address and its network."""

    __slots__ = ("_callers", "_records")

    def __init__(self, callers: "Callers", records: tuple[_Record, _Record]) -> None:
        self._callers = callers
        self._records = records

    def mail_refusal(self) -> Status | None:
        """Why no message may begin, or None."""
        limit = self._callers.limits.rcpts_per_minute
        if not limit:
            return None
        for factor, record in self._callers.factors(self._records):
            if record.rcpt_count >= limit * factor and not self._callers.has_new_window(record):
                _turned_away.labels("rcpts").inc()
                return S450_TOO_MANY_RCPTS_LATELY
        return None

    def note_rcpts(self, count: int) -> None:
        """A message for so many recipients was accepted."""
        if not self._callers.limits.rcpts_per_minute:
            return
        for record in self._records:
            self._callers.has_new_window(record)
            record.rcpt_count += count

    def note_failure(self) -> None:
        """The session ended because of what the peer did."""
        self._callers.note_failure(self._records)

    def leave(self) -> None:
        """The connection is gone."""
        for record in self._records:
            record.open_count -= 1


class Callers:
    """All that is known of peers."""

    def __init__(self, limits: CallerLimits, clock: Callable[[], float], *, known_limit: int = CALLERS_LIMIT) -> None:
        self.limits = limits
        self._clock = clock
        self._known_limit = known_limit
        self._known: OrderedDict[str, _Record] = OrderedDict()

    def admit(self, peer: str) -> Caller | Status:
        """The hold of a new connection, or why it is turned away."""
        records = self._records_of(peer)
        limits = self.limits
        for factor, record in self.factors(records):
            is_new = self.has_new_window(record)
            if limits.connections and record.open_count >= limits.connections * factor:
                return _turn_away("connections", S421_TOO_MANY_CONNECTIONS)
            rate = limits.connections_per_minute * factor
            if rate and not is_new and record.connection_count >= rate:
                return _turn_away("rate", S421_TOO_MANY_CONNECTIONS)
            if limits.failures and self._failures(record) >= limits.failures * factor:
                return _turn_away("failures", S421_TOO_MANY_FAILURES_BEFORE)
        for record in records:
            record.open_count += 1
            record.connection_count += 1
        return Caller(self, records)

    def factors(self, records: tuple[_Record, _Record]) -> tuple[tuple[int, _Record], ...]:
        """The records with what their limits are multiplied by."""
        return ((1, records[0]), (self.limits.network_factor, records[1]))

    def has_new_window(self, record: _Record) -> bool:
        """Whether a minute is over and another begins now."""
        now_s = self._clock()
        if now_s - record.window_began_at_s < WINDOW_S and record.window_began_at_s:
            return False
        record.window_began_at_s = now_s
        record.connection_count = record.rcpt_count = 0
        return True

    def _failures(self, record: _Record) -> int:
        if record.failure_count and self._clock() - record.failures_began_at_s >= FAILURE_WINDOW_S:
            record.failure_count = 0
        return record.failure_count

    def note_failure(self, records: tuple[_Record, _Record]) -> None:
        """As Caller.note_failure."""
        for record in records:
            if not self._failures(record):
                record.failures_began_at_s = self._clock()
            record.failure_count += 1

    def _records_of(self, peer: str) -> tuple[_Record, _Record]:
        address, network = _names_of(peer)
        return self._record(address), self._record(network)

    def _record(self, name: str) -> _Record:
        record = self._known.get(name)
        if record is None:
            record = self._known[name] = _Record()
            self._forget_some()
        else:
            self._known.move_to_end(name)
        return record

    def _forget_some(self) -> None:
        """Forgets the longest unused; one with open connections goes on with the connections that hold it."""
        while len(self._known) > self._known_limit:
            self._known.popitem(last=False)


def _names_of(peer: str) -> tuple[str, str]:
    """What the address and the network of a peer are called; a peer without an IP address is its own network."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer, f"{peer}/"
    bits = (_ADDRESS_BITS[address.version], _NETWORK_BITS[address.version])
    names = [str(ipaddress.ip_network((address, width), strict=False)) for width in bits]
    return names[0], names[1]


def _turn_away(limit: str, status: Status) -> Status:
    _turned_away.labels(limit).inc()
    return status
