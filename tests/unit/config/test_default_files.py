"""deploy/etc/smtpd.conf with its users and aliases: good as it is, and with all its macros and commented-out lines."""

import re
from pathlib import Path

import pytest

from smtpfleet.config.language.compilation import compile_file
from smtpfleet.contracts.configuration import Configuration, LocalAction
from smtpfleet.mail.expand import expand_rcpt
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.mail.tables import Tables
from tests.unit.config.stage import HOST

ETC = Path(__file__).parents[3] / "deploy" / "etc"


def compile_default(**macros: str) -> Configuration:
    compiled = compile_file(ETC / "smtpd.conf", HOST, macros=macros)
    assert compiled.configuration is not None, compiled.render()
    assert compiled.render() == ""
    return compiled.configuration


def test_it_compiles_without_a_warning() -> None:
    configuration = compile_default()
    assert [(each.address, each.port) for each in configuration.listeners] == [("0.0.0.0", 2525)]
    assert configuration.tables["users"].entries["alice"] == "10001:10001:/mail/alice"


def test_its_macros_can_be_given_from_outside() -> None:
    configuration = compile_default(listen_address="::1", listen_port="25", trusted="10.0.0.0/8 192.0.2.7")
    assert [(each.address, each.port) for each in configuration.listeners] == [("::1", 25)]
    assert list(configuration.tables["trusted"].entries) == ["10.0.0.0/8", "192.0.2.7"]


def test_its_commented_lines_work_when_uncommented(tmp_path: Path) -> None:
    for name in ("users", "aliases"):
        (tmp_path / name).write_text((ETC / name).read_text())
    text = (ETC / "smtpd.conf").read_text()
    settings = re.findall(r"^# ((?:expire|bounce-warn|max-message-size|limit) .*)$", text, re.MULTILINE)
    rules = re.findall(r"^#   ((?:accept|reject) .*)$", text, re.MULTILINE)
    assert (len(settings), len(rules)) == (6, 3)
    (tmp_path / "smtpd.conf").write_text("\n".join([*settings, text, *rules]) + "\n")
    compiled = compile_file(tmp_path / "smtpd.conf", HOST)
    assert compiled.configuration is not None, compiled.render()
    default = compile_default()
    same = ("expire_s", "bounce_warn_s", "max_message_size_bytes", "limits")
    assert [getattr(compiled.configuration, each) for each in same] == [getattr(default, each) for each in same]


@pytest.mark.parametrize(
    ("peer", "rcpt", "ends_at"),
    [
        ("198.51.100.9", "alice@example.test", ["alice"]),
        ("198.51.100.9", "Alice+news@Example.Test", ["alice"]),
        ("198.51.100.9", "postmaster@example.test", ["alice"]),
        ("198.51.100.9", "mailer-daemon@example.test", ["alice"]),
        ("198.51.100.9", "both@example.test", ["alice", "bob"]),
        ("198.51.100.9", "nobody@example.test", []),
        ("198.51.100.9", "anyone@elsewhere.example", []),
        ("127.0.0.1", "anyone@elsewhere.example", ["elsewhere.example"]),
        ("127.0.0.9", "anyone@elsewhere.example", ["elsewhere.example"]),
        ("127.0.0.1", "root@localhost", ["alice"]),
        ("127.0.0.1", "root@mx", ["alice"]),
    ],
)
def test_who_gets_what(peer: str, rcpt: str, ends_at: list[str]) -> None:
    configuration = compile_default()
    facts = SessionFacts(tag="", peer=peer, is_local=False, sender="bob@example.test", helo="x")
    done = expand_rcpt(configuration, Tables(configuration), facts, rcpt)
    found = [getattr(each.dispatcher, "user", None) or each.dispatcher.domain for each in done.destinations]  # type: ignore[union-attr]
    assert sorted(found) == ends_at
    assert (done.refusal is None) == bool(ends_at)


def test_local_mail_goes_into_maildirs_at_home() -> None:
    actions = [rule.action for rule in compile_default().rules if isinstance(rule.action, LocalAction)]
    assert {(each.method, each.target, each.userbase) for each in actions} == {("maildir", "~/Maildir", "users")}
