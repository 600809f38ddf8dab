"""OpenSMTPD's own table helpers, the programs of 7.x as Debian builds them, run unchanged as `proc-exec` tables: what they answer beside
our own backend for the same settings file, how they fail, die and are told to read their files anew.

.ci/table-helpers makes the root file system they lie in; they run outside of it, with its loader and its libraries.
"""

import asyncio
import io
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from smtpfleet.config.tables.proc import RESTART_PAUSE_S
from smtpfleet.config.tables.server import TableServer
from smtpfleet.contracts.commands import TableQuery, TableReply, TableService
from smtpfleet.local.servers import RedisServer
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import ForeignRedis
from tests.interop.database_servers import Absent, MariaDb, Postgres, Slapd
from tests.unit.config.stage import compile_text

pytestmark = pytest.mark.interop

ALIAS, CREDENTIALS, DOMAIN, USERINFO = (
    TableService.ALIAS, TableService.CREDENTIALS, TableService.DOMAIN, TableService.USERINFO,
)  # fmt: skip
HASH = "$2b$08$hash"
SQL = f"""
CREATE TABLE virtuals (id integer, email varchar(255), destination varchar(255));
INSERT INTO virtuals VALUES (1, 'root', 'alice'), (2, 'root', 'bob'), (3, 'bars', 'a|b|c'), (4, 'é@example.test', 'accent');
CREATE TABLE credentials (id integer, email varchar(255), password varchar(255), uid integer, gid integer, home varchar(255));
INSERT INTO credentials VALUES (1, 'alice', '{HASH}', 1001, 1002, '/home/alice');
CREATE TABLE domains (id integer, domain varchar(255));
INSERT INTO domains VALUES (1, 'example.test');
"""
QUERIES = """\
# in the form of table-sqlite(5), table-mysql(5), table-postgres(5)
query_alias		SELECT destination FROM virtuals WHERE email=? ORDER BY id;
query_credentials	SELECT email, password FROM credentials WHERE email=?;
query_userinfo	SELECT uid, gid, home FROM credentials WHERE email=?;
query_domain		SELECT domain FROM domains WHERE domain=?;
"""
LDIF = f"""\
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
userPassword: {HASH}
"""
KEYS = {
    ALIAS: ("root", "nobody", "bars", "é@example.test", "' or ''='", "a|b", "%s", "x" * 500),
    CREDENTIALS: ("alice", "bob"),
    USERINFO: ("alice", "bob"),
    DOMAIN: ("example.test", "example.org"),
}


def helper(name: str) -> str:
    """The command that runs a helper, or the test is skipped."""
    root = Path(os.environ.get("PEERS_ROOT", "/var/cache/peers-lab")) / "table-helpers"
    program = root / "usr" / "libexec" / "opensmtpd" / f"table-{name}"
    if not (root / ".ready").exists():
        pytest.skip("no root file system of table-helpers: .ci/table-helpers makes it, PEERS_ROOT names its folder")
    assert program.exists(), f"{program} is missing, remove the root file system to have it made anew"
    loaders = sorted(each for folder in ("lib64", "lib") for each in (root / "usr" / folder).glob("ld-linux*.so.*"))
    libraries = [str(each) for each in (root / "usr" / "lib").glob("*-linux-gnu")]
    return f"{loaders[0]} --library-path {':'.join(libraries)} {program}"


class Stage:
    """config's server of tables, for one table `t`."""

    def __init__(self, folder: Path, table: str) -> None:
        self._folder = folder
        self._text = (
            f"table t '{table}'\npki p certificate c key k\nlisten on ::1 tls pki p auth <t>\n"
            "accept for domain <t> virtual <t> userbase <t> deliver to mbox\n"
        )
        self._stream = io.StringIO()
        self._log = MailLog("config", stream=self._stream)
        self.server = TableServer(self._log, Path)
        self.apply()

    @property
    def logged(self) -> str:
        self._log.flush()
        return self._stream.getvalue()

    def apply(self) -> None:
        """As config does when a file that the configuration stands for has changed."""
        compiled = compile_text(self._folder, self._text)
        assert compiled.configuration is not None, compiled.render()
        self.stamps = compiled.stamps
        self.server.apply(compiled.configuration, compiled.withheld)

    async def ask(self, service: TableService, *keys: str, operation: str = "lookup") -> TableReply:
        query = TableQuery("t", service, operation, list(keys))
        return await (self.server.answer_auth if service is CREDENTIALS else self.server.answer)(query)

    async def values(self, service: TableService, *keys: str) -> list[str | None]:
        reply = await self.ask(service, *keys)
        assert not reply.error, reply
        return reply.values


Make = Callable[[str], Stage]
Server = TypeVar("Server", MariaDb, Postgres, Slapd)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Stage] = []

    def make(table: str) -> Stage:
        folder = tmp_path / f"stage{len(made)}"
        folder.mkdir()
        made.append(Stage(folder, table))
        return made[-1]

    yield make
    for each in made:
        await each.server.close()


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Path:
    database = sqlite3.connect(tmp_path / "mail.db")
    database.executescript(SQL)
    database.close()
    return settings(tmp_path, f"dbpath\t\t{tmp_path}/mail.db\n{QUERIES}")


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    path = tmp_path / "passwd"
    path.write_text(
        f"# of table-passwd(5)\nalice:{HASH}:1001:1002:Alice:/home/alice:/sbin/nologin\n\nnologin:*:1003:1003::/x:\n"
    )
    return path


def settings(folder: Path, text: str) -> Path:
    (folder / "helper.conf").write_text(text)
    return folder / "helper.conf"


async def compare(
    make: Make, name: str, path: Path, keys: dict[TableService, tuple[str, ...]], prefix: str = ""
) -> Stage:
    """The helper's answers are those of our own backend, the first key is there, the second is not."""
    theirs, ours = make(f"proc-exec:{prefix}{helper(name)} {path}"), make(f"{name}:{path}")
    for service, each in keys.items():
        found = await theirs.values(service, *each)
        assert found == await ours.values(service, *each), service
        assert found[0] is not None and found[1:2] in ([None], [])
    return theirs


async def check_domains(table: Stage, is_there: str = "example.test") -> None:
    assert (await table.ask(DOMAIN, is_there, operation="check")).values == [""]
    assert (await table.ask(DOMAIN, "example.org", operation="check")).values == [None]


async def test_passwd_answers(make: Make, accounts: Path) -> None:
    table = make(f"proc-exec:{helper('passwd')} {accounts}")
    assert await table.values(CREDENTIALS, "alice", "nobody") == [f"alice:{HASH}", None]
    assert await table.values(USERINFO, "alice", "nobody", "nologin") == ["1001:1002:/home/alice", None, "1003:1003:/x"]


async def test_passwd_cannot_answer_what_it_registers_nevertheless(make: Make, accounts: Path) -> None:
    table = make(f"proc-exec:{helper('passwd')} {accounts}")
    assert "cannot answer" in (await table.ask(ALIAS, "alice")).error
    assert "cannot answer" in (await table.ask(DOMAIN, "alice", operation="check")).error
    assert await table.values(USERINFO, "alice") == ["1001:1002:/home/alice"]
    assert "does not serve regex" in (await table.ask(TableService.REGEX, "alice")).error


async def test_a_helper_that_was_killed_is_a_temporary_failure_and_started_again(make: Make, accounts: Path) -> None:
    table = make(f"proc-exec:{helper('passwd')} {accounts}")
    await table.values(USERINFO, "alice")
    (pid,) = processes_of(accounts)
    os.kill(pid, signal.SIGKILL)
    assert (await table.ask(USERINFO, "nobody")).error
    await until(lambda: table.ask(USERINFO, "nobody"), [None])
    assert processes_of(accounts) != [pid]


async def test_a_helper_that_stands_still_is_an_error_within_the_time_limit(make: Make, accounts: Path) -> None:
    table = make(f"proc-exec:{helper('passwd')} {accounts}")
    await table.values(USERINFO, "alice")
    os.kill(processes_of(accounts)[0], signal.SIGSTOP)
    assert "no answer within" in (await table.ask(USERINFO, "nobody")).error
    await until(lambda: table.ask(USERINFO, "nobody"), [None])


async def test_a_changed_file_is_read_anew_by_the_running_helper(make: Make, accounts: Path) -> None:
    table = make(f"proc-exec:{helper('passwd')} {accounts}")
    assert accounts in table.stamps  # config watches it
    assert await table.values(USERINFO, "bob") == [None]
    running = processes_of(accounts)
    with accounts.open("a") as file:
        file.write("bob:*:1004:1004::/home/bob:\n")
    table.apply()
    await until(lambda: table.ask(USERINFO, "bob"), ["1004:1004:/home/bob"])
    assert processes_of(accounts) == running


async def test_a_changed_file_that_the_helper_refuses_leaves_it_with_what_it_had(make: Make, accounts: Path) -> None:
    table = make(f"proc-exec:{helper('passwd')} {accounts}")
    await table.values(USERINFO, "nobody")
    accounts.write_text("alice\n")
    table.apply()
    deadline = time.monotonic() + 10
    while "table updated" not in table.logged:  # so it says
        assert time.monotonic() < deadline, table.logged
        await asyncio.sleep(0.02)
    assert await table.values(USERINFO, "alice") == ["1001:1002:/home/alice"]


async def test_a_helper_that_refuses_its_file_at_the_start_fails(make: Make, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("alice\n")
    table = make(f"proc-exec:{helper('passwd')} {tmp_path}/passwd")
    assert "died" in (await table.ask(USERINFO, "alice")).error


async def test_sqlite_answers_as_our_own_backend(make: Make, sqlite_settings: Path) -> None:
    table = await compare(make, "sqlite", sqlite_settings, KEYS)
    await check_domains(table)
    assert await table.values(ALIAS, "root", "bars") == ["alice, bob", "a|b|c"]
    assert await table.values(USERINFO, "alice") == ["1001:1002:/home/alice"]


async def test_sqlite_gives_sources_in_turn(make: Make, sqlite_settings: Path) -> None:
    with sqlite_settings.open("a") as file:
        file.write("fetch_source SELECT destination FROM virtuals WHERE email='root'\n")
    table = make(f"proc-exec:{helper('sqlite')} {sqlite_settings}")
    fetched = [(await table.ask(TableService.SOURCE, operation="fetch")).values[0] for _ in range(3)]
    assert fetched == ["alice", "bob", "alice"]


async def test_sqlite_takes_new_queries(make: Make, sqlite_settings: Path) -> None:
    table = make(f"proc-exec:{helper('sqlite')} {sqlite_settings}")
    assert await table.values(ALIAS, "root") == ["alice, bob"]
    sqlite_settings.write_text(sqlite_settings.read_text().replace("ORDER BY id", "ORDER BY id DESC"))
    table.apply()
    await until(lambda: table.ask(ALIAS, "root"), ["bob, alice"])


async def test_redis_answers_as_our_own_backend(
    make: Make, redis_server: RedisServer, redis_database: int, tmp_path: Path
) -> None:
    client = ForeignRedis(
        host="127.0.0.1", port=redis_server.port, socket_path="", database=redis_database, password=""
    )
    for command in (
        "SADD domains example.test", f"HSET user:alice uid 1001 gid 1002 maildir /home/alice login alice passwd {HASH}",
        "RPUSH aliases:root alice bob",
    ):  # fmt: skip
        await client.command(*command.split())
    await client.close()
    path = settings(
        tmp_path,
        f"master\t127.0.0.1\nmaster_port\t{redis_server.port}\ndatabase\t{redis_database}\n"
        "query_domain SISMEMBER domains %s\nquery_userinfo HMGET user:%s uid gid maildir\n"
        "query_credentials HMGET user:%s login passwd\nquery_alias LRANGE aliases:%s 0 -1\n",
    )
    keys = {ALIAS: ("root", "nobody"), CREDENTIALS: ("alice",), USERINFO: ("alice",)}
    table = await compare(make, "redis", path, keys)
    await check_domains(table)
    # of a hash that is not there it gets empty fields, which are none to it, and no "not found"
    assert "cannot answer" in (await table.ask(USERINFO, "bob")).error


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    yield from running(MariaDb(tmp_path_factory.mktemp("mariadb")), SQL)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgres")
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(0o755)  # the server runs as another user
    yield from running(Postgres(folder), SQL)


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    yield from running(Slapd(tmp_path_factory.mktemp("slapd")), LDIF)


def running(server: Server, data: str) -> Iterator[Server]:
    try:
        server.start(data)
    except Absent as error:
        pytest.skip(str(error))
    yield server
    server.stop()


async def test_mysql_answers_as_our_own_backend(make: Make, mariadb: MariaDb, tmp_path: Path) -> None:
    # the helper has no word for the port: the client library it uses has
    where = f"host 127.0.0.1\nport {mariadb.port}\nusername smtpd\npassword db secret\ndatabase mail\n"
    path = settings(tmp_path, where + QUERIES)
    await check_domains(await compare(make, "mysql", path, KEYS, f"/usr/bin/env MYSQL_TCP_PORT={mariadb.port} "))


async def test_postgres_answers_as_our_own_backend(make: Make, postgres: Postgres, tmp_path: Path) -> None:
    where = f"conninfo host='127.0.0.1' port='{postgres.port}' user='smtpd' password='db secret' dbname='mail'\n"
    path = settings(tmp_path, where + QUERIES.replace("?", "$1"))
    await check_domains(await compare(make, "postgres", path, KEYS))


async def test_ldap_answers_as_our_own_backend(make: Make, slapd: Slapd, tmp_path: Path) -> None:
    path = settings(
        tmp_path,
        f"url ldap://127.0.0.1:{slapd.port}\nusername cn=root,dc=example,dc=test\npassword root secret\n"
        "basedn dc=example,dc=test\n"
        "alias_filter (&(objectClass=inetOrgPerson)(mail=%s@example.test))\nalias_attributes uid\n"
        "credentials_filter (&(objectClass=posixAccount)(uid=%s))\ncredentials_attributes uid,userPassword\n"
        "domain_filter (&(objectClass=domain)(dc=%s))\ndomain_attributes dc\n"
        "userinfo_filter (&(objectClass=posixAccount)(uid=%s))\nuserinfo_attributes uidNumber,gidNumber,homeDirectory\n",
    )
    keys = {**KEYS, ALIAS: ("root", "nobody"), DOMAIN: ("example", "other")}
    await check_domains(await compare(make, "ldap", path, keys), "example")


def processes_of(path: Path) -> list[int]:
    """The helpers that run with this file."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if os.fsencode(path) in arguments:
            found.append(int(folder.name))
    return sorted(found)


async def until(ask: Callable[[], Awaitable[TableReply]], expected: list[str | None]) -> None:
    """A helper is started again a moment after it died, and updated beside what is asked of it."""
    deadline = time.monotonic() + 10 * RESTART_PAUSE_S
    while (reply := await ask()).error or reply.values != expected:
        assert time.monotonic() < deadline, reply
        await asyncio.sleep(0.05)
