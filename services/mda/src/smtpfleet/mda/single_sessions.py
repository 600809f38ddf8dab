"""Whose program, file or LMTP delivery runs now: one message each, so many in all and per user, users in turn.

They take seconds or minutes where a maildir takes milliseconds, so they never take the last sessions: as many as maildirs have threads,
and one of each user's, stay free. What waits is bounded, too: beyond it a user's mail goes back to the queue, which knows when to try
again. Part of sessions.py. OpenSMTPD: mda.c, where users are held beyond `limit mda task-hiwat`.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence

from smtpfleet.contracts.configuration import Limits
from smtpfleet.mda.attempt import Attempt
from smtpfleet.mda.batch import Batch
from smtpfleet.mda.delivery import Delivery

IN_HAND_PER_USER = 200
"""Deliveries of one user that wait or run; two leases of 100, so only a user whose programs are slow ever has as many. Chosen."""
IN_HAND_BYTES = 64 * 1024 * 1024
"""Content in memory for all that wait or run. Chosen: thousands of ordinary messages."""

_Waiting = tuple[Delivery, Batch]


class SingleSessions:
    """The sessions of single deliveries in one mda process. on_room: a session has ended, more may be started."""

    def __init__(self, deliver: Callable[[Delivery], Awaitable[Attempt]], on_room: Callable[[], None]) -> None:
        self._deliver = deliver
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._sessions: set[asyncio.Task[Attempt]] = set()
        self._running_by_user: Counter[str] = Counter()
        self._in_hand: Counter[str] = Counter()
        self._in_hand_bytes = 0

    @property
    def running(self) -> int:
        """Sessions that deliver now."""
        return len(self._sessions)

    @property
    def waiting(self) -> int:
        """Deliveries that wait for a session."""
        return sum(map(len, self._waiting.values()))

    def running_of(self, user: str) -> int:
        """The user's sessions."""
        return self._running_by_user[user]

    def has_room(self, user: str) -> bool:
        """Whether another delivery of this user may be submitted."""
        return self._in_hand[user] < IN_HAND_PER_USER and self._in_hand_bytes < IN_HAND_BYTES

    def submit(self, deliveries: Sequence[Delivery], is_void: Callable[[], bool]) -> Batch:
        """Queues deliveries behind those of the same users. Where `is_void` holds when a delivery's turn comes, it is dropped untried."""
        batch = Batch(len(deliveries), is_void)
        for delivery in deliveries:
            self._waiting.setdefault(delivery.user, deque()).append((delivery, batch))
            self._in_hand[delivery.user] += 1
            self._in_hand_bytes += len(delivery.content)
        self._on_room()
        return batch

    def start(self, limits: Limits, *, others: int, reserved: int) -> None:
        """Starts what may run now, beside `others` sessions."""
        most = min(max(1, limits.max_mda_sessions - reserved), limits.max_mda_sessions - others)
        most_per_user = max(1, limits.max_mda_per_user - 1)
        while self.running < most and (member := self._next(most_per_user)):
            self._start(*member)

    def drop_void(self) -> None:
        """Drops what is not to be begun any more; what runs goes on."""
        for user, queued in list(self._waiting.items()):
            kept = deque(member for member in queued if not self._is_dropped(*member))
            if kept:
                self._waiting[user] = kept
            else:
                del self._waiting[user]

    def _next(self, most_per_user: int) -> _Waiting | None:
        for user in list(self._waiting):
            if self._running_by_user[user] >= most_per_user:
                continue
            queued = self._waiting[user]
            while queued:
                member = queued.popleft()
                if self._is_dropped(*member):
                    continue
                if queued:
                    self._waiting.move_to_end(user)
                else:
                    del self._waiting[user]
                return member
            del self._waiting[user]
        return None

    def _is_dropped(self, delivery: Delivery, batch: Batch) -> bool:
        if not batch.is_void():
            return False
        self._leave(delivery)
        batch.drop()
        return True

    def _start(self, delivery: Delivery, batch: Batch) -> None:
        self._running_by_user[delivery.user] += 1
        session = self._loop.create_task(self._run(delivery), name=f"single {delivery.evpid}")
        self._sessions.add(session)
        session.add_done_callback(lambda done: self._on_done(done, delivery, batch))

    async def _run(self, delivery: Delivery) -> Attempt:
        return await self._deliver(delivery)

    def _on_done(self, session: "asyncio.Task[Attempt]", delivery: Delivery, batch: Batch) -> None:
        self._sessions.discard(session)
        self._running_by_user[delivery.user] -= 1
        self._running_by_user = +self._running_by_user  # forgets users at zero
        self._leave(delivery)
        if session.cancelled():
            return  # drain was cut off; nobody waits any more
        if (error := session.exception()) is not None:
            batch.fail(error)
            return
        batch.add(session.result())
        self._on_room()

    def _leave(self, delivery: Delivery) -> None:
        self._in_hand_bytes -= len(delivery.content)
        self._in_hand[delivery.user] -= 1
        if not self._in_hand[delivery.user]:
            del self._in_hand[delivery.user]
