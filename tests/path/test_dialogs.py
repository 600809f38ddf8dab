"""The dialogs of tests/dialogs once more, against the running service over TCP; what needs a special service is played in process only."""

import asyncio
from pathlib import Path

import pytest

from tests.path.ground import STRANGER, Ground
from tests.support.dialog import play_over_tcp, read_dialog

pytestmark = [pytest.mark.path, pytest.mark.connected]

DIALOGS = [read_dialog(path) for path in sorted((Path(__file__).parents[1] / "dialogs").glob("*.dialog"))]
PLAYABLE = [dialog for dialog in DIALOGS if dialog.settings in ({}, {"peer": "127.0.0.1"})]


def test_most_dialogs_can_be_played_here() -> None:
    assert len(PLAYABLE) > len(DIALOGS) / 2


@pytest.mark.parametrize("dialog", PLAYABLE, ids=lambda dialog: dialog.name)
async def test_dialog_with_the_service(ground: Ground, dialog) -> None:  # type: ignore[no-untyped-def]
    source = dialog.settings.get("peer", STRANGER)
    await asyncio.wait_for(play_over_tcp(dialog, *ground.fleet.smtp_address, source=source), 60)
