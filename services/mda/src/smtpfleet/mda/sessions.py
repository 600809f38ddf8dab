"""Who may deliver now: at most so many sessions in all and per user, round robin over users, several deliveries in one session.

A session is one call into a thread that delivers a group (group.py), one large message that is streamed (stream.py), or one delivery by
program, file or LMTP (single.py). Groups form from what waits when a thread is free: one message when idle, up to 32 under load, of one
or several users. Singles take as long as others let them: they leave room for maildirs in all and per user. Called by worker.py. OpenSMTPD: mda_user and mda_session of mda.c, where a session is a process for one message.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from smtpfleet.contracts.configuration import Limits
from smtpfleet.mda.attempt import Attempt
from smtpfleet.mda.batch import Batch
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.single_sessions import SingleSessions
from smtpfleet.runtime import metrics

GROUP_LIMIT = 32
"""Deliveries in one session. Measured on ext4 with 8 threads: 8 give 5,000 a second, 16 to 32 give 6,500, 50 no more."""
GROUP_BYTES = 2 * 1024 * 1024
"""Content in one session beyond which it takes no further delivery; as much as one load carries."""

_running = metrics.gauge("mda_sessions", "Sessions that deliver now")
_waiting = metrics.gauge("mda_deliveries_waiting", "Deliveries that wait for a session")


_Waiting = tuple[Delivery, Batch]


class Sessions:
    """The sessions of one mda process."""

    def __init__(
        self,
        threads: int,
        limits: Callable[[], Limits],
        deliver_group: Callable[[list[Delivery]], list[Attempt]],
        deliver_large: Callable[[Delivery], Awaitable[Attempt]],
        deliver_single: Callable[[Delivery], Awaitable[Attempt]],
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="delivery")
        self._threads = threads
        self._limits = limits
        self._deliver_group = deliver_group
        self._deliver_large = deliver_large
        self.singles = SingleSessions(deliver_single, self._start_sessions)
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._running = 0
        self._running_by_user: Counter[str] = Counter()

    def submit(self, deliveries: Sequence[Delivery]) -> Batch:
        """Queues deliveries behind those of the same users."""
        batch = Batch(len(deliveries))
        for delivery in deliveries:
            self._waiting.setdefault(delivery.user, deque()).append((delivery, batch))
        self._start_sessions()
        return batch

    async def in_thread(self, work: Callable[..., Attempt | None], *arguments: object) -> Attempt | None:
        """One blocking step of a session in a thread of ours."""
        return await self._loop.run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        """No more sessions; running threads end their call."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start_sessions(self) -> None:
        limits = self._limits()
        # More sessions than threads would wait inside the pool, where they cannot join a group any more.
        most = min(self._threads, limits.max_mda_sessions - self.singles.running)
        while self._running < most and (members := self._next_group(limits.max_mda_per_user)):
            self._start(members)
        self.singles.start(limits, others=self._running, reserved=self._threads)
        _running.set(self._running + self.singles.running)
        _waiting.set(sum(map(len, self._waiting.values())) + self.singles.waiting)

    def _next_group(self, most_per_user: int) -> list[_Waiting]:
        """Takes deliveries round robin over the users that may start a session; a large one is a session of its own."""
        members: list[_Waiting] = []
        size_bytes = 0
        # One user's hung home (a dead file server) must leave a thread for the others.
        most_threads = max(1, self._threads - 1)
        for user in list(self._waiting):
            if self._running_by_user[user] >= min(most_threads, most_per_user - self.singles.running_of(user)):
                continue
            queued = self._waiting[user]
            while queued and len(members) < GROUP_LIMIT and size_bytes < GROUP_BYTES:
                if queued[0][0].is_large and members:
                    break
                members.append(queued.popleft())
                size_bytes += len(members[-1][0].content)
                if members[-1][0].is_large:
                    size_bytes = GROUP_BYTES
            if queued:
                self._waiting.move_to_end(user)
            else:
                del self._waiting[user]
            if len(members) >= GROUP_LIMIT or size_bytes >= GROUP_BYTES:
                break
        return members

    def _start(self, members: list[_Waiting]) -> None:
        users = {delivery.user for delivery, _ in members}
        self._running += 1
        self._running_by_user.update(users)
        first = members[0][0]
        session: asyncio.Future[list[Attempt]]
        if first.is_large:
            session = self._loop.create_task(self._stream(first), name=f"stream {first.evpid}")
        else:
            session = self._loop.run_in_executor(self._pool, self._deliver_group, [delivery for delivery, _ in members])
        session.add_done_callback(lambda done: self._on_done(done, members, users))

    async def _stream(self, delivery: Delivery) -> list[Attempt]:
        return [await self._deliver_large(delivery)]

    def _on_done(self, session: "asyncio.Future[list[Attempt]]", members: list[_Waiting], users: set[str]) -> None:
        self._running -= 1
        self._running_by_user.subtract(users)
        self._running_by_user = +self._running_by_user  # forgets users at zero
        if session.cancelled():
            return  # drain was cut off; nobody waits any more
        if (error := session.exception()) is not None:
            for _, batch in members:
                batch.fail(error)
            return
        for (_, batch), attempt in zip(members, session.result(), strict=True):
            batch.add(attempt)
        self._start_sessions()
