"""Which form a file is in: what decides, and what does not."""

from pathlib import Path

import pytest

from smtpfleet.config.language.files import ConfigFiles, Unreadable
from smtpfleet.config.language.form import Form, find_form
from smtpfleet.config.language.macros import Macros
from smtpfleet.contracts.configuration import CLASSIC, MODERN


def form_of(folder: Path, text: str) -> Form:
    main = folder / "smtpd.conf"
    main.write_text(text)
    files = ConfigFiles(main)
    got = files.read(main)
    assert not isinstance(got, Unreadable)
    return find_form(got, files, Macros({}))


@pytest.mark.parametrize(
    ("text", "language", "word"),
    [
        pytest.param("", CLASSIC, "", id="an empty file"),
        pytest.param('pki a cert "/c"\nlisten on lo0\ntable t { a }\n', CLASSIC, "", id="nothing decides"),
        pytest.param("listen on lo0\naccept for any relay\nmatch reject\n", CLASSIC, "accept", id="a classic rule"),
        pytest.param("listen on lo0\nmatch reject\naccept for any relay\n", MODERN, "match", id="a modern rule"),
        pytest.param("smtp max-message-size 1M\n", MODERN, "smtp", id="a modern setting"),
        pytest.param("expire 4d\n", CLASSIC, "expire", id="a classic setting"),
        pytest.param('smtp = "x"\naccept for any relay\n', CLASSIC, "accept", id="a macro is no statement"),
        pytest.param('"match" = "x"\nreject\n', CLASSIC, "reject", id="a quoted word is no statement"),
        pytest.param("# match reject\nreject\n", CLASSIC, "reject", id="a comment is no statement"),
        pytest.param("table t {\nmatch\n}\nreject\n", CLASSIC, "reject", id="a word in a table is an element"),
        pytest.param('table t {\n"match"\n}\nreject\n', CLASSIC, "reject", id="an element is no statement"),
        pytest.param("table t { a\nmatch reject\n", MODERN, "match", id="a brace that is never closed"),
        pytest.param('rule = "match reject"\n$rule\n', MODERN, "match", id="a macro may hold the statement"),
        pytest.param("listen on lo0 \\\nmatch reject\naccept\n", CLASSIC, "accept", id="a continued line"),
    ],
)
def test_what_decides(text: str, language: str, word: str, tmp_path: Path) -> None:
    found = form_of(tmp_path, text)
    assert (found.language, found.word) == (language, word)
    assert (found.span is None) is (word == "")


def test_an_included_file_decides_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "rules.conf").write_text("\naction a relay\n")
    found = form_of(tmp_path, 'include "rules.conf"\naccept for any relay\n')
    assert found.language == MODERN
    assert found.began.endswith(f'since "action" on line 2 of {tmp_path / "rules.conf"}')
