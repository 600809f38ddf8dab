"""A TLS handshake on a connection that is there already, and what came of it.

Owns its time limit and its counts; knows no SMTP. The protocol that is given gets the decrypted bytes from then on. Called by server
for STARTTLS and by arrival for listeners that begin with TLS. OpenSMTPD: io_start_tls in ioev.c.
"""

import asyncio
import ssl

from smtpfleet.runtime import metrics
from smtpfleet.smtp_in.access_request import TlsFacts

HANDSHAKE_WITHIN_S = 30.0
"""A client that begins a handshake has said nothing yet: far less patience than with a session. Chosen."""
SHUTDOWN_WITHIN_S = 5.0
"""For the peer's own goodbye after ours; most never say it. Chosen."""

_handshakes = metrics.counter("tls_handshakes", "TLS handshakes with peers, by how they ended", ("result",))


async def secure(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext
) -> asyncio.Transport | str:
    """The transport to use from now on, or why there is none; then the connection is closed."""
    loop = asyncio.get_running_loop()
    try:
        secured = await loop.start_tls(
            transport,
            protocol,
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
            ssl_shutdown_timeout=SHUTDOWN_WITHIN_S,
        )
    except OSError as error:
        return note_failed(error)
    # A peer that hangs up in the middle is no error to the loop: it returns a transport that is closed.
    if secured is None or secured.get_extra_info("cipher") is None:
        return note_failed(None)
    _handshakes.labels("ok").inc()
    return secured


def note_failed(error: OSError | None) -> str:
    """Counts a handshake that came to nothing and says why, for the log."""
    _handshakes.labels("failed").inc()
    if isinstance(error, ssl.SSLError):
        return (error.reason or type(error).__name__).lower().replace("_", " ")
    return "connection lost" if error is None else (error.strerror or str(error) or type(error).__name__)


def note_ok() -> None:
    """Counts one that the loop has done for us."""
    _handshakes.labels("ok").inc()


def facts_of(transport: asyncio.BaseTransport) -> TlsFacts | None:
    """How a transport is secured, None where it is not."""
    cipher = transport.get_extra_info("cipher")
    if cipher is None:
        return None
    tls = transport.get_extra_info("ssl_object")
    # getpeercert() is empty for a certificate that nobody has verified.
    return TlsFacts(tls.version() or "?", cipher[0], cipher[2], bool(transport.get_extra_info("peercert")))
