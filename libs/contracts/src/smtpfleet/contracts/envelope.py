"""The envelope: one message for one final destination, and the dispatcher that takes it there.

Sender, rcpt and dest are three addresses: the reverse-path, the recipient as the peer gave it, the recipient after expansion
(OpenSMTPD struct envelope, smtpd-defines.h). Envelopes are frozen; a changed envelope is a new one. Addresses are `user@domain`
without angle brackets; the null sender is "".
"""

from enum import IntFlag

from msgspec import Struct

LOCAL_AGENT = "mda"
REMOTE_AGENT = "mta"


class EnvelopeFlag(IntFlag):
    """Bits of Envelope.flags (OpenSMTPD EF_*)."""

    AUTHENTICATED = 1
    """The session was authenticated."""
    BOUNCE = 2
    """The message is a bounce of ours."""
    INTERNAL = 4
    """The message was made or forwarded here."""
    SMTPUTF8 = 8
    """Its header is not ASCII, so only a peer with SMTPUTF8 may get it (RFC 6531 §3.6)."""


class DsnNotify(IntFlag):
    """Bits of Envelope.dsn_notify (RFC 3461 §4.1); 0 means the sender asked for nothing, so failures are reported."""

    SUCCESS = 1
    FAILURE = 2
    DELAY = 4
    NEVER = 8


class LocalDispatcher(Struct, frozen=True, array_like=True, tag="local"):
    """Delivery on a host that sees mail homes, done by mda.

    method: maildir | mbox | mda | lmtp | file.
    target: path, command or host:port as configured, with format tokens not yet expanded, such as `~/Maildir`; "" for mbox.
    user: system or virtual user, lower case; whose rights the delivery has.
    userbase: name of the table that knows the user's uid, gid and home.
    wrapper: command around that of mda, "" for none. is_junk, is_rcpt_to: as in configuration.LocalAction.
    """

    method: str
    target: str
    user: str
    userbase: str
    wrapper: str = ""
    is_junk: bool = False
    is_rcpt_to: bool = False


class RemoteDispatcher(Struct, frozen=True, array_like=True, tag="remote"):
    """Delivery over SMTP, done by mta. All fields together are the relay: envelopes that agree in all share connections.

    domain: mail domain whose MX are asked, or the host itself where is_host; `[IP]` literals as in the address.
    is_host: whether domain is a host given by `relay via`, so no MX lookup.
    port: TCP port; 0 means the default of the TLS mode (25 or 465).
    tls: opportunistic | require | smtps | secure | none.
    verify: whether certificate chain and name must verify.
    auth: credentials `table:label`, or "".
    source: table of local addresses, or "".
    helo: HELO name, or "" for the server name.
    pki: client certificate by pki name, or "".
    backup: own MX name where this host is a backup MX, or "".
    The rest: as in configuration.RelayAction.
    """

    domain: str
    is_host: bool
    port: int
    tls: str
    verify: bool
    auth: str
    source: str
    helo: str
    pki: str
    backup: str
    helo_source: str = ""
    ca: str = ""
    hosts: str = ""
    is_lmtp: bool = False
    is_srs: bool = False
    ciphers: str = ""
    protocols: str = ""

    @property
    def login(self) -> tuple[str, str]:
        """Table and label of auth, each "" where there is none. The name of a table may hold a colon (`<dynamic:1>`), a label never does."""
        table, _, label = self.auth.rpartition(":")
        return table, label


Dispatcher = LocalDispatcher | RemoteDispatcher


class Envelope(Struct, frozen=True, array_like=True, kw_only=True):
    """One recipient of one message. Stored in the order of its fields; a new field goes to the end with a default.

    evpid: 24 hex digits. sender, rcpt, dest: see the module. dispatcher: who delivers, and how.
    tag: the listener's. helo: what the peer said. hostname: the peer's verified name or `<unknown>`. peer: its address as text.
    smtpname: our name in that session; the reporting MTA of bounces.
    created_at_ms: store clock, epoch milliseconds; set by queue at commit (0 before).
    expire_s: lifetime from created_at_ms. retry: attempts that failed temporarily.
    last_try_at_ms, last_bounce_at_ms: store clock, 0 where never; set by queue.
    error_line: status line of the last failed attempt, "" where none; set by queue.
    flags: EnvelopeFlag bits. remote: name of the MTA that gave error_line, "" where it was us; set by queue.
    dsn_notify: DsnNotify bits. dsn_orcpt, dsn_envid, dsn_ret (FULL, HDRS or ""): RFC 3461, as the peer gave them.
    """

    evpid: str
    sender: str
    rcpt: str
    dest: str
    dispatcher: Dispatcher
    tag: str
    helo: str
    hostname: str
    peer: str
    smtpname: str
    created_at_ms: int
    expire_s: int
    retry: int = 0
    last_try_at_ms: int = 0
    last_bounce_at_ms: int = 0
    error_line: str = ""
    flags: int = 0
    dsn_notify: int = 0
    dsn_orcpt: str = ""
    dsn_envid: str = ""
    dsn_ret: str = ""
    remote: str = ""

    @property
    def expires_at_ms(self) -> int:
        """When the envelope is given up, on the store's clock."""
        return self.created_at_ms + self.expire_s * 1000


def agent_of(dispatcher: Dispatcher) -> str:
    """Who delivers: `mda` or `mta`."""
    return LOCAL_AGENT if isinstance(dispatcher, LocalDispatcher) else REMOTE_AGENT


def relay_of(dispatcher: Dispatcher) -> str:
    """The relay key: what envelopes have in common that may share a session and a limit (OpenSMTPD mta_relay_cmp).

    For mda it is user and userbase. Readable, in the form of `smtpctl show relays`; never part of a subject.
    """
    if isinstance(dispatcher, LocalDispatcher):
        return f"{dispatcher.user}@{dispatcher.userbase}"
    d = dispatcher
    parts = [f"host={d.domain}" if d.is_host else d.domain, f"tls={d.tls}"]
    if d.port:
        parts.append(f"port={d.port}")
    if d.verify:
        parts.append("verify")
    parts.extend(name for name, value in (("lmtp", d.is_lmtp), ("srs", d.is_srs)) if value)
    parts.extend(
        f"{name}={value}"
        for name, value in (
            ("auth", d.auth),
            ("source", d.source),
            ("helo", d.helo),
            ("pki", d.pki),
            ("backup", d.backup),
            ("helo-source", d.helo_source),
            ("ca", d.ca),
            ("hosts", d.hosts),
            ("ciphers", d.ciphers),
            ("protocols", d.protocols),
        )
        if value
    )
    return ",".join(parts)


def domain_of_relay(relay: str) -> str:
    """The domain or host of a relay key of mta: what `limit mta for domain` names."""
    return relay.partition(",")[0].removeprefix("host=")
