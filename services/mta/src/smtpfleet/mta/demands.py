"""What a relay demands of its sessions: who we are, what we show, where we go out from; made anew for every session.

Asks config for what is not in the snapshot (passwords, dynamic tables); whatever cannot be had fails the relay for now, never a message
for good. Never connects. Used by connector.py. OpenSMTPD: mta.c:mta_query_secret, mta_query_source, mta_session.c:mta_on_ptr (helo).
"""

import re
import ssl
from dataclasses import replace

from smtpfleet.contracts.commands import TableService
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.envelope import RemoteDispatcher
from smtpfleet.contracts.status import Status
from smtpfleet.mail.addrname import addrname_key
from smtpfleet.mail.tables import TableError
from smtpfleet.mta.auth import Credentials, read_credentials
from smtpfleet.mta.session import (
    TLS_NONE,
    TLS_OPPORTUNISTIC,
    TLS_REQUIRE,
    TLS_SECURE,
    TLS_SMTPS,
    Attempt,
    SessionParameters,
)
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.mta.source import SourcePicker
from smtpfleet.mta.tls import TlsContexts, TlsDemand
from smtpfleet.mta.transaction import Timeouts
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.table_client import TableClient
from smtpfleet.runtime.tls_files import TlsFault

S451_NO_CREDENTIALS = Status(451, "4.7.0", "Could not retrieve credentials")
S451_NO_CERTIFICATE = Status(451, "4.7.0", "Could not retrieve certificate")
S451_NO_HELO = Status(451, "4.3.5", "Could not retrieve HELO name")

_SAYABLE = re.compile(r"[!-~]{1,255}").fullmatch
"""What can be one word of a command; a table may hold anything."""


class Demands:
    """Makes SessionParameters. timeouts: of every session."""

    def __init__(
        self, settings: MtaSettings, tls: TlsContexts, tables: TableClient, log: MailLog, timeouts: Timeouts
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._tables = tables
        self._log = log
        self._timeouts = timeouts
        self._sources = SourcePicker(tables)
        self._missed: set[str] = set()

    async def source(self, d: RemoteDispatcher, configuration: Configuration) -> str | Status:
        """The address of ours whose turn it is, "" for any, or why there is none."""
        return await self._sources.pick(configuration, d.source) if d.source else self._settings.source_address

    async def of(self, d: RemoteDispatcher, configuration: Configuration, source: str) -> SessionParameters | Status:
        """What sessions of this relay from `source` must be like, or why there can be none now."""
        credentials = await self._credentials(d) if d.auth else None
        if isinstance(credentials, Status):
            return credentials
        helo = await self._helo(d, configuration, source)
        if isinstance(helo, Status):
            return helo
        context = self._context(d, configuration, helo)
        if isinstance(context, Status):
            return context
        return SessionParameters(
            helo=helo,
            attempts=self._attempts(d),
            context=context,
            source=source,
            connect_timeout_s=self._settings.connect_timeout_s,
            timeouts=self._timeouts,
            is_lmtp=d.is_lmtp,
            credentials=credentials,
            max_failures=configuration.limits_of(d.domain).max_failures_per_session,
        )

    def _attempts(self, d: RemoteDispatcher) -> tuple[Attempt, ...]:
        """One, or two where the second mends what the first may fail at: TLS that nobody demanded, and the classic `secure`."""
        smtp_port, smtps_port = d.port or self._settings.mx_port, d.port or self._settings.smtps_port
        starttls, smtps = Attempt(TLS_REQUIRE, smtp_port), Attempt(TLS_SMTPS, smtps_port)
        if d.tls == TLS_OPPORTUNISTIC:
            # Who must say a password says it through TLS or not at all.
            if d.auth:
                return (starttls,)
            return Attempt(TLS_OPPORTUNISTIC, smtp_port), Attempt(TLS_NONE, smtp_port)
        if d.tls == TLS_SECURE:
            # On a port known for TLS from the first byte nobody greets: minutes would pass before the second attempt.
            return (smtps,) if d.port == self._settings.smtps_port else (starttls, smtps)
        return (Attempt(d.tls, smtps_port if d.tls == TLS_SMTPS else smtp_port),)

    async def _credentials(self, d: RemoteDispatcher) -> Credentials | Status:
        table, label = d.login
        try:
            value = await self._tables.lookup_credentials(table, label)
        except TableError as error:
            self._log.warning("no credentials for a relay", relay=d.domain, table=table, reason=error)
            return S451_NO_CREDENTIALS
        credentials = read_credentials(value, label) if value is not None else None
        if credentials is None:
            self._log.warning("no credentials for a relay", relay=d.domain, table=table, label=label)
            return S451_NO_CREDENTIALS
        return credentials

    async def _helo(self, d: RemoteDispatcher, configuration: Configuration, source: str) -> str | Status:
        """The name for EHLO: by our address where a table says so and the address is known, else a fixed one."""
        name: str | None = d.helo or configuration.hostname
        if d.helo_source and source:
            table, key = configuration.tables.get(d.helo_source), addrname_key(source)
            if table is not None and table.is_inline:
                name = table.entries.get(key)
            else:
                try:
                    name = await self._tables.lookup(d.helo_source, TableService.ADDRNAME, key)
                except TableError:
                    name = None
        if name and not _SAYABLE(name):
            self._log.warning("a name that cannot stand in EHLO", relay=d.domain, name=name)
            name = None
        return name or S451_NO_HELO

    def _context(self, d: RemoteDispatcher, configuration: Configuration, helo: str) -> ssl.SSLContext | Status:
        if d.tls == TLS_NONE:
            return self._tls.choose(TlsDemand())  # never used, so no file may keep the mail here
        is_verifying = d.verify and d.tls != TLS_OPPORTUNISTIC
        # Without `pki` the one that has our name is shown, where there is one (reference 7.7).
        pki = configuration.pki.get(d.pki or helo.lower())
        if d.pki and pki is None:
            self._log.error("TLS of a relay cannot be set up", relay=d.domain, error=f"no pki {d.pki}")
            return S451_NO_CERTIFICATE
        if is_verifying and d.ca and d.ca not in configuration.cas:
            # Those the system trusts are others than the operator named.
            self._log.error("TLS of a relay cannot be set up", relay=d.domain, error=f"no ca {d.ca}")
            return S451_NO_CERTIFICATE
        ca = configuration.cas[d.ca].certificate if d.ca in configuration.cas else ""
        demand = TlsDemand(
            is_verifying=is_verifying,
            ca=ca or (pki.ca if pki is not None else ""),
            pki=pki,
            ciphers=d.ciphers,
            protocols=d.protocols,
        )
        try:
            return self._choose(demand, is_pki_named=bool(d.pki))
        except TlsFault as fault:
            self._log.error("TLS of a relay cannot be set up", relay=d.domain, error=fault)
            return S451_NO_CERTIFICATE

    def _choose(self, demand: TlsDemand, *, is_pki_named: bool) -> ssl.SSLContext:
        """The context. A certificate that only has our name is done without where its files are not here: it is a listener's, and
        its key may lie where smtp-in runs alone. Raises TlsFault."""
        try:
            return self._tls.choose(demand)
        except TlsFault as fault:
            if demand.pki is None or is_pki_named:
                raise
            context = self._tls.choose(replace(demand, pki=None))  # or it was not the certificate: raises again
            if str(fault) not in self._missed:
                self._missed.add(str(fault))
                self._log.warning("no certificate is shown to relays", pki=demand.pki.name, reason=fault)
            return context
