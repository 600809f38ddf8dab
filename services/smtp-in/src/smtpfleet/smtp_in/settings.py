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
        int, Meta(description="Content this process may hold for all sessions; beyond it MAIL is told 421.", ge=1)
    ] = 256 * 1024 * 1024
    rdns: Annotated[bool, Meta(description="Whether a peer's name is looked up and confirmed before the banner.")] = (
        True
    )
    nameservers: Annotated[
        str, Meta(description="DNS servers as ADDRESS or ADDRESS:PORT, separated by commas; empty: the system's.")
    ] = ""
    config_root: Annotated[
        str,
        Meta(description="Folder that stands for / in the paths of certificates and keys; empty: the real /."),
    ] = ""
    submission_socket: Annotated[
        str, Meta(description="Path of the socket of `listen on socket`; empty: there is none.")
    ] = ""
    auth_threads: Annotated[int, Meta(description="Threads that verify passwords.", ge=1, le=64)] = 2
