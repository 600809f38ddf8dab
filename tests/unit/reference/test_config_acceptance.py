"""Reference 13.1, row by row: what a line of smtpd.conf does. Where ours is not the row's, the entry says so and docs/parity.md why.

Every line stands after PREAMBLE and before a rule. More lines of the same kind are in tests/unit/config/test_acceptance.py.
"""

from pathlib import Path

import pytest

from smtpfleet.config.language.diagnostics import Severity
from smtpfleet.contracts.configuration import Configuration
from tests.unit.config.stage import compile_text

PREAMBLE = 'listen on 192.0.2.1\ntable u { alice = "1:1:/home/alice" }\n'
RULE = "\naccept for domain last.test relay\n"
OK = ""

ROWS = [
    ("listen on lo0 tls", "invalid listen option: tls/smtps requires pki"),
    ("listen on lo0 port 25 secure pki x", "invalid listen option: tls/smtps on same port"),
    ("listen on lo0 port smtps", "syntax error"),
    ('listen on lo0 port "smtps"', OK),
    ("table t { 25 }", "syntax error"),
    ('table t { "25" }', OK),
    ("table t { a = b c => d, e = f }", OK),
    ("table t { a, b = c }", "syntax error"),
    ("table t relative/path", 'backend "relative/path" does not exist'),
    ("table t db:rel", "invalid backend parameter for table: t"),
    ("accept for domain a.b relay userbase <u>", "syntax error"),
    ("accept for domain a.b userbase <u> relay", "userbase may not be used with a relay rule"),
    ("accept for any relay via tls+auth://l@h", "error: auth without auth table"),
    ("accept for any relay via smtp://h verify", 'cannot "verify" with insecure protocol'),
    ("accept for any relay via lmtp://h", "invalid url"),
    ("accept for local forward-only", OK),
    ("accept for local deliver to mbox forward-only", "forward-only may not be used with a default action"),
    ("reject from any for any expire 4d", "syntax error"),
    ("accept from ! local for any relay", OK),
    ("bounce-warn 1h, 6h, 2d, 3d, 4d", OK),
    ("expire 4", "syntax error"),
    ("expire 0d", "invalid expire delay"),
    ("expire 4w", "invalid expire delay"),
    ("max-message-size 35M", OK),
    ("max-message-size 36700160", OK),
    ("hostname mx.example.org", "syntax error"),
    ("accept for local deliver to maildir ~/Maildir", "syntax error"),
    ('accept for local deliver to maildir "~/Maildir"', OK),
]


@pytest.mark.parametrize(("line", "fault"), ROWS, ids=[line for line, _ in ROWS])
def test_classic(line: str, fault: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, PREAMBLE + line + RULE)
    errors = [item.message for item in compiled.diagnostics if item.severity is Severity.ERROR]
    if fault is OK:
        assert errors == []
    else:
        assert [error for error in errors if error.startswith(fault)], errors


def compiled(folder: Path, text: str) -> Configuration:
    found = compile_text(folder, text)
    assert found.configuration is not None, found.render()
    return found.configuration


def test_a_table_may_mix_the_two_signs_of_a_mapping(tmp_path: Path) -> None:
    text = f"{PREAMBLE}table t {{ a = b c => d, e = f }}\naccept for domain a.test alias <t> userbase <u>\n"
    assert compiled(tmp_path, text).tables["t"].entries == {"a": "b", "c": "d", "e": "f"}


def test_four_delays_of_bounce_warn_are_kept(tmp_path: Path) -> None:
    found = compiled(tmp_path, f"{PREAMBLE}bounce-warn 1h, 6h, 2d, 3d, 4d{RULE}")
    assert found.bounce_warn_s == (3600, 21600, 172800, 259200)


@pytest.mark.parametrize("size", ["35M", "36700160"])
def test_both_sizes_are_the_same(size: str, tmp_path: Path) -> None:
    assert compiled(tmp_path, f"{PREAMBLE}max-message-size {size}{RULE}").max_message_size_bytes == 36700160


def test_from_not_local_in_both_forms(tmp_path: Path) -> None:
    classic = compiled(tmp_path, "listen on 192.0.2.1\naccept from ! local for any relay\n")
    modern = compiled(
        tmp_path, "listen on 192.0.2.1\naction x relay\nmatch ! from local for any action x\nmatch !from local reject\n"
    )
    assert classic.rules[0].conditions == modern.rules[0].conditions
    assert [item.negated for item in modern.rules[0].conditions if item.subject == "source"] == [True]
