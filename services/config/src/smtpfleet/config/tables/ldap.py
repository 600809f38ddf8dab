"""A table in an LDAP directory: `table NAME ldap:/conf` with the helper's settings (url, username, password, basedn, *_filter, *_attributes).

Speaks through ldap3, and is the only module that does. The key is escaped as RFC 4515 has it before it enters a filter; certificates of
ldaps:// are verified. ldap3 blocks, so each table has threads of its own. Made by opening.py. OpenSMTPD: table_ldap.c, whose settings
are the contract here, not its code (reference 9.6).
"""

import asyncio
import contextlib
import re
import socket
import ssl
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from smtpfleet.config.tables.backend import BackendFailed, SessionLost
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.pool import SESSIONS_MAX, SessionPool
from smtpfleet.config.tables.settings_file import missing_setting
from smtpfleet.contracts.commands import TableService

with warnings.catch_warnings():
    # ldap3 asks pyasn1 for names by their old spelling while it is imported, and nowhere else.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3  # type: ignore[import-untyped]
    from ldap3.core.exceptions import LDAPCommunicationError, LDAPException  # type: ignore[import-untyped]

ANSWER_S = 4
"""Per connection and answer. Chosen below the server's time limit, so that its text says what the matter is."""
ENTRIES_MAX = 10_000
"""A filter that matches more than this is a mistake. Chosen: mail.expand takes no more nodes either."""

_ATTRIBUTES = {
    TableService.ALIAS: (1,),
    TableService.DOMAIN: (1,),
    TableService.CREDENTIALS: (2,),
    TableService.USERINFO: (3, 4),
    TableService.MAILADDR: (1,),
    TableService.MAILADDRMAP: (1,),
    TableService.NETADDR: (1,),
    TableService.ADDRNAME: (1,),
    TableService.STRING: (1,),
    TableService.RELAYHOST: (1,),
}
"""How many attributes a service has. userinfo: uid, gid, home, in older configurations after the user, which is not needed. The helpers
have those up to netaddr; the last three are ours."""
_LISTS = (TableService.ALIAS, TableService.MAILADDRMAP)
_UNIQUE = (TableService.CREDENTIALS, TableService.USERINFO)
SETTINGS = (
    *("url", "username", "password", "basedn"),
    *(f"{service}_{part}" for service in _ATTRIBUTES for part in ("filter", "attributes")),
)
_SPECIFIER = re.compile(r"%(.?)", re.DOTALL)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Search:
    """filter: with specifiers. attributes: in the order of the value."""

    filter: str
    attributes: tuple[str, ...]


def read_searches(values: Mapping[str, str]) -> dict[TableService, Search] | BadTableFile:
    """The searches among the settings."""
    searches: dict[TableService, Search] = {}
    for service, counts in _ATTRIBUTES.items():
        text, names = values.get(f"{service}_filter"), values.get(f"{service}_attributes", "")
        if text is None:
            continue
        attributes = tuple(name.strip() for name in names.split(",") if name.strip())
        if len(attributes) not in counts:
            expected = " or ".join(str(count) for count in counts)
            return BadTableFile(f"{service}_attributes names {len(attributes)} attributes, it must name {expected}")
        if any(found not in ("u", "s", "h", "%") for found in _SPECIFIER.findall(text)):
            return BadTableFile(f"{service}_filter has a % that is none of %u, %s, %h, %%")
        searches[service] = Search(text, attributes[-counts[0] :])
    return searches or BadTableFile(f"it has no search, such as {TableService.ALIAS}_filter")


def check_settings(values: Mapping[str, str]) -> BadTableFile | None:
    """What is wrong with the settings of a table."""
    if fault := missing_setting(values, ("url", "basedn")):
        return BadTableFile(fault)
    if "username" in values and "password" not in values:
        return BadTableFile("it sets username but no password; many servers take that for nobody at all")
    searches = read_searches(values)
    return searches if isinstance(searches, BadTableFile) else None


def escape_value(text: str) -> str:
    """`text` as the value of an assertion in a filter (RFC 4515 §3): whatever is not a plain character becomes `\\xx`."""
    return "".join(
        char
        if char.isascii() and (char.isalnum() or char in "@.-_+=, :/")
        else "".join(f"\\{byte:02x}" for byte in char.encode())
        for char in text
    )


def fill_filter(text: str, table: str, key: str) -> str:
    """The filter of a search for `key`: %u and %s are the key, %h the table's name, %% a percent sign."""
    filling = {"u": escape_value(key), "s": escape_value(key), "h": escape_value(table), "%": "%"}
    return _SPECIFIER.sub(lambda found: filling[found[1]], text)


class LdapBackend:
    """A table in a directory, with its sessions and threads."""

    def __init__(self, name: str, values: Mapping[str, str], now_s: Callable[[], float]) -> None:
        searches = read_searches(values)
        assert not isinstance(searches, BadTableFile), "check_settings has seen them"
        self._name = name
        self._values = values
        self._searches = searches
        self._threads = ThreadPoolExecutor(SESSIONS_MAX, thread_name_prefix="ldap-table")
        self._pool = SessionPool(self._open, now_s)

    async def lookup(self, service: TableService, keys: list[str]) -> list[str | None]:
        """The value of each key, all asked on one session."""
        search = self._search_for(service)

        async def ask(session: "_Session") -> list[str | None]:
            entries = [await session.search(search, fill_filter(search.filter, self._name, key)) for key in keys]
            return [_value(service, each) for each in entries]

        return await self._pool.run(ask)

    async def check(self, service: TableService, keys: list[str]) -> bool:
        """Whether the search finds an entry for any of the keys; its attributes do not matter."""
        search = self._search_for(service)

        async def ask(session: "_Session") -> bool:
            for key in keys:
                if await session.search(search, fill_filter(search.filter, self._name, key)):
                    return True
            return False

        return await self._pool.run(ask)

    async def fetch(self, service: TableService) -> str | None:
        """Directories are not fetched from, as in OpenSMTPD."""
        raise BackendFailed("ldap has no fetch")

    async def close(self) -> None:
        """Ends sessions and threads."""
        await self._pool.close()
        self._threads.shutdown(wait=False)

    def _search_for(self, service: TableService) -> Search:
        search = self._searches.get(service)
        if search is None:
            raise BackendFailed(f"its configuration has no {service}_filter")
        return search

    async def _open(self) -> "_Session":
        session = _Session(self._values, self._threads)
        try:
            await session.open()
        except BaseException:
            await session.close()
            raise
        return session


class _Session:
    """A bound connection, used by one thread at a time."""

    def __init__(self, values: Mapping[str, str], threads: ThreadPoolExecutor) -> None:
        url = values["url"] if "://" in values["url"] else f"ldap://{values['url']}"
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED) if url.lower().startswith("ldaps:") else None
        server = ldap3.Server(url, get_info=ldap3.NONE, tls=tls, connect_timeout=ANSWER_S)
        self._base = values["basedn"]
        self._threads = threads
        self._connection = ldap3.Connection(
            server,
            user=values.get("username"),
            password=values.get("password"),
            client_strategy=ldap3.SAFE_SYNC,
            receive_timeout=ANSWER_S,
            auto_referrals=False,
            read_only=True,
        )

    async def open(self) -> None:
        await self._in_thread(self._bind)

    async def search(self, search: Search, text: str) -> list[list[list[str]]]:
        """The values of the attributes of each entry found that has them all."""
        return await self._in_thread(lambda: self._search(search, text))

    async def close(self) -> None:
        # Wakes a thread that waits for the server; the thread itself then closes the connection.
        if self._connection.socket is not None:
            with contextlib.suppress(OSError):
                self._connection.socket.shutdown(socket.SHUT_RDWR)
        self._threads.submit(self._close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except LDAPCommunicationError as error:
            raise SessionLost(f"ldap: {_text(error)}") from None
        except (LDAPException, OSError) as error:
            raise BackendFailed(f"ldap: {_text(error)}") from None

    def _close(self) -> None:
        self._connection.strategy.close()
        # ldap3 forgets the socket of an attempt that failed.
        if self._connection.socket is not None:
            self._connection.socket.close()

    def _bind(self) -> None:
        is_bound, result, _, _ = self._connection.bind()
        if not is_bound:
            raise BackendFailed(f"ldap: the server refused to bind: {result['description']}")

    def _search(self, search: Search, text: str) -> list[list[list[str]]]:
        _, result, response, _ = self._connection.search(
            self._base, text, ldap3.SUBTREE, attributes=list(search.attributes), size_limit=ENTRIES_MAX
        )
        if result["result"] != 0:
            raise BackendFailed(f"ldap: the search failed: {result['description']}")
        entries = [entry["raw_attributes"] for entry in response or () if entry["type"] == "searchResEntry"]
        found = [[_values(entry, name) for name in search.attributes] for entry in entries]
        # An entry without one of the attributes is passed over, as table-ldap(5) has it.
        return [values for values in found if all(values)]


def _values(entry: Mapping[str, Any], attribute: str) -> list[str]:
    """The values of an attribute; names of attributes have no case."""
    raw: list[bytes] = next((values for name, values in entry.items() if name.lower() == attribute.lower()), [])
    try:
        texts = [value.decode() for value in raw]
    except UnicodeDecodeError:
        raise BackendFailed(f"ldap: a value of {attribute} is not UTF-8") from None
    if any(char in text for text in texts for char in "\r\n\0"):
        raise BackendFailed(f"ldap: a value of {attribute} has a line end or a NUL")
    return texts


def _value(service: TableService, entries: list[list[list[str]]]) -> str | None:
    if not entries:
        return None
    if service in _LISTS:
        return ", ".join(text for entry in entries for text in entry[0])
    if len(entries) > 1 and service in _UNIQUE:
        # The helper takes any one of them; who gets whose home or password must not be chance.
        raise BackendFailed(f"ldap: the filter of {service} matches more than one entry")
    return ":".join(values[0] for values in entries[0])


def _text(error: BaseException) -> str:
    """What ldap3 says; it quotes addresses, not passwords."""
    return " ".join(str(error).split()) or type(error).__name__
