"""The states of a session. What leads from one to another is told, and decided, in session.

A state called AWAITING_… is named after whom we wait for and what it will say; nothing but that answer is handed to the session in it.
"""

from enum import Enum, auto


class State(Enum):
    """Where the conversation stands."""

    INIT = auto()
    SETUP = auto()
    TRANSACTION = auto()
    DATA = auto()
    CHUNK = auto()
    """The octets of a BDAT."""
    CHUNKING = auto()
    """Between two BDATs of one message."""
    SKIP = auto()
    """The octets of a BDAT that was refused."""
    AWAITING_WELCOME = auto()
    """The peer's name, our own, and its permit, before the banner."""
    AUTHENTICATING = auto()
    """The next line is one of an AUTH exchange."""
    AWAITING_TLS_HANDSHAKE = auto()
    AWAITING_AUTH_VERDICT = auto()
    AWAITING_SENDER_VERDICT = auto()
    AWAITING_RCPT_VERDICT = auto()
    AWAITING_QUEUE_APPEND = auto()
    AWAITING_QUEUE_COMMIT = auto()
    CLOSING = auto()

    # Members are compared by identity already; Enum's own hash is a Python function, called for every state change.
    __hash__ = object.__hash__


COMMAND_STATES = frozenset({State.INIT, State.SETUP, State.TRANSACTION, State.CHUNKING})
"""Where the next bytes are a command line."""
CHUNK_STATES = frozenset({State.CHUNK, State.SKIP})
"""Where the next bytes are octets that BDAT has announced."""
HELD_STATES = frozenset(State) - COMMAND_STATES - CHUNK_STATES - {State.DATA, State.AUTHENTICATING}
"""Where the next bytes stay in the buffer."""
