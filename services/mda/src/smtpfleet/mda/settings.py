"""Deployment settings of mda, read from the environment by runtime.settings.

How many deliveries may run for a user or in all is mail configuration (`limit mda`), not a setting.
"""

from typing import Annotated

from msgspec import Meta

from smtpfleet.runtime.settings import RoleSettings


class MdaSettings(RoleSettings, frozen=True, kw_only=True):
    """Settings of the mda role."""

    mda_threads: Annotated[
        int,
        Meta(description="Threads that write and flush files; 4 to 8 are best on a local disk.", ge=2, le=64),
    ] = 8
    mbox_folder: Annotated[
        str,
        Meta(description="Folder of the users' mailbox files, for the method mbox.", pattern="^/"),
    ] = "/var/mail"
    forward_programs: Annotated[
        bool,
        Meta(
            description="Whether commands and files in users' `.forward` are obeyed although mda is not root, with mda's own rights."
        ),
    ] = False
