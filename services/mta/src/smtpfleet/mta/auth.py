"""Showing a relay who we are: AUTH PLAIN or LOGIN, with credentials from a table, through TLS only.

Owns the choice of mechanism and its exchange; where the credentials come from is demands.py's. The password is in no log and no Status:
what a peer says of it is its own reply. Used by session.py. RFC 4954, 4616; OpenSMTPD: mta_session.c from MTA_AUTH on.
"""

from base64 import b64encode
from dataclasses import dataclass, field

from smtpfleet.contracts.status import Status
from smtpfleet.mta.client import Extensions, PeerProtocol
from smtpfleet.mta.reply import Reply

S451_NOT_OFFERED = Status(451, "4.7.0", "AUTH not advertised")
S451_NO_MECHANISM = Status(451, "4.7.0", "no supported AUTH method")
S451_IN_CLEAR = Status(451, "4.7.0", "Refuse to AUTH over unsecure channel")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password of ours at a relay."""

    user: str
    password: str = field(repr=False)


def read_credentials(value: str, label: str) -> Credentials | None:
    """`user:password` of a credentials table, or a password alone, whose user is the label (reference 9.1); None where it is neither.
    NUL would end a word of PLAIN."""
    user, _, password = value.partition(":") if ":" in value else (label, "", value)
    if not user or not password or "\0" in value:
        return None
    return Credentials(user, password)


def auth_fault(extensions: Extensions, *, is_encrypted: bool) -> Status | None:
    """Why we cannot say who we are here, or None."""
    if not is_encrypted:
        return S451_IN_CLEAR
    if not extensions.auth:
        return S451_NOT_OFFERED
    return None if extensions.auth & {"plain", "login"} else S451_NO_MECHANISM


async def authenticate(
    peer: PeerProtocol, extensions: Extensions, credentials: Credentials, timeout_s: float
) -> Reply | None:
    """The peer's last reply, 235 where it believes us; None where `peer.fault` says why there is none."""
    user, password = credentials.user.encode(), credentials.password.encode()
    if "plain" in extensions.auth:
        answer = b64encode(b"\0".join((b"", user, password)))
        return await peer.command(b"AUTH", b"PLAIN", answer, timeout_s=timeout_s)
    reply = await peer.command(b"AUTH", b"LOGIN", timeout_s=timeout_s)
    for word in (user, password):
        if reply is None or reply.code != 334:
            return reply
        reply = await peer.command(b64encode(word), timeout_s=timeout_s)
    return reply
