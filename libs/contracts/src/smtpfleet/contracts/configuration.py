"""The compiled configuration: what every role receives instead of smtpd.conf. Frozen, complete, without defaults to guess.

config compiles either of OpenSMTPD's languages to this one model and publishes it; roles only read it. Absence is always spelled
out ("" or an empty tuple with a stated meaning), never "use the default": the defaults of fields below all mean "none" or "off". A
published snapshot carries every field. No secret is in here: passwords and keys are asked for, or are files mounted where they are used.
"""

from msgspec import Struct

ANY_HOST = "<anyhost>"
LOCAL_HOST = "<localhost>"
LOCAL_NAMES = "<localnames>"
ANY_DESTINATION = "<anydestination>"
GETPWNAM = "<getpwnam>"
"""Names of OpenSMTPD's predefined tables (reference 1.4)."""


class Location(Struct, frozen=True, array_like=True):
    """Where a statement stands, for messages to the operator. line and column count from 1."""

    file: str
    line: int
    column: int


CLASSIC = "classic"
MODERN = "modern"
"""Configuration.language: the accept/reject form of 5.4 to 6.3, the action/match form since 6.4. They differ in a few meanings, too."""

INLINE_BACKENDS = ("static", "file", "db", "passwd")
"""Backends read by config at compile time, whose entries travel in the snapshot unless they are credentials."""


class Table(Struct, frozen=True, array_like=True):
    """A lookup source.

    kind: list, mapping or dynamic (either, decided by the backend).
    backend: static, file, db, passwd (read by config), getpwnam (asked where used), or sqlite, mysql, postgres, ldap, redis, proc
    (served by config over the bus).
    path: file of the backend's data or of its configuration, "" for static and getpwnam.
    entries: keys as written, lower case, in order of the source; the value is "" in a list. Empty where is_inline is False.
    is_inline: the entries are here. False: ask config (config.table.lookup), because the backend is dynamic, the values are passwords, or
    the table is too large for the snapshot.
    parts: of such a large table, the names of its parts in the bucket of tables, in order (contracts.table_parts); () for all others. A
    role that needs the table fetches them and has it inline; any other may ask config, too.
    password_kinds: of a table of credentials that config has read whole, which kinds of hash are in it: other, scram; empty where it cannot
    know.
    """

    name: str
    kind: str
    backend: str
    path: str
    entries: dict[str, str]
    is_inline: bool = True
    parts: tuple[str, ...] = ()
    password_kinds: tuple[str, ...] = ()


class Condition(Struct, frozen=True, array_like=True):
    """One condition of a rule; all must hold.

    subject: tag | source | sender | recipient | destination | helo | auth | tls | rdns | socket.
    value: by kind. negated: `!`.
    kind: table (value is its name) | regex (value is the name of a table of POSIX extended expressions) | literal (value is compared
    exactly: the tag of the classic form) | any (no value: authenticated at all, TLS at all, a verified name at all, local socket).
    """

    subject: str
    value: str
    negated: bool
    kind: str = "table"


class LocalAction(Struct, frozen=True, array_like=True, tag="local"):
    """deliver to …, action … mbox|maildir|lmtp|mda.

    method: mbox | maildir | lmtp | mda. target: path, host:port or command with format tokens not yet expanded; "" for mbox.
    alias, virtual: table names or "" for none; at most one of the two. userbase: table name.
    user: deliver as this user whoever the recipient is, "" for the recipient. wrapper: command text of `mda wrapper`, "" for none.
    is_junk: maildir puts mail that a filter marked into .Junk. is_rcpt_to: lmtp names the recipient's address, not the user.
    """

    method: str
    target: str
    alias: str
    virtual: str
    userbase: str
    user: str = ""
    wrapper: str = ""
    is_junk: bool = False
    is_rcpt_to: bool = False


class RelayAction(Struct, frozen=True, array_like=True, tag="relay"):
    """relay, relay via. Fields as in envelope.RemoteDispatcher; host "" means the MX of the destination domain.

    tls: opportunistic | require | smtps | secure (STARTTLS, else smtps) | none. auth: `table:label`, "" for none.
    source: table of local addresses. helo: a name; helo_source: table of names by local address; "" for the server name.
    pki: client certificate. ca: name of a ca for verification, "" for the system's. backup: our own MX name where we are a backup.
    mail_from: `relay as`: user, @domain or user@domain, "" for none.
    hosts: table of relay URLs, used in turn; domains: table of relay URLs by destination domain; then host is "" and the URL decides
    host, port, tls and label, and auth names the table alone. is_lmtp: the peer speaks LMTP. is_srs: rewrite the sender of forwarded mail.
    ciphers, protocols: as OpenSSL names them, "" for ours. filters: names that report on this relay's sessions.
    """

    host: str
    port: int
    tls: str
    verify: bool
    auth: str
    source: str
    helo: str
    pki: str
    backup: str
    mail_from: str
    helo_source: str = ""
    ca: str = ""
    hosts: str = ""
    domains: str = ""
    is_lmtp: bool = False
    is_srs: bool = False
    ciphers: str = ""
    protocols: str = ""
    filters: tuple[str, ...] = ()


class ExpandAction(Struct, frozen=True, array_like=True, tag="expand"):
    """An accept rule without action: recipients are only expanded and must end in an address that another rule takes."""

    alias: str
    virtual: str
    userbase: str
    is_forward_only: bool


class RejectAction(Struct, frozen=True, array_like=True, tag="reject"):
    """reject: 550."""


Action = LocalAction | RelayAction | ExpandAction | RejectAction


class Rule(Struct, frozen=True, array_like=True):
    """A match and its action; the first rule whose conditions all hold decides. expire_s: lifetime of its envelopes.

    action_name: of the action in the modern form, "" in the classic one.
    """

    location: Location
    conditions: tuple[Condition, ...]
    action: Action
    expire_s: int
    action_name: str = ""


class Listener(Struct, frozen=True, array_like=True):
    """An endpoint of smtp-in.

    address: IPv4 or IPv6 literal, resolved at compile time ("0.0.0.0", "::" for all), or "socket" for local submission (port 0).
    hostname: our name there. tag: "" for none.
    tls: none | starttls | require (STARTTLS before MAIL) | smtps. verify: a client certificate that verifies is mandatory.
    pki: names, the first is used without SNI. ca: name, "" for the system's. ciphers, protocols: "" for ours.
    auth: none | optional | required. auth_table: credentials, "" for accounts of the system.
    hostnames: table of names by local address, "" for none. senders: table of addresses a user may send as, "" for any;
    is_masquerade: and the From header follows. filters: names, in order.
    mask_source, no_dsn, received_auth: OpenSMTPD's options. proxy: none | v2 | v1.
    mends_line_ends: a bare LF in content becomes CRLF instead of refusing the message; it still never ends it.
    """

    address: str
    port: int
    hostname: str
    tag: str
    tls: str = "none"
    verify: bool = False
    pki: tuple[str, ...] = ()
    ca: str = ""
    ciphers: str = ""
    protocols: str = ""
    auth: str = "none"
    auth_table: str = ""
    hostnames: str = ""
    senders: str = ""
    is_masquerade: bool = False
    filters: tuple[str, ...] = ()
    mask_source: bool = False
    no_dsn: bool = False
    received_auth: bool = False
    proxy: str = "none"
    mends_line_ends: bool = False


class Pki(Struct, frozen=True, array_like=True):
    """A certificate with its key, as files below the configuration root; they never cross the bus. ca: of the classic form, "" for none.
    dhe: none | auto | legacy, or the path of a dhparams file."""

    name: str
    certificate: str
    key: str
    ca: str
    dhe: str


class Ca(Struct, frozen=True, array_like=True):
    """A bundle to verify peers with. name: of a host, or `*`."""

    name: str
    certificate: str


class FilterPhase(Struct, frozen=True, array_like=True, tag="phase"):
    """`filter NAME phase PHASE match … DECISION`. condition.subject is also fcrdns here.

    decision: reject | disconnect | rewrite | report | junk | bypass; argument: its text, "" for junk and bypass.
    """

    phase: str
    condition: Condition
    decision: str
    argument: str


class FilterProcess(Struct, frozen=True, array_like=True, tag="process"):
    """A filter program, by the name of its Processor."""

    processor: str


class FilterChain(Struct, frozen=True, array_like=True, tag="chain"):
    """Filters in order; never chains themselves."""

    members: tuple[str, ...]


Filter = FilterPhase | FilterProcess | FilterChain


class Processor(Struct, frozen=True, array_like=True):
    """`proc`, or the program of `proc-exec`. user, group, chroot: "" for the service's own."""

    command: str
    user: str
    group: str
    chroot: str


class RelayLimits(Struct, frozen=True, array_like=True):
    """`limit mta` for one set of destinations (reference 7.2). Delays in seconds, 0 for none. family: any | inet4 | inet6.

    max_conn_*: connections at once, for the whole fleet. conn_delay_*: between the beginnings of two; reconn_delay_route_s: after the
    end of one. max_failures_per_session: recipients refused in a row that end a session and disable its route, 0 for any number.
    task_*: read by no role.
    """

    max_conn_per_host: int
    max_conn_per_route: int
    max_conn_per_source: int
    max_conn_per_connector: int
    max_conn_per_relay: int
    max_conn_per_domain: int
    conn_delay_host_s: int
    conn_delay_route_s: int
    conn_delay_source_s: int
    conn_delay_connector_s: int
    conn_delay_relay_s: int
    conn_delay_domain_s: int
    reconn_delay_route_s: int
    session_mail_max: int
    session_transaction_delay_s: int
    session_keepalive_s: int
    max_failures_per_session: int
    task_hiwat: int
    task_lowat: int
    task_release: int
    family: str


DEFAULT_RELAY_LIMITS = RelayLimits(
    max_conn_per_host=10,
    max_conn_per_route=5,
    max_conn_per_source=50,
    max_conn_per_connector=20,
    max_conn_per_relay=100,
    max_conn_per_domain=100,
    conn_delay_host_s=0,
    conn_delay_route_s=0,
    conn_delay_source_s=0,
    conn_delay_connector_s=0,
    conn_delay_relay_s=0,
    conn_delay_domain_s=0,
    reconn_delay_route_s=0,
    session_mail_max=100,
    session_transaction_delay_s=0,
    session_keepalive_s=10,
    max_failures_per_session=25,
    task_hiwat=50,
    task_lowat=30,
    task_release=10,
    family="any",
)
"""OpenSMTPD 5.4's (limit.c), but without its delays (docs/adr/0005); max_failures_per_session came with 7.x."""


class Limits(Struct, frozen=True, array_like=True):
    """Numbers of `limit …` and their OpenSMTPD defaults (reference 1.5, 7.2).

    max_conn_per_relay, max_conn_per_host, session_mail_max, session_keepalive_s: as in Configuration.relay_limits, where today's roles read them.
    mda: max_mda_sessions in all, max_mda_per_user. smtp: max_rcpt per transaction, max_mails per session.
    scheduler: max_inflight envelopes, max_evp_batch and max_msg_batch entries of one listing, max_schedule envelopes per batch.
    mda_task_*: users held and released. mta_max_deferred: envelopes remembered per host for an immediate retry.
    smtp, each 0 for any number: max_failed_commands in a row, max_idle_commands between messages, max_rejected_rcpts per session; a
    session that is quiet for session_timeout_s ends, and one whose content comes at less than min_content_bytes_per_s after the first
    five minutes (Postfix smtpd_min_data_rate).
    Of all smtp-in together, each 0 for any number, never of local peers: connections at once, connections and recipients of accepted
    messages a minute, sessions closed for what the peer did and wrong passwords in ten minutes, each of one address (IPv6: /64), of
    one network (/24, IPv6: /48) or of one user. Too many failures are banned for ban_s. Such a peer waits greet_pause_s for the banner.
    """

    max_conn_per_relay: int
    max_conn_per_host: int
    session_mail_max: int
    session_keepalive_s: int
    max_mda_sessions: int
    max_mda_per_user: int
    max_rcpt: int
    max_mails: int
    max_inflight: int = 5000
    max_evp_batch: int = 256
    max_msg_batch: int = 1024
    max_schedule: int = 10
    mda_task_hiwat: int = 50
    mda_task_lowat: int = 30
    mda_task_release: int = 10
    mta_max_deferred: int = 100
    max_failed_commands: int = 10
    max_idle_commands: int = 100
    max_rejected_rcpts: int = 50
    session_timeout_s: int = 300
    max_conn_per_address: int = 1000
    max_conn_per_network: int = 4000
    max_conn_rate_per_address: int = 0
    max_conn_rate_per_network: int = 0
    max_rcpt_rate_per_address: int = 0
    max_rcpt_rate_per_network: int = 0
    max_failures_per_address: int = 100
    max_failures_per_network: int = 400
    max_auth_failures_per_address: int = 10
    max_auth_failures_per_user: int = 20
    ban_s: int = 900
    greet_pause_s: int = 0
    min_content_bytes_per_s: int = 500


DEFAULT_LIMITS = Limits(
    max_conn_per_relay=100,
    max_conn_per_host=10,
    session_mail_max=100,
    session_keepalive_s=10,
    max_mda_sessions=50,
    max_mda_per_user=7,
    max_rcpt=1000,
    max_mails=100,
)
"""OpenSMTPD's, but for the commands: 10 failed ones in a row where 5.4.1 allows 4, which a peer that pipelines exceeds in good faith;
100 idle ones are Postfix's smtpd_junk_command_limit."""


class Configuration(Struct, frozen=True, array_like=True, kw_only=True):
    """A whole smtpd.conf, compiled.

    version: `<n>-<digest>`: n grows with every publication, digest is of the content; "" before publication.
    hostname: the server name. expire_s: global default. bounce_warn_s: delays after which a warning is sent, () for none.
    language: classic or modern. relay_limits: by exact domain or host name, "" for all others.
    subaddress_delimiter: what parts user and tag. admd: authentication domain for filters, "" for the server name.
    smtp_ciphers: "" for ours. queue_compression, queue_encryption: how queue stores mail; the key is its own.
    srs_ttl_s: how long a rewritten sender is good, 0 without SRS; its keys stay with config, which is asked (contracts.srs).
    rolled_back_from: where an operator went back to this one, the digest of what he went back from; "" else.
    """

    version: str
    hostname: str
    listeners: tuple[Listener, ...]
    tables: dict[str, Table]
    rules: tuple[Rule, ...]
    limits: Limits
    max_message_size_bytes: int
    expire_s: int
    bounce_warn_s: tuple[int, ...]
    language: str = CLASSIC
    pki: dict[str, Pki] = {}
    cas: dict[str, Ca] = {}
    filters: dict[str, Filter] = {}
    processors: dict[str, Processor] = {}
    relay_limits: dict[str, RelayLimits] = {}
    subaddress_delimiter: str = "+"
    admd: str = ""
    smtp_ciphers: str = ""
    queue_compression: bool = False
    queue_encryption: bool = False
    srs_ttl_s: int = 0
    rolled_back_from: str = ""

    def limits_of(self, domain: str) -> RelayLimits:
        """What `limit mta` says of relays to this domain or host."""
        limits = self.relay_limits
        return limits.get(domain.lower()) or limits.get("", DEFAULT_RELAY_LIMITS)
