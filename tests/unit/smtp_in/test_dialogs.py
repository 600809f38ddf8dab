"""Every dialog of tests/dialogs, played against the in-process server: step by step, byte by byte, and in one write."""

import asyncio
import re
from pathlib import Path

import pytest

from smtpfleet.contracts.commands import CommitVerdict
from tests.support.dialog import Dialog, judge, read_dialog
from tests.support.smtp_stage import PEER, MemoryTransport, Stage, make_configuration

FOLDER = Path(__file__).parents[2] / "dialogs"
DIALOGS = sorted(FOLDER.glob("*.dialog"))
KNOWN_SETTINGS = {"peer", "max-message-size", "max-rcpt", "max-mails", "queue", "bus"}


def set_stage(dialog: Dialog) -> tuple[Stage, MemoryTransport]:
    settings = dialog.settings
    assert settings.keys() <= KNOWN_SETTINGS
    stage = Stage(
        make_configuration(
            max_message_size_bytes=int(settings.get("max-message-size", "1000000")),
            max_rcpt=int(settings.get("max-rcpt", "1000")),
            max_mails=int(settings.get("max-mails", "100")),
        )
    )
    stage.queue.answers.extend(CommitVerdict(word) for word in settings.get("queue", "").split())
    stage.queue.is_connected = settings.get("bus", "up") == "up"
    return stage, stage.connect(settings.get("peer", PEER))


def compare_content(path: Path, stage: Stage) -> None:
    expected = path.with_name(path.stem + ".expect.eml")
    if expected.exists():
        (message,), (content,) = stage.queue.messages, stage.queue.contents
        got = content.replace(message.msgid.encode(), b"MSGID").replace(b"\r\n", b"\n")
        got = re.sub(rb"\n\t\w{3}, \d+ \w{3} \d{4} [\d:]{8} \+0000 \(UTC\)\n", b"\n\tDATE\n", got, count=1)
        assert got == expected.read_bytes()


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog_step_by_step(path: Path) -> None:
    dialog = read_dialog(path)
    stage, client = set_stage(dialog)
    judged = 0
    for step in dialog.steps:
        client.feed(step.sent)
        await stage.settle()
        judge(step.replies, client.written[judged:], is_closed=client.is_closed)
        judged = len(client.written)
    compare_content(path, stage)
    stage.close()


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog_byte_by_byte(path: Path) -> None:
    dialog = read_dialog(path)
    stage, client = set_stage(dialog)
    for byte in dialog.sent:
        client.feed(bytes([byte]))
    await stage.settle()
    judge(dialog.replies, client.written, is_closed=client.is_closed)
    compare_content(path, stage)
    stage.close()


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog_in_one_write(path: Path) -> None:
    dialog = read_dialog(path)
    stage, client = set_stage(dialog)
    client.feed(dialog.sent)
    await stage.settle()
    await asyncio.sleep(0)
    judge(dialog.replies, client.written, is_closed=client.is_closed)
    compare_content(path, stage)
    stage.close()
