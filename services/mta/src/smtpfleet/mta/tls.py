"""TLS contexts of sessions out: one that trusts anybody for opportunistic use, one that verifies.

Opportunistic TLS never verifies and verification is never half done (reference 12): chain and name, or neither. Built once, because
reading the system's certificates costs tens of milliseconds. Used by connector.py. OpenSMTPD: ssl.c, mta_session.c:mta_verify_certificate.
"""

import ssl
from functools import cached_property


class TlsContexts:
    """ca_file: certificates to trust when verifying; "" for the system's."""

    def __init__(self, ca_file: str) -> None:
        self._ca_file = ca_file

    def choose(self, *, is_verifying: bool) -> ssl.SSLContext:
        """The context for a session."""
        return self.verifying if is_verifying else self.trusting

    @cached_property
    def trusting(self) -> ssl.SSLContext:
        """Encrypts and asks nothing: RFC 7435."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    @cached_property
    def verifying(self) -> ssl.SSLContext:
        """Chain and name must be right."""
        return ssl.create_default_context(cafile=self._ca_file or None)
