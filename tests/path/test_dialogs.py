"""The dialogs of tests/dialogs once more, against the running service over TCP; what needs a special service is played in process only."""

import asyncio
from pathlib import Path

import pytest

from tests.path.ground import MAX_MESSAGE_BYTES, STRANGER, Ground
from tests.support.dialog import Dialog, play_blindly_over_tcp, play_over_tcp, read_dialog

pytestmark = [pytest.mark.path, pytest.mark.connected]

# The limit of the stage that plays them in process, and ours.
HERE = {"SIZE 1000000": f"SIZE {MAX_MESSAGE_BYTES}"}


def read_for_here(path: Path) -> Dialog:
    dialog = read_dialog(path)
    for there, here in HERE.items():
        for step in dialog.steps:
            step.replies = [reply.replace(there, here) for reply in step.replies]
    return dialog


DIALOGS = [read_for_here(path) for path in sorted((Path(__file__).parents[1] / "dialogs").glob("*.dialog"))]
PLAYABLE = [dialog for dialog in DIALOGS if dialog.settings in ({}, {"peer": "127.0.0.1"})]

SHORT = [dialog for dialog in PLAYABLE if len(dialog.sent) < 2000]
"""A segment for each byte takes its time."""


def test_most_dialogs_can_be_played_here() -> None:
    assert len(PLAYABLE) > len(DIALOGS) / 2


@pytest.mark.parametrize("dialog", PLAYABLE, ids=lambda dialog: dialog.name)
async def test_dialog_against_the_service(ground: Ground, dialog: Dialog) -> None:
    source = dialog.settings.get("peer", STRANGER)
    await asyncio.wait_for(play_over_tcp(dialog, *ground.fleet.smtp_address, source=source), 60)


@pytest.mark.parametrize("dialog", PLAYABLE, ids=lambda dialog: dialog.name)
async def test_dialog_in_one_write(ground: Ground, dialog: Dialog) -> None:
    source = dialog.settings.get("peer", STRANGER)
    everything = max(1, len(dialog.sent))
    await play_blindly_over_tcp(dialog, *ground.fleet.smtp_address, source=source, piece_bytes=everything)


@pytest.mark.parametrize("dialog", SHORT, ids=lambda dialog: dialog.name)
async def test_dialog_byte_by_byte(ground: Ground, dialog: Dialog) -> None:
    source = dialog.settings.get("peer", STRANGER)
    await play_blindly_over_tcp(dialog, *ground.fleet.smtp_address, source=source, piece_bytes=1)
