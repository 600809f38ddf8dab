"""Tables in real MariaDB, PostgreSQL, OpenLDAP and Redis servers: the helpers' settings files as they are, hostile keys, servers that
go away and come back. All are asked through config's server of tables, as roles ask."""

import asyncio
import io
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from smtpfleet.config.tables.pool import AWAY_S
from smtpfleet.config.tables.server import TableServer
from smtpfleet.contracts.commands import TableQuery, TableReply, TableService
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.local.servers import RedisServer
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import ForeignRedis
from tests.interop.database_servers import Absent, MariaDb, Postgres, ServerProcess, Slapd
from tests.unit.config.stage import compile_text

pytestmark = pytest.mark.interop

HOSTILE_KEYS = (
    "' or ''='",
    '" or ""="',
    "\\",
    "\\' or 1=1 -- ",
    "%",
    "*",
    "a)(uid=*",
    "x'; drop table users; --",
    "😀",
    "",
)
SQL = """
CREATE TABLE aliases (name varchar(200), target varchar(200));
INSERT INTO aliases VALUES ('root', 'alice'), ('root', 'bob'), ('ä@example.test', 'umlaut'), ('null', NULL), ('o''neil', 'irish');
CREATE TABLE users (name varchar(200), password varchar(200), uid integer, gid integer, home varchar(200));
INSERT INTO users VALUES ('alice', '$2b$08$hash', 1001, 1002, '/home/alice');
CREATE TABLE sources (address varchar(200));
INSERT INTO sources VALUES ('192.0.2.2'), ('192.0.2.1');
"""
QUERIES = """\
query_alias SELECT target FROM aliases WHERE name = ? ORDER BY target
query_domain SELECT name FROM aliases WHERE name=?
query_credentials SELECT name, password FROM users WHERE name = ?
query_userinfo SELECT uid, gid, home FROM users WHERE name = ?
query_netaddr SELECT name, target FROM aliases WHERE name = ?
query_mailaddr SELECT nothing_such FROM aliases WHERE name = ?
fetch_source SELECT address FROM sources
"""
LDIF = """\
dn: dc=example,dc=test
objectClass: domain
dc: example

dn: uid=alice,dc=example,dc=test
objectClass: inetOrgPerson
objectClass: posixAccount
uid: alice
cn: Alice
sn: A
mail: root@example.test
uidNumber: 1001
gidNumber: 1002
homeDirectory: /home/alice
userPassword: $2b$08$hash

dn: uid=bob,dc=example,dc=test
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: root@example.test
mail: b\\*b@example.test

dn:: dWlkPcOkLGRjPWV4YW1wbGUsZGM9dGVzdA==
objectClass: inetOrgPerson
uid:: w6Q=
cn: Umlaut
sn: U
"""
LDAP_SETTINGS = """\
url: ldap://127.0.0.1:{port}
username: cn=root,dc=example,dc=test
password: root secret
basedn: dc=example,dc=test
alias_filter: (&(objectClass=inetOrgPerson)(|(mail=%u)(uid=%u)))
alias_attributes: uid
credentials_filter: (&(objectClass=posixAccount)(uid=%s))
credentials_attributes: uid, userPassword
userinfo_filter: (|(uid=%s)(mail=%s))
userinfo_attributes: uidNumber, gidNumber, homeDirectory
domain_filter: (dc=%s)
domain_attributes: dc
"""


class Asker:
    """config's server of tables, for one table `t` that rules use and listeners check passwords with."""

    def __init__(self, folder: Path, backend: str, settings: str) -> None:
        (folder / "backend.conf").write_text(settings)
        text = f"table t {backend}:/backend.conf\npki p certificate c key k\nlisten on ::1 tls pki p auth <t>\naccept for local alias <t> deliver to mbox\n"
        compiled = compile_text(folder, text, root=str(folder))
        assert compiled.configuration is not None, compiled.render()
        self.configuration: Configuration = compiled.configuration
        self.log = io.StringIO()
        self.server = TableServer(MailLog("config", stream=self.log), lambda path: folder / path.lstrip("/"))
        self.server.apply(compiled.configuration, compiled.withheld)

    async def ask(self, service: TableService, *keys: str, operation: str = "lookup") -> TableReply:
        query = TableQuery("t", service, operation, list(keys))
        if service is TableService.CREDENTIALS:
            return await self.server.answer_auth(query)
        return await self.server.answer(query)

    async def alias(self, *keys: str) -> list[str | None]:
        reply = await self.ask(TableService.ALIAS, *keys)
        assert not reply.error, reply
        return reply.values


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Callable[[str, str], Asker]]:
    made: list[Asker] = []

    def make(backend: str, settings: str) -> Asker:
        made.append(Asker(tmp_path, backend, settings))
        return made[-1]

    yield make
    for each in made:
        await each.server.close()
        assert "secret" not in each.log.getvalue()


def _running(server: MariaDb | Postgres | Slapd, data: str) -> Iterator[MariaDb | Postgres | Slapd]:
    try:
        server.start(data)
    except Absent as error:
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from _running(MariaDb(tmp_path_factory.mktemp("mariadb")), SQL)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("postgres")
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(0o755)  # the server runs as another user
    yield from _running(Postgres(folder), SQL)


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from _running(Slapd(tmp_path_factory.mktemp("slapd")), LDIF)


def mysql_settings(port: int, queries: str = QUERIES, password: str = "db secret") -> str:
    return f"host 127.0.0.1\nport {port}\nusername smtpd\npassword {password}\ndatabase mail\n{queries}"


def postgres_settings(port: int, queries: str = QUERIES, password: str = "db secret") -> str:
    conninfo = f"host='127.0.0.1' port='{port}' user='smtpd' password='{password}' dbname='mail'"
    return f"conninfo {conninfo}\n{queries.replace('?', '$1')}"


SQL_SERVERS = pytest.mark.parametrize(
    ("fixture", "backend", "settings"),
    [
        pytest.param("mariadb", "mysql", mysql_settings, id="mariadb"),
        pytest.param("postgres", "postgres", postgres_settings, id="postgres"),
    ],
)


@SQL_SERVERS
async def test_a_database_answers_every_service(fixture, backend, settings, request, asker) -> None:  # type: ignore[no-untyped-def]
    table = asker(backend, settings(request.getfixturevalue(fixture).port))
    assert await table.alias("ROOT", "nobody", "ä@example.test", "o'neil") == ["alice, bob", None, "umlaut", "irish"]
    assert (await table.ask(TableService.USERINFO, "alice")).values == ["1001:1002:/home/alice"]
    assert (await table.ask(TableService.CREDENTIALS, "alice")).values == ["alice:$2b$08$hash"]
    assert (await table.ask(TableService.DOMAIN, "root", operation="check")).values == [""]
    assert (await table.ask(TableService.DOMAIN, "none", operation="check")).values == [None]
    fetched = [(await table.ask(TableService.SOURCE, operation="fetch")).values[0] for _ in range(3)]
    assert fetched == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]


@SQL_SERVERS
async def test_hostile_keys_are_keys(fixture, backend, settings, request, asker) -> None:  # type: ignore[no-untyped-def]
    table = asker(backend, settings(request.getfixturevalue(fixture).port))
    assert await table.alias(*HOSTILE_KEYS) == [None] * len(HOSTILE_KEYS)
    assert (await table.ask(TableService.USERINFO, "alice")).values == ["1001:1002:/home/alice"]


@SQL_SERVERS
@pytest.mark.parametrize(
    ("service", "key", "why"),
    [
        (TableService.NETADDR, "root", "query_netaddr returns 2 columns, it must return 1"),
        (TableService.MAILADDR, "root", "nothing_such"),
        (TableService.ADDRNAME, "root", "no query_addrname"),
        (TableService.ALIAS, "null", "NULL"),
    ],
)
async def test_wrong_queries_and_half_answers_are_errors(  # type: ignore[no-untyped-def]
    service, key, why, fixture, backend, settings, request, asker
) -> None:
    table = asker(backend, settings(request.getfixturevalue(fixture).port))
    reply = await table.ask(service, key)
    assert why in reply.error and reply.values == []
    assert await table.alias("root") == ["alice, bob"]


@SQL_SERVERS
async def test_a_wrong_password_is_an_error_that_does_not_tell_it(fixture, backend, settings, request, asker) -> None:  # type: ignore[no-untyped-def]
    table = asker(backend, settings(request.getfixturevalue(fixture).port, password="other secret"))
    reply = await table.ask(TableService.ALIAS, "root")
    assert "smtpd" in reply.error and "secret" not in reply.error


@pytest.mark.parametrize("fixture", ["mariadb", "postgres", "slapd"])
async def test_a_server_that_goes_away_is_an_error_and_comes_back(fixture, request, asker) -> None:  # type: ignore[no-untyped-def]
    server = request.getfixturevalue(fixture)
    settings = {
        "mariadb": mysql_settings,
        "postgres": postgres_settings,
        "slapd": lambda port: LDAP_SETTINGS.format(port=port),
    }
    backend = {"mariadb": "mysql", "postgres": "postgres", "slapd": "ldap"}[fixture]
    table = asker(backend, settings[fixture](server.port))
    expected = "alice, bob"
    key = "root@example.test" if fixture == "slapd" else "root"
    assert await table.alias(key) == [expected]
    server.stop()
    started = time.monotonic()
    for other in ("a", "b", "c"):
        reply = await table.ask(TableService.ALIAS, other)
        assert reply.error and reply.values == []
    assert time.monotonic() - started < 5
    server.again()
    await until_answered(lambda: table.ask(TableService.ALIAS, key, "fresh"), [expected, None])


@pytest.mark.parametrize("fixture", ["mariadb", "postgres", "slapd"])
async def test_a_server_that_was_restarted_in_between_costs_no_error(fixture, request, asker) -> None:  # type: ignore[no-untyped-def]
    server = request.getfixturevalue(fixture)
    settings = {
        "mariadb": mysql_settings,
        "postgres": postgres_settings,
        "slapd": lambda port: LDAP_SETTINGS.format(port=port),
    }
    backend = {"mariadb": "mysql", "postgres": "postgres", "slapd": "ldap"}[fixture]
    table = asker(backend, settings[fixture](server.port))
    await asyncio.gather(*(table.alias(f"key{n}") for n in range(8)))
    server.stop()
    server.again()
    key = "root@example.test" if fixture == "slapd" else "root"
    assert await table.alias(key) == ["alice, bob"]


async def test_a_column_of_another_character_set_is_compared(
    mariadb: MariaDb, asker: Callable[[str, str], Asker]
) -> None:
    mariadb.query(
        "USE mail; CREATE TABLE IF NOT EXISTS other (name varchar(99) CHARACTER SET latin1 COLLATE latin1_german1_ci,"
        " target varchar(99)); INSERT INTO other VALUES ('root', 'plain'), (_utf8mb4 X'6BC3A4', 'umlaut')"
    )
    table = asker(
        "mysql", mysql_settings(mariadb.port, "query_alias SELECT DISTINCT target FROM other WHERE name = ?\n")
    )
    assert await table.alias("root", "k\u00e4", "other") == ["plain", "umlaut", None]
    # The server will not compare what the column cannot hold: an error, as with OpenSMTPD's helper, and not "not found".
    assert "collation" in (await table.ask(TableService.ALIAS, "\U0001f600")).error


async def test_a_directory_answers(slapd: Slapd, asker: Callable[[str, str], Asker]) -> None:
    table = asker("ldap", LDAP_SETTINGS.format(port=slapd.port))
    assert await table.alias("ROOT@example.test", "nobody", "b\\*b@example.test", "ä") == [
        "alice, bob",
        None,
        "bob",
        "ä",
    ]
    assert await table.alias(*HOSTILE_KEYS) == [None] * len(HOSTILE_KEYS)
    assert (await table.ask(TableService.USERINFO, "alice", "bob")).values == ["1001:1002:/home/alice", None]
    assert (await table.ask(TableService.CREDENTIALS, "alice")).values == ["alice:$2b$08$hash"]
    assert (await table.ask(TableService.DOMAIN, "example", operation="check")).values == [""]
    assert "no fetch" in (await table.ask(TableService.SOURCE, operation="fetch")).error


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("root secret", "other secret"), "invalidCredentials"),
        (("dc=example,dc=test\nalias", "dc=none\nalias"), "noSuchObject"),
    ],
    ids=["wrong password", "wrong base"],
)
async def test_a_directory_asked_wrongly_is_an_error(
    change: tuple[str, str], why: str, slapd: Slapd, asker: Callable[[str, str], Asker]
) -> None:
    table = asker("ldap", LDAP_SETTINGS.format(port=slapd.port).replace(*change))
    assert why in (await table.ask(TableService.ALIAS, "alice")).error


async def test_redis_answers_strings_arrays_and_numbers(
    redis_server: RedisServer, redis_database: int, asker: Callable[[str, str], Asker]
) -> None:
    client = ForeignRedis(
        host="127.0.0.1", port=redis_server.port, socket_path="", database=redis_database, password=""
    )
    for command in (
        "SET alias:root alice", "RPUSH list:root alice bob", "HSET user:alice login alice passwd $hash uid 7 gid 8 dir /a",
        "SADD domains example.test",
    ):  # fmt: skip
        await client.command(*command.split())
    await client.close()
    settings = f"master 127.0.0.1\nmaster_port {redis_server.port}\ndatabase {redis_database}\n"
    queries = (
        "query_mailaddrmap LRANGE list:%s 0 -1\nquery_credentials HMGET user:%s login passwd\n"
        "query_userinfo HMGET user:%s uid gid dir\nquery_domain SISMEMBER domains %s\nquery_addrname GET %s %s\n"
    )
    table = asker("redis", settings + queries)
    assert await table.alias("root", "nobody", *HOSTILE_KEYS) == ["alice", None, *[None] * len(HOSTILE_KEYS)]
    assert (await table.ask(TableService.MAILADDRMAP, "root", "nobody")).values == ["alice, bob", None]
    assert (await table.ask(TableService.CREDENTIALS, "alice", "bob")).values == ["alice:$hash", None]
    assert (await table.ask(TableService.USERINFO, "alice")).values == ["7:8:/a"]
    assert (await table.ask(TableService.DOMAIN, "example.test", operation="check")).values == [""]
    assert (await table.ask(TableService.DOMAIN, "example.org", operation="check")).values == [None]
    assert "wrong number of arguments" in (await table.ask(TableService.ADDRNAME, "x")).error


async def test_a_redis_slave_answers_for_a_master_that_is_away(
    redis_server: RedisServer, redis_database: int, asker: Callable[[str, str], Asker]
) -> None:
    settings = (
        f"master 127.0.0.1\nmaster_port 1\nslave 127.0.0.1\nslave_port {redis_server.port}\ndatabase {redis_database}\n"
    )
    table = asker("redis", settings)
    assert await table.alias("root") == [None]


async def test_no_redis_is_an_error(asker: Callable[[str, str], Asker]) -> None:
    table = asker("redis", "master 127.0.0.1\nmaster_port 1\n")
    assert "redis" in (await table.ask(TableService.ALIAS, "root")).error


async def test_a_frozen_database_is_an_error_within_the_time_limit(
    mariadb: MariaDb, asker: Callable[[str, str], Asker]
) -> None:
    table = asker("mysql", mysql_settings(mariadb.port))
    await table.alias("root")
    pid = int((mariadb.folder / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        reply = await table.ask(TableService.ALIAS, "other")
        assert "no answer within 5 s" in reply.error
        assert time.monotonic() - started < 8
    finally:
        os.kill(pid, signal.SIGCONT)
    await until_answered(lambda: table.ask(TableService.ALIAS, "root", "fresh"), ["alice, bob", None])


async def until_answered(ask: Callable[[], Awaitable[TableReply]], expected: list[str | None]) -> None:
    """A backend that was away is knocked at again after AWAY_S."""
    deadline = time.monotonic() + 20 * AWAY_S
    while (reply := await ask()).error:
        assert time.monotonic() < deadline, reply
        await asyncio.sleep(0.05)
    assert reply.values == expected
