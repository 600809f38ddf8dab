"""The dialogs of tests/dialogs once more, against the running service over TCP: step by step, in one write, and byte by byte."""

import asyncio
from pathlib import Path

import pytest

from tests.path.ground import MAX_MESSAGE_BYTES, STRANGER, Ground
from tests.support.dialog import Dialog, Way, play_blindly_over_tcp, play_over_tcp, read_dialog

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
"""Those that need no special listener or limit; test_dialogs_of_listeners has the others."""


def way_to(ground: Ground, dialog: Dialog) -> Way:
    return Way(*ground.fleet.smtp_address, source=dialog.settings.get("peer", STRANGER))


@pytest.mark.parametrize("dialog", PLAYABLE, ids=lambda dialog: dialog.name)
async def test_dialog_against_the_service(ground: Ground, dialog: Dialog) -> None:
    await asyncio.wait_for(play_over_tcp(dialog, way_to(ground, dialog)), 60)


@pytest.mark.parametrize("dialog", PLAYABLE, ids=lambda dialog: dialog.name)
async def test_dialog_in_one_write(ground: Ground, dialog: Dialog) -> None:
    await play_blindly_over_tcp(dialog, way_to(ground, dialog), piece_bytes=max(1, len(dialog.sent)))


@pytest.mark.parametrize("dialog", PLAYABLE, ids=lambda dialog: dialog.name)
async def test_dialog_byte_by_byte(ground: Ground, dialog: Dialog) -> None:
    await play_blindly_over_tcp(dialog, way_to(ground, dialog), piece_bytes=1)
