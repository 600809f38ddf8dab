"""The one table of Redis keys: owner, type, content, lifetime. Nothing else spells a key.

Every key of a message, and everything the scheduler knows of it, carries the hash tag of the message's shard, so that one script
touches one slot and Redis Cluster works. Scripts get the tag as KEYS[1] and append the rest; the rows here and the Lua files agree
by a test. Permits are counted per relay across shards and have tags of their own.
"""

from msgspec import Struct

UNCOMMITTED_TTL_S = 900
"""Chunks sent ahead of a commit live this long after the last one: three of OpenSMTPD's 300 s session timeouts."""
DONE_TTL_S = 300
"""How long msgid and token of a finished message are remembered, so that a repeated commit is recognised."""
DAMAGED_TTL_S = 7 * 24 * 3600
"""How long a damaged chunk is remembered: far above the pause between two attempts, which finds it again. Chosen."""


class Key(Struct, frozen=True):
    """A row: the key's form after the tag, its owner (the only role that writes it, commits aside), Redis type and lifetime."""

    form: str
    owner: str
    type: str
    holds: str
    lifetime: str


MESSAGE = Key(
    "msg:<msgid>", "queue", "hash",
    "`m` = token|size|chunks|home|created; one field per envelope: last 8 digits of evpid = Envelope on the wire, "
    "or encrypted (queue/stored_form)",
    "until the last envelope is gone",
)  # fmt: skip
CONTENT = Key(
    "content:<msgid>", "queue", "list",
    "the content, one element per chunk, CRLF line ends; one that begins with NUL is compressed or encrypted (queue/stored_form)",
    "UNCOMMITTED_TTL_S until commit, then as the message",
)  # fmt: skip
CONTENT_TOKEN = Key(
    "token:<msgid>", "queue", "string", "token of the transaction whose chunks are being appended", "UNCOMMITTED_TTL_S"
)
DONE = Key("done:<msgid>", "queue", "string", "token of a finished message", "DONE_TTL_S")
MESSAGES = Key("messages", "queue", "zset", "msgid by created_at_ms: the queue in order of age", "as the messages")
COUNT = Key("count", "queue", "hash", "messages, envelopes, inflight, bouncing, quarantined, bytes", "for ever")
BOUNCES = Key(
    "bounces", "queue", "zset", "msgid with envelopes to be reported on, by when the bounce is to be written", "seconds"
)
BOUNCE = Key(
    "bounce:<msgid>",
    "queue",
    "hash",
    "last 8 digits of evpid = kind (failed, delayed, delivered, relayed): members of the bounce",
    "seconds",
)
DAMAGED = Key("damaged:<msgid>", "queue", "string", "why a chunk of a large message cannot be read", "DAMAGED_TTL_S")
QUARANTINE = Key("quarantine", "queue", "hash", "evpid = reason", "until an operator removes it")

DUE = Key(
    "due:<agent>:<relay>",
    "scheduler",
    "zset",
    "evpid by due time (ms, store clock)",
    "while the relay has pending work",
)
READY = Key(
    "ready:<agent>", "scheduler", "zset", "relay by the time it is to be served next", "while it has pending work"
)
LEASES = Key("leases", "scheduler", "zset", "lease by the time it runs out (ms, store clock)", "while leased")
LEASE = Key("lease:<lease>", "scheduler", "hash", "evpid = agent:relay: what the holder may report on", "while leased")
FENCE = Key("fence", "scheduler", "string", "the last lease number: the fencing token", "for ever")

PERMITS = Key(
    "permits:<agent>:<relay>", "scheduler", "zset", "holder by expiry (ms, store clock)", "while held; TTL beyond that"
)
CALLER = Key(
    "{caller:<network>}:<address or network>", "scheduler", "hash",
    "`o:<replica>` = connections|expiry (ms, store clock); `began`, `connections`, `rcpts` of the minute",
    "a minute after the last connection",
)  # fmt: skip
FAILURES = Key(
    "{failures:<kind>:<name>}", "scheduler", "string", "failures in the window", "ten minutes from the first"
)
WELCOME = Key(
    "{welcome:<user>}", "scheduler", "zset", "address by its last success (ms, store clock)", "a month unused"
)
BANS = Key(
    "{bans}",
    "scheduler",
    "zset",
    "`<kind>|<name>` by when it ends (ms, store clock); BANS_LIMIT of them",
    "as the last ban",
)
SHARDS = Key(
    "smtpfleet:shards (no tag)", "queue", "string", "the number of shards this store was laid out for", "for ever"
)

KEYS: tuple[Key, ...] = tuple(row for row in list(globals().values()) if isinstance(row, Key))


def tag(shard: int) -> str:
    """Hash tag of a shard, with the colon: `{s3}:`."""
    return f"{{s{shard}}}:"


def message(msgid: str, shard: int) -> str:
    """MESSAGE."""
    return f"{{s{shard}}}:msg:{msgid}"


def content(msgid: str, shard: int) -> str:
    """CONTENT."""
    return f"{{s{shard}}}:content:{msgid}"


def damaged(msgid: str, shard: int) -> str:
    """DAMAGED."""
    return f"{{s{shard}}}:damaged:{msgid}"


def ready(agent: str, shard: int) -> str:
    """READY."""
    return f"{{s{shard}}}:ready:{agent}"


def due(agent: str, relay: str, shard: int) -> str:
    """DUE."""
    return f"{{s{shard}}}:due:{agent}:{relay}"


def permits(agent: str, relay: str) -> str:
    """PERMITS; the whole name is the hash tag."""
    return f"{{permits:{agent}:{relay}}}"


def caller(network: str, name: str) -> str:
    """CALLER: an address and its network are in one slot."""
    return f"{{caller:{network}}}:{name}"


def failures(kind: str, name: str) -> str:
    """FAILURES."""
    return f"{{failures:{kind}:{name}}}"


def welcome(user: str) -> str:
    """WELCOME."""
    return f"{{welcome:{user}}}"
