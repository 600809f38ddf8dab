"""Deployment settings of config, read from the environment by runtime.settings.

Where the configuration is and what this machine is called; everything about mail is in smtpd.conf itself.
"""

from typing import Annotated

from msgspec import Meta

from smtpfleet.runtime.settings import RoleSettings

DEFAULT_FILE = "/etc/mail/smtpd.conf"
"""OpenSMTPD's."""


class ConfigSettings(RoleSettings, frozen=True, kw_only=True):
    """Settings of the config role."""

    config_file: Annotated[str, Meta(description="The main configuration file.", min_length=1)] = DEFAULT_FILE
    config_root: Annotated[
        str,
        Meta(
            description="Folder that stands for / in paths of includes and table files, and where relative ones start; "
            "empty: the real /, and relative ones start beside the main file."
        ),
    ] = ""
    config_macros: Annotated[
        str, Meta(description="Macros the file cannot change, as name=value,name=value; like -D of smtpd.")
    ] = ""
    config_poll_s: Annotated[float, Meta(description="Seconds between looks at the files.", ge=0.05, le=3600)] = 0.5
    server_name: Annotated[
        str,
        Meta(description="Name of the mail server; empty: first line of /etc/mail/mailname, or the host's name."),
    ] = ""
    local_addresses: Annotated[
        str,
        Meta(
            description="Addresses that count as `local` besides loopback, separated by blanks; `auto`: all of this machine. "
            "Several replicas should have the same."
        ),
    ] = "auto"
