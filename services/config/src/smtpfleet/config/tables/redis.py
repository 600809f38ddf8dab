"""A table in a Redis of the operator's: `table NAME redis:/conf` with the helper's settings (master, slave, database, password, query_*).

A query is a command whose words are split before the key replaces %s, so a key is never more than part of a word. Asks the master, and
the slave where the master is away. Speaks through runtime.store, the one module that knows redis-py; has nothing to do with the fleet's
store. Made by opening.py. OpenSMTPD: table_redis.c of OpenSMTPD-extras.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from smtpfleet.config.tables.backend import BackendFailed
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.contracts.commands import TableService
from smtpfleet.runtime.store import ForeignRedis, StoreUnavailable

_SERVICES = (
    TableService.ALIAS,
    TableService.DOMAIN,
    TableService.CREDENTIALS,
    TableService.NETADDR,
    TableService.USERINFO,
    TableService.SOURCE,
    TableService.MAILADDR,
    TableService.ADDRNAME,
    TableService.MAILADDRMAP,
    TableService.RELAYHOST,
    TableService.STRING,
)
_SEPARATORS = {
    TableService.ALIAS: ", ",
    TableService.MAILADDRMAP: ", ",
    TableService.CREDENTIALS: ":",
    TableService.USERINFO: ":",
}
"""How the elements of an array become a value; other services take a single string."""
_ELEMENTS = {TableService.CREDENTIALS: 2, TableService.USERINFO: 3}
SETTINGS = (
    *("master", "master_port", "slave", "slave_port", "database", "password"),
    *(f"query_{service}" for service in _SERVICES),
)
DEFAULT_MASTER, DEFAULT_MASTER_PORT, DEFAULT_SLAVE_PORT = "127.0.0.1", 6379, 6380
"""The helper's."""
_SOCKET = "unix:"

Reply = None | int | str | bytes | list["Reply"]


@dataclass(frozen=True, slots=True)
class _Server:
    host: str
    port: int


def check_settings(values: Mapping[str, str]) -> BadTableFile | None:
    """What is wrong with the settings of a table."""
    for name, last in (("master_port", 65535), ("slave_port", 65535), ("database", 2**31 - 1)):
        text = values.get(name, "0")
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= last):
            return BadTableFile(f"{name} is a number from 0 to {last}")
    for service in _SERVICES:
        if "%s" not in values.get(f"query_{service}", "%s"):
            return BadTableFile(f"query_{service} has no %s for the key")
    return None


class RedisBackend:
    """A table in a Redis."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._queries = {service: values.get(f"query_{service}", f"GET {service}:%s").split() for service in _SERVICES}
        servers = [_Server(values.get("master", DEFAULT_MASTER), int(values.get("master_port", DEFAULT_MASTER_PORT)))]
        if "slave" in values:
            servers.append(_Server(values["slave"], int(values.get("slave_port", DEFAULT_SLAVE_PORT))))
        self._servers = [
            ForeignRedis(
                host="" if server.host.startswith(_SOCKET) else server.host,
                port=server.port,
                socket_path=server.host.removeprefix(_SOCKET) if server.host.startswith(_SOCKET) else "",
                database=int(values.get("database", 0)),
                password=values.get("password", ""),
            )
            for server in servers
        ]

    async def lookup(self, service: TableService, keys: list[str]) -> list[str | None]:
        """The value of each key."""
        return [_value(service, await self._ask(service, key)) for key in keys]

    async def check(self, service: TableService, keys: list[str]) -> bool:
        """Whether any of the keys is there: a string, an array that is not empty, or a number that is not 0."""
        for key in keys:
            reply = await self._ask(service, key)
            if reply not in (None, 0, []) and not (isinstance(reply, list) and all(part is None for part in reply)):
                return True
        return False

    async def fetch(self, service: TableService) -> str | None:
        """Not fetched from, as in the helper."""
        raise BackendFailed("redis has no fetch")

    async def close(self) -> None:
        """Ends the connections."""
        for server in self._servers:
            await server.close()

    async def _ask(self, service: TableService, key: str) -> Reply:
        query = self._queries.get(service)
        if query is None:
            raise BackendFailed(f"redis has no query_{service}")
        words = [word.replace("%s", key) for word in query]
        why = ""
        for server in self._servers:
            try:
                reply: Reply = await server.command(*words)
                return reply
            except StoreUnavailable as error:
                why = why or f"redis: {error}"
        raise BackendFailed(why)


def _value(service: TableService, reply: Reply) -> str | None:
    """A reply in the form of the service. SISMEMBER and its like answer 1 or 0, which is as good as a value where none is used."""
    match reply:
        case None | 0:
            return None
        case int():
            return str(reply)
        case str() | bytes():
            return _text(reply)
    # HMGET of a hash that is not there: as many nils as fields
    if all(part is None for part in reply):
        return None
    if service not in _SEPARATORS:
        raise BackendFailed(f"redis: query_{service} must return one string")
    if len(reply) != _ELEMENTS.get(service, len(reply)):
        raise BackendFailed(f"redis: query_{service} must return {_ELEMENTS[service]} strings")
    return _SEPARATORS[service].join(_text(part) for part in reply)


def _text(part: Reply) -> str:
    match part:
        case bytes():
            try:
                text = part.decode()
            except UnicodeDecodeError:
                raise BackendFailed("redis: a value is not UTF-8") from None
        case str():
            text = part
        case int():
            text = str(part)
        case _:
            raise BackendFailed("redis: a part of the value is nil or no string")
    if any(char in text for char in "\r\n\0"):
        raise BackendFailed("redis: a value has a line end or a NUL")
    return text
