"""Who calls how often, as far as this process knows: connections, their rate and recipients, by address and by network.

Owns the counts of one process and judges by them at once: what is too much here is too much for the fleet. What the fleet's other replicas
hold is admissions' to ask; its answers are kept here. Bounded: with CALLERS_LIMIT known addresses a new one costs the oldest its record.
Local peers are never counted. Called by server; asked by session at MAIL. OpenSMTPD has no such limits; the windows are Postfix's.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from smtpfleet.contracts.callers import BanKind, CallerVerdict
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Limits
from smtpfleet.contracts.status import Status
from smtpfleet.runtime import metrics
from smtpfleet.smtp_in.peer_names import names_of
from smtpfleet.smtp_in.reply import S421_TOO_MANY_CONNECTIONS, S421_TOO_MANY_FAILURES_BEFORE, S450_TOO_MANY_RCPTS_LATELY

WINDOW_S = 60.0
"""What "a minute" is for rates (Postfix anvil_rate_time_unit)."""
CALLERS_LIMIT = 50_000
"""Addresses and networks remembered, about 300 bytes each. Chosen."""

_turned_away = metrics.counter("smtp_turned_away", "Peers turned away for what they did, by limit", ("limit",))


@dataclass(slots=True)
class Record:
    """Of one address or network. Windows are fixed: they begin with their first event.

    asking_count: of the open connections, those whose permit has not come. unreported_rcpts, refused_until_s and barred_until_s are kept
    for addresses: recipients the fleet does not know of yet, and until when it has said no to connections and to messages.
    """

    name: str
    open_count: int = 0
    asking_count: int = 0
    window_began_at_s: float = 0.0
    connection_count: int = 0
    rcpt_count: int = 0
    unreported_rcpts: int = 0
    refused_until_s: float = 0.0
    barred_until_s: float = 0.0

    @property
    def permitted_count(self) -> int:
        """Open connections that have their permit."""
        return self.open_count - self.asking_count


class Caller:
    """One connection's hold on the records of its address and its network."""

    __slots__ = ("_callers", "_has_left", "address", "network")

    def __init__(self, callers: "Callers", address: Record, network: Record) -> None:
        self._callers = callers
        self._has_left = False
        self.address = address
        self.network = network

    def mail_refusal(self) -> Status | None:
        """Why no message may begin, or None."""
        return self._callers.mail_refusal(self)

    def note_rcpts(self, count: int) -> None:
        """A message for so many recipients was accepted."""
        self._callers.note_rcpts(self, count)

    def note_failure(self) -> None:
        """The session ended because of what the peer did."""
        self._callers.on_failure(self)

    def leave(self) -> None:
        """The connection is gone; may be said twice."""
        if self._has_left:
            return
        self._has_left = True
        self.address.open_count -= 1
        self.network.open_count -= 1
        self._callers.on_change(self)


class Callers:
    """All that is known of peers. limits: of the newest configuration. on_change, on_failure: who tells the fleet."""

    def __init__(
        self,
        clock: Callable[[], float],
        is_banned: Callable[[BanKind, str], bool] = lambda kind, name: False,
        *,
        limits: Limits = DEFAULT_LIMITS,
        known_limit: int = CALLERS_LIMIT,
    ) -> None:
        self.limits = limits
        self.on_change: Callable[[Caller], None] = lambda caller: None
        self.on_failure: Callable[[Caller], None] = lambda caller: None
        self._clock = clock
        self._is_banned = is_banned
        self._known_limit = known_limit
        self._known: OrderedDict[str, Record] = OrderedDict()

    @property
    def limits_connections(self) -> bool:
        """Whether there is any limit on connections."""
        limits = self.limits
        at_once = limits.max_conn_per_address or limits.max_conn_per_network
        return bool(at_once or limits.max_conn_rate_per_address or limits.max_conn_rate_per_network)

    @property
    def _limits_rcpts(self) -> bool:
        return bool(self.limits.max_rcpt_rate_per_address or self.limits.max_rcpt_rate_per_network)

    def admit(self, peer: str) -> Caller | Status:
        """The hold of a new connection, or why it is turned away."""
        address_name, network_name = names_of(peer)
        if self._is_banned(BanKind.ADDRESS, address_name) or self._is_banned(BanKind.NETWORK, network_name):
            return _turn_away("failures", S421_TOO_MANY_FAILURES_BEFORE)
        address, network = self._record(address_name), self._record(network_name)
        limits = self.limits
        if address.refused_until_s > self._clock():
            return _turn_away("fleet", S421_TOO_MANY_CONNECTIONS)
        for record, at_once, a_minute in (
            (address, limits.max_conn_per_address, limits.max_conn_rate_per_address),
            (network, limits.max_conn_per_network, limits.max_conn_rate_per_network),
        ):
            self._begin_window(record)
            if 0 < at_once <= record.open_count:
                return _turn_away("connections", S421_TOO_MANY_CONNECTIONS)
            if 0 < a_minute <= record.connection_count:
                return _turn_away("rate", S421_TOO_MANY_CONNECTIONS)
        for record in (address, network):
            record.open_count += 1
            record.connection_count += 1
        return Caller(self, address, network)

    def note_verdict(self, caller: Caller, verdict: CallerVerdict) -> None:
        """What the fleet says of this address."""
        now_s = self._clock()
        if verdict.limit:
            caller.address.refused_until_s = now_s + verdict.retry_ms / 1000
        if verdict.rcpts_wait_ms:
            caller.address.barred_until_s = now_s + verdict.rcpts_wait_ms / 1000

    def turn_away_one(self, limit: str) -> Status:
        """The refusal of a connection that got no permit."""
        return _turn_away(limit, S421_TOO_MANY_CONNECTIONS)

    def mail_refusal(self, caller: Caller) -> Status | None:
        """As Caller.mail_refusal."""
        if not self._limits_rcpts:
            return None
        limits = self.limits
        is_barred = caller.address.barred_until_s > self._clock()
        for record, limit in (
            (caller.address, limits.max_rcpt_rate_per_address),
            (caller.network, limits.max_rcpt_rate_per_network),
        ):
            self._begin_window(record)
            is_barred = is_barred or 0 < limit <= record.rcpt_count
        return _turn_away("rcpts", S450_TOO_MANY_RCPTS_LATELY) if is_barred else None

    def note_rcpts(self, caller: Caller, count: int) -> None:
        """As Caller.note_rcpts."""
        if not self._limits_rcpts:
            return
        for record in (caller.address, caller.network):
            self._begin_window(record)
            record.rcpt_count += count
        caller.address.unreported_rcpts += count
        self.on_change(caller)

    def _begin_window(self, record: Record) -> None:
        """Begins another minute where one is over."""
        now_s = self._clock()
        if now_s - record.window_began_at_s >= WINDOW_S or not record.window_began_at_s:
            record.window_began_at_s = now_s
            record.connection_count = record.rcpt_count = 0

    def _record(self, name: str) -> Record:
        record = self._known.get(name)
        if record is None:
            record = self._known[name] = Record(name)
            # The longest unused go; one with open connections goes on with the connections that hold it.
            while len(self._known) > self._known_limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(name)
        return record


def _turn_away(limit: str, status: Status) -> Status:
    _turned_away.labels(limit).inc()
    return status
