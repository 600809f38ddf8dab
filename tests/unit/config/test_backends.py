"""Table backends: what each can be used for, and how each is written (reference 9)."""

import dataclasses
from pathlib import Path

import pytest

from smtpfleet.config.language.backends import BACKENDS, Parameter
from smtpfleet.config.language.compilation import compile_file
from smtpfleet.config.tables import ldap, redis, sql
from smtpfleet.contracts.configuration import Configuration
from tests.unit.config.stage import HOST, compile_text, headlines

USES = {
    "alias": "accept for local alias <t>\n",
    "domain": "accept for domain <t> relay\n",
    "credentials": "accept for any relay via tls+auth://l@h auth <t>\n",
    "netaddr": "accept from source <t> for any relay\n",
    "userinfo": "accept for local userbase <t> deliver to mbox\n",
    "source": "accept for any relay source <t>\n",
    "mailaddr": "reject sender <t> for any\n",
    "addrname": "accept for any relay hostnames <t>\n",
    "mailaddrmap": "pki p certificate c key k\nlisten on ::1 tls pki p auth senders <t>\naccept for any relay\n",
}
"""By service, a file in which only that is asked of the table."""
MODERN_USES = {
    "relayhost": 'action "a" relay domain <t>\nmatch for any action "a"\n',
    "string": 'action "a" relay\nmatch tag <t> for any action "a"\n',
    "regex": 'action "a" relay\nmatch helo regex <t> for any action "a"\n',
}
LISTED_USES = {"source": USES["source"], "relayhost": 'action "a" relay host <t>\nmatch for any action "a"\n'}
"""Uses that take one entry after the other."""
SETTINGS = {
    "sqlite": "dbpath /users.db\nquery_alias SELECT a FROM t WHERE k = ?\n",
    "mysql": "host db\nusername u\npassword secret\ndatabase d\nquery_alias SELECT a FROM t WHERE k = ?\n",
    "postgres": "conninfo host=db user=u\nquery_alias SELECT a FROM t WHERE k = $1\n",
    "ldap": "url ldap://dir\nbasedn dc=x\nalias_filter (mail=%s)\nalias_attributes uid\n",
    "redis": "master 127.0.0.1\n",
}
"""Settings files that are right; nothing is connected while a configuration compiles."""


def table_of(folder: Path, value: str, use: str) -> Configuration | None:
    (folder / "backend.conf").write_text(SETTINGS.get(value.partition(":")[0], "# nothing\n"))
    return compile_text(folder, f"table t {value}\n{use}", root=str(folder)).configuration


@pytest.mark.parametrize("backend", SETTINGS)
@pytest.mark.parametrize("service", [*USES, *MODERN_USES])
def test_a_backend_is_used_for_its_services_only(backend: str, service: str, tmp_path: Path) -> None:
    configuration = table_of(tmp_path, f"{backend}:/backend.conf", (USES | MODERN_USES)[service])
    known = BACKENDS[backend]
    assert (configuration is not None) == (service in (known.listed if service == "source" else known.services))


@pytest.mark.parametrize("backend", SETTINGS)
@pytest.mark.parametrize("service", LISTED_USES)
def test_what_takes_one_entry_after_the_other_needs_a_backend_that_lists(
    backend: str, service: str, tmp_path: Path
) -> None:
    compiled = table_of(tmp_path, f"{backend}:/backend.conf", LISTED_USES[service])
    assert (compiled is not None) == (service in BACKENDS[backend].listed)


@pytest.mark.parametrize("backend", SETTINGS)
def test_the_parser_allows_what_the_backend_serves(backend: str) -> None:
    serves = {"ldap": ldap._ATTRIBUTES, "redis": redis._SERVICES}.get(backend, sql._COLUMNS)
    assert BACKENDS[backend].services == {service.value for service in serves}


@pytest.mark.parametrize("service", USES)
def test_accounts_of_the_system_are_users_and_nothing_else(service: str, tmp_path: Path) -> None:
    assert (table_of(tmp_path, "getpwnam", USES[service]) is not None) == (service == "userinfo")


@pytest.mark.parametrize("service", USES)
def test_a_program_may_answer_everything(service: str, tmp_path: Path) -> None:
    configuration = table_of(tmp_path, "'proc-exec:/usr/libexec/table-x -v /etc/x'", USES[service])
    assert configuration is not None
    table = configuration.tables["t"]
    assert (table.backend, table.kind, table.path, table.is_inline) == (
        "proc",
        "dynamic",
        "/usr/libexec/table-x -v /etc/x",
        False,
    )


@pytest.mark.parametrize(
    "word", [word for word, backend in BACKENDS.items() if backend.parameter is not Parameter.NONE]
)
@pytest.mark.parametrize("value", ["", ":"])
def test_a_parameter_is_missed(word: str, value: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, f"table t '{word}{value}'\naccept for any relay\n")
    assert any("invalid backend parameter for table: t" in line for line in headlines(compiled)), compiled.render()


@pytest.mark.parametrize(
    ("word", "is_found"),
    [("cdb", True), ("cdbb", False), ("x/table-cdb", False), ("..", False), ("", False)],
)
def test_the_helper_of_an_unknown_backend_is_found(word: str, is_found: bool, tmp_path: Path) -> None:
    """`table t X:/file` is `table-X /file`; the program is the system's, its file lies below the root."""
    helper = tmp_path / "libexec" / "table-cdb"
    helper.parent.mkdir()
    helper.write_text("#!/bin/sh\n")
    host = dataclasses.replace(HOST, helper_folders=(str(tmp_path / "none"), str(helper.parent)))
    main = tmp_path / "smtpd.conf"
    main.write_text(f"table t '{word}:/backend.conf'\n{USES['domain']}")
    configuration = compile_file(main, host, root=str(tmp_path)).configuration
    assert (configuration is not None) == is_found
    if configuration is not None:
        assert configuration.tables["t"].path == f"{helper} {tmp_path / 'backend.conf'}"
