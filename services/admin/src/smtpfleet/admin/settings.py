"""Deployment settings of admin, and the rule that nobody else's host gets in without a token.

The rule is checked when the settings are made, so that a role set up unsafely does not even wait for NATS.
"""

from typing import Annotated

from msgspec import Meta

from smtpfleet.admin.access import is_loopback
from smtpfleet.runtime.settings import SECRET, BadSettings, RoleSettings, split_address

TOKEN_LENGTH = 16
"""Shortest token: 64 bits as hex digits. Chosen: no rate limit stands before it."""


class AdminSettings(RoleSettings, frozen=True, kw_only=True):
    """Settings of the admin role."""

    admin_listen: Annotated[str, Meta(description="ADDRESS:PORT of the REST API.")] = "127.0.0.1:8025"
    admin_token: Annotated[
        str,
        Meta(
            description="Bearer token for /v1 and /metrics, or in a file by _FILE; required unless on loopback only.",
            extra=SECRET,
        ),
    ] = ""

    def __post_init__(self) -> None:
        host, _ = split_address(self.admin_listen)
        if self.admin_token and (len(self.admin_token) < TOKEN_LENGTH or not self.admin_token.isascii()):
            raise BadSettings(f"SMTPFLEET_ADMIN_TOKEN: expected at least {TOKEN_LENGTH} ASCII characters")
        if not self.admin_token and not is_loopback(host):
            raise BadSettings(
                f"SMTPFLEET_ADMIN_LISTEN: {self.admin_listen} can be reached from other hosts and there is no token: "
                "set SMTPFLEET_ADMIN_TOKEN or SMTPFLEET_ADMIN_TOKEN_FILE, or listen on 127.0.0.1 or [::1]"
            )
