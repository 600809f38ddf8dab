"""Environment settings of the queue role."""

from typing import Annotated

from msgspec import Meta

from smtpfleet.queue.keyring import KeyRing
from smtpfleet.runtime.settings import SECRET
from smtpfleet.runtime.store import Durability, StoreSettings


class QueueSettings(StoreSettings, frozen=True, kw_only=True):
    """What queue has besides the common settings and the store's."""

    durability: Annotated[
        Durability,
        Meta(
            description="What a 250 promises: local (flushed), replica (flushed here and on one replica), relaxed (may lose a second)."
        ),
    ] = Durability.LOCAL
    cache_bytes: Annotated[int, Meta(description="Memory for the envelope cache.", ge=0)] = 256 * 1024 * 1024
    bounce_delay_ms: Annotated[
        int, Meta(description="How long failures of one message are gathered into one bounce.", ge=0)
    ] = 1000  # OpenSMTPD bounce.c: one second after the last addition
    queue_key: Annotated[
        str,
        Meta(
            description="Keys of `queue encryption`, or in a file by _FILE: 64 hex digits or base64 of 32 bytes, one per line; the first encrypts, all decrypt.",
            extra=SECRET,
        ),
    ] = ""

    def __post_init__(self) -> None:
        """Refuses a key that is none at start. Raises BadSettings."""
        KeyRing.parse(self.queue_key)
