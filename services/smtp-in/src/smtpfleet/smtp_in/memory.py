"""How much content this process holds for all sessions together, and whether that is too much.

Sessions say how much they hold; nothing here frees anything. When it is too much no new message begins and content goes ahead to queue
in small chunks, so ten thousand peers that send at once are slowed down instead of filling the memory (law 8).
"""


class ContentMemory:
    """Bytes of content between the peers and queue."""

    __slots__ = ("held_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    @property
    def is_short(self) -> bool:
        """Whether sessions hold more than they should."""
        return self.held_bytes > self.limit_bytes
