"""Whole configurations: good/ compile to expected.json, bad/ give exactly the diagnostics of expected.txt.

A folder holds smtpd.conf, what it includes, `macros` with a persistent macro per line where it needs some, and `root` where files are
named by absolute paths. Good ones with warnings
have an expected.txt too. `SMTPFLEET_REWRITE_GOLDENS=1 pytest tests/unit/config` writes the expected files anew; review the diff.
"""

import os
from pathlib import Path

import pytest

from smtpfleet.config.document import render_document
from smtpfleet.config.language.compilation import Compilation, compile_file
from smtpfleet.config.language.macros import parse_definitions
from tests.unit.config.stage import HOST

HERE = Path(__file__).parent
GOOD = sorted(path.name for path in (HERE / "good").iterdir() if path.is_dir())
BAD = sorted(path.name for path in (HERE / "bad").iterdir() if path.is_dir())


def compile_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Compilation:
    monkeypatch.chdir(folder)  # so that goldens hold no path of this machine
    macros = Path("macros")
    definitions = parse_definitions(macros.read_text().splitlines()) if macros.exists() else {}
    root = "root" if Path("root").is_dir() else ""
    return compile_file(Path("smtpd.conf"), HOST, root=root, macros=definitions)


def expect(path: Path, text: str) -> None:
    if os.environ.get("SMTPFLEET_REWRITE_GOLDENS"):
        path.unlink(missing_ok=True)
        if text:
            path.write_text(text)
    assert text == (path.read_text() if path.exists() else "")


@pytest.mark.parametrize("name", GOOD)
def test_good_configuration_compiles_as_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = HERE / "good" / name
    compiled = compile_folder(folder, monkeypatch)
    assert compiled.error_count == 0, compiled.render()
    expect(folder / "expected.json", render_document(compiled.configuration))
    expect(folder / "expected.txt", compiled.render())


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration_is_explained_as_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = HERE / "bad" / name
    compiled = compile_folder(folder, monkeypatch)
    assert compiled.configuration is None
    assert compiled.error_count > 0
    expect(folder / "expected.txt", compiled.render())
