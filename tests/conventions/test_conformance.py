"""docs/conformance.md: every clause names a file that is there and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PAGE = (ROOT / "docs" / "conformance.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| [^c-]", line)]  # fmt: skip
FILES = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])})
NAMED_TESTS = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[3])})


def test_every_row_has_a_clause_a_file_and_a_test() -> None:
    assert len(ROWS) >= 90
    for row in ROWS:
        assert (len(row) == 4 and "§" in row[0]) or row[0] == "5802", row
        assert re.findall(r"`[^`]+`", row[2]) and re.findall(r"`[^`]+`", row[3]), row


@pytest.mark.parametrize(
    "rfc", ["5321", "1870", "2920", "3030", "3207", "3461", "4954", "6152", "6531", "8314", "9422"]
)
def test_every_rfc_has_its_rows(rfc: str) -> None:
    section = next(part for part in PAGE.split("\n## ") if rfc in part.partition("\n")[0])
    assert "\n| §" in section or f"\n| {rfc} §" in section


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_there(name: str) -> None:
    assert len([*ROOT.glob(f"libs/*/src/smtpfleet/{name}"), *ROOT.glob(f"services/*/src/smtpfleet/{name}")]) == 1


@pytest.mark.parametrize("name", NAMED_TESTS)
def test_the_test_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    if path.startswith("dialogs/"):
        assert (TESTS / f"{path}.dialog").is_file()
    else:
        assert re.search(rf"^(?:async )?def {function}\(", (TESTS / path).read_text(), re.MULTILINE)
