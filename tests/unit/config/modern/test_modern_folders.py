"""Whole configurations of the modern form: good/ compile to expected.json, bad/ give exactly the diagnostics of expected.txt.

The same kind of folders as beside, and the same way to write the expected files anew.
"""

from pathlib import Path

import pytest

from smtpfleet.config.document import render_document
from smtpfleet.contracts.configuration import MODERN
from tests.unit.config.test_folders import compile_folder, expect

HERE = Path(__file__).parent
GOOD = sorted(path.name for path in (HERE / "good").iterdir() if path.is_dir())
BAD = sorted(path.name for path in (HERE / "bad").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", GOOD)
def test_good_configuration_compiles_as_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = HERE / "good" / name
    compiled = compile_folder(folder, monkeypatch)
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.language == MODERN
    expect(folder / "expected.json", render_document(compiled.configuration))
    expect(folder / "expected.txt", compiled.render())


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration_is_explained_as_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = HERE / "bad" / name
    compiled = compile_folder(folder, monkeypatch)
    assert compiled.configuration is None
    assert compiled.error_count > 0
    expect(folder / "expected.txt", compiled.render())
