"""Compiling again: files that did not change are not read, their entries are the very same, and nothing is said less."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpfleet.config.language import tablefile
from smtpfleet.config.language.compilation import Compilation, Memory, compile_file
from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.kept import KeptFiles
from smtpfleet.config.language.source import SourceText
from smtpfleet.config.language.stamp import RACY_NS, current_stamp
from tests.unit.config.stage import HOST, LISTENER

NOW_NS = 10**18
LONG_AGO_NS = NOW_NS - 100 * RACY_NS
TEXT = (
    f"{LISTENER}table a file:a\ntable u file:u\ntable p passwd:/p\n"
    "accept for local alias <a> userbase <u> deliver to maildir\naccept for domain x.test userbase <p> deliver to maildir\n"
)
FILES = {"smtpd.conf": TEXT, "a": "root alice\n", "u": "alice 1:1:/home/alice\n", "p": "bob:x:2:2::/home/bob:/bin/sh\n"}


class Stage:
    """Files that are compiled again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = Memory(KeptFiles(lambda: NOW_NS))
        self.write(FILES)

    def write(self, files: Mapping[str, str], mtime_ns: int = LONG_AGO_NS) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text)
            os.utime(self.folder / name, ns=(mtime_ns, mtime_ns))

    def compile(self) -> Compilation:
        return compile_file(self.folder / "smtpd.conf", HOST, root=str(self.folder), memory=self.memory)

    def entries(self, table: str) -> dict[str, str]:
        compiled = self.compile()
        assert compiled.configuration is not None, compiled.render()
        return compiled.configuration.tables[table].entries


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("table", ["a", "u", "p"])
def test_a_file_with_the_same_stamp_is_not_read_and_its_entries_are_the_very_same(stage: Stage, table: str) -> None:
    first = stage.entries(table)
    stage.write({table: FILES[table].upper()})  # the stamp stays: whoever reads the file sees it
    stage.write({"smtpd.conf": TEXT + "expire 2d\n"}, LONG_AGO_NS + 1)
    assert stage.entries(table) is first


def test_a_change_is_seen_and_the_others_stay(stage: Stage) -> None:
    aliases, users = stage.entries("a"), stage.entries("u")
    stage.write({"a": "root alice, bob\n"}, LONG_AGO_NS + 1)
    assert stage.entries("a") == {"root": "alice, bob"} != aliases
    assert stage.entries("u") is users


def test_a_file_that_is_written_anew_with_the_same_content_changes_nothing(stage: Stage) -> None:
    first = stage.entries("a")
    stage.write({"a": FILES["a"]}, LONG_AGO_NS + 1)
    assert stage.entries("a") is first


def test_a_file_that_was_fresh_when_it_was_read_is_read_again_under_the_same_stamp(stage: Stage) -> None:
    stage.write({"a": "root alice\n"}, NOW_NS)
    assert stage.entries("a") == {"root": "alice"}
    stage.write({"a": "root carol\n"}, NOW_NS)  # the same size, and the same coarse mtime
    assert stage.entries("a") == {"root": "carol"}


def test_a_file_that_goes_is_an_error_and_one_that_comes_back_is_read(stage: Stage) -> None:
    stage.compile()
    (stage.folder / "a").unlink()
    assert "invalid configuration file" in stage.compile().render()
    stage.write({"a": "root dave\n"})
    assert stage.entries("a") == {"root": "dave"}


def test_a_warning_about_an_entry_is_said_again_every_time(stage: Stage) -> None:
    stage.write({"u": "alice 1:1:/home/alice\nbad nonsense\n", "a": "root x\nROOT y\n"}, LONG_AGO_NS + 1)
    first = stage.compile().render()
    assert '"bad" is no use as userbase' in first and '"root" is here twice' in first
    assert stage.compile().render() == first
    # As by a compilation that remembers nothing.
    assert compile_file(stage.folder / "smtpd.conf", HOST, root=str(stage.folder)).render() == first


def test_another_use_of_a_known_table_is_looked_at(stage: Stage) -> None:
    stage.compile()
    stage.write({"smtpd.conf": TEXT.replace("<u>", "<a>")}, LONG_AGO_NS + 1)
    assert '"root" is no use as userbase' in stage.compile().render()


def test_a_file_that_comes_to_include_another_is_followed(stage: Stage) -> None:
    stage.write({"more": "carol\n", "a": "root :include:/more\n"}, LONG_AGO_NS + 1)
    assert stage.entries("a") == {"root": "carol"}
    stage.write({"more": "dave\n"}, LONG_AGO_NS + 2)
    assert stage.entries("a") == {"root": "dave"}


def test_a_table_that_comes_to_hold_passwords_is_withheld_and_its_lines_are_not_shown(stage: Stage) -> None:
    stage.write({"a": "relay me:topsecret\nbad x\n"}, LONG_AGO_NS + 1)
    stage.compile()
    relay = "accept for any relay via tls+auth://relay@h.test auth <a>\n"
    stage.write({"smtpd.conf": f"{LISTENER}table a file:a\n{relay}"}, LONG_AGO_NS + 2)
    compiled = stage.compile()
    assert compiled.configuration is not None and compiled.cut is not None
    assert compiled.configuration.tables["a"].entries == {}
    assert compiled.withheld["a"].entries["relay"] == "me:topsecret"
    assert "topsecret" not in repr(compiled) + compiled.render() and "not shown" in compiled.render()


_LINES = st.lists(st.text(alphabet="aA1:# \t\r\x0b\u00a0.@,|/", max_size=9), max_size=4)


@given(_LINES.map("\n".join))
@example("a b\nc: d, e\nF g:h\nroot:admin x\n\n# c\n")
@example("2001:db8::1 x\n")
@example("a : b\na\n")
def test_the_short_way_through_a_file_says_what_the_long_one_does(text: str) -> None:
    short = tablefile._parse_plain(SourceText("t", text, 1))
    diagnostics = Diagnostics()
    long = tablefile._parse_lines(SourceText("t", text, 1), diagnostics)
    if short is not None:
        assert diagnostics.count == 0
        assert (short.kind, list(short.entries.items())) == (long.kind, list(long.entries.items()))
        assert all(short.spans[key].line == long.spans[key].line for key in long.entries)


@pytest.mark.parametrize(
    "text", ["a b\nc: d, e\n\n# c\n", "u: 1:1:/home/u\nv 2:2:/home/v", "A\n b\t\r\n", "root:admin\nx:y z\n"]
)
def test_usual_files_go_the_short_way(text: str) -> None:
    assert tablefile._parse_plain(SourceText("t", text, 1)) is not None


@pytest.mark.parametrize(
    "text", ["a" * 10**6 + "\x0b", " " * 10**6 + "\x0b", "a b" + " " * 10**6 + "\x0b", "a" + " x" * 10**6 + "\x0b"]
)
def test_no_line_takes_quadratic_time(text: str) -> None:
    """Some milliseconds each; a pattern that goes back over blanks takes minutes and runs into the time limit of the test run."""
    assert tablefile._parse_plain(SourceText("t", text, 1)) is None


def test_a_file_that_changes_while_it_is_compiled_is_a_change_for_the_watcher(stage: Stage) -> None:
    """It may have been read before and after; whatever came of it, the next look compiles again."""
    files = ConfigFiles(stage.folder / "smtpd.conf", str(stage.folder))
    files.read(stage.folder / "a")
    files.read(stage.folder / "u")
    stage.write({"a": "root bob\n"}, LONG_AGO_NS + 1)
    files.read(stage.folder / "a")
    assert files.stamps[stage.folder / "a"] != current_stamp(stage.folder / "a")
