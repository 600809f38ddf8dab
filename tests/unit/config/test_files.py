"""Where paths lead, and what cannot be read."""

import dataclasses
import os
import random
import re
from pathlib import Path

import pytest

from smtpfleet.config.language.compilation import SNAPSHOT_LIMIT_BYTES, compile_file
from smtpfleet.config.language.files import ConfigFiles, ReadFile, Unreadable
from smtpfleet.contracts.table_parts import read_part
from tests.unit.config.stage import HOST, LISTENER, RULE, compile_text


@pytest.mark.parametrize(
    ("root", "path", "leads_to"),
    [
        ("", "users", "etc/mail/users"),
        ("", "/etc/users", "/etc/users"),
        ("", "../users", "etc/mail/../users"),
        ("root", "users", "root/users"),
        ("root", "/etc/users", "root/etc/users"),
        ("/r", "//users", "/r/users"),
        ("/r", "/../../etc/hostname", "/r/etc/hostname"),
        ("root", "../secret", "root/secret"),
    ],
)
def test_paths(root: str, path: str, leads_to: str) -> None:
    assert ConfigFiles(Path("etc/mail/smtpd.conf"), root).resolve(path) == Path(leads_to)


def test_tables_and_includes_are_found_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/domains").write_text("a.test\n")
    (tmp_path / "root/rules.conf").write_text("accept for domain <d> relay\n")
    text = f'{LISTENER}table d "/etc/domains"\ninclude "rules.conf"\n'
    compiled = compile_text(tmp_path, text, root=str(tmp_path / "root"))
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.tables["d"].entries == {"a.test": ""}
    assert set(compiled.stamps) == {
        tmp_path / "smtpd.conf",
        tmp_path / "root/etc/domains",
        tmp_path / "root/rules.conf",
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with links to a file outside, which another file below it is called like."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret.test\n")
    (root / "etc" / "absolute").symlink_to(tmp_path / "outside")
    (root / "etc" / "relative").symlink_to("../../outside")
    (root / "folder").symlink_to(tmp_path)
    return root


@pytest.mark.parametrize(
    "path", ["/../outside", "/etc/../../outside", "/etc/absolute", "/etc/relative", "/folder/outside"]
)
@pytest.mark.parametrize(
    "statement",
    [
        'table t "{}"\nreject for domain <t>\n',
        "table t passwd:{}\naccept for local userbase <t> deliver to maildir\n",
        "table t db:{}\nreject for domain <t>\n",
        "table t sqlite:{}\naccept for local alias <t>\n",
        'include "{}"\n',
    ],
)
def test_nothing_outside_the_root_is_read(statement: str, path: str, root: Path, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, f"{LISTENER}{RULE}{statement.format(path)}", root=str(root))
    assert compiled.configuration is None
    assert "secret.test" not in compiled.render()
    assert "No such file or directory" in compiled.render(), compiled.render()


@pytest.mark.parametrize("path", ["/../outside", "/etc/absolute", "/etc/relative", "/folder/outside"])
def test_nothing_outside_the_root_is_included_in_an_alias(path: str, root: Path, tmp_path: Path) -> None:
    text = f'table a {{ "x" = "bob, :include:{path}" }}\n{LISTENER}accept for domain d.test virtual <a> deliver to maildir\n'
    compiled = compile_text(tmp_path, text, root=str(root))
    assert compiled.configuration is not None
    assert compiled.configuration.tables["a"].entries == {"x": "bob"}
    assert "No such file or directory" in compiled.render()


def test_links_are_followed_below_the_root(root: Path, tmp_path: Path) -> None:
    (root / "domains").write_text("inside.test\n")
    (root / "etc" / "domains").symlink_to("/domains")
    compiled = compile_text(tmp_path, f'{LISTENER}{RULE}table t "/etc/domains"\n', root=str(root))
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.tables["t"].entries == {"inside.test": ""}
    assert compiled.stamps[root / "etc" / "domains"] is not None


def test_the_main_file_is_where_the_operator_says(root: Path, tmp_path: Path) -> None:
    (root / "smtpd.conf").symlink_to(tmp_path / "real.conf")
    (tmp_path / "real.conf").write_text(LISTENER + RULE)
    assert compile_file(root / "smtpd.conf", HOST, root=str(root)).configuration is not None


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert ConfigFiles(tmp_path / "smtpd.conf").read(tmp_path / "fifo") == Unreadable("not a regular file")
    compiled = compile_file(tmp_path / "fifo", HOST)
    assert [item.message for item in compiled.diagnostics] == ["cannot read the configuration: not a regular file"]


@pytest.mark.parametrize("path", ["/dev/zero", ".", "nul\0name", "x" * 300])
def test_what_is_no_file_is_a_value(path: str, tmp_path: Path) -> None:
    assert isinstance(ConfigFiles(tmp_path / "smtpd.conf").read(tmp_path / path), Unreadable)


@pytest.mark.parametrize(
    ("data", "line", "column", "reason"),
    [
        (b"ab\nc\xffd", 2, 2, "byte 0xff is not UTF-8"),
        (b"\xc3\xa9\xe9", 1, 2, "byte 0xe9 is not UTF-8"),
        (b"a\n\nb\0c", 3, 2, "NUL byte"),
    ],
)
def test_the_first_bad_byte_is_found(data: bytes, line: int, column: int, reason: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    got = ConfigFiles(tmp_path / "f").read(tmp_path / "f")
    assert isinstance(got, ReadFile)
    assert got.bad_byte is not None
    assert (got.bad_byte.line, got.bad_byte.column, got.bad_byte.reason) == (line, column, reason)
    assert "\0" not in got.source.text


def test_a_missing_main_file_is_one_plain_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compiled = compile_file(Path("smtpd.conf"), HOST)
    assert compiled.render() == "smtpd.conf:1:1: cannot read the configuration: No such file or directory\n"


def test_a_snapshot_larger_than_the_bus_carries_is_refused(tmp_path: Path) -> None:
    # Each table is small enough for the snapshot itself, but there are too many.
    name = "x" * 60
    tables = "".join(
        f"table t{number} {{ {', '.join(f'{name}{entry}' for entry in range(200))} }}\n" for number in range(600)
    )
    compiled = compile_text(tmp_path, f"{LISTENER}{tables}{RULE}")
    assert compiled.configuration is None and compiled.cut is None
    assert re.search(r"the compiled configuration has \d+ bytes, large tables aside", compiled.render())
    assert f"the bus carries {SNAPSHOT_LIMIT_BYTES} bytes at a time" in compiled.render()


def test_an_entry_larger_than_the_bus_carries_is_refused(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(SNAPSHOT_LIMIT_BYTES).hex()  # does not compress below half
    (tmp_path / "big").write_text(f"a {noise}{noise[::-1]}\n")
    compiled = compile_text(tmp_path, f"{LISTENER}table big file:big\n{RULE}")
    assert compiled.configuration is None
    assert f"table big has an entry of more than {SNAPSHOT_LIMIT_BYTES} bytes" in compiled.render()


def test_a_table_larger_than_the_bus_carries_is_cut(tmp_path: Path) -> None:
    (tmp_path / "big").write_text("".join(f"user{number:07}@example.test x{'y' * 60}\n" for number in range(90_000)))
    compiled = compile_text(tmp_path, f"{LISTENER}table big file:big\n{RULE}")
    assert compiled.configuration is not None and compiled.cut is not None
    published = compiled.cut.configuration.tables["big"]
    assert (published.entries, published.is_inline) == ({}, False)
    assert set(published.parts) == set(compiled.cut.parts) and len(published.parts) > 10
    joined: dict[str, str] = {}
    for part in published.parts:
        joined |= read_part(part, compiled.cut.parts[part])
    assert list(joined.items()) == list(compiled.configuration.tables["big"].entries.items())


def test_no_server_name_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "smtpd.conf").write_text(LISTENER + RULE)
    host = dataclasses.replace(HOST, server_name="", name_fault='the host name "x" has no domain')
    compiled = compile_file(tmp_path / "smtpd.conf", host)
    assert compiled.configuration is None
    assert "SMTPFLEET_SERVER_NAME" in compiled.render()


def test_control_characters_reach_neither_terminal_nor_log(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, 'accept for domain "\x1b[2J\x9b" deliver\n')
    assert compiled.configuration is None
    assert "\x1b" not in compiled.render() + "".join(item.line for item in compiled.diagnostics)
    assert "\\x1b[2J\\x9b" in compiled.render()
