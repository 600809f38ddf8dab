"""The TLS of listeners: contexts made from certificate files, kept current while the files change.

Owns one SSLContext per set of TLS options and the rule that a broken file never takes away what works: the last good context stays and
the fault is logged once. Sessions keep the context they began with. Private keys are read here and nowhere else; they never cross the
bus. Used by listener, which asks for every endpoint, and by app, which runs `watch`. OpenSMTPD: ssl.c, smtp.c, ca.c; reference 4.6.
"""

import asyncio
import hashlib
import ssl
from dataclasses import dataclass, field

from cryptography import x509

from smtpfleet.contracts.configuration import Configuration, Listener, Pki
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.tls_files import (
    DEFAULT_CIPHERS,
    Stamp,
    TlsFault,
    ciphers_of,
    locate,
    reason_of,
    stamp_of,
    versions_of,
)

DHE_CIPHERS = ":DHE+AESGCM:DHE+CHACHA20"
"""Added where the operator has given parameters for them."""
LOOK_EVERY_S = 2.0
"""How often the files are looked at; a stat each. Chosen."""

_expires = metrics.gauge(
    "tls_certificate_expires_seconds", "When the certificate of a pki expires, epoch seconds", ("pki",)
)
_loads = metrics.counter("tls_loads", "Times certificate files were loaded", ("result",))


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What a context depends on. ca: path of the bundle for client certificates, "" for the system's."""

    pki: tuple[Pki, ...]
    ca: str
    asks_certificate: bool
    verify: bool
    ciphers: str
    protocols: str


@dataclass(slots=True)
class ListenerTls:
    """What a listener has; `context` is the newest good one, None before the first. secret: known to all replicas with the same key and
    to nobody else."""

    context: ssl.SSLContext | None = field(default=None, repr=False)
    secret: bytes = field(default=b"", repr=False)


_Stamp = tuple[Stamp, ...]


@dataclass(slots=True)
class _Entry:
    tls: ListenerTls
    stamp: _Stamp


class TlsContexts:
    """All contexts of this process. root: folder that stands for / in paths of the configuration, "" for /."""

    def __init__(self, log: MailLog, root: str = "") -> None:
        self._log = log
        self._root = root
        self._entries: dict[TlsOptions, _Entry] = {}
        self._by_endpoint: dict[tuple[str, int], ListenerTls] = {}

    async def apply(self, configuration: Configuration) -> dict[tuple[str, int], ListenerTls]:
        """What each endpoint with TLS has under `configuration`. An endpoint whose files cannot be loaded keeps what it had."""
        wanted = {
            (listener.address, listener.port): options_of(configuration, listener)
            for listener in configuration.listeners
            if listener.tls != "none"
        }
        entries = {options: self._entries.get(options) or await self._load(options) for options in wanted.values()}
        self._entries = entries
        by_endpoint: dict[tuple[str, int], ListenerTls] = {}
        for endpoint, options in wanted.items():
            tls = entries[options].tls
            last = self._by_endpoint.get(endpoint)
            if tls.context is None and last is not None:
                tls.context, tls.secret = last.context, last.secret
            by_endpoint[endpoint] = tls
        self._by_endpoint = by_endpoint
        return by_endpoint

    async def watch(self) -> None:
        """Loads files again when they change; runs for the life of the process."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Loads what has changed since it was loaded last."""
        for options, entry in list(self._entries.items()):
            if self._stamp(options) != entry.stamp:
                fresh = await self._load(options)
                entry.stamp = fresh.stamp
                if fresh.tls.context is not None:
                    entry.tls.context, entry.tls.secret = fresh.tls.context, fresh.tls.secret

    async def _load(self, options: TlsOptions) -> _Entry:
        # The stamp first: what changes while we read is found at the next look.
        stamp = self._stamp(options)
        names = ",".join(pki.name for pki in options.pki)
        try:
            # Off the loop: hundreds of certificates for as many names take a while.
            tls, expiries = await asyncio.to_thread(load_tls, options, self._root)
        except TlsFault as fault:
            _loads.labels("failed").inc()
            self._log.error("certificates not loaded, keeping what was there", pki=names, error=fault)
            return _Entry(ListenerTls(), stamp)
        _loads.labels("ok").inc()
        for name, expires_s in expiries.items():
            _expires.labels(name).set(expires_s)
        self._log.info("certificates loaded", pki=names)
        return _Entry(tls, stamp)

    def _stamp(self, options: TlsOptions) -> _Stamp:
        paths = [path for pki in options.pki for path in (pki.certificate, pki.key, _dhparams_of(pki))] + [options.ca]
        return tuple([stamp_of(locate(path, self._root)) for path in paths if path])


def options_of(configuration: Configuration, listener: Listener) -> TlsOptions:
    """What the listener's context depends on.

    A certificate is asked of the client only where the operator says what to verify it against: a peer with a certificate of its own
    making would otherwise fail the handshake, for Python's ssl cannot go on after a bad one as OpenSMTPD does.
    """
    pki = tuple([configuration.pki[name] for name in listener.pki if name in configuration.pki])
    ca = configuration.cas[listener.ca].certificate if listener.ca in configuration.cas else ""
    asks = listener.verify or bool(listener.ca)
    if asks and not ca and pki:
        ca = pki[0].ca
    return TlsOptions(
        pki, ca, asks, listener.verify, listener.ciphers or configuration.smtp_ciphers, listener.protocols
    )


def load_tls(options: TlsOptions, root: str) -> tuple[ListenerTls, dict[str, float]]:
    """The context, and when each pki's certificate expires. Raises TlsFault."""
    if not options.pki:
        raise TlsFault("no pki")
    contexts: list[ssl.SSLContext] = []
    by_name: dict[str, ssl.SSLContext] = {}
    expiries: dict[str, float] = {}
    for pki in options.pki:
        context = _context(options, pki, root)
        certificate = _certificate(pki, root)
        contexts.append(context)
        expiries[pki.name] = certificate.not_valid_after_utc.timestamp()
        for name in names_of(certificate) | {pki.name.lower()}:
            by_name.setdefault(name, context)  # the first that has a name keeps it, as in the order of the statement
    first = contexts[0]
    if len(contexts) > 1:
        first.sni_callback = lambda tls, name, _: _switch(tls, choose_by_name(by_name, name))
    secret = hashlib.sha256(b"smtpfleet unknown users\0" + locate(options.pki[0].key, root).read_bytes()).digest()
    return ListenerTls(first, secret), expiries


def _switch(tls: ssl.SSLObject, context: ssl.SSLContext | None) -> None:
    if context is not None:
        tls.context = context


def choose_by_name(by_name: dict[str, ssl.SSLContext], name: str | None) -> ssl.SSLContext | None:
    """Whose certificate has this name, exactly or by a wildcard for its first label; None leaves the listener's first (RFC 6066 §3)."""
    if not name:
        return None
    name = name.lower().rstrip(".")
    return by_name.get(name) or by_name.get("*." + name.partition(".")[2])


def _context(options: TlsOptions, pki: Pki, root: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = versions_of(options.protocols)
    # A renegotiation is work for us at a peer's word, compression leaks, a ticket key outlives forward secrecy.
    context.options |= (
        ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    context.num_tickets = 0
    dhparams = _dhparams_of(pki)
    context.set_ciphers(ciphers_of(options.ciphers) if options.ciphers else _own_ciphers(has_dhe=bool(dhparams)))
    certificate, key = locate(pki.certificate, root), locate(pki.key, root)
    try:
        # An encrypted key must fail and not ask the terminal for its passphrase.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        raise TlsFault(f"pki {pki.name}: cannot use {certificate} with {key}: {reason_of(error)}") from None
    if dhparams:
        try:
            context.load_dh_params(str(locate(dhparams, root)))  # type: ignore[attr-defined, unused-ignore]
        except (ssl.SSLError, OSError) as error:
            raise TlsFault(f"pki {pki.name}: dhparams {dhparams}: {reason_of(error)}") from None
    if options.asks_certificate:
        _trust(context, options, root)
    return context


def _own_ciphers(*, has_dhe: bool) -> str:
    return DEFAULT_CIPHERS + (DHE_CIPHERS if has_dhe else "")


def _trust(context: ssl.SSLContext, options: TlsOptions, root: str) -> None:
    """Asks clients for a certificate that verifies."""
    context.verify_mode = ssl.CERT_REQUIRED if options.verify else ssl.CERT_OPTIONAL
    if not options.ca:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        context.load_verify_locations(locate(options.ca, root))
    except (ssl.SSLError, OSError) as error:
        raise TlsFault(f"ca {options.ca}: {reason_of(error)}") from None


def _dhparams_of(pki: Pki) -> str:
    """The path of a dhparams file. `auto` and `legacy` mean parameters of the library's choice, for clients without elliptic curves:
    none are left, so they mean the same as `none`."""
    return "" if pki.dhe in ("", "none", "auto", "legacy") else pki.dhe


def _certificate(pki: Pki, root: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(locate(pki.certificate, root).read_bytes())[0]
    except (OSError, ValueError) as error:
        raise TlsFault(f"pki {pki.name}: cannot read {pki.certificate}: {type(error).__name__}") from None


def names_of(certificate: x509.Certificate) -> set[str]:
    """The host names a certificate is for, in lower case: its alternative names, or its common name where it has none."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return {name.lower() for name in found.get_values_for_type(x509.DNSName)}
    except (x509.ExtensionNotFound, ValueError):
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return {str(name.value).lower() for name in common}
