"""What counts as a change of the files: edits, renames, symlink swaps, files that come and go."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpfleet.config.language.compilation import compile_file
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.stamp import RACY_NS
from smtpfleet.config.watcher import FileWatcher
from tests.unit.config.stage import HOST, LISTENER, RULE

CONTENT = f'{LISTENER}include "extra.conf"\ntable users file:users\n{RULE}'
LONG_AGO_NS = 10**18


class ManualClock:
    """Nanoseconds, as given."""

    def __init__(self) -> None:
        self.now_ns = LONG_AGO_NS + 100 * RACY_NS

    def __call__(self) -> int:
        return self.now_ns


def write(path: Path, text: str) -> None:
    """Writes a file that has not changed for long."""
    path.write_text(text)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watcher(tmp_path: Path, clock: ManualClock) -> FileWatcher:
    write(tmp_path / "extra.conf", "# nothing\n")
    write(tmp_path / "users", "alice 1:1:/home/alice\n")
    write(tmp_path / "smtpd.conf", CONTENT)
    made = FileWatcher(clock)
    made.remember(compile_file(tmp_path / "smtpd.conf", HOST).stamps)
    return made


def replace(folder: Path, name: str) -> None:
    write(folder / "new", (folder / name).read_text())  # same text, same mtime: only the inode tells
    (folder / "new").rename(folder / name)


CHANGES: dict[str, Callable[[Path], object]] = {
    "the main file is edited": lambda folder: (folder / "smtpd.conf").write_text(CONTENT + "\n"),
    "the included file is edited": lambda folder: (folder / "extra.conf").write_text("# nothing.\n"),
    "the table file is edited": lambda folder: (folder / "users").write_text("bob 1:1:/home/bob.\n"),
    "a file is renamed into place": lambda folder: replace(folder, "users"),
    "only the time changes": lambda folder: os.utime(folder / "users", ns=(LONG_AGO_NS, LONG_AGO_NS + 1)),
    "a file goes": lambda folder: (folder / "extra.conf").unlink(),
    "the main file goes": lambda folder: (folder / "smtpd.conf").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change(change: str, watcher: FileWatcher, tmp_path: Path) -> None:
    assert not watcher.has_changed()
    CHANGES[change](tmp_path)
    assert watcher.has_changed()


def test_files_that_are_not_read_do_not_count(watcher: FileWatcher, tmp_path: Path) -> None:
    (tmp_path / "smtpd.conf.swp").write_text("x")
    assert not watcher.has_changed()


def test_a_missing_file_is_watched_for(tmp_path: Path, clock: ManualClock) -> None:
    write(tmp_path / "smtpd.conf", CONTENT)
    compiled = compile_file(tmp_path / "smtpd.conf", HOST)
    assert compiled.configuration is None
    watcher = FileWatcher(clock)
    watcher.remember(compiled.stamps)
    assert not watcher.has_changed()
    (tmp_path / "extra.conf").write_text("")
    assert watcher.has_changed()


def test_a_missing_main_file_is_watched_for(tmp_path: Path, clock: ManualClock) -> None:
    watcher = FileWatcher(clock)
    watcher.remember(compile_file(tmp_path / "smtpd.conf", HOST).stamps)
    assert not watcher.has_changed()
    write(tmp_path / "smtpd.conf", CONTENT)
    assert watcher.has_changed()


def test_a_config_map_is_swapped_by_its_symlink(tmp_path: Path, clock: ManualClock) -> None:
    for generation in ("..1", "..2"):
        (tmp_path / generation).mkdir()
        write(tmp_path / generation / "smtpd.conf", LISTENER + RULE)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "smtpd.conf").symlink_to("..data/smtpd.conf")
    watcher = FileWatcher(clock)
    watcher.remember(compile_file(tmp_path / "smtpd.conf", HOST).stamps)
    assert not watcher.has_changed()
    (tmp_path / "..tmp").symlink_to("..2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    assert watcher.has_changed()


def test_a_file_that_was_fresh_when_read_is_read_once_more(tmp_path: Path, clock: ManualClock) -> None:
    write(tmp_path / "smtpd.conf", LISTENER + RULE)
    stamps = compile_file(tmp_path / "smtpd.conf", HOST).stamps
    clock.now_ns = LONG_AGO_NS + RACY_NS // 2
    watcher = FileWatcher(clock)
    watcher.remember(stamps)
    assert not watcher.has_changed()
    clock.now_ns = LONG_AGO_NS + RACY_NS
    assert watcher.has_changed()
    assert not watcher.has_changed()


def test_quiet_files_look_the_same_twice(watcher: FileWatcher, tmp_path: Path) -> None:
    before = watcher.current()
    assert watcher.current() == before
    (tmp_path / "users").write_text("longer than before, and later\n")
    assert watcher.current() != before


def test_below_a_root_links_are_watched_as_they_are_read(tmp_path: Path, clock: ManualClock) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("first", "other"):
        write(root / name, f"{name}.test\n")
    (root / "domains").symlink_to("/first")
    write(root / "smtpd.conf", f'{LISTENER}table d "/domains"\naccept for domain <d> relay\n')
    compiled = compile_file(root / "smtpd.conf", HOST, root=str(root))
    assert compiled.configuration is not None, compiled.render()
    watcher = FileWatcher(clock, ConfigFiles(root / "smtpd.conf", str(root)).current_stamp)
    watcher.remember(compiled.stamps)
    assert not watcher.has_changed()
    (root / "new").symlink_to("/other")
    (root / "new").rename(root / "domains")
    assert watcher.has_changed()
