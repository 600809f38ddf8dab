"""Composition root of the queue role: store, cache and the objects that use them, handed to each other, bound to the bus."""

import asyncio
import time

from smtpfleet.contracts.configuration import Configuration
from smtpfleet.queue.announcer import Announcer
from smtpfleet.queue.bouncer import Bouncer
from smtpfleet.queue.cache import EnvelopeCache
from smtpfleet.queue.chunks import Chunks
from smtpfleet.queue.committer import Committer
from smtpfleet.queue.handlers import Handlers
from smtpfleet.queue.keyring import HOW_TO_MAKE_ONE, KeyRing
from smtpfleet.queue.loaded import Loaded
from smtpfleet.queue.loader import Loader
from smtpfleet.queue.results import Results
from smtpfleet.queue.settings import QueueSettings
from smtpfleet.queue.stored_form import StoredForm
from smtpfleet.queue.views import Views
from smtpfleet.runtime.bus import subject_token
from smtpfleet.runtime.forwards import Forwards
from smtpfleet.runtime.layout import claim_layout
from smtpfleet.runtime.questions import Questions
from smtpfleet.runtime.role import Role
from smtpfleet.runtime.settings import BadSettings
from smtpfleet.runtime.srs_client import SrsClient
from smtpfleet.runtime.store import Durability, Store
from smtpfleet.runtime.table_client import TableClient

BOUNCE_EXPAND_WITHIN_S = 3.0
"""How long config and mda may take to say where a bounce goes; then it waits a minute. Chosen."""


class QueueApp:
    """One replica of the queue."""

    def __init__(self, role: Role, settings: QueueSettings) -> None:
        self._role = role
        self._settings = settings
        self._store = store = Store(settings, role.log)
        self._replica = replica = subject_token(role.replica)
        waitaof = settings.durability is Durability.REPLICA
        shards = settings.shards
        self._keys = KeyRing.parse(settings.queue_key)
        self._form = form = StoredForm(self._keys)
        self._configured = asyncio.Event()
        cache = EnvelopeCache(settings.cache_bytes)
        loaded = Loaded()
        announcer = Announcer(role.bus)
        self._committer = Committer(
            store, form, cache, announcer, role.log, replica=replica, shards=shards, waitaof=waitaof
        )
        self._results = Results(
            store, form, cache, loaded, announcer, role.log,
            shards=shards, bounce_delay_ms=settings.bounce_delay_ms, waitaof=waitaof,
        )  # fmt: skip
        loader = Loader(store, form, cache, loaded, self._results, replica=replica, shards=shards)
        self._table_client = TableClient(role.bus)
        # One bounce after the other: a hung home must not hold up all of them for long.
        questions = Questions(
            Forwards(role.bus, time.monotonic),
            self._table_client,
            SrsClient(role.bus),
            within_s=BOUNCE_EXPAND_WITHIN_S,
        )
        self._bouncer = Bouncer(
            store, form, role.snapshot, announcer, role.log, shards=shards, waitaof=waitaof, questions=questions
        )
        self._handlers = Handlers(
            self._committer,
            Chunks(store, form, role.log, shards=shards),
            loader,
            self._results,
            Views(store, form, shards=shards),
        )
        role.ready_when("redis", lambda: store.is_up)
        role.ready_when("key for queue encryption", lambda: not form.lacks_key)

    async def start(self) -> None:
        """Waits for the store, checks that it keeps what a 250 promises, waits for the first configuration, then serves."""
        await self._store.connect()
        fault = await self._store.check_durability(self._settings.durability)
        if fault.startswith("cannot read CONFIG"):
            self._role.log.warning(fault)
        elif fault:
            raise BadSettings(fault)
        if self._settings.durability is Durability.RELAXED:
            self._role.log.warning(
                "durability relaxed: mail acknowledged in the last second before a crash may be lost"
            )
        await claim_layout(self._store, self._settings.shards)
        self._role.snapshot.on_change(self._on_configuration)
        self._role.spawn(self._store.follow_clock(), name="clock")
        self._role.spawn(self._bouncer.run(), name="bouncer")
        await self._configured.wait()  # it may want encryption; till then other replicas answer
        await self._handlers.bind(self._role.bus)

    def _on_configuration(self, configuration: Configuration) -> None:
        self._table_client.forget()
        self._results.warn_after(configuration.bounce_warn_s)
        self._form.configure(compression=configuration.queue_compression, encryption=configuration.queue_encryption)
        self._configured.set()
        if self._form.lacks_key:
            self._role.log.error(
                "queue encryption without a key: new mail is refused until SMTPFLEET_QUEUE_KEY or _FILE has one",
                hint=HOW_TO_MAKE_ONE,
            )
        elif configuration.queue_encryption:
            self._role.log.info("queue encryption", keys=" ".join(self._keys.ids))

    async def drain(self) -> None:
        """Answers what is in hand; the next requests go to other replicas."""
        await self._role.bus.stop_serving()
        await self._committer.drain()
        await self._results.drain()
        await self._store.close()
