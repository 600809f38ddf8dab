"""The dialogs of AUTH once more, over sockets and real TLS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.dialog import Way, play_over_tcp, read_dialog
from tests.support.secure_stage import HOST, SecureStage
from tests.unit.smtp_in.test_dialogs import DIALOGS, LISTENERS, USER, hashed

SECURED = [path for path in DIALOGS if read_dialog(path).settings.get("tls") == "yes"]
# STARTTLS on a port that speaks TLS from the start is not `tls-require`.
PLAYABLE = [path for path in SECURED if read_dialog(path).settings.get("listener") != "tls-require"]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SecureStage]:
    stage = SecureStage(tmp_path)
    stage.credentials.values[USER] = hashed()
    yield stage
    await stage.close()


@pytest.mark.parametrize("path", PLAYABLE, ids=lambda path: path.stem)
async def test_dialog_over_tls(stage: SecureStage, path: Path) -> None:
    dialog = read_dialog(path)
    stage.credentials.is_down = dialog.settings.get("credentials", "up") == "down"
    await stage.listen(tls="smtps", **LISTENERS[dialog.settings.get("listener", "")])
    context = stage.client_context()
    context.check_hostname = False  # the name is not what is tried here
    await play_over_tcp(dialog, Way(HOST, stage.port, context=context))


def test_there_are_such_dialogs() -> None:
    assert len(PLAYABLE) >= 8
