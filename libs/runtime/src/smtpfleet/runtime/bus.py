"""The bus: typed requests, broadcasts and events over NATS. The only module that knows nats-py.

Subjects and payload types come from contracts.subjects; nothing here decides anything. Any message may be lost, doubled or late: a
request may be answered by nobody (BusUnavailable) although it was served. A handler that raises is answered with a fault and logged;
the asking role hears RemoteFault. OpenSMTPD's counterpart is imsg over socketpairs (mproc.c).
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import nats
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.api import DiscardPolicy, KeyValueConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError

from smtpfleet.contracts import wire
from smtpfleet.contracts.subjects import BUCKETS, EVENT_STREAM, Kind, Subject
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import RoleSettings

SERVE_LIMIT = 4096
"""Requests a replica works on at once; beyond it answers busy at once instead of growing. Chosen well above 100 parked workers."""
SERVE_LIMIT_BYTES = 256 * 1024 * 1024
"""Payload bytes of those requests, likewise. Chosen: a hundred of the largest batches."""
RECONNECT_WAIT_S = 0.5
PENDING_BYTES = 32 * 1024 * 1024
"""What may wait to be sent; nats-py's default of 2 MiB is one batch of ours."""
EVENT_STREAM_BYTES = 256 * 1024 * 1024
EVENT_STREAM_AGE_S = 7 * 24 * 3600.0

_requests = metrics.counter("bus_requests", "Requests asked, by subject and how they ended", ("subject", "result"))
_served = metrics.counter("bus_served", "Requests served, by subject and how they ended", ("subject", "result"))

Handler = Callable[[Any], Awaitable[Any]]


class BusUnavailable(Exception):
    """No answer: NATS is away, nobody serves the subject, or nobody answered in time."""


class KvConflict(Exception):
    """Somebody else has written the key since the revision we named."""


def subject_token(name: str) -> str:
    """`name` as one token of a subject."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


class Bus:
    """One replica's connection. Reconnects for ever; `is_connected` tells."""

    def __init__(self, role: str, settings: RoleSettings, log: MailLog) -> None:
        self._role = role
        self._settings = settings
        self._log = log
        self._prefix = settings.nats_prefix
        self._client: Client = nats.NATS()  # type: ignore[attr-defined]
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving_bytes = 0
        self._waiting: set[asyncio.Future[Msg]] = set()
        self._on_reconnect: list[Callable[[], None]] = []
        self._awaited_because = ""
        self._is_closing = False

    @property
    def is_connected(self) -> bool:
        """Whether NATS is there now."""
        return bool(self._client.is_connected)

    def when_reconnected(self, callback: Callable[[], None]) -> None:
        """Calls `callback` after every reconnection."""
        self._on_reconnect.append(callback)

    async def connect(self) -> None:
        """Connects; waits for NATS as long as it takes and says so."""
        # nats-py itself tries for ever (max_reconnect_attempts) and tells _on_error; what it raises all the same is tried again here.
        while True:
            try:
                await self._client.connect(
                    servers=self._settings.nats_url.split(","),
                    name=f"{self._role}:{self._settings.replica}",
                    user=self._settings.nats_user or None,
                    password=self._settings.nats_password or None,
                    inbox_prefix=f"_INBOX_{self._role}",
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
                    connect_timeout=2,
                    ping_interval=5,
                    max_outstanding_pings=2,
                    pending_size=PENDING_BYTES,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                )
                break
            except (OSError, NatsError, TimeoutError) as error:
                await self._on_error(error)
                await asyncio.sleep(RECONNECT_WAIT_S)
        self._awaited_because = ""
        self._log.info("connected to nats", url=self._client.connected_url.netloc if self._client.connected_url else "")

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        """The reply of one replica, or of replica `to`. Raises BusUnavailable or wire.RemoteFault."""
        name = f"{self._prefix}.{subject.name}"
        if to:
            name += "." + subject_token(to)
        if not self._client.is_connected:
            _requests.labels(subject.name, "unavailable").inc()
            raise BusUnavailable(f"{subject.name}: not connected to nats")
        waiting = asyncio.ensure_future(self._client.request(name, wire.encode(payload), timeout=timeout_s))
        self._waiting.add(waiting)
        try:
            answer = await waiting
        except (NatsError, OSError, TimeoutError) as error:
            _requests.labels(subject.name, "unavailable").inc()
            why = "nobody serves it" if isinstance(error, NoRespondersError) else f"no answer within {timeout_s:g} s"
            raise BusUnavailable(f"{subject.name}: {why}") from None
        except asyncio.CancelledError:
            if not waiting.cancelled() or self._client.is_connected:
                raise
            _requests.labels(subject.name, "unavailable").inc()
            raise BusUnavailable(f"{subject.name}: connection to nats lost") from None
        finally:
            self._waiting.discard(waiting)
        _requests.labels(subject.name, "answered").inc()
        assert subject.reply is not None
        return wire.decode(answer.data, subject.reply)

    async def gather(self, subject: Subject, payload: Struct, *, wait_s: float) -> list[Any]:
        """The replies of all replicas that answer a broadcast within `wait_s`. Raises BusUnavailable without NATS."""
        if not self._client.is_connected:
            raise BusUnavailable(f"{subject.name}: not connected to nats")
        assert subject.reply is not None
        replies: list[Any] = []
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            await self._client.publish(f"{self._prefix}.{subject.name}", wire.encode(payload), reply=inbox)
            deadline = asyncio.get_running_loop().time() + wait_s
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                answer = await subscription.next_msg(timeout=left)
                if not (answer.headers and "Status" in answer.headers):  # 503: nobody listens
                    replies.append(wire.decode(answer.data, subject.reply))
        except (NatsError, TimeoutError):
            pass  # the wait is over
        finally:
            await subscription.unsubscribe()
        return replies

    async def serve(self, subject: Subject, handler: Handler, *, direct: bool = False) -> None:
        """Answers requests for `subject`, sharing them with the role's other replicas; `direct`: those to this replica too."""
        assert subject.kind is Kind.REQUEST
        name = f"{self._prefix}.{subject.name}"
        callback = self._serving(subject, handler)
        self._subscriptions.append(await self._client.subscribe(name, queue=subject.receivers[0], cb=callback))
        if direct:
            own = f"{name}.{subject_token(self._settings.replica)}"
            self._subscriptions.append(await self._client.subscribe(own, cb=callback))

    async def listen(self, subject: Subject, handler: Callable[[Any], None]) -> None:
        """Calls `handler` with every broadcast payload; the handler must not wait."""

        async def on_message(msg: Msg) -> None:
            try:
                handler(wire.decode(msg.data, subject.payload))
            except (wire.UnknownVersion, wire.Malformed) as error:
                self._log.warning("broadcast refused", subject=subject.name, error=error)

        self._subscriptions.append(await self._client.subscribe(f"{self._prefix}.{subject.name}", cb=on_message))

    async def answer_broadcast(self, subject: Subject, answer: Callable[[], Struct]) -> None:
        """Answers every broadcast of `subject` from this replica."""

        async def on_message(msg: Msg) -> None:
            if msg.reply:
                await self._client.publish(msg.reply, wire.encode(answer()))

        self._subscriptions.append(await self._client.subscribe(f"{self._prefix}.{subject.name}", cb=on_message))

    def publish(self, subject: Subject, payload: Struct) -> None:
        """Announces, and forgets: without NATS it is lost, as the contract allows."""
        if self._client.is_connected:
            self._start(self._publish(f"{self._prefix}.{subject.name}", wire.encode(payload)))

    async def _publish(self, name: str, data: bytes) -> None:
        with contextlib.suppress(NatsError, OSError):  # a hint or an event: may be lost
            await self._client.publish(name, data)

    def _serving(self, subject: Subject, handler: Handler) -> Callable[[Msg], Awaitable[None]]:
        # nats-py awaits a subscription's callback before the next message: hand over and return at once.
        async def on_message(msg: Msg) -> None:
            if len(self._tasks) >= SERVE_LIMIT or self._serving_bytes + len(msg.data) > SERVE_LIMIT_BYTES:
                _served.labels(subject.name, "busy").inc()
                await msg.respond(wire.encode_fault("busy"))
            else:
                self._serving_bytes += len(msg.data)
                self._start(self._answer(subject, handler, msg))

        return on_message

    async def _answer(self, subject: Subject, handler: Handler, msg: Msg) -> None:
        try:
            reply = wire.encode(await handler(wire.decode(msg.data, subject.payload)))
            _served.labels(subject.name, "answered").inc()
        except (wire.UnknownVersion, wire.Malformed) as error:
            self._log.warning("request refused", subject=subject.name, error=error)
            reply = wire.encode_fault(f"refused: {error}")
            _served.labels(subject.name, "refused").inc()
        except Exception as error:  # noqa: BLE001  the handler's edge: a bug or broken infrastructure becomes a fault
            self._log.error("request failed", subject=subject.name, error=f"{type(error).__name__}: {error}")
            reply = wire.encode_fault("failed")
            _served.labels(subject.name, "failed").inc()
        self._serving_bytes -= len(msg.data)
        with contextlib.suppress(NatsError, OSError):  # the asker will hear nothing and ask again
            await msg.respond(reply)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_error(self, error: Exception) -> None:
        why = str(error) or type(error).__name__
        if self._client.is_connected:
            self._log.warning("nats", error=why)
        elif why != self._awaited_because:  # every attempt fails anew, twice a second: once per reason is enough
            self._awaited_because = why
            self._log.warning("waiting for nats", url=self._settings.nats_url, error=why)

    async def _on_disconnected(self) -> None:
        if not self._is_closing:
            self._log.warning("nats disconnected")
        for waiting in list(self._waiting):
            waiting.cancel()  # request() turns this into BusUnavailable: nobody waits out a time limit for an answer that is lost

    async def _on_reconnected(self) -> None:
        self._awaited_because = ""
        self._log.info("nats reconnected")
        for callback in self._on_reconnect:
            callback()

    async def stop_serving(self) -> None:
        """Takes no more requests; those in hand are answered. Others of the role get the next ones."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            with contextlib.suppress(NatsError, OSError, TimeoutError):
                await asyncio.wait_for(subscription.drain(), 2)  # type: ignore[no-untyped-call]
        while self._tasks:
            await asyncio.wait(list(self._tasks), timeout=1)
            if not self._client.is_connected:
                break

    async def close(self) -> None:
        """Sends what is buffered and leaves."""
        self._is_closing = True
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            if self._client.is_connected:
                await self._client.flush(timeout=2)
            await self._client.close()

    # The buckets and the event stream.

    async def ensure_streams(self) -> None:
        """Creates what config owns: the KV buckets and the stream of events. Harmless where they exist. Raises BusUnavailable."""
        try:
            await self._ensure_streams()
        except (NatsError, OSError, TimeoutError) as error:
            raise BusUnavailable(f"jetstream: {error or type(error).__name__}") from None

    async def _ensure_streams(self) -> None:
        jetstream = self._client.jetstream()
        for bucket, history in BUCKETS.items():
            try:
                await jetstream.key_value(self._bucket(bucket))
            except (BucketNotFoundError, NotFoundError):
                await jetstream.create_key_value(
                    KeyValueConfig(bucket=self._bucket(bucket), history=history, storage=StorageType.FILE)
                )
        stream = StreamConfig(
            name=f"{self._prefix}-{EVENT_STREAM}",
            subjects=[f"{self._prefix}.event.>"],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            max_bytes=EVENT_STREAM_BYTES,
            max_age=EVENT_STREAM_AGE_S,
            no_ack=True,
        )
        try:
            await jetstream.stream_info(stream.name or "")
        except NotFoundError:
            await jetstream.add_stream(stream)

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        """Value and revision, or None where bucket or key are not there (yet). Raises BusUnavailable."""
        try:
            store = await self._client.jetstream().key_value(self._bucket(bucket))
            entry = await store.get(key)
        except (BucketNotFoundError, KeyNotFoundError, NotFoundError):
            return None
        except (NatsError, OSError, TimeoutError) as error:
            raise BusUnavailable(f"kv {bucket}: {error or type(error).__name__}") from None
        return (entry.value, entry.revision or 0) if entry.value is not None else None

    async def kv_get_revision(self, bucket: str, key: str, revision: int) -> bytes | None:
        """The value the key had at this revision, None where it is not kept. Raises BusUnavailable."""
        try:
            store = await self._client.jetstream().key_value(self._bucket(bucket))
            return (await store.get(key, revision=revision)).value
        except (BucketNotFoundError, KeyNotFoundError, NotFoundError):
            return None
        except (NatsError, OSError, TimeoutError) as error:
            raise BusUnavailable(f"kv {bucket}: {error or type(error).__name__}") from None

    async def kv_put(self, bucket: str, key: str, data: bytes, *, last: int | None = None) -> int:
        """Writes, and returns the revision. With `last`, only if that is still the key's revision (0: none), else KvConflict."""
        try:
            store = await self._client.jetstream().key_value(self._bucket(bucket))
            return await (store.put(key, data) if last is None else store.update(key, data, last=last))
        except KeyWrongLastSequenceError as error:
            raise KvConflict(str(error)) from None
        except (NatsError, OSError, TimeoutError) as error:
            raise BusUnavailable(f"kv {bucket}: {error or type(error).__name__}") from None

    async def kv_keys(self, bucket: str) -> tuple[frozenset[str], int]:
        """All keys, and the newest revision in the bucket; none where it is not there. Raises BusUnavailable."""
        subject = f"$KV.{self._bucket(bucket)}."
        try:
            info = await self._client.jetstream().stream_info(f"KV_{self._bucket(bucket)}", f"{subject}>")
        except NotFoundError:
            return frozenset(), 0
        except (NatsError, OSError, TimeoutError) as error:
            raise BusUnavailable(f"kv {bucket}: {error or type(error).__name__}") from None
        return frozenset(key.removeprefix(subject) for key in info.state.subjects or {}), info.state.last_seq

    async def kv_purge(self, bucket: str, key: str, *, up_to: int) -> None:
        """Takes the key away, unless it was written after revision `up_to`. Raises BusUnavailable."""
        name = self._bucket(bucket)
        try:
            await self._client.jetstream().purge_stream(f"KV_{name}", seq=up_to + 1, subject=f"$KV.{name}.{key}")
        except (NatsError, OSError, TimeoutError) as error:
            raise BusUnavailable(f"kv {bucket}: {error or type(error).__name__}") from None

    async def kv_watch(self, bucket: str, key: str, callback: Callable[[], None]) -> None:
        """Calls `callback` when the key is written. A hint: may be missed; read with kv_get.

        A plain subscription to the bucket's subject: nats-py's ordered consumer does not always resume after a reconnection
        (nats.py#504).
        """

        async def on_message(msg: Msg) -> None:
            callback()

        self._subscriptions.append(await self._client.subscribe(f"$KV.{self._bucket(bucket)}.{key}", cb=on_message))

    def _bucket(self, name: str) -> str:
        return f"{self._prefix}-{name}"
