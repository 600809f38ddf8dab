"""Deployment settings of smtp-in. What it listens on and whom it serves is in smtpd.conf.

Read by runtime.role at start.
"""

from typing import Annotated

from msgspec import Meta

from smtpfleet.runtime.settings import RoleSettings


class SmtpInSettings(RoleSettings, frozen=True, kw_only=True):
    """Settings of smtp-in."""

    max_sessions: Annotated[
        int, Meta(description="Sessions of this process at once; beyond it peers are told 421.", ge=1)
    ] = 20000
    content_memory_bytes: Annotated[
        int, Meta(description="Content this process may hold for all sessions; beyond it MAIL is told 452.", ge=1)
    ] = 256 * 1024 * 1024
