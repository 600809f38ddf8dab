"""The folders good and bad leave no statement and no option out: each is accepted somewhere and refused somewhere."""

import re
from pathlib import Path

import pytest

from smtpfleet.config.language import parse_listen, parse_rule
from smtpfleet.config.language.compile_limit import RELAY_LIMITS
from smtpfleet.config.language.relay_url import SCHEMES
from smtpfleet.config.language.tokens import STATEMENT_KEYWORDS

HERE = Path(__file__).parent
STATEMENTS = (*STATEMENT_KEYWORDS, "ciphers", "subaddressing-delimiter", "macro")
GOOD = "\n".join(path.read_text() for path in sorted((HERE / "good").glob("*/**/*.conf")))
ERRORS = re.compile(r"^\S+:\d+:\d+: (?!warning).*\n    (.*)$", flags=re.MULTILINE)
REFUSED = [line for path in sorted((HERE / "bad").glob("*/expected.txt")) for line in ERRORS.findall(path.read_text())]
WORDS = (
    *parse_listen._OPTIONS, "socket", "masquerade", *parse_rule._DECISIONS, *parse_rule._LOOKUPS, *parse_rule._METHODS,
    *parse_rule._PARAMETERS, *parse_rule._COMMON_OPTIONS, *parse_rule._DIRECT_OPTIONS, *parse_rule._VIA_OPTIONS, *RELAY_LIMITS,
    *(f"{scheme}://" for scheme in SCHEMES if scheme),
)  # fmt: skip


def begins(statement: str, line: str) -> bool:
    return bool(re.match(r"\w+ *=" if statement == "macro" else rf"{re.escape(statement)}(\s|$)", line))


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_statement_has_an_accepted_and_a_refused_example(statement: str) -> None:
    assert any(begins(statement, line) for line in GOOD.splitlines())
    assert any(begins(statement, line) for line in REFUSED)


@pytest.mark.parametrize("word", dict.fromkeys(WORDS))
def test_every_option_has_an_accepted_example(word: str) -> None:
    end = "" if word.endswith("/") else r"(?![\w-])"
    assert re.search(rf"(?<![\w+-]){re.escape(word)}{end}", GOOD, flags=re.IGNORECASE)
