"""Lookups in the tables of one configuration snapshot, by service: alias, domain, netaddr, mailaddr, userinfo.

Owns what a table answers; built once per snapshot, and nothing in it changes afterwards except that a matcher is compiled when it is
first asked. Keys are lower-cased before every lookup. The one thing outside the snapshot is the system's user database, injected and
asked only for the table <getpwnam>. Used by ruleset, expand and mda. OpenSMTPD: table.c, table_static.c, table_getpwnam.c.
"""

import pwd
from collections.abc import Callable

from msgspec import Struct

from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    GETPWNAM,
    LOCAL_HOST,
    LOCAL_NAMES,
    Configuration,
)
from smtpfleet.mail.patterns import AddressPatterns, DomainPatterns, NetworkPatterns

KEY_LIMIT = 1023
"""Longest key a table is asked for (OpenSMTPD: 1024 with the terminator); a longer one is a table error."""


class TableError(Exception):
    """A table cannot answer: it does not exist, a value is malformed, or the user database failed. Always temporary (451)."""


class UserInfo(Struct, frozen=True):
    """Who a local recipient is on the host that delivers."""

    user: str
    uid: int
    gid: int
    home: str


GetPwNam = Callable[[str], UserInfo | None]


def system_userinfo(user: str) -> UserInfo | None:
    """The system's account `user`, or None."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    except OSError as error:
        raise TableError(f"user database: {error.strerror}") from error
    return UserInfo(user, entry.pw_uid, entry.pw_gid, entry.pw_dir)


class Tables:
    """The tables of one snapshot. Any method raises TableError where the table cannot answer."""

    def __init__(self, configuration: Configuration, getpwnam: GetPwNam = system_userinfo) -> None:
        self._entries = _predefined(configuration.hostname)
        self._entries |= {
            name: {key.lower(): value for key, value in table.entries.items()}
            for name, table in configuration.tables.items()
            if table.backend != "getpwnam"
        }
        self._system = {GETPWNAM} | {n for n, t in configuration.tables.items() if t.backend == "getpwnam"}
        self._getpwnam = getpwnam
        self._domains: dict[str, DomainPatterns] = {}
        self._networks: dict[str, NetworkPatterns] = {}
        self._addresses: dict[str, AddressPatterns] = {}

    def _entries_of(self, table: str) -> dict[str, str]:
        entries = self._entries.get(table)
        if entries is None:
            raise TableError(f"no such table: {table}")
        return entries

    def lookup_alias(self, table: str, key: str) -> str | None:
        """The value of `key` in a mapping, a list of targets as mail.aliases reads it; None where there is none."""
        if len(key) > KEY_LIMIT:
            raise TableError(f"key too long for table {table}")
        return self._entries_of(table).get(key.lower())

    def match_domain(self, table: str, domain: str) -> bool:
        """Whether an entry of the list matches `domain`."""
        patterns = self._domains.get(table)
        if patterns is None:
            patterns = self._domains[table] = DomainPatterns(self._entries_of(table))
        return patterns.matches(domain.lower())

    def match_netaddr(self, table: str, address: str) -> bool:
        """Whether an entry of the list is, or contains, `address`: an IP address as text, or `local`."""
        patterns = self._networks.get(table)
        if patterns is None:
            patterns = self._networks[table] = NetworkPatterns(self._entries_of(table))
        return patterns.matches(address.lower())

    def match_mailaddr(self, table: str, address: str) -> bool:
        """Whether an entry of the list matches `address`; "" and `@` are the null sender."""
        patterns = self._addresses.get(table)
        if patterns is None:
            patterns = self._addresses[table] = AddressPatterns(self._entries_of(table))
        return patterns.matches("" if address == "@" else address.lower())

    def lookup_userinfo(self, table: str, user: str) -> UserInfo | None:
        """uid, gid and home of `user`, or None where the table does not know such a user."""
        user = user.lower()
        if table in self._system:
            return self._getpwnam(user)
        value = self._entries_of(table).get(user)
        return None if value is None else _userinfo(table, user, value)


def _userinfo(table: str, user: str, value: str) -> UserInfo:
    """`uid:gid:home`; numbers are decimal, the home is absolute (a relative one would depend on the worker's directory)."""
    uid, _, rest = value.partition(":")
    gid, _, home = rest.partition(":")
    if (
        not (uid.isascii() and uid.isdigit() and gid.isascii() and gid.isdigit() and home.startswith("/"))
        or "\0" in home
    ):
        raise TableError(f"table {table}: value of {user} is not uid:gid:home")
    return UserInfo(user, int(uid), int(gid), home)


def _predefined(hostname: str) -> dict[str, dict[str, str]]:
    """OpenSMTPD's predefined tables (reference 1.4), for those that the snapshot does not carry itself.

    The short host name is one of our local names, as the manual promises; OpenSMTPD adds it to <anydestination> by mistake.
    """
    name = hostname.lower()
    return {
        ANY_HOST: dict.fromkeys(("local", "0.0.0.0/0", "::/0"), ""),
        LOCAL_HOST: dict.fromkeys(("local", "127.0.0.0/8", "::1"), ""),
        LOCAL_NAMES: dict.fromkeys(("localhost", name, name.partition(".")[0]), ""),
        ANY_DESTINATION: {"*": ""},
    }
