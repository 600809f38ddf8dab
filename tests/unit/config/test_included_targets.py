"""`:include:` in alias tables: the file's targets stand in the entry, what cannot be read adds nothing (reference 3.4)."""

from pathlib import Path

import pytest

from tests.unit.config.stage import LISTENER, compile_text, headlines

LOCAL = 'accept for local alias <a> userbase <u> deliver to maildir "~/Maildir"\n'
USERS = 'table u { "alice" = "1000:1000:/home/alice" }\n'


def alias_of(folder: Path, value: str, rule: str = LOCAL) -> tuple[str, list[str]]:
    compiled = compile_text(folder, f'table a {{ "staff" = "{value}" }}\n{USERS}{LISTENER}{rule}')
    assert compiled.configuration is not None, compiled.render()
    return compiled.configuration.tables["a"].entries["staff"], headlines(compiled)


def test_the_lines_of_a_file_take_the_place_of_the_include(tmp_path: Path) -> None:
    included = tmp_path / "staff"
    included.write_text('# the staff\nbob, carol@far.test\n\n"|/bin/x a, b"\n')
    value, warnings = alias_of(tmp_path, f"alice, :include:{included}, joe")
    assert value == 'alice, bob, carol@far.test, "|/bin/x a, b", joe'
    assert warnings == []


def test_bad_lines_are_left_out_and_told(tmp_path: Path) -> None:
    included = tmp_path / "staff"
    included.write_text("bob\nnot a target\n:include:/etc/more\n")
    value, warnings = alias_of(tmp_path, f"include:{included}")
    assert value == "bob"
    assert len(warnings) == 2 and all("line is left out" in warning for warning in warnings)
    assert f"{included}:2:1" in warnings[0]


@pytest.mark.parametrize("value", [":include:{0}/missing", ":INCLUDE:{0}/missing, :include:/dev/null"])
def test_a_missing_file_is_a_warning_and_adds_nothing(tmp_path: Path, value: str) -> None:
    found, warnings = alias_of(tmp_path, value.format(tmp_path))
    assert found == ":include:/dev/null"
    assert len(warnings) == 1 and "No such file" in warnings[0]
    found, _ = alias_of(tmp_path, f"alice, :include:{tmp_path}/missing")
    assert found == "alice"


def test_the_watcher_is_told_of_included_files_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "staff").write_text("bob\n")
    text = f'table a {{ "x" = ":include:{tmp_path}/staff, :include:{tmp_path}/gone" }}\n{USERS}{LISTENER}{LOCAL}'
    stamps = compile_text(tmp_path, text).stamps
    assert stamps[tmp_path / "staff"] is not None
    assert stamps[tmp_path / "gone"] is None


def test_the_root_counts_for_included_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "staff").write_text("bob\n")
    text = f'table a {{ "x" = ":include:/etc/staff" }}\n{USERS}{LISTENER}{LOCAL}'
    configuration = compile_text(tmp_path, text, root=str(tmp_path)).configuration
    assert configuration is not None and configuration.tables["a"].entries == {"x": "bob"}


def test_a_table_file_and_a_virtual_table_have_includes_too(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("bob\ncarol\n")
    (tmp_path / "map").write_text(f"staff :include:{tmp_path}/list\n")
    text = f'table v file:{tmp_path}/map\n{LISTENER}accept for domain "d.test" virtual <v> deliver to maildir\n'
    configuration = compile_text(tmp_path, text).configuration
    assert configuration is not None and configuration.tables["v"].entries == {"staff": "bob, carol"}


def test_other_tables_keep_their_values(tmp_path: Path) -> None:
    text = f'table u {{ "alice" = "1:1:/include:/x" }}\n{LISTENER}accept for local userbase <u> deliver to maildir\n'
    configuration = compile_text(tmp_path, text).configuration
    assert configuration is not None and configuration.tables["u"].entries == {"alice": "1:1:/include:/x"}


def test_the_modern_form_takes_users_with_a_subaddress(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("bob+lists\n")
    modern = 'action "l" maildir alias <a>\nmatch for local action "l"\n'
    assert alias_of(tmp_path, f":include:{tmp_path}/list", modern)[0] == "bob+lists"
    assert alias_of(tmp_path, f":include:{tmp_path}/list")[0] == ":include:/dev/null"
