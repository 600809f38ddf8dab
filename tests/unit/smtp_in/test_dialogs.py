"""Every dialog of tests/dialogs, played against the in-process server: step by step, byte by byte, and in one write."""

import asyncio
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from smtpfleet.contracts.commands import CommitVerdict
from smtpfleet.smtp_in.access_request import TlsFacts
from smtpfleet.smtp_in.crypt_library import crypt
from tests.support.credentials import Credentials
from tests.support.dialog import Dialog, judge, read_dialog
from tests.support.smtp_stage import PEER, MemoryTransport, Stage, make_configuration

FOLDER = Path(__file__).parents[2] / "dialogs"
DIALOGS = sorted(FOLDER.glob("*.dialog"))
LISTENERS: dict[str, dict[str, Any]] = {
    "": {},
    "no-dsn": {"no_dsn": True},
    "port=587": {"port": 587},
    "mend-line-ends": {"mends_line_ends": True},
    "tls-require": {"tls": "require"},
    "auth-optional": {"auth": "optional", "auth_table": "people"},
    "auth": {"auth": "required", "auth_table": "people"},
}
KNOWN_SETTINGS = {"peer", "max-message-size", "max-rcpt", "max-mails", "queue", "bus", "listener", "tls", "credentials"}
USER, PASSWORD = "bob", b"correct horse"
SECURED = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, False)


@cache
def hashed() -> str:
    return crypt(PASSWORD, b"$6$rounds=1000$saltsalt").decode()


def credentials_of(settings: dict[str, str]) -> Credentials | None:
    if not settings.get("listener", "").startswith("auth"):
        return None
    credentials = Credentials()
    credentials.values[USER] = hashed()
    credentials.is_down = settings.get("credentials", "up") == "down"
    return credentials


def set_stage(dialog: Dialog) -> tuple[Stage, MemoryTransport]:
    settings = dialog.settings
    assert settings.keys() <= KNOWN_SETTINGS
    configuration = make_configuration(
        max_message_size_bytes=int(settings.get("max-message-size", "1000000")),
        max_rcpt=int(settings.get("max-rcpt", "1000")),
        max_mails=int(settings.get("max-mails", "100")),
    )
    listener = structs.replace(configuration.listeners[0], **LISTENERS[settings.get("listener", "")])
    stage = Stage(structs.replace(configuration, listeners=(listener,)), credentials=credentials_of(settings))
    stage.queue.answers.extend(CommitVerdict(word) for word in settings.get("queue", "").split())
    stage.queue.is_connected = settings.get("bus", "up") == "up"
    client = stage.connect(settings.get("peer", PEER))
    if settings.get("tls", "no") == "yes":
        client.protocol.session.on_tls(SECURED, is_new=False)  # as on an smtps port
    return stage, client


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


def test_there_are_dialogs_for_every_reply_code() -> None:
    # Reference 4.3, and what RFC 5321, 4954 and 6531 add to it.
    replies = {reply[:3] for path in DIALOGS for reply in read_dialog(path).replies}
    codes = {"214", "220", "221", "235", "250", "252", "334", "354", "421", "451", "452", "454", "500", "501", "502", "503", "504", "530", "535", "538", "550", "552", "553", "554", "555"}  # fmt: skip
    assert codes <= replies
    assert len(DIALOGS) >= 150
