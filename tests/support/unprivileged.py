"""A user who is not root, for deliveries that root is refused: ourselves, or `nobody` where tests run as root."""

import os
from pathlib import Path

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
UID = NOBODY if IS_ROOT else os.geteuid()
GID = NOBODY if IS_ROOT else os.getegid()


def make_folder(folder: Path) -> Path:
    """A new folder of that user, who may also walk into it: what pytest makes is for its own user alone."""
    folder.mkdir(parents=True)
    os.chown(folder, UID, GID)
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if mode & 0o011 != 0o011:
            parent.chmod(mode | 0o011)
    return folder
