"""What each table backend can answer (reference 9): the services it has, and what its parameter names.

Data only: which words follow `table NAME`, never how a lookup is done (config.tables does) nor what is in a file (compile_table.py
reads). Services are named as in TableQuery. OpenSMTPD: the t_services of table_*.c.
"""

from dataclasses import dataclass
from enum import Enum, auto

ALL_SERVICES = frozenset(
    {
        "alias", "domain", "credentials", "netaddr", "userinfo", "source", "mailaddr", "addrname", "mailaddrmap", "relayhost", "string",
        "regex", "auth",
    }
)  # fmt: skip
_SQL_SERVICES = ALL_SERVICES - {"relayhost", "string", "regex", "auth"}


class Parameter(Enum):
    """What stands after the colon: nothing, a file, or a command."""

    NONE = auto()
    FILE = auto()
    COMMAND = auto()


@dataclass(frozen=True, slots=True)
class Backend:
    """name: in the snapshot. services: what it may be asked for."""

    name: str
    parameter: Parameter
    services: frozenset[str]


STATIC = Backend("static", Parameter.FILE, ALL_SERVICES)
BACKENDS = {
    "static": STATIC,
    "file": Backend("file", Parameter.FILE, ALL_SERVICES),
    "db": Backend("db", Parameter.FILE, ALL_SERVICES - {"mailaddr", "regex"}),
    "getpwnam": Backend("getpwnam", Parameter.NONE, frozenset({"userinfo"})),
    "passwd": Backend("passwd", Parameter.FILE, frozenset({"credentials", "userinfo"})),
    "sqlite": Backend("sqlite", Parameter.FILE, _SQL_SERVICES),
    "mysql": Backend("mysql", Parameter.FILE, _SQL_SERVICES),
    "postgres": Backend("postgres", Parameter.FILE, _SQL_SERVICES),
    "ldap": Backend("ldap", Parameter.FILE, frozenset({"alias", "domain", "credentials", "userinfo"})),
    "redis": Backend("redis", Parameter.FILE, ALL_SERVICES),
    "proc": Backend("proc", Parameter.COMMAND, ALL_SERVICES),
    "proc-exec": Backend("proc", Parameter.COMMAND, ALL_SERVICES),
}
"""By the word in the configuration."""

HELPER_FOLDERS = ("/usr/libexec/smtpd", "/usr/libexec/opensmtpd", "/usr/lib/opensmtpd")
"""Where `table NAME X:/file` finds the program `table-X` of a backend that is none of ours: OpenSMTPD's PATH_LIBEXEC as systems set it."""
