"""What the comparison with the real smtpd forgives has a row in docs/parity.md, so that an operator can read it."""

import re
from pathlib import Path

import pytest

from tests.interop.test_smtpd_n import ONLY_THEY_REFUSE, ONLY_WE_REFUSE

PAGE = (Path(__file__).parents[3] / "docs" / "parity.md").read_text()
MODERN = PAGE[PAGE.index("## Modern configuration") :]
ROWS = re.findall(r"^\| (.+?) \| .+ \|$", MODERN, flags=re.MULTILINE)


@pytest.mark.parametrize("row", sorted({*ONLY_WE_REFUSE.values(), *ONLY_THEY_REFUSE.values()}))
def test_the_difference_is_listed(row: str) -> None:
    assert any(each.startswith(row) for each in ROWS)
