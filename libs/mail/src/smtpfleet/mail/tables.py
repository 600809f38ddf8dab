"""Lookups in the tables of one configuration snapshot, by service: alias, domain, netaddr, mailaddr, userinfo, string, regex.

Owns what a table answers; built once per snapshot, at no cost per entry (the snapshot has its keys in lower case already), and nothing in it changes afterwards except that a matcher is compiled when it is
first asked. Keys are lower-cased before every lookup. The one thing outside the snapshot is the system's user database, injected and
asked only for the table <getpwnam>. A table that is not in the snapshot raises NotInline, which says what to ask of config; the caller
asks and repeats his question of `with_answers`. Used by ruleset, expand and mda. OpenSMTPD: table.c, table_static.c, table_getpwnam.c.
"""

import copy
import pwd
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from smtpfleet.contracts.commands import TableService
from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    GETPWNAM,
    LOCAL_HOST,
    LOCAL_NAMES,
    MODERN,
    Configuration,
)
from smtpfleet.mail.patterns import (
    AddressPatterns,
    DomainPatterns,
    ModernAddressPatterns,
    NetworkPatterns,
    RegexPatterns,
)

KEY_LIMIT = 1023
"""Longest key a table is asked for (OpenSMTPD: 1024 with the terminator); a longer one is a table error."""


class TableError(Exception):
    """A table cannot answer: it does not exist, a value is malformed, or the user database failed. Always temporary (451)."""


class NotInline(TableError):
    """The table is not in the snapshot: ask config. is_check: whether the key is there is all that is wanted. is_next: its next value is
    wanted, whatever the key; without it "" is a key like another, the tag of a listener that has none for one."""

    def __init__(
        self, table: str, service: TableService, key: str, *, is_check: bool = False, is_next: bool = False
    ) -> None:
        super().__init__(f"table {table} is not in the snapshot")
        self.table = table
        self.service = service
        self.key = key
        self.is_check = is_check
        self.is_next = is_next


Answers = Mapping[tuple[str, TableService, str], str | None]
"""What config said, by table, service and key: the value ("" for yes), None where there is none."""


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

    def __init__(
        self, configuration: Configuration, getpwnam: GetPwNam = system_userinfo, *, before: "Tables | None" = None
    ) -> None:
        self._entries = _predefined(configuration.hostname)
        self._entries |= {
            name: table.entries
            for name, table in configuration.tables.items()
            if table.backend != "getpwnam" and table.is_inline
        }
        self._system = {GETPWNAM} | {n for n, t in configuration.tables.items() if t.backend == "getpwnam"}
        self._elsewhere = {
            name for name, table in configuration.tables.items() if table.backend != "getpwnam" and not table.is_inline
        }
        self._answers: Answers = {}
        self._getpwnam = getpwnam
        self._is_modern = configuration.language == MODERN
        self._delimiter = configuration.subaddress_delimiter
        self._domains: dict[str, DomainPatterns] = {}
        self._networks: dict[str, NetworkPatterns] = {}
        self._addresses: dict[str, AddressPatterns | ModernAddressPatterns] = {}
        self._expressions: dict[str, RegexPatterns] = {}
        if before is not None:
            self._take_over(before)

    def _take_over(self, before: "Tables") -> None:
        """Matchers of tables that are the very same: a large one is compiled anew only when it has changed."""
        same = {name for name, entries in self._entries.items() if before._entries.get(name) is entries}
        self._domains |= {name: made for name, made in before._domains.items() if name in same}
        self._networks |= {name: made for name, made in before._networks.items() if name in same}
        self._expressions |= {name: made for name, made in before._expressions.items() if name in same}
        if (before._is_modern, before._delimiter) == (self._is_modern, self._delimiter):
            self._addresses |= {name: made for name, made in before._addresses.items() if name in same}

    def with_answers(self, answers: Answers) -> "Tables":
        """The same tables, knowing what config answered about those that are not in the snapshot. Costs nothing to make."""
        answered = copy.copy(self)
        answered._answers = answers  # a copy of ours: compiled matchers stay shared
        return answered

    def is_elsewhere(self, table: str) -> bool:
        """Whether config has to be asked for what the table answers."""
        return table in self._elsewhere

    def _entries_of(self, table: str) -> dict[str, str]:
        entries = self._entries.get(table)
        if entries is None:
            raise TableError(f"no such table: {table}")
        return entries

    def _is_answered(self, table: str, service: TableService, key: str) -> bool:
        """Config's yes or no about a key of a table that is not in the snapshot."""
        return self._answer(table, service, key, is_check=True) is not None

    def _answer(self, table: str, service: TableService, key: str, *, is_check: bool) -> str | None:
        asked = (table, service, key)
        if asked not in self._answers:
            raise NotInline(table, service, key, is_check=is_check)
        return self._answers[asked]

    def lookup(self, table: str, service: TableService, key: str) -> str | None:
        """The value of `key` in a mapping; None where there is none."""
        if len(key) > KEY_LIMIT:
            raise TableError(f"key too long for table {table}")
        key = key.lower()
        if table in self._elsewhere:
            return self._answer(table, service, key, is_check=False)
        return self._entries_of(table).get(key)

    def lookup_alias(self, table: str, key: str) -> str | None:
        """The value of `key`, a list of targets as mail.aliases reads it; None where there is none."""
        return self.lookup(table, TableService.ALIAS, key)

    def values_of(self, table: str) -> tuple[str, ...]:
        """The elements of a list, in the order of the source. A table that is not in the snapshot is fetched from config instead."""
        if table in self._elsewhere:
            raise TableError(f"table {table} is not in the snapshot")
        return tuple(self._entries_of(table))

    def match_string(self, table: str, text: str) -> bool:
        """Whether an entry of the list is `text`, in any letter case."""
        text = text.lower()
        if table in self._elsewhere:
            return self._is_answered(table, TableService.STRING, text)
        return text in self._entries_of(table)

    def match_regex(self, table: str, text: str) -> bool:
        """Whether an expression of the list is found in `text`, in any letter case."""
        if table in self._elsewhere:
            return self._is_answered(table, TableService.REGEX, text.lower())
        patterns = self._expressions.get(table)
        if patterns is None:
            patterns = self._expressions[table] = RegexPatterns(self._entries_of(table))
        return patterns.matches(text)

    def match_domain(self, table: str, domain: str) -> bool:
        """Whether an entry of the list matches `domain`."""
        patterns = self._domains.get(table)
        if patterns is None:
            if table in self._elsewhere:
                return self._is_answered(table, TableService.DOMAIN, domain.lower())
            patterns = self._domains[table] = DomainPatterns(self._entries_of(table))
        return patterns.matches(domain.lower())

    def match_netaddr(self, table: str, address: str) -> bool:
        """Whether an entry of the list is, or contains, `address`: an IP address as text, or `local`."""
        patterns = self._networks.get(table)
        if patterns is None:
            if table in self._elsewhere:
                return self._is_answered(table, TableService.NETADDR, address.lower())
            patterns = self._networks[table] = NetworkPatterns(self._entries_of(table))
        return patterns.matches(address.lower())

    def match_mailaddr(self, table: str, address: str) -> bool:
        """Whether an entry of the list matches `address`; "" and `@` are the null sender. The language decides how entries are read."""
        address = "" if address == "@" else address.lower()
        patterns = self._addresses.get(table)
        if patterns is None:
            if table in self._elsewhere:
                return self._is_answered(table, TableService.MAILADDR, address or "@")
            patterns = self._addresses[table] = self._address_patterns(self._entries_of(table))
        return patterns.matches(address)

    def is_address_among(self, entries: Iterable[str], address: str) -> bool:
        """As match_mailaddr, for entries in lower case that are no table's own."""
        address = "" if address == "@" else address.lower()
        return self._address_patterns(dict.fromkeys(entries, "")).matches(address)

    def _address_patterns(self, entries: dict[str, str]) -> AddressPatterns | ModernAddressPatterns:
        return ModernAddressPatterns(entries, self._delimiter) if self._is_modern else AddressPatterns(entries)

    def lookup_userinfo(self, table: str, user: str) -> UserInfo | None:
        """uid, gid and home of `user`, or None where the table does not know such a user."""
        user = user.lower()
        if table in self._system:
            return self._getpwnam(user)
        value = self.lookup(table, TableService.USERINFO, user)
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
