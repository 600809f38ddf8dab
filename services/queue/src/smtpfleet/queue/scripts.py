"""The queue's Lua scripts, loaded from scripts/. Each is atomic; its head says what it takes and returns."""

from pathlib import Path

from smtpfleet.runtime.store import Script

_FOLDER = Path(__file__).parent / "scripts"
_MESSAGE = _FOLDER / "message.lua"

COMMIT = Script(_FOLDER / "commit.lua", _MESSAGE)
APPEND = Script(_FOLDER / "append.lua")
DROP = Script(_FOLDER / "drop.lua")
RESULT = Script(_FOLDER / "result.lua", _MESSAGE, works_when_full=True)
BOUNCE = Script(_FOLDER / "bounce.lua", _MESSAGE)
