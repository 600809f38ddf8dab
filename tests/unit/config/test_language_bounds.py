"""How much work a file can make: time grows with its size and not faster, and what could multiply has a limit."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpfleet.config.language.diagnostics import LINE_SHOWN_MAX, SHOWN_MAX
from smtpfleet.config.language.included_targets import INCLUDED_LIMIT_BYTES
from smtpfleet.config.language.macros import EXPANSION_MAX
from smtpfleet.config.language.stream import INCLUDES_MAX
from tests.support.proportion import grows_in_proportion
from tests.unit.config.stage import LISTENER, Compilation, compile_text

MEGABYTE = 1_000_000


def numbered(line: str) -> Callable[[int], str]:
    """Lines of this form with a number each, as many as make the size asked for."""
    return lambda size: "".join(line.format(number) for number in range(size // len(line)))


WHOLE_FILES: dict[str, Callable[[int], str]] = {
    "a table": lambda size: f"table t {{ {numbered('host{}.example.test ')(size).rstrip()} }}\nreject for domain <t>\n",
    "comments": lambda size: numbered("# {} reject \\\n")(size) + "\nreject\n",
    "one long line": lambda size: f"reject for domain {{ {numbered('host{}.example.test, ')(size)} z }}\n",
    "blanks": lambda size: " " * size + "reject\n",
    "lines that go on": lambda size: "reject " + "\\\n" * (size // 2) + "\n",
    "many tables": lambda size: numbered("table t{} {{ a }}\n")(size) + "reject\n",
    "an alias list": lambda size: (
        f"table a {{ k = '{numbered('u{}@d.org, ')(min(size, 8000)).rstrip(', ')}' "
        f"{numbered(', k{} = bob')(size)} }}\naccept for local alias <a> deliver to mbox\n"
    ),
}
SHAPES: dict[str, Callable[[int], str]] = {
    "statements that are none": numbered("x{}\n"),
    "quotes that are not closed": numbered("'{}\n"),
    "braces": lambda size: "{" * size,
    "closing braces": lambda size: "}" * size,
    "braces on lines": lambda size: "{\n" * (size // 2),
    "backslashes": lambda size: "\\" * size,
    "dollar signs": lambda size: "$" * size,
    "digits": lambda size: "1" * size,
    "a string that goes on": lambda size: '"' + "\\\n" * (size // 2),
    "commas in a table": lambda size: "table t { " + "," * size + "}\n",
    "macros": lambda size: numbered('m{} = "v"\n')(size) + "reject\n",
    "macros that name the one before": lambda size: (
        'm0 = "x"\n' + "".join(f"m{number + 1} = $m{number}\n" for number in range(size // 15))
    ),
    "macros that are not there": lambda size: (
        numbered('mac{} = "v"\n')(size // 2) + numbered("reject for domain $mbc{}\n")(size // 2)
    ),
    "includes of nothing": numbered('include "i{}"\n'),
    "conditions said again": lambda size: "accept from any " + "tagged a " * (size // 9) + "for any relay\n",
    "tables in one statement": lambda size: "accept " + "sender a " * (size // 9) + "for any relay\n",
    "tables in one place": numbered('accept for any relay via tls+auth://l@h auth {{ l = "u:p{}" }}\n'),
    "listeners": numbered("listen on 10.0.0.1 port {}\n"),
    "tables that are not closed": numbered("table t{} {{\n"),
    "one line of equal entries": lambda size: f"table t {{ {'a ' * (size // 2)}}}\nreject for domain <t>\n",
    "bad names of tables": lambda size: (
        numbered("table t{} {{ a }}\n")(size // 2) + numbered("reject for domain <u{}>\n")(size // 2)
    ),
    "a table looked at for every rule": lambda size: (
        f"table t {{ {numbered('h{}@x ')(size // 2)} }}\n" + numbered("reject for domain <t> #{}\n")(size // 2)
    ),
    "a chain of filters": lambda size: f"filterchain c {numbered('f{} ')(size)}\n",
    "a chain of the modern form": lambda size: f"match reject\nfilter c chain {{ {numbered('f{} ')(size)} }}\n",
    "tags of many listeners looked at for every rule": lambda size: (
        "".join(f"listen on 10.0.0.1 port {n} tag a{n}\n" for n in range(1, size // 120))
        + f"table n {{ {numbered('10.{}.0.0/16 ')(size // 4)} }}\n"
        + numbered("reject tagged ! b{} from source <n> for any\n")(size // 2)
    ),
    "actions that are not there": lambda size: (
        numbered("action a{} relay\n")(size // 2) + numbered("match from any for any action b{}\n")(size // 2)
    ),
    "tags nobody has": lambda size: (
        numbered("listen on 10.0.0.1 port {} tag a\n")(size // 2) + numbered("reject tagged b{}\n")(size // 2)
    ),
}


def compile_and_show(folder: Path) -> Callable[[str], str]:
    return lambda text: compile_text(folder, text).render()


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_megabyte_takes_twice_as_long_as_half_of_it(name: str, tmp_path: Path) -> None:
    assert compile_text(tmp_path, LISTENER + WHOLE_FILES[name](1000)).configuration is not None
    assert grows_in_proportion(compile_and_show(tmp_path), lambda size: LISTENER + WHOLE_FILES[name](size), MEGABYTE)


def test_many_macros_and_as_many_misspelt_take_time_in_proportion(tmp_path: Path) -> None:
    assert grows_in_proportion(compile_and_show(tmp_path), SHAPES["macros that are not there"], MEGABYTE // 2)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_wrong_with_a_file_takes_time_in_proportion(name: str, tmp_path: Path) -> None:
    assert grows_in_proportion(compile_and_show(tmp_path), SHAPES[name], 40_000)


def messages(compiled: Compilation) -> list[str]:
    return [item.message for item in compiled.diagnostics]


def test_macros_expand_to_no_more_than_the_limit(tmp_path: Path) -> None:
    value = "x" * 8000
    uses = EXPANSION_MAX // len(value)
    text = f'm = "{value}"\n{LISTENER}' + "reject for domain $m\n" * uses
    assert compile_text(tmp_path, text).configuration is not None
    assert messages(compile_text(tmp_path, f"{text}reject for domain $m\n")) == ["macros expand to too much"]


def test_files_that_include_each_other_many_times_come_to_an_end(tmp_path: Path) -> None:
    for depth in range(15):
        (tmp_path / f"{depth}").write_text(f'include "{depth + 1}"\ninclude "{depth + 1}"\n')
    (tmp_path / "15").write_text("# nothing\n")
    compiled = compile_text(tmp_path, f'{LISTENER}reject\ninclude "0"\n')
    assert compiled.configuration is None
    assert compiled.diagnostics[0].message.endswith("too many includes")
    assert len(compiled.stamps) <= INCLUDES_MAX


def test_a_list_that_thousands_of_aliases_include_does_not_fill_the_memory(tmp_path: Path) -> None:
    list_bytes = 104_000
    (tmp_path / "list").write_text("user@example.test\n" * (list_bytes // 18))
    (tmp_path / "aliases").write_text("".join(f"a{number}: :include:{tmp_path}/list\n" for number in range(27_000)))
    rule = "accept for local alias <a> userbase <u> deliver to maildir\n"
    text = f'table a file:aliases\ntable u {{ "alice" = "1:1:/home/alice" }}\n{LISTENER}{rule}'
    tracemalloc.start()
    compiled = compile_text(tmp_path, text)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert messages(compiled) == ["the included files come to too much"]
    assert compiled.diagnostics[0].span.source.name == str(tmp_path / "aliases")
    assert compiled.diagnostics[0].span.line == pytest.approx(INCLUDED_LIMIT_BYTES / list_bytes, rel=0.1)
    assert peak_bytes < 4 * INCLUDED_LIMIT_BYTES


def test_an_entry_that_includes_a_list_thousands_of_times_comes_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("u\n" * 50_000)
    (tmp_path / "aliases").write_text("a: " + ", ".join([f":include:{tmp_path}/list"] * 5000) + "\n")
    rule = "accept for local alias <a> userbase <u> deliver to maildir\n"
    text = f'table a file:aliases\ntable u {{ "alice" = "1:1:/home/alice" }}\n{LISTENER}{rule}'
    assert messages(compile_text(tmp_path, text)) == ["the included files come to too much"]


def test_no_more_errors_are_shown_than_anyone_reads(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, "acept\n" * (SHOWN_MAX + 7))
    assert len(compiled.diagnostics) == SHOWN_MAX + 1
    assert compiled.diagnostics[-1].message == "7 more errors, from here on, are not shown"
    assert compiled.diagnostics[-1].span.line == SHOWN_MAX + 1


@pytest.mark.parametrize(
    ("before", "after", "shown", "caret_at"),
    [
        (0, 0, "    reject fro any", 11),
        (0, 500, f"    reject fro any {'#' * (LINE_SHOWN_MAX - 15)} …", 11),
        (500, 0, f"    … {' ' * (LINE_SHOWN_MAX - 14)}reject fro any", LINE_SHOWN_MAX - 1),
    ],
)
def test_of_a_long_line_the_place_is_shown(before: int, after: int, shown: str, caret_at: int, tmp_path: Path) -> None:
    text = " " * before + "reject fro any" + (" " + "#" * after if after else "")
    lines = compile_text(tmp_path, text + "\n").render().splitlines()
    assert lines[0].endswith(f':1:{before + 8}: syntax error: expected the end of the line, found "fro"')
    assert lines[1] == shown
    assert lines[2] == " " * caret_at + "^~~"
