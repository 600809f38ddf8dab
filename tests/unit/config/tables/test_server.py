"""The server of tables: who may ask what, keys, the cache, the time limit, failures, and a new configuration."""

import asyncio
import io
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.tables import server as module
from smtpfleet.config.tables.server import TTL_S, TableServer
from smtpfleet.contracts.commands import TableQuery, TableReply, TableService
from smtpfleet.runtime.maillog import MailLog
from tests.path.table_ways import HELPER
from tests.unit.config.stage import compile_text

SETTINGS = """\
dbpath /mail.db
query_alias SELECT value FROM aliases WHERE name = ?
query_domain SELECT name FROM aliases WHERE name = ?
query_credentials SELECT name, value FROM aliases WHERE name = ?
query_userinfo SELECT 1, 2 FROM aliases WHERE name = ?
query_mailaddr SELECT nothing FROM aliases WHERE name = ?
query_netaddr WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n WHERE x <> ?
fetch_source SELECT value FROM aliases
"""
CONFIGURATION = """\
table people sqlite:/sqlite.conf
table logins { Alice = "$2b$08$hash", bob = "bob:other" }
table relays file:/relays
table users passwd:/passwd
table plain { root = alice }
table broken proc:/nonexistent/helper
pki mx.example.test certificate c key k
listen on ::1 tls pki mx.example.test auth <logins>
listen on 127.0.0.1 tls pki mx.example.test auth <users>
accept for local alias <plain> userbase <users> deliver to maildir
accept for domain one.test virtual <people> deliver to maildir
accept for domain two.test virtual <broken> deliver to maildir
accept for any relay via tls+auth://provider@smarthost.test auth <relays>
"""
ALIAS, CREDENTIALS = TableService.ALIAS, TableService.CREDENTIALS


class Clock:
    """Seconds, as given."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Stage:
    """A server for CONFIGURATION, with an SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.stream = io.StringIO()
        self._log = MailLog("config", stream=self.stream)
        self.server = TableServer(self._log, lambda path: folder / path.lstrip("/"), self.clock)
        (folder / "sqlite.conf").write_text(SETTINGS)
        (folder / "relays").write_text("provider me:relaysecret\n")
        (folder / "passwd").write_text("alice:accountsecret:1001:1001::/home/alice:/bin/sh\n")
        self.write("CREATE TABLE aliases (name TEXT, value TEXT)")
        self.write("INSERT INTO aliases VALUES ('root', 'alice'), ('root', 'bob'), ('ä', 'umlaut')")

    def write(self, statement: str) -> None:
        with sqlite3.connect(self.folder / "mail.db") as database:
            database.execute(statement)
        database.close()

    def apply(self, text: str = CONFIGURATION) -> None:
        compiled = compile_text(self.folder, text, root=str(self.folder))
        assert compiled.configuration is not None, compiled.render()
        self.server.apply(compiled.configuration, compiled.withheld)

    async def ask(self, table: str, service: TableService, *keys: str, operation: str = "lookup") -> TableReply:
        return await self.server.answer(TableQuery(table, service, operation, list(keys)))

    @property
    def log(self) -> str:
        self._log.flush()
        return self.stream.getvalue()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    stage.apply()
    yield stage
    await stage.server.close()


async def test_a_batch_is_answered_key_by_key_with_rows_joined(stage: Stage) -> None:
    reply = await stage.ask("people", ALIAS, "ROOT", "nobody", "ä", "' OR ''='")
    assert reply == TableReply("", ["alice, bob", None, "umlaut", None], TTL_S)


async def test_a_check_says_whether_any_key_is_there(stage: Stage) -> None:
    assert (await stage.ask("people", TableService.DOMAIN, "nobody", "root", operation="check")).values == [""]
    assert (await stage.ask("people", TableService.DOMAIN, "nobody", operation="check")).values == [None]


@pytest.mark.parametrize("stored", ["2001:db8::1", "ipv6:2001:db8::1", "[2001:db8::1]"])
@pytest.mark.parametrize("asked", ["2001:db8::1", "IPv6:2001:DB8::1", "[2001:db8::1]"])
async def test_a_name_is_found_however_the_address_is_spelled(stage: Stage, stored: str, asked: str) -> None:
    with (stage.folder / "sqlite.conf").open("a") as settings:
        settings.write("query_addrname SELECT value FROM aliases WHERE name = ?\n")
    stage.apply()
    stage.write(f"INSERT INTO aliases VALUES ('{stored}', 'six.test')")
    reply = await stage.ask("people", TableService.ADDRNAME, "192.0.2.9", asked, "::2")
    assert reply == TableReply("", [None, "six.test", None], TTL_S)


async def test_fetches_go_round(stage: Stage) -> None:
    fetched = [(await stage.ask("people", TableService.SOURCE, operation="fetch")).values[0] for _ in range(4)]
    assert fetched == ["alice", "bob", "umlaut", "alice"]


async def test_answers_are_kept_for_a_moment_found_or_not(stage: Stage) -> None:
    assert (await stage.ask("people", ALIAS, "root", "nobody")).values == ["alice, bob", None]
    stage.write("DELETE FROM aliases")
    stage.write("INSERT INTO aliases VALUES ('nobody', 'somebody')")
    stage.clock.now_s += TTL_S / 2
    reply = await stage.ask("people", ALIAS, "nobody", "root")
    assert (reply.values, reply.ttl_s) == ([None, "alice, bob"], TTL_S / 2)
    stage.clock.now_s += TTL_S / 2
    assert (await stage.ask("people", ALIAS, "root", "nobody")).values == [None, "somebody"]


@pytest.mark.parametrize(
    "key", ["a\nb", "a\rb", "a\0b", "k" * 1024, "ä" * 512], ids=["LF", "CR", "NUL", "1024 bytes", "1024 bytes in 512"]
)
async def test_keys_that_no_backend_may_see_are_refused(stage: Stage, key: str) -> None:
    reply = await stage.ask("people", ALIAS, "root", key)
    assert "key" in reply.error and reply.values == []


async def test_the_longest_key_is_asked(stage: Stage) -> None:
    assert await stage.ask("people", ALIAS, "k" * 1023) == TableReply("", [None], TTL_S)


@pytest.mark.parametrize(("operation", "count"), [("delete", 1), ("lookup", 0), ("lookup", 65), ("check", 0)], ids=str)
async def test_queries_out_of_bounds_are_refused(stage: Stage, operation: str, count: int) -> None:
    assert (await stage.ask("people", ALIAS, *["x"] * count, operation=operation)).error


@pytest.mark.parametrize(
    ("service", "why"),
    [
        (TableService.USERINFO, "query_userinfo returns 2 columns, it must return 3"),
        (TableService.MAILADDR, "syntax error"),
        (TableService.ADDRNAME, "has no query_addrname"),
    ],
)
async def test_a_query_that_is_wrong_is_an_error_and_not_an_absence(
    stage: Stage, service: TableService, why: str
) -> None:
    reply = await stage.ask("people", service, "root")
    assert why in reply.error and reply.values == []


async def test_a_backend_that_is_away_is_an_error_said_once(stage: Stage) -> None:
    for _ in range(3):
        assert (await stage.ask("broken", ALIAS, "root")).error
    assert stage.log.count("table cannot answer table=broken") == 1
    (stage.folder / "mail.db").rename(stage.folder / "away.db")
    assert "No such file" in (await stage.ask("people", ALIAS, "root")).error
    (stage.folder / "away.db").rename(stage.folder / "mail.db")
    stage.clock.now_s += 10
    assert (await stage.ask("people", ALIAS, "root")).values == ["alice, bob"]
    assert "table answers again table=people" in stage.log


async def test_a_file_put_in_the_place_of_another_is_read(stage: Stage) -> None:
    assert (await stage.ask("people", ALIAS, "root")).values == ["alice, bob"]
    (stage.folder / "mail.db").rename(stage.folder / "old.db")
    stage.write("CREATE TABLE aliases (name TEXT, value TEXT)")
    stage.write("INSERT INTO aliases VALUES ('root', 'carol')")
    stage.clock.now_s += TTL_S
    assert (await stage.ask("people", ALIAS, "root")).values == ["carol"]


async def test_a_question_without_end_is_broken_off(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.2)
    reply = await asyncio.wait_for(stage.ask("people", TableService.NETADDR, "1"), 5)
    assert "no answer within 0.2 s" in reply.error
    assert (await stage.ask("people", ALIAS, "root")).values == ["alice, bob"]


@pytest.mark.parametrize(
    ("table", "user", "value"),
    [("logins", "ALICE", "$2b$08$hash"), ("logins", "nobody", None), ("users", "alice", "alice:accountsecret")],
)
async def test_passwords_of_clients_are_answered_on_their_subject(
    stage: Stage, table: str, user: str, value: str | None
) -> None:
    assert await stage.server.answer_auth(TableQuery(table, CREDENTIALS, "lookup", [user])) == TableReply(
        "", [value], 0.0
    )


async def test_a_helper_of_service_auth_is_told_passwords_and_shows_none(stage: Stage) -> None:
    helper = stage.folder / "helper.py"
    helper.write_text(HELPER)
    (stage.folder / "right").write_text("bob:pass:word\t\n")
    command = f"proc-exec:{sys.executable} {helper} {stage.folder}/right auth"
    stage.apply(
        CONFIGURATION.replace("table plain", f'table checked "{command}"\ntable plain').replace("<logins>", "<checked>")
    )
    asked = await stage.server.answer_auth(TableQuery("checked", CREDENTIALS, "lookup", ["bob"]))
    assert asked == TableReply("", [None], 0.0, has_no_passwords=True)
    for user, found in (("BOB:pass:word", [""]), ("bob:PASS:word", [None]), ("bob:", [None])):
        reply = await stage.server.answer_auth(TableQuery("checked", TableService.AUTH, "check", [user]))
        assert (reply.error, reply.values) == ("", found)
    assert (await stage.ask("checked", TableService.AUTH, "bob:pass:word", operation="check")).error
    assert "pass:word" not in stage.log


async def test_passwords_at_relays_are_answered_on_their_subject(stage: Stage) -> None:
    query = TableQuery("relays", CREDENTIALS, "lookup", ["provider"])
    assert (await stage.server.answer_credentials(query)).values == ["me:relaysecret"]


@pytest.mark.parametrize(
    ("method", "table", "service"),
    [
        ("answer", "logins", CREDENTIALS),
        ("answer", "logins", ALIAS),
        ("answer", "users", TableService.USERINFO),
        ("answer", "relays", TableService.STRING),
        ("answer", "people", CREDENTIALS),
        ("answer", "nowhere", ALIAS),
        ("answer_auth", "relays", CREDENTIALS),
        ("answer_auth", "people", CREDENTIALS),
        ("answer_auth", "logins", ALIAS),
        ("answer_credentials", "logins", CREDENTIALS),
        ("answer_credentials", "relays", ALIAS),
    ],
)
async def test_what_a_subject_does_not_reach_is_refused(
    stage: Stage, method: str, table: str, service: TableService
) -> None:
    reply = await getattr(stage.server, method)(TableQuery(table, service, "lookup", ["alice"]))
    assert reply.error and reply.values == []
    assert "secret" not in reply.error


INLINE = """\
table domains { "*.example.test", "exact.test" }
table nets { 192.0.2.0/24 }
table senders { "@example.test", "alice" }
table people { root = alice }
table sources { 192.0.2.1, 192.0.2.2 }
listen on 127.0.0.1
accept from source <nets> sender <senders> for domain <domains> alias <people> deliver to maildir
accept for any relay source <sources>
"""


@pytest.mark.parametrize(
    ("table", "service", "keys", "is_there"),
    [
        ("domains", TableService.DOMAIN, ("nowhere.test", "Mail.Example.Test"), True),
        ("domains", TableService.DOMAIN, ("example.test",), False),
        ("nets", TableService.NETADDR, ("192.0.2.200",), True),
        ("nets", TableService.NETADDR, ("198.51.100.1",), False),
        ("senders", TableService.MAILADDR, ("bob@example.test",), True),
        ("senders", TableService.MAILADDR, ("bob@elsewhere.test",), False),
        ("people", TableService.STRING, ("root",), True),
    ],
)
async def test_who_has_not_an_inline_table_is_told_what_the_snapshot_says(
    stage: Stage, table: str, service: TableService, keys: tuple[str, ...], is_there: bool
) -> None:
    stage.apply(INLINE)
    reply = await stage.ask(table, service, *keys, operation="check")
    assert (reply.error, reply.values) == ("", ["" if is_there else None])


async def test_an_inline_table_is_looked_up_and_fetched_from(stage: Stage) -> None:
    stage.apply(INLINE)
    assert (await stage.ask("people", ALIAS, "ROOT", "nobody")).values == ["alice", None]
    fetched = [(await stage.ask("sources", TableService.SOURCE, operation="fetch")).values[0] for _ in range(3)]
    assert fetched == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    long = await stage.ask("people", ALIAS, "x" * 1023)
    assert long.values == [None]


async def test_neither_snapshot_nor_log_has_a_password(stage: Stage) -> None:
    compiled = compile_text(stage.folder, CONFIGURATION, root=str(stage.folder))
    assert compiled.configuration is not None
    tables = compiled.configuration.tables
    assert (tables["logins"].entries, tables["logins"].is_inline) == ({}, False)
    assert tables["users"].entries == {"alice": "1001:1001:/home/alice"}
    for text in (repr(compiled), stage.log):
        assert "secret" not in text and "$2b$" not in text


async def test_a_new_configuration_changes_what_is_answered_and_keeps_connections(stage: Stage) -> None:
    await stage.ask("people", ALIAS, "root")
    kept = stage.server._served["people"].backend
    (stage.folder / "relays").write_text("provider me:newsecret\n")
    stage.apply()
    assert stage.server._served["people"].backend is kept
    query = TableQuery("relays", CREDENTIALS, "lookup", ["provider"])
    assert (await stage.server.answer_credentials(query)).values == ["me:newsecret"]
    (stage.folder / "sqlite.conf").write_text(SETTINGS.replace("SELECT value", "SELECT 'new ' || value"))
    stage.apply()
    assert (await stage.ask("people", ALIAS, "root")).values == ["new alice, new bob"]


async def test_tables_of_a_snapshot_of_another_replica_are_answered_but_for_passwords(stage: Stage) -> None:
    compiled = compile_text(stage.folder, CONFIGURATION, root=str(stage.folder))
    assert compiled.configuration is not None
    stage.server.apply(compiled.configuration, {})
    assert (await stage.ask("people", ALIAS, "root")).values == ["alice, bob"]
    reply = await stage.server.answer_auth(TableQuery("logins", CREDENTIALS, "lookup", ["alice"]))
    assert "has not been read here" in reply.error
    for operation, service in (("lookup", CREDENTIALS), ("check", TableService.AUTH)):
        reply = await stage.server.answer_auth(TableQuery("users", service, operation, ["alice:1001"]))
        assert "has not been read here" in reply.error and reply.values == []


async def test_settings_and_database_are_found_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    stage = Stage(root)
    files = ConfigFiles(root / "smtpd.conf", str(root))
    stage.server = TableServer(MailLog("config", stream=io.StringIO()), files.find, stage.clock, files.follow)
    for name in ("sqlite.conf", "mail.db"):
        (root / name).rename(root / f"real-{name}")
        (root / name).symlink_to(f"/real-{name}")
    stage.apply()
    try:
        assert (await stage.ask("people", ALIAS, "root")).values == ["alice, bob"]
        (root / "real-mail.db").rename(tmp_path / "outside.db")
        (root / "mail.db").unlink()
        (root / "mail.db").symlink_to(tmp_path / "outside.db")
        stage.clock.now_s += TTL_S
        assert "No such file" in (await stage.ask("people", ALIAS, "root")).error
    finally:
        await stage.server.close()
