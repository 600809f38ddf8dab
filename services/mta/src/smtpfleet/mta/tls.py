"""TLS contexts of sessions out: what a relay demands, turned into one context each.

Opportunistic TLS never verifies and verification is never half done (reference 12): chain and name, or neither. A context is kept until a
file it was made of changes, because reading the system's certificates costs tens of milliseconds. Private keys are read here and nowhere
else. Used by demands.py. OpenSMTPD: ssl.c, mta_session.c:mta_verify_certificate.
"""

import ssl
from collections import OrderedDict
from dataclasses import dataclass

from smtpfleet.contracts.configuration import Pki
from smtpfleet.runtime.tls_files import Stamp, TlsFault, ciphers_of, locate, reason_of, stamp_of, versions_of

CONTEXTS_LIMIT = 200
"""Contexts kept; chosen. The longest unused is made again when it is needed."""


@dataclass(frozen=True, slots=True)
class TlsDemand:
    """What a context depends on. ca: path of a bundle, "" for the system's or the setting's. pki: what we show of ourselves, if asked.
    ciphers, protocols: as OpenSSL and libtls name them, "" for the library's own."""

    is_verifying: bool = False
    ca: str = ""
    pki: Pki | None = None
    ciphers: str = ""
    protocols: str = ""


class TlsContexts:
    """ca_file: certificates to trust when verifying and the relay names none; "" for the system's. root: folder that stands for / in
    paths of the configuration, "" for /."""

    def __init__(self, ca_file: str, root: str = "") -> None:
        self._ca_file = ca_file
        self._root = root
        self._contexts: OrderedDict[TlsDemand, tuple[tuple[Stamp, ...], ssl.SSLContext]] = OrderedDict()

    def choose(self, demand: TlsDemand) -> ssl.SSLContext:
        """The context for a session. Raises TlsFault where the demand's files cannot be used."""
        stamps = self._stamps(demand)
        kept = self._contexts.get(demand)
        if kept is not None and kept[0] == stamps:
            self._contexts.move_to_end(demand)
            return kept[1]
        context = self._make(demand)
        self._contexts[demand] = stamps, context
        if len(self._contexts) > CONTEXTS_LIMIT:
            self._contexts.popitem(last=False)
        return context

    def _stamps(self, demand: TlsDemand) -> tuple[Stamp, ...]:
        paths = [demand.ca] if demand.is_verifying else []
        if demand.pki is not None:
            paths += [demand.pki.certificate, demand.pki.key]
        return tuple([stamp_of(locate(path, self._root)) for path in paths if path])

    def _make(self, demand: TlsDemand) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if demand.is_verifying:
            self._trust(context, demand.ca)
        else:
            # Encrypts and asks nothing: RFC 7435.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if demand.protocols:
            context.minimum_version, context.maximum_version = versions_of(demand.protocols)
        if demand.ciphers:
            context.set_ciphers(ciphers_of(demand.ciphers))
        if demand.pki is not None:
            self._show(context, demand.pki)
        return context

    def _trust(self, context: ssl.SSLContext, ca: str) -> None:
        path = locate(ca, self._root) if ca else self._ca_file
        if not path:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            return
        try:
            context.load_verify_locations(path)
        except (ssl.SSLError, OSError) as error:
            raise TlsFault(f"ca {path}: {reason_of(error)}") from None

    def _show(self, context: ssl.SSLContext, pki: Pki) -> None:
        certificate, key = locate(pki.certificate, self._root), locate(pki.key, self._root)
        try:
            # An encrypted key must fail and not ask the terminal for its passphrase.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:
            raise TlsFault(f"pki {pki.name}: cannot use {certificate} with {key}: {reason_of(error)}") from None
