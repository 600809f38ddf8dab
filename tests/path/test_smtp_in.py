"""smtp-in as a process, in front of a real queue: the dialogs over TCP, a large message, SIGTERM in the middle of content."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.fleet import Fleet
from tests.support.dialog import Way, play_over_tcp, read_dialog

pytestmark = pytest.mark.path

NAMES = (
    "bad_lines", "bare_cr", "helo_refused", "line_too_long", "loop", "nul_in_content", "other_commands", "rcpt_before_mail",
    "smuggled_dot_lf", "too_many_failures", "two_messages",
)  # fmt: skip
"""Dialogs that need no setting of their own."""
CONFIG = """
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
table users file:@ETC@/users
accept from any for domain "example.test" userbase <users> deliver to maildir
"""
OPENING = b"EHLO client.example\r\nMAIL FROM:<sender@example.net>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
LARGE = b"".join(b"%07d " % number + b"x" * 90 + b"\r\n" for number in range(30_000))
"""3 MB."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """config, queue, mda (asked for `.forward`) and two replicas of smtp-in on one port."""
    replicas = {"smtp-in": 2, "scheduler": 0, "mta": 0, "mda": 1, "admin": 0}
    with Fleet(tmp_path_factory.mktemp("smtp-in"), replicas=replicas, config_text=CONFIG) as fleet:
        yield fleet


@pytest.mark.parametrize("name", NAMES)
async def test_dialog_over_tcp(fleet: Fleet, name: str) -> None:
    dialog = read_dialog(Path(__file__).parents[1] / "dialogs" / f"{name}.dialog")
    await play_over_tcp(dialog, Way(*fleet.smtp_address))


async def open_data(fleet: Fleet) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A session that has been told 354."""
    reader, writer = await asyncio.open_connection(*fleet.smtp_address)
    writer.write(OPENING)
    await asyncio.wait_for(reader.readuntil(b"\r\n354 "), 5)
    await reader.readline()
    return reader, writer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def test_a_large_message_is_stored_in_chunks(fleet: Fleet) -> None:
    reader, writer = await open_data(fleet)
    writer.write(LARGE + b".\r\nQUIT\r\n")
    accepted = await asyncio.wait_for(reader.readline(), 20)
    assert accepted.startswith(b"250 2.0.0 ") and accepted.endswith(b" Message accepted for delivery\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b"221 2.0.0 Bye\r\n"
    await hang_up(writer)
    msgid = accepted.split()[2].decode()
    assert any(f"smtp message msgid={msgid} size=" in line for line in fleet.trace(msgid))


async def test_sigterm_lets_content_on_its_way_end(fleet: Fleet) -> None:
    sessions = [await open_data(fleet) for _ in range(6)]
    idle = [await asyncio.open_connection(*fleet.smtp_address) for _ in range(6)]
    for replica in fleet.roles["smtp-in"]:
        replica.term()
    for reader, _ in idle:
        said = await asyncio.wait_for(reader.read(), 5)
        assert said.endswith(b"421 4.3.2 Service shutting down\r\n")
    for reader, writer in sessions:
        writer.write(b"Subject: last\r\n\r\nbody\r\n.\r\n")
        said = await asyncio.wait_for(reader.read(), 10)
        assert said.startswith(b"250 2.0.0 ") and said.endswith(b"\r\n421 4.3.2 Service shutting down\r\n")
    for _, writer in (*sessions, *idle):
        await hang_up(writer)
    assert all([await asyncio.to_thread(replica.stop, 10.0) for replica in fleet.roles["smtp-in"]])
    for replica in fleet.roles["smtp-in"]:  # tests run in any order: the fleet is left as it was found
        await asyncio.to_thread(replica.start)
        await asyncio.to_thread(replica.await_ready)
