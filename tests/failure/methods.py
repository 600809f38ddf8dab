"""The methods of mda other than maildir in the fleet whose processes die: rules for each, and what has arrived by them.

A domain per method. Programs and LMTP are for a user `agent` who is not root, the mailbox file is of `bench`. The program makes a new file for whatever it is given, so that a second copy is seen; the
sink is the LMTP peer.
"""

from pathlib import Path

from bench.mark import Arrival, find_mark, parse_mark
from tests.support.unprivileged import GID, UID

MBOX_RCPT = "bench@mbox.test"
PROGRAM_RCPT = "agent@program.test"
LMTP_RCPT = "agent@lmtp.test"

PROGRAM_FOLDER = "program"


def rules_for(sink_port: int, agent_home: Path) -> str:
    """Lines of an smtpd.conf that go on from bench.systems.conf_for."""
    program = f"mkdir -p {PROGRAM_FOLDER}; cat > $(mktemp {PROGRAM_FOLDER}/XXXXXXXX)"
    return f"""\
table agents {{ "agent" = "{UID}:{GID}:{agent_home}" }}
accept from any for domain "mbox.test" userbase <users> deliver to mbox
accept from any for domain "program.test" userbase <agents> deliver to mda "{program}"
accept from any for domain "lmtp.test" userbase <agents> deliver to lmtp "127.0.0.1:{sink_port}"
"""


def arrivals(agent_home: Path, mailbox: Path) -> list[Arrival]:
    """What programs have written into the home, and what stands in the mailbox file. By LMTP: the sink's log."""
    contents = [path.read_bytes() for path in (agent_home / PROGRAM_FOLDER).glob("*")]
    return [_arrival(content) for content in contents + messages_of(mailbox)]


def messages_of(mailbox: Path) -> list[bytes]:
    """The messages of a mailbox file, without their `From ` lines. Fails where it does not begin with one."""
    content = mailbox.read_bytes() if mailbox.exists() else b""
    before, *messages = (b"\n" + content).split(b"\nFrom ")
    assert not before.strip(), f"something stands before the first message: {before[:200]!r}"
    return [message.partition(b"\n")[2] for message in messages]


def _arrival(content: bytes) -> Arrival:
    # When it came is not known, and nobody asks where processes die.
    return Arrival(parse_mark(find_mark(content)), 0)
