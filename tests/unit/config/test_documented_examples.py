"""Every example of docs/config-language.md and docs/moving-from-opensmtpd.md compiles as it stands there, in the form it is said to be in."""

import re
import shutil
from pathlib import Path

import pytest

from smtpfleet.config.language import compile_limit
from smtpfleet.config.language.modern.keywords import STATEMENT_KEYWORDS
from smtpfleet.contracts.configuration import CLASSIC, DEFAULT_LIMITS, DEFAULT_RELAY_LIMITS, MODERN
from tests.unit.config.stage import compile_text

DOCS = Path(__file__).parents[3] / "docs"
LANGUAGE = (DOCS / "config-language.md").read_text()
MOVING = (DOCS / "moving-from-opensmtpd.md").read_text()
DB_FILE = Path(__file__).parent / "tables" / "data" / "aliases.db"
PLACEHOLDERS = {
    "credentials": '{ alice = "$2b$08$hash" }',
    "identities": '{ alice = "@example.org" }',
    "secrets": '{ example = "user:password" }',
    "internal": "{ internal.example.org }",
    "domains": "{ example.org }",
    "users": '{ alice = "1:1:/mail/alice" }',
    "aliases": "{ root = alice }",
}
"""What the examples refer to and another example declares."""
FILES = {
    "etc/mail/aliases": "root: alice\n",
    "etc/mail/credentials": "alice: $2b$08$hash\n",
    "etc/mail/virtuals": "info@example.org: alice\n",
    "etc/mail/users": "alice: 1:1:/mail/alice\n",
    "etc/mail/local.conf": "# nothing\n",
    "etc/mail/ldap.conf": "url ldap://localhost\nbasedn dc=example\nalias_filter (uid=%s)\nalias_attributes mail\n",
}
"""Files the examples name; the db files are one that makemap wrote."""
DB_FILES = ("etc/mail/aliases.db", "etc/mail/secrets.db")
STATEMENTS = (
    "Macros", "include", "listen", "pki", "ciphers", "table", "filter", "filterchain", "expire", "bounce-warn", "max-message-size",
    "max-mta-deferred", "subaddressing-delimiter", "limit", "queue", "accept, reject", "Conditions", "userbase, alias, virtual",
    "deliver to, forward-only", "relay, relay via",
)  # fmt: skip


MODERN_STATEMENTS = (
    "action", "match", "listen", "table", "include", "pki", "ca", "smtp ciphers", "smtp limit", "smtp max-message-size",
    "smtp sub-addr-delim", "mta limit", "mta max-deferred", "mda limit", "mda wrapper", "scheduler limit",
    "queue compression, queue encryption", "queue ttl", "bounce warn-interval", "filter phase", "filter chain",
    "filter proc, filter proc-exec", "proc", "srs key, srs ttl", "admd",
)  # fmt: skip


def sections(page: str, begin: str, end: str = "") -> dict[str, str]:
    """Text by the heading of three it stands under, from one heading of two to another."""
    found = {}
    page = page[page.index(begin) : page.index(end) if end else len(page)]
    for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        found[heading] = re.split(r"^## ", body, flags=re.MULTILINE)[0]
    return found


def example_of(body: str) -> str:
    """The indented lines."""
    return "".join(f"{line.removeprefix('    ')}\n" for line in body.splitlines() if line.startswith("    "))


LIMITS = [
    *((key, getattr(DEFAULT_RELAY_LIMITS, field)) for key, field in compile_limit.RELAY_LIMITS.items()),
    *((key, getattr(DEFAULT_LIMITS, field)) for keys in compile_limit._LIMITS.values() for key, field in keys.items()),
]
CLASSIC_SECTIONS = {
    heading: body.partition("\nModern form: ")[::2]
    for heading, body in sections(LANGUAGE, "## Statements\n", "## Statements of the modern form\n").items()
}
MODERN_SECTIONS = {
    heading: body.partition("\nClassic form: ")[::2]
    for heading, body in sections(LANGUAGE, "## Statements of the modern form\n", "## Table files\n").items()
}
EXAMPLES = [
    pytest.param(example_of(body), language, id=f"{heading} ({language}, as a statement of the {kind} form)")
    for kind, found, languages in (
        (CLASSIC, CLASSIC_SECTIONS, (CLASSIC, MODERN)),
        (MODERN, MODERN_SECTIONS, (MODERN, CLASSIC)),
    )
    for heading, bodies in found.items()
    for body, language in zip(bodies, languages, strict=True)
    if not body.startswith("none.")
]
FILES_THAT_RUN = {heading: example_of(body) for heading, body in sections(MOVING, "## Files that run").items()}


def make_root(folder: Path) -> str:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for name in DB_FILES:
        shutil.copy(DB_FILE, folder / name)
    return str(folder)


def test_each_statement_has_a_section() -> None:
    assert tuple(CLASSIC_SECTIONS) == STATEMENTS
    assert tuple(MODERN_SECTIONS) == MODERN_STATEMENTS
    assert {heading.split()[0] for heading in MODERN_SECTIONS} == set(STATEMENT_KEYWORDS)


@pytest.mark.parametrize("heading", MODERN_STATEMENTS)
def test_a_section_of_the_modern_form_has_its_statements_and_their_counterpart(heading: str) -> None:
    own, counterpart = MODERN_SECTIONS[heading]
    for statement in heading.split(", "):
        first, _, second = statement.partition(" ")
        assert re.search(rf"^{first}( .*)?\b{second}\b", example_of(own), flags=re.MULTILINE)
    assert example_of(counterpart) or counterpart.strip() == "none."


@pytest.mark.parametrize(("key", "default"), LIMITS)
def test_every_limit_is_there_with_its_default(key: str, default: int) -> None:
    assert re.search(rf"`{key}` {default}\b", CLASSIC_SECTIONS["limit"][0])


@pytest.mark.parametrize(("text", "language"), EXAMPLES)
def test_the_example_compiles(text: str, language: str, tmp_path: Path) -> None:
    needed = [name for name in PLACEHOLDERS if f"<{name}>" in text and f"table {name} " not in text]
    before = "".join(f"table {name} {PLACEHOLDERS[name]}\n" for name in needed)
    if not re.search(r"^pki mx.example.org ", text, flags=re.MULTILINE):
        before += f"pki mx.example.org {'certificate' if language == CLASSIC else 'cert'} c key k\n"
    after = "accept for domain last.test relay\n" if language == CLASSIC else "match for domain last.test reject\n"
    assert text
    compiled = compile_text(tmp_path, f"{before}{text}{after}", root=make_root(tmp_path))
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.language == language


def test_the_example_of_the_modern_form_compiles(tmp_path: Path) -> None:
    text = example_of(LANGUAGE.partition("## The modern form, by example")[2])
    (tmp_path / "secrets").write_text("provider: user:password\n")
    shutil.copy(make_root(tmp_path) + "/etc/mail/users", tmp_path / "users")
    compiled = compile_text(tmp_path, f"table aliases {PLACEHOLDERS['aliases']}\n{text}")
    assert compiled.configuration is not None, compiled.render()
    assert (compiled.configuration.language, len(compiled.configuration.rules)) == (MODERN, 3)


@pytest.mark.parametrize("heading", FILES_THAT_RUN)
def test_a_whole_file_compiles(heading: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, FILES_THAT_RUN[heading], root=make_root(tmp_path))
    assert compiled.configuration is not None, compiled.render()
    assert len(compiled.configuration.rules) >= 2
    assert "never" not in compiled.render()
