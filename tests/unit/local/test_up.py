"""`make up` before anything runs: its settings, its configuration files, its lock, what a killed one left behind."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from smtpfleet.local.child import Child
from smtpfleet.local.console import Console
from smtpfleet.local.leftover import end_leftovers, find_leftovers
from smtpfleet.local.mailconf import MailConf
from smtpfleet.local.replica import ROOT_MARK, environment
from smtpfleet.local.running import AlreadyRunning, NotRunning, Running, read_running, take_lock, write_running
from smtpfleet.local.trace import Trace
from smtpfleet.local.up import BadUp, parse_replicas, read_settings, run_up

MSGID = "0190c0ffee000001"


def test_settings_come_from_the_environment() -> None:
    settings = read_settings({"SMTPFLEET_UP_SMTP_PORT": "2600", "SMTPFLEET_UP_VAR": "/srv/mail", "HOME": "/"})
    assert (settings.smtp_port, settings.admin_port, settings.var) == (2600, 8025, "/srv/mail")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        pytest.param("SMTPFLEET_UP_PORT", "1", "SMTPFLEET_UP_PORT: not a setting of make up", id="misspelt"),
        pytest.param("SMTPFLEET_DURABILITY", "relaxed", "SMTPFLEET_DURABILITY: not a setting", id="a role's setting"),
        pytest.param("SMTPFLEET_UP_SMTP_PORT", "smtp", "smtp_port", id="not a number"),
    ],
)
def test_what_is_not_a_setting_is_refused(name: str, value: str, told: str) -> None:
    with pytest.raises(BadUp, match=told):
        read_settings({name: value})


def test_replicas_are_counts_by_role() -> None:
    assert parse_replicas("mta=3,smtp-in=2") == {"mta": 3, "smtp-in": 2}
    assert parse_replicas("") == {}


@pytest.mark.parametrize("text", ["mta", "mta=0", "mta=-1", "postmaster=2", "mta=x"])
def test_replicas_of_no_role_or_no_count_are_refused(text: str) -> None:
    with pytest.raises(BadUp, match="expected ROLE=COUNT"):
        parse_replicas(text)


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = {"SMTPFLEET_UP_SMTP_PORT": str(port), "SMTPFLEET_UP_VAR": str(tmp_path)}
        with pytest.raises(
            BadUp, match=rf"port {port} .* SMTP, is taken; .* SMTPFLEET_UP_SMTP_PORT={port + 1} make up"
        ):
            run_up(environ)


def test_one_fleet_per_root(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="make up"):
        read_running(tmp_path)
    with take_lock(tmp_path):
        write_running(tmp_path, Running(pid=1, smtp_port=1, admin_port=2, nats_port=3, redis_port=4))
        assert read_running(tmp_path).smtp_port == 1
        with pytest.raises(AlreadyRunning, match="pid 1"):
            take_lock(tmp_path)
    take_lock(tmp_path).close()


def test_the_note_of_a_fleet_that_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_running(tmp_path, Running(pid=gone.pid, smtp_port=1, admin_port=2, nats_port=3, redis_port=4))
    with pytest.raises(NotRunning):
        read_running(tmp_path)


def test_defaults_follow_the_port_until_somebody_edits_them(tmp_path: Path) -> None:
    MailConf(tmp_path, 2525).write()
    moved = MailConf(tmp_path, 2600)
    moved.write()
    assert moved.listen_ports() == [2600]
    moved.path.write_text(moved.path.read_text() + "# mine\n")
    again = MailConf(tmp_path, 2700)
    again.write()
    assert again.listen_ports() == [2600]
    assert again.path.read_text().endswith("# mine\n")


def test_a_given_configuration_is_written_with_its_names_filled_in(tmp_path: Path) -> None:
    conf = MailConf(tmp_path, 2525, "listen on 127.0.0.1 port @SMTP_PORT@\ntable u file:@ETC@/users\n")
    conf.write()
    assert conf.path.read_text() == f"listen on 127.0.0.1 port 2525\ntable u file:{tmp_path}/etc/users\n"
    conf.write("# other\n")
    conf.write()
    assert conf.path.read_text() == "# other\n"


def test_homes_belong_to_who_runs_it(tmp_path: Path) -> None:
    conf = MailConf(tmp_path, 2525)
    conf.write()
    owner = (tmp_path / "mail" / "alice").stat()
    assert f"alice {owner.st_uid}:{owner.st_gid}:{tmp_path}/mail/alice\n" in (conf.folder / "users").read_text()


def test_roles_get_none_of_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTPFLEET_UP_VAR", "x")
    monkeypatch.setenv("SMTPFLEET_SHARDS", "7")
    clean = environment(tmp_path)
    assert not [name for name in clean if name.startswith("SMTPFLEET_")]
    assert clean[ROOT_MARK] == str(tmp_path)


def test_what_a_killed_fleet_left_behind_is_ended_and_nothing_else(tmp_path: Path) -> None:
    code = "print('ready', flush=True)\nimport time\ntime.sleep(60)"
    ours = subprocess.Popen([sys.executable, "-c", code], env=environment(tmp_path / "a"), stdout=subprocess.PIPE)
    others = subprocess.Popen([sys.executable, "-c", code], env=environment(tmp_path / "ab"), stdout=subprocess.PIPE)
    with ours, others:
        for process in (ours, others):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        assert find_leftovers(tmp_path / "a") == [ours.pid]
        # our own child stays visible until it is waited for, a real leftover belongs to init
        assert end_leftovers(tmp_path / "a") == 1
        assert ours.wait(5) != 0
        assert others.poll() is None
        others.kill()


def test_the_console_shows_new_whole_lines_with_the_role_in_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "mta.log"
    log.write_text("old\n")
    console = Console([Child("mta", [], log)])
    with log.open("a") as stream:
        stream.write("2026-11-03T12:00:00.123Z mta info: ready for work\nTraceback\nhalf")
    console.show_new()
    with log.open("a") as stream:
        stream.write(" done\n")
    console.show_new()
    blank = " " * 12
    assert capsys.readouterr().out.splitlines() == [
        "12:00:00.123 mta         info: ready for work",
        f"{blank} mta         Traceback",
        f"{blank} mta         half done",
    ]


def test_a_trace_is_delivered_when_every_envelope_is(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    stamp = "2026-11-03T12:00:0"
    (folder / "smtp-in.log").write_text(
        f"{stamp}0.000Z smtp-in s1 smtp envelope evpid={MSGID}00000001 to=<alice@example.test>\n"
        f"{stamp}0.000Z smtp-in s1 smtp envelope evpid={MSGID}00000002 to=<bob@example.test>\n"
        f"{stamp}0.000Z smtp-in s2 smtp envelope evpid=ffffffffffffffff00000001 to=<x@example.test>\n"
    )
    (folder / "mda.log").write_text(f'{stamp}2.000Z mda {MSGID}00000001 mda delivery user=alice result="Ok"\n')
    (folder / "mta.log").write_text(f'{stamp}1.000Z mta {MSGID}00000002 mta delivery result="TempFail"\n')
    trace = Trace(tmp_path, MSGID)
    trace.refresh()
    assert [line.split()[1] for line in trace.lines] == ["smtp-in", "smtp-in", "mta", "mda"]
    assert (trace.envelope_count, trace.delivered_count, trace.is_delivered) == (2, 1, False)
    with (folder / "mta.log").open("a") as log:
        log.write(f"{stamp}3.000Z mta {MSGID}00000002 mta delivery result=Ok\n")
    trace.refresh()
    assert trace.is_delivered
