"""Message and envelope ids, and the shard a message belongs to.

A msgid is 64 bits as 16 hex digits: 44 bits of milliseconds, then 20 random bits, so ids sort by age and any number of smtp-in
replicas allocate them without asking anyone. An evpid is the msgid and 32 bits more, 24 hex digits. OpenSMTPD has 32 and 64 bits
(queue_backend.c:queue_generate_msgid); wider here because several machines allocate.
"""

import os
import re

MSGID_LENGTH = 16
EVPID_LENGTH = 24

_MSGID = re.compile(r"[0-9a-f]{16}")
_EVPID = re.compile(r"[0-9a-f]{24}")
_TIME_MASK = (1 << 44) - 1
_POOL_SIZE = 256
_pool: list[str] = []
# The system's random bits, drawn ahead: a message needs two draws and its session one. A forked child draws its own.
os.register_at_fork(after_in_child=_pool.clear)


def new_msgid(now_ms: int) -> str:
    """A fresh msgid for a message that begins at `now_ms` (epoch milliseconds). Collisions are refused by the commit."""
    return f"{now_ms & _TIME_MASK:011x}{new_token()[:5]}"


def evpid_of(msgid: str, number: int) -> str:
    """The evpid of the message's envelope `number`, counted from 1 in the order of acceptance."""
    return f"{msgid}{number:08x}"


def msgid_of(evpid: str) -> str:
    """The msgid an evpid belongs to."""
    return evpid[:MSGID_LENGTH]


def new_token() -> str:
    """64 random bits, 16 hex digits: what makes a repeated request recognisable (see commands.CommitMessage)."""
    if not _pool:
        bits = os.urandom(8 * _POOL_SIZE).hex()
        _pool.extend([bits[at : at + 16] for at in range(0, len(bits), 16)])
    return _pool.pop()


def is_msgid(text: str) -> bool:
    """Whether `text` has the form of a msgid. Whatever comes from outside is asked this before it becomes part of a key."""
    return _MSGID.fullmatch(text) is not None


def is_evpid(text: str) -> bool:
    """Whether `text` has the form of an evpid."""
    return _EVPID.fullmatch(text) is not None


def shard_of(msgid: str, shards: int) -> int:
    """The shard that holds all keys of this message: msgid mod shards."""
    return int(msgid, 16) % shards
