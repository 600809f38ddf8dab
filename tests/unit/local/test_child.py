"""Processes: their signals, their logs, their ends."""

import signal
import sys
from pathlib import Path

import pytest

from smtpfleet.local.child import Child, ChildDied, await_answer

READY_THEN_WAIT = "print('ready', flush=True)\nimport time\ntime.sleep(60)"
IGNORES_TERM = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY_THEN_WAIT


def python_child(folder: Path, code: str) -> Child:
    return Child("probe", [sys.executable, "-c", code], folder / "probe.log")


def started(folder: Path, code: str) -> Child:
    child = python_child(folder, code)
    child.spawn()
    await_answer(child, lambda: "" if "ready" in child.log_text else "silent", 10)
    return child


def test_a_child_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = python_child(tmp_path, "print('no such file: mail.conf'); raise SystemExit(2)")
    child.spawn()
    with pytest.raises(ChildDied, match=r"probe ended with 2:\nno such file: mail.conf"):
        await_answer(child, lambda: "silent", 10)
    assert child.exit_code == 2


def test_a_child_that_stays_silent_is_reported_with_what_was_missing(tmp_path: Path) -> None:
    child = started(tmp_path, READY_THEN_WAIT)
    with pytest.raises(ChildDied, match="waiting for nats"):
        await_answer(child, lambda: "waiting for nats", 0.1)
    assert child.stop()


def test_kill9_ends_at_once_and_the_next_start_appends_to_the_log(tmp_path: Path) -> None:
    child = started(tmp_path, READY_THEN_WAIT)
    first = child.pid
    child.kill9()
    assert child.exit_code == -signal.SIGKILL
    child.spawn()
    await_answer(child, lambda: "" if child.log_text.count("ready") == 2 else "silent", 10)
    assert child.pid != first
    assert child.stop()


def test_a_frozen_child_is_stopped_in_order(tmp_path: Path) -> None:
    child = started(tmp_path, READY_THEN_WAIT)
    child.freeze()
    assert child.wait(0.2) is None
    assert child.stop(timeout_s=5)
    assert child.exit_code == -signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed_and_that_is_told(tmp_path: Path) -> None:
    child = started(tmp_path, IGNORES_TERM)
    assert not child.stop(timeout_s=0.2)
    assert child.exit_code == -signal.SIGKILL


def test_cpu_and_memory_are_read_while_it_runs(tmp_path: Path) -> None:
    child = started(tmp_path, "x = sum(range(3_000_000))\n" + READY_THEN_WAIT)
    assert 0 < child.cpu_s() < 60
    assert child.rss_bytes() > 1_000_000
    child.kill9()
    assert child.cpu_s() == 0.0
    assert child.rss_bytes() == 0


def test_stopping_what_never_ran_is_harmless(tmp_path: Path) -> None:
    child = python_child(tmp_path, READY_THEN_WAIT)
    child.term()
    child.kill9()
    assert child.stop()
    assert child.pid == 0
    assert not child.is_running
    assert child.log_text == ""
