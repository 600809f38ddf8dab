"""What each table backend can answer (reference 9): the services it has, and what its parameter names.

Data only: which words follow `table NAME`, never how a lookup is done (config.tables does) nor what is in a file (compile_table.py
reads). Services are named as in TableQuery; a test compares them with
what config.tables serves. OpenSMTPD: the t_services of table_*.c.
"""

from dataclasses import dataclass
from enum import Enum, auto

ALL_SERVICES = frozenset(
    {
        "alias", "domain", "credentials", "netaddr", "userinfo", "source", "mailaddr", "addrname", "mailaddrmap", "relayhost", "string",
        "regex", "auth",
    }
)  # fmt: skip
_QUERIED_SERVICES = ALL_SERVICES - {"regex", "auth"}
"""Of databases that are asked by query: an expression or a password in clear is no key (config.tables.sql, ldap, redis)."""


class Parameter(Enum):
    """What stands after the colon: nothing, a file, or a command."""

    NONE = auto()
    FILE = auto()
    COMMAND = auto()


@dataclass(frozen=True, slots=True)
class Backend:
    """name: in the snapshot. services: what it may be asked for. listed: those of which it can give out one entry after the other."""

    name: str
    parameter: Parameter
    services: frozenset[str]
    listed: frozenset[str] = ALL_SERVICES


STATIC = Backend("static", Parameter.FILE, ALL_SERVICES)
BACKENDS = {
    "static": STATIC,
    "file": Backend("file", Parameter.FILE, ALL_SERVICES),
    "db": Backend("db", Parameter.FILE, ALL_SERVICES - {"mailaddr", "regex"}),
    "getpwnam": Backend("getpwnam", Parameter.NONE, frozenset({"userinfo"})),
    "passwd": Backend("passwd", Parameter.FILE, frozenset({"credentials", "userinfo"})),
    "sqlite": Backend("sqlite", Parameter.FILE, _QUERIED_SERVICES, frozenset({"source"})),
    "mysql": Backend("mysql", Parameter.FILE, _QUERIED_SERVICES, frozenset({"source"})),
    "postgres": Backend("postgres", Parameter.FILE, _QUERIED_SERVICES, frozenset({"source"})),
    "ldap": Backend("ldap", Parameter.FILE, _QUERIED_SERVICES - {"source"}, frozenset()),
    "redis": Backend("redis", Parameter.FILE, _QUERIED_SERVICES, frozenset()),
    "proc": Backend("proc", Parameter.COMMAND, ALL_SERVICES),
    "proc-exec": Backend("proc", Parameter.COMMAND, ALL_SERVICES),
}
"""By the word in the configuration."""

HELPER_FOLDERS = ("/usr/libexec/smtpd", "/usr/libexec/opensmtpd", "/usr/lib/opensmtpd")
"""Where `table NAME X:/file` finds the program `table-X` of a backend that is none of ours: OpenSMTPD's PATH_LIBEXEC as systems set it."""
