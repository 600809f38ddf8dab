"""CPU of process trees, percentiles, and the report's arithmetic."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cpu, document, maildir
from bench.cell import Figures, Percentiles, percentiles
from bench.mark import HEADER, Mark
from bench.profiles import parse_raw
from bench.report import Results, losses, median_of, throughput
from bench.systems import Case

SPIN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def figures(delivered_per_s: float, *, delivered: int = 10) -> Figures:
    nothing = Percentiles(0.0, 0.0)
    return Figures(10, 0, delivered, 1.0, delivered_per_s, nothing, nothing, 0.1, {"all": 2.0})


def test_cpu_of_a_tree_counts_children_that_have_ended() -> None:
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPIN!r}])\nprint('done', flush=True)\nsys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "done\n"
    spent = cpu.cpu_s(cpu.tree_of([parent.pid]))
    parent.communicate()
    assert 0.29 <= spent < 5.0


def test_a_tree_has_its_running_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    tree = cpu.tree_of([os.getpid()])
    child.communicate()
    assert {os.getpid(), child.pid} <= tree


def test_percentiles_are_milliseconds() -> None:
    found = percentiles([n * 1_000_000 for n in range(1, 101)])
    assert (found.p50, found.p99) == (51.0, 100.0)


def test_percentiles_of_nothing_are_not_a_number() -> None:
    assert math.isnan(percentiles([]).p50)


def test_the_median_round_is_one_that_was_measured() -> None:
    assert median_of([figures(30.0), figures(10.0), figures(20.0)]).delivered_per_s == 20.0
    assert median_of([figures(30.0), figures(10.0)]).delivered_per_s == 10.0


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    results = Results()
    case = Case(True, 4096, False)
    for ours, theirs in ((200.0, 100.0), (90.0, 100.0), (330.0, 110.0)):
        results.add(case, "smtpfleet", figures(ours))
        results.add(case, "Postfix", figures(theirs))
    assert "| 2.00 (0.90–3.00) |" in throughput(results)


def test_a_message_that_did_not_arrive_is_named_in_the_report() -> None:
    results = Results()
    results.add(Case(True, 4096, False), "smtpfleet", figures(1.0, delivered=9))
    assert "smtpfleet: 1 of 10 (local, 4 KiB, open connections)" in losses(results)


def test_a_maildir_is_read_with_times_of_arrival(tmp_path: Path) -> None:
    mark = Mark("0123abcd", 1, 1, 2)
    (tmp_path / "one").write_bytes(HEADER + mark.text.encode() + b"\r\n\r\nbody\r\n")
    (arrival,) = maildir.read(tmp_path)
    assert (maildir.count(tmp_path), arrival.mark, arrival.at_ns) == (1, mark, (tmp_path / "one").stat().st_ctime_ns)
    maildir.empty(tmp_path)
    assert maildir.count(tmp_path) == 0


def test_a_part_of_the_report_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    document.replace_part("profile", "# P\n\nold", path)
    document.replace_part("matrix", "# M", path)
    document.replace_part("profile", "# P\n\nnew", path)
    assert path.read_text() == "<!-- part: matrix -->\n# M\n\n<!-- part: profile -->\n# P\n\nnew\n"


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ("on_x (services/queue/src/smtpfleet/queue/handlers.py:12)", "smtpfleet/queue/handlers.py on_x"),
        ("read (.venv/lib/python3.11/site-packages/redis/x.py:3)", "redis/x.py read"),
    ],
)
def test_frames_are_named_by_package_and_function(frame: str, name: str) -> None:
    assert parse_raw(f"main (x.py:1);{frame} 3\n").own == {name: 3}
