"""A statement that cannot be read to its end still has its names looked up, and nothing that follows is blamed for it."""

from pathlib import Path

import pytest

from smtpfleet.config.language.diagnostics import Severity
from tests.unit.config.stage import compile_text

CLASSIC = """\
listen on 127.0.0.1 tag MSA
table users { alice = "1:1:/mail/alice" }
pki mail certificate c key k
filter scan "/bin/scan"
accept for local relay
"""
MODERN = """\
listen on 127.0.0.1 tag MSA
table users { alice = "1:1:/mail/alice" }
pki mail cert c key k
ca own cert c
filter scan proc-exec "/bin/scan"
mda wrapper nice "nice %{mda}"
action "in" maildir userbase <users>
match for local action "in"
"""
CASES = {
    (CLASSIC, "accept from source <nets> for any rely"): ["no such table: nets", "syntax error"],
    (CLASSIC, "accept for local userbase <user> alias <aliasses> delivr to mbox"): [
        "no such table: user", "no such table: aliasses", "syntax error",
    ],
    (CLASSIC, "accept for any relay pki mz hostnam x"): ["pki name not found: mz", "syntax error"],
    (CLASSIC, "accept tagged MZA for any rely"): ['no listener has the tag "MZA"', "syntax error"],
    (CLASSIC, "listen on ::1 tls pki mz auth <creds> filter scam tagg x"): [
        "pki name not found: mz", "no such table: creds", "no such filter: scam", "syntax error",
    ],
    (CLASSIC, "accept for local userbase <users> delivr to mbox"): ["syntax error"],
    (MODERN, "match from src <nets> for any acton in"): ["no such table: nets", "syntax error"],
    (MODERN, "match tag MZA for any acton in"): ['no listener has the tag "MZA"', "syntax error"],
    (MODERN, 'match for any action "im" tls'): ["no such dispatcher: im", "syntax error"],
    (MODERN, "action out relay src <nets> pki mz ca ovn hst x"): [
        "no such table: nets", "pki name not found: mz", "ca name not found: ovn", "syntax error",
    ],
    (MODERN, "action out mda x wrapper nise usr x"): ["no mda wrapper with that name: nise", "syntax error"],
    (MODERN, "listen on ::1 tls pki mz ca ovn filter { scan, scam } tagg x"): [
        "pki name not found: mz", "ca name not found: ovn", "no filter exist with that name: scam", "syntax error",
    ],
    (MODERN, "filter f proc scam x"): ["no processor exist with that name: scam", "syntax error"],
    (MODERN, "filter f phase connect match src <nets> rejct x"): ["no such table: nets", "syntax error"],
}  # fmt: skip


@pytest.mark.parametrize(("before", "line"), CASES, ids=[line for _, line in CASES])
def test_names_before_the_slip_are_looked_up(before: str, line: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, f"{before}{line}\n")
    assert compiled.configuration is None
    said = [item.message for item in compiled.diagnostics if "accepted, not applied" not in item.message]
    expected = CASES[before, line]
    assert len(said) == len(expected), said
    assert all(message.startswith(begin) for message, begin in zip(said, expected, strict=True)), said


@pytest.mark.parametrize(
    ("broken", "use"),
    [
        ("listen on ::1 porrt 25 tag NEW", "accept tagged NEW for any relay"),
        ("pki new certifcate c key k", "listen on ::1 tls pki new"),
        ("table new { a", "accept for domain <new> relay"),
    ],
)
def test_what_names_a_broken_declaration_is_not_wrong_for_that(broken: str, use: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, f"{CLASSIC}{broken}\n\n{use}\n")
    errors = [item for item in compiled.diagnostics if item.severity is Severity.ERROR]
    assert [error.span.line for error in errors] == [6], compiled.render()
    assert "no listener has the tag" not in compiled.render()
