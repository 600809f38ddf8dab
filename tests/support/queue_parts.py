"""The queue's and scheduler's objects on a real store, with a bus that only records: for tests below the level of processes."""

import dataclasses
from typing import Any

from msgspec import Struct

from smtpfleet.contracts import ids
from smtpfleet.contracts.commands import CommitMessage
from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    DEFAULT_LIMITS,
    Condition,
    Configuration,
    Location,
    RelayAction,
    Rule,
    Table,
)
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher, RemoteDispatcher
from smtpfleet.contracts.subjects import Subject
from smtpfleet.mail.tables import Tables
from smtpfleet.queue.announcer import Announcer
from smtpfleet.queue.bouncer import Bouncer
from smtpfleet.queue.cache import EnvelopeCache
from smtpfleet.queue.chunks import Chunks
from smtpfleet.queue.committer import Committer
from smtpfleet.queue.keyring import KeyRing
from smtpfleet.queue.loaded import Loaded
from smtpfleet.queue.loader import Loader
from smtpfleet.queue.results import Results
from smtpfleet.queue.stored_form import StoredForm
from smtpfleet.queue.views import Views
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import Store, StoreSettings
from smtpfleet.scheduler.claims import Claims

LEASE_MS = 400


class RecordingBus:
    """Keeps what was published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Struct]] = []
        self.is_connected = True

    def publish(self, subject: Subject, payload: Struct) -> None:
        self.published.append((subject.name, payload))


class FixedSnapshot:
    """A configuration that relays everything."""

    def __init__(self) -> None:
        rule = Rule(
            Location("smtpd.conf", 1, 1),
            (Condition("source", ANY_HOST, False), Condition("destination", ANY_DESTINATION, False)),
            RelayAction("", 0, "opportunistic", False, "", "", "", "", "", ""),
            345600,
        )
        self.current = Configuration(
            version="1-test",
            hostname="mx.test",
            listeners=(),
            tables={
                ANY_HOST: Table(ANY_HOST, "list", "static", "", {"local": "", "0.0.0.0/0": "", "::/0": ""}),
                ANY_DESTINATION: Table(ANY_DESTINATION, "list", "static", "", {"*": ""}),
                "<localnames>": Table("<localnames>", "list", "static", "", {"localhost": ""}),
            },
            rules=(rule,),
            limits=DEFAULT_LIMITS,
            max_message_size_bytes=36700160,
            expire_s=345600,
            bounce_warn_s=(14400,),
        )
        self.tables = Tables(self.current)
        self.has_snapshot = True


@dataclasses.dataclass
class Parts:
    """Everything one replica of queue and scheduler is made of."""

    store: Store
    form: StoredForm
    bus: RecordingBus
    cache: EnvelopeCache
    committer: Committer
    chunks: Chunks
    loader: Loader
    results: Results
    bouncer: Bouncer
    views: Views
    claims: Claims
    shards: int


def make_parts(
    redis_url: str, *, replica: str = "q1", shards: int = 1, bounce_delay_ms: int = 0, keys_text: str = ""
) -> Parts:
    """One replica's objects; what it writes is neither compressed nor encrypted until form.configure says so."""
    log = MailLog("test")
    store = Store(StoreSettings(redis_url=redis_url, shards=shards), log)
    bus: Any = RecordingBus()
    snapshot: Any = FixedSnapshot()
    form = StoredForm(KeyRing.parse(keys_text))
    form.configure(compression=False, encryption=False)
    cache = EnvelopeCache(64 * 1024 * 1024)
    loaded = Loaded()
    announcer = Announcer(bus)
    committer = Committer(store, form, cache, announcer, log, replica=replica, shards=shards, waitaof=False)
    results = Results(
        store, form, cache, loaded, announcer, log, shards=shards, bounce_delay_ms=bounce_delay_ms, waitaof=False
    )
    return Parts(
        store, form, bus, cache, committer, Chunks(store, form, log, shards=shards),
        Loader(store, form, cache, loaded, results, replica=replica, shards=shards), results,
        Bouncer(store, form, snapshot, announcer, log, shards=shards, waitaof=False), Views(store, form, shards=shards),
        Claims(store, shards=shards, lease_ms=LEASE_MS), shards,
    )  # fmt: skip


def remote(domain: str = "example.org") -> RemoteDispatcher:
    """A plain relay."""
    return RemoteDispatcher(domain, False, 0, "opportunistic", False, "", "", "", "", "")


def local(user: str = "alice") -> LocalDispatcher:
    """A maildir."""
    return LocalDispatcher("maildir", "~/Maildir", user, "users")


def new_message(
    *dispatchers: LocalDispatcher | RemoteDispatcher,
    content: bytes = b"Subject: x\r\n\r\nbody\r\n",
    sender: str = "from@example.net",
    expire_s: int = 345600,
    msgid: str = "",
) -> CommitMessage:
    """A message with an envelope per dispatcher."""
    msgid = msgid or ids.new_msgid(1_700_000_000_000)
    envelopes = [
        Envelope(
            evpid=ids.evpid_of(msgid, number), sender=sender, rcpt=f"r{number}@example.org", dest=f"r{number}@example.org",
            dispatcher=dispatcher, tag="", helo="client", hostname="<unknown>", peer="192.0.2.1", smtpname="mx.test",
            created_at_ms=0, expire_s=expire_s,
        )
        for number, dispatcher in enumerate(dispatchers, 1)
    ]  # fmt: skip
    return CommitMessage(msgid, ids.new_token(), len(content), content, 0, envelopes)
