"""The compiled configuration: what every role receives instead of smtpd.conf. Frozen, complete, without defaults to guess.

config compiles either of OpenSMTPD's languages to this one model and publishes it; roles only read it. Absence is always spelled
out ("" or an empty tuple with a stated meaning), never "use the default". Changing it is a change of the wire version.
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


class Table(Struct, frozen=True, array_like=True):
    """A lookup source, carried whole in the snapshot.

    kind: list or mapping. backend: static, file or getpwnam. path: of a file table, "" otherwise.
    entries: keys as written, lower case, in order of the source; the value is "" in a list.
    """

    name: str
    kind: str
    backend: str
    path: str
    entries: dict[str, str]


class Condition(Struct, frozen=True, array_like=True):
    """One condition of a rule; all must hold.

    subject: tag | source | sender | recipient | destination.
    value: the tag itself for tag, otherwise the name of a table. negated: `!`.
    """

    subject: str
    value: str
    negated: bool


class LocalAction(Struct, frozen=True, array_like=True, tag="local"):
    """deliver to …: method maildir (others follow) and its target with format tokens. alias, virtual: table names or "" for none; at
    most one of the two. userbase: table name."""

    method: str
    target: str
    alias: str
    virtual: str
    userbase: str


class RelayAction(Struct, frozen=True, array_like=True, tag="relay"):
    """relay, relay via. Fields as in envelope.RemoteDispatcher; host "" means the MX of the destination domain.

    mail_from: `relay as`: user, @domain or user@domain, "" for none.
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
    """A match and its action; the first rule whose conditions all hold decides. expire_s: lifetime of its envelopes."""

    location: Location
    conditions: tuple[Condition, ...]
    action: Action
    expire_s: int


class Listener(Struct, frozen=True, array_like=True):
    """An endpoint of smtp-in.

    address: IPv4 or IPv6 literal, resolved at compile time ("0.0.0.0", "::" for all). hostname: our name there. tag: "" for none.
    """

    address: str
    port: int
    hostname: str
    tag: str


class Limits(Struct, frozen=True, array_like=True):
    """Numbers of `limit …` and their OpenSMTPD defaults (reference 1.5, 7.2).

    Connections: max_conn_per_relay, max_conn_per_host. Per connection: session_mail_max messages, session_keepalive_s idle.
    mda: max_mda_sessions in all, max_mda_per_user. smtp: max_rcpt per transaction, max_mails per session.
    """

    max_conn_per_relay: int
    max_conn_per_host: int
    session_mail_max: int
    session_keepalive_s: int
    max_mda_sessions: int
    max_mda_per_user: int
    max_rcpt: int
    max_mails: int


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


class Configuration(Struct, frozen=True, array_like=True, kw_only=True):
    """A whole smtpd.conf, compiled.

    version: `<n>-<digest>`: n grows with every publication, digest is of the content; "" before publication.
    hostname: the server name. expire_s: global default. bounce_warn_s: delays after which a warning is sent, () for none.
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
