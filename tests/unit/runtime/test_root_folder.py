"""No path and no link leads out of the folder that stands for /."""

from pathlib import Path

import pytest

from smtpfleet.runtime.root_folder import LINKS_MAX, RootFolder
from smtpfleet.runtime.tls_files import locate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With a file, and a file of the same name outside."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "secret").write_text("outside\n")
    (tmp_path / "root" / "etc" / "mail").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "secret").write_text("inside\n")
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("path", "stands_at"),
    [
        ("/etc/users", "etc/users"),
        ("users", "users"),
        ("//etc//./users", "etc/users"),
        ("/../etc/users", "etc/users"),
        ("../../../etc/users", "etc/users"),
        ("/etc/../../../etc/users", "etc/users"),
        ("/etc/mail/../users/", "etc/users"),
        ("/..", "."),
        ("...", "..."),
    ],
)
def test_paths_stay_below(root: Path, path: str, stands_at: str) -> None:
    assert RootFolder(str(root)).place(path) == root / stands_at


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("etc/mail/link", "{outside}/etc/secret"),
        ("etc/mail/link", "../../../etc/secret"),
        ("etc/mail/link", "/../../../../etc/secret"),
        ("etc/mail/link", "/etc/mail/../secret"),
        ("etc/mail/link", "..//./secret"),
    ],
)
def test_a_link_leads_to_a_file_below_or_to_none(root: Path, link: str, target: str) -> None:
    (root / link).symlink_to(target.format(outside=root.parent))
    found = RootFolder(str(root)).follow(root / link)
    assert found.is_relative_to(root) and ".." not in found.parts
    assert not found.exists() or found.read_text() == "inside\n"


def test_folders_may_be_links_too(root: Path) -> None:
    (root / "var").symlink_to("/etc")  # outside there is such a folder as well
    (root / "etc" / "up").symlink_to("..")
    folder = RootFolder(str(root))
    assert folder.follow(root / "var" / "secret") == root / "etc" / "secret"
    assert folder.follow(root / "var" / "up" / "up" / "var" / "secret") == root / "up" / "var" / "secret"
    assert folder.follow(root / "var" / "up" / "var" / "secret") == root / "etc" / "secret"


def test_what_is_not_there_is_left_as_it_is(root: Path) -> None:
    folder = RootFolder(str(root))
    assert folder.follow(root / "no" / "such" / "file") == root / "no" / "such" / "file"
    assert folder.follow(root / "etc" / "a\0b") == root / "etc" / "a\0b"
    (root / "dangling").symlink_to("/no/such")
    assert folder.follow(root / "dangling") == root / "no" / "such"


def test_links_in_a_circle_come_to_an_end_inside(root: Path) -> None:
    (root / "a").symlink_to("/b")
    (root / "b").symlink_to("/a")
    (root.parent / "b").write_text("outside\n")
    assert RootFolder(str(root)).follow(root / "a") == root


@pytest.mark.parametrize(("count", "is_found"), [(LINKS_MAX, True), (LINKS_MAX + 1, False)])
def test_a_chain_of_links_has_a_limit(root: Path, count: int, is_found: bool) -> None:
    (root / "0").write_text("the end\n")
    for number in range(count):
        (root / f"{number + 1}").symlink_to(f"{number}")
    assert RootFolder(str(root)).follow(root / f"{count}") == (root / "0" if is_found else root)


def test_without_a_folder_a_path_is_what_it_is(root: Path) -> None:
    (root / "link").symlink_to("etc/secret")
    folder = RootFolder("")
    assert folder.place("../x/./y") == Path("../x/./y")
    assert folder.follow(root / "link") == root / "link"


def test_what_is_elsewhere_is_left_alone(root: Path) -> None:
    """The main file, which the operator names."""
    (root.parent / "link").symlink_to("etc/secret")
    assert RootFolder(str(root)).follow(root.parent / "link") == root.parent / "link"


def test_certificates_stay_below_too(root: Path) -> None:
    (root / "etc" / "key").symlink_to(root.parent / "etc" / "secret")
    inside = root / "etc" / "secret"
    for path in ("/etc/secret", "/../etc/secret", str(inside)):
        assert locate(path, str(root)) == inside
    assert not locate("/etc/key", str(root)).exists()
    assert locate(f"{root}-other/secret", str(root)).is_relative_to(root)
    assert locate("/etc/secret", "") == Path("/etc/secret")
