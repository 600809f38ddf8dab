"""The machine's table, pair by pair: what every command does in every state."""

import pytest

from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.status import Status
from smtpfleet.mail.tables import Tables
from smtpfleet.smtp_in import reply
from smtpfleet.smtp_in.command import Command
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.memory import ContentMemory
from smtpfleet.smtp_in.session import TABLE, Session
from smtpfleet.smtp_in.state import COMMAND_STATES, State
from smtpfleet.smtp_in.transaction import Origin, Transaction
from tests.support.smtp_stage import make_configuration


class Silence:
    """A journal for nobody."""

    def note_failed_command(self, session_id: str, line: bytes, status: Status, detail: str) -> None: ...
    def note_refused_message(self, session_id: str, msgid: str, status: Status) -> None: ...
    def note_accepted_message(self, session_id: str, origin: Origin, tx: Transaction) -> None: ...


ARGUMENTS = {
    Command.HELO: b"client.example",
    Command.EHLO: b"client.example",
    Command.MAIL: b"FROM:<sender@example.net>",
    Command.RCPT: b"TO:<alice@example.test>",
    Command.BDAT: b"0",
}
WAY_TO = {
    State.INIT: (),
    State.SETUP: (Command.EHLO,),
    State.TRANSACTION: (Command.EHLO, Command.MAIL, Command.RCPT),
    State.CHUNKING: (Command.EHLO, Command.MAIL, Command.RCPT, Command.BDAT),
}
STAYS = {
    Command.NOOP: reply.S250_OK,
    Command.HELP: reply.S214_HELP,
    Command.VRFY: reply.S252_CANNOT_VERIFY,
    Command.EXPN: reply.S502_NOT_IMPLEMENTED,
    Command.UNKNOWN: reply.S500_UNRECOGNIZED,
}
MOVES = {
    # RFC 5321 §4.1.4: in a transaction, too.
    **{(state, command): (250, State.SETUP) for state in COMMAND_STATES for command in (Command.HELO, Command.EHLO)},
    (State.INIT, Command.RSET): (250, State.INIT),
    (State.SETUP, Command.MAIL): (250, State.TRANSACTION),
    (State.SETUP, Command.STARTTLS): (503, State.SETUP),  # this listener has neither
    (State.SETUP, Command.AUTH): (503, State.SETUP),
    (State.SETUP, Command.RSET): (250, State.SETUP),
    (State.TRANSACTION, Command.RCPT): (250, State.TRANSACTION),
    (State.TRANSACTION, Command.DATA): (354, State.DATA),
    (State.TRANSACTION, Command.RSET): (250, State.SETUP),
    (State.TRANSACTION, Command.BDAT): (250, State.CHUNKING),
    (State.CHUNKING, Command.BDAT): (250, State.CHUNKING),
    (State.CHUNKING, Command.RSET): (250, State.SETUP),
    **{(state, Command.QUIT): (221, State.CLOSING) for state in COMMAND_STATES},
}
PAIRS = [(state, command) for state in WAY_TO for command in Command]


def new_session(configuration: Configuration | None = None) -> Session:
    configuration = configuration or make_configuration()
    entrance = Entrance(configuration, Tables(configuration), configuration.listeners[0])
    around = Surroundings(lambda: 1_700_000_000.0, lambda: None, Silence(), ContentMemory(1_000_000))
    return Session(entrance, around, peer="192.0.2.9")


def say(session: Session, command: Command) -> reply.Reply:
    session.replies.clear()
    session.on_command(command, ARGUMENTS.get(command, b""), command.encode() + b"\r\n")
    return session.replies[0]


def session_in(state: State) -> Session:
    session = new_session()
    for command in WAY_TO[state]:
        say(session, command)
    assert session.state is state
    return session


@pytest.mark.parametrize(("state", "command"), PAIRS, ids=[f"{s.name} {c}" for s, c in PAIRS])
def test_every_command_in_every_state(state: State, command: Command) -> None:
    session = session_in(state)
    answer = say(session, command)
    first = answer if isinstance(answer, Status) else answer[0]
    code, after = MOVES.get((state, command), (None, state))
    expected = STAYS.get(command, reply.S503_NOT_NOW) if code is None else first
    assert answer == (expected if code is None else answer)
    assert first.code == (code or first.code)
    assert session.state is after


@pytest.mark.parametrize("state", [state for state in State if state not in COMMAND_STATES])
def test_no_command_is_taken_while_something_else_is_due(state: State) -> None:
    assert TABLE[state] == {}


def test_rset_forgets_the_transaction_and_keeps_the_greeting() -> None:
    session = session_in(State.TRANSACTION)
    say(session, Command.RSET)
    assert session.tx is None
    assert say(session, Command.MAIL) is reply.S250_OK


@pytest.mark.parametrize(
    ("name", "status"),
    [(name, value) for name, value in vars(reply).items() if name.startswith("S") and isinstance(value, Status)],
)
def test_names_of_replies_carry_their_code(name: str, status: Status) -> None:
    assert name[1:4] == str(status.code)
    assert not status.esc or status.esc[0] == str(status.code)[0]
    assert reply.encode_reply(status) == f"{status.line}\r\n".encode()
