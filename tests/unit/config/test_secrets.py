"""Passwords and keys: not in the snapshot, not in what is printed, but kept for config itself to answer from."""

from pathlib import Path

import msgspec
import pytest

from smtpfleet.config.document import render_document
from smtpfleet.contracts import wire
from tests.unit.config.stage import RULE, compile_text

SECRET = "s3cret-of-the-operator"
PKI = "pki mx certificate c key k\n"
TEXTS = {
    "auth": f"{PKI}table c {{ alice = {SECRET} }}\nlisten on 127.0.0.1 tls pki mx auth <c>\n{RULE}",
    "auth in place": f"{PKI}listen on 127.0.0.1 tls pki mx auth-optional {{ alice = {SECRET} }}\n{RULE}",
    "auth from a file": f"{PKI}table c file:c\nlisten on 127.0.0.1 tls pki mx auth <c>\n{RULE}",
    "relay": f"listen on ::1\ntable c {{ label = 'user:{SECRET}' }}\naccept for any relay via tls+auth://label@h auth <c>\n",
    "relay without +auth": f"listen on ::1\naccept for any relay via h auth {{ label = 'user:{SECRET}' }}\n",
    "queue": f"listen on ::1\nqueue encryption key {SECRET}\n{RULE}",
    "users and passwords": f"{PKI}table c {{ a = {SECRET} }}\nlisten on ::1 tls pki mx auth <c>\naccept for local userbase <c>\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_secret_is_neither_published_nor_printed(text: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_text(f"alice: {SECRET}\nalice: {SECRET}\n")
    compiled = compile_text(tmp_path, text)
    assert compiled.configuration is not None, compiled.render()
    assert SECRET.encode() not in wire.encode(compiled.configuration)
    assert SECRET not in render_document(compiled.configuration) + compiled.render() + repr(compiled)
    assert not any(SECRET in item.line for item in compiled.diagnostics)


def test_config_keeps_what_it_does_not_publish(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, TEXTS["auth"])
    assert compiled.configuration is not None
    published = compiled.configuration.tables["c"]
    assert (published.is_inline, published.entries) == (False, {})
    kept = compiled.withheld["c"]
    assert kept == msgspec.structs.replace(published, is_inline=True, entries={"alice": SECRET})
    assert list(compiled.withheld) == ["c"]


POSTGRES = "SCRAM-SHA-256$4096:MDEyMw==$c3RvcmVk:c2VydmVy"
DOVECOT = "{SCRAM-SHA-256}4096,MDEyMw==,c3RvcmVk,c2VydmVy"
BCRYPT = "$2b$10$" + "a" * 53


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        pytest.param([POSTGRES], ("scram",), id="SCRAM keys"),
        pytest.param([f"user0:{POSTGRES}", DOVECOT], ("scram",), id="SCRAM keys however spelled"),
        pytest.param([BCRYPT, f"user1:{BCRYPT}"], ("other",), id="crypt(3)"),
        pytest.param([POSTGRES, BCRYPT], ("other", "scram"), id="both"),
    ],
)
def test_what_kinds_of_hash_a_table_holds_is_published(
    values: list[str], kinds: tuple[str, ...], tmp_path: Path
) -> None:
    users = {f"user{number}": value for number, value in enumerate(values)}
    (tmp_path / "file").write_text("".join(f"{user} {value}\n" for user, value in users.items()))
    entries = ", ".join(f"{user} = '{value}'" for user, value in users.items())
    text = (
        f"{PKI}table s {{ {entries} }}\ntable f file:file\n"
        f"listen on ::1 port 1 tls pki mx auth <s>\nlisten on ::1 port 2 tls pki mx auth <f>\n{RULE}"
    )
    compiled = compile_text(tmp_path, text)
    assert compiled.configuration is not None, compiled.render()
    assert [compiled.configuration.tables[name].password_kinds for name in "sf"] == [kinds, kinds]
    assert compiled.configuration.tables["s"].entries == {}


@pytest.mark.parametrize(("password", "kinds"), [(DOVECOT, ("scram",)), (BCRYPT, ("other",)), ("", ())])
def test_of_a_passwd_file_as_well(password: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text(f"alice:{password}:1:1::/home/alice:/bin/sh\n")
    compiled = compile_text(
        tmp_path, f"{PKI}table p passwd:/passwd\nlisten on ::1 tls pki mx auth <p>\n{RULE}", root=str(tmp_path)
    )
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.tables["p"].password_kinds == kinds


def test_of_a_dynamic_table_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "sqlite.conf").write_text("dbpath /x.db\nquery_credentials select 1\n")
    text = f"{PKI}table d sqlite:/sqlite.conf\nlisten on ::1 tls pki mx auth <d>\n{RULE}"
    compiled = compile_text(tmp_path, text, root=str(tmp_path))
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.tables["d"].password_kinds == ()


def test_a_table_without_passwords_travels(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, "listen on ::1\ntable t { a = '1:1:/a' }\naccept for local userbase <t>\n")
    assert compiled.configuration is not None
    assert compiled.configuration.tables["t"].entries == {"a": "1:1:/a"}
    assert compiled.withheld == {}


@pytest.mark.parametrize("value", [":starts", "ends:", "ab", "x" * 2048])
def test_a_useless_password_is_told_of_without_saying_it(value: str, tmp_path: Path) -> None:
    text = f"{PKI}listen on 127.0.0.1 tls pki mx auth {{ alice = '{value}' }}\n{RULE}"
    rendered = compile_text(tmp_path, text).render()
    assert '"alice" is no use as auth' in rendered
    assert value not in rendered
