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
    AWAITING_RCPT_VERDICT = auto()
    AWAITING_QUEUE_APPEND = auto()
    AWAITING_QUEUE_COMMIT = auto()
    CLOSING = auto()

    # Members are compared by identity already; Enum's own hash is a Python function, called for every state change.
    __hash__ = object.__hash__


COMMAND_STATES = frozenset({State.INIT, State.SETUP, State.TRANSACTION})
"""Where the next bytes are a command line."""
HELD_STATES = frozenset(State) - COMMAND_STATES - {State.DATA}
"""Where the next bytes stay in the buffer."""
