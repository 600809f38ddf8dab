"""The folders good and bad leave no statement and no option out: each is accepted somewhere and refused somewhere, in both forms."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from smtpfleet.config.language import parse_listen, parse_rule
from smtpfleet.config.language.compile_limit import RELAY_LIMITS
from smtpfleet.config.language.modern import keywords, parse_action, parse_filter, parse_listener, parse_match
from smtpfleet.config.language.relay_url import SCHEMES
from smtpfleet.config.language.tokens import STATEMENT_KEYWORDS

HERE = Path(__file__).parent
ERRORS = re.compile(r"^([^\s:]+):(\d+):\d+: (?!warning)", flags=re.MULTILINE)


@dataclass(frozen=True)
class Examples:
    """accepted: the text of all files. refused: the lines with errors, shown or not."""

    accepted: str
    refused: list[str]


def examples_of(folder: Path) -> Examples:
    good = "\n".join(path.read_text() for path in sorted((folder / "good").glob("*/**/*.conf")))
    refused: list[str] = []
    for path in sorted((folder / "bad").glob("*/expected.txt")):
        for name, number in ERRORS.findall(path.read_text()):
            lines = (path.parent / name).read_bytes().decode(errors="replace").split("\n")
            refused.append(lines[int(number) - 1])
    return Examples(good, refused)


CLASSIC, MODERN = examples_of(HERE), examples_of(HERE / "modern")
CLASSIC_STATEMENTS = (*STATEMENT_KEYWORDS, "ciphers", "subaddressing-delimiter", "macro")
MODERN_STATEMENTS = (
    "action", "match", "listen", "table", "include", "macro", "pki", "ca", "srs key", "srs ttl", "smtp limit", "smtp ciphers",
    "smtp max-message-size", "smtp sub-addr-delim", "mta limit", "mta max-deferred", "mda limit", "mda wrapper", "scheduler limit",
    "queue compression", "queue encryption", "queue ttl", "bounce warn-interval", "admd", "proc", "filter NAME phase",
    "filter NAME chain", "filter NAME proc", "filter NAME proc-exec",
)  # fmt: skip
CLASSIC_WORDS = (
    *parse_listen._OPTIONS, "socket", "masquerade", *parse_rule._DECISIONS, *parse_rule._LOOKUPS, *parse_rule._METHODS,
    *parse_rule._PARAMETERS, *parse_rule._COMMON_OPTIONS, *parse_rule._DIRECT_OPTIONS, *parse_rule._VIA_OPTIONS, *RELAY_LIMITS,
    *(f"{scheme}://" for scheme in SCHEMES if scheme),
)  # fmt: skip
MODERN_WORDS = (
    *parse_action._METHODS, *parse_action.LOCAL_OPTIONS, *parse_action.RELAY_OPTIONS, *parse_action._DETAILS.values(), "no-verify",
    "mx", *parse_listener._OPTIONS, *parse_listener._OURS, "socket", "masquerade", "verify", *parse_match._SUBJECTS,
    *parse_match._FROM, *parse_match._FOR, "regex", *(f"phase {phase}" for phase in parse_filter._PHASES), *parse_filter._WITH_TEXT,
    *parse_filter._BARE, *parse_filter._PROCESSOR_OPTIONS, *RELAY_LIMITS, "smtp://", "smtp+tls://", "smtp+notls://", "smtps://",
    "lmtp://",
)  # fmt: skip


def begins(statement: str, line: str) -> bool:
    pattern = re.escape(statement).replace("NAME", r"\S+") if statement != "macro" else r'"?\w[\w ]*"? *='
    return bool(re.match(pattern if statement == "macro" else rf"{pattern}(\s|$)", line))


def forms(classic: tuple[str, ...], modern: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(examples, word, id=f"{form}: {word}")
        for form, examples, words in (("classic", CLASSIC, classic), ("modern", MODERN, modern))
        for word in dict.fromkeys(words)
    ]


def test_the_statements_are_those_of_the_parser() -> None:
    assert {statement.split()[0] for statement in MODERN_STATEMENTS} == {*keywords.STATEMENT_KEYWORDS, "macro"}


@pytest.mark.parametrize(("examples", "statement"), forms(CLASSIC_STATEMENTS, MODERN_STATEMENTS))
def test_every_statement_has_an_accepted_and_a_refused_example(examples: Examples, statement: str) -> None:
    assert any(begins(statement, line) for line in examples.accepted.splitlines())
    assert any(begins(statement, line) for line in examples.refused)


@pytest.mark.parametrize(("examples", "word"), forms(CLASSIC_WORDS, MODERN_WORDS))
def test_every_option_has_an_accepted_example(examples: Examples, word: str) -> None:
    end = "" if word.endswith("/") else r"(?![\w-])"
    assert re.search(rf"(?<![\w+-]){re.escape(word)}{end}", examples.accepted, flags=re.IGNORECASE)
