"""`make up`: the whole fleet in the foreground, as an operator runs it on one machine; Ctrl-C drains and stops it.

Keeps everything under SMTPFLEET_UP_VAR, so that the next `make up` finds the queue as it was. Starts again what ends by itself, as an
orchestrator would. Called by __main__.py.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import msgspec

from smtpfleet.contracts.subjects import ROLES
from smtpfleet.local.child import Child, ChildDied
from smtpfleet.local.console import Console
from smtpfleet.local.fleet import Fleet
from smtpfleet.local.leftover import end_leftovers
from smtpfleet.local.ports import is_free
from smtpfleet.local.running import Running, forget_running, take_lock, write_running

PREFIX = "SMTPFLEET_UP_"
_LOOK_S = 0.2
_RESTART_PAUSE_S = 1.0
"""Between the end of a process and its next start, so that one that cannot start does not fill its log. Chosen."""
_BAD_SETTINGS = 2
"""Exit code of runtime.role where starting again would not help."""
_LOG_LIMIT_BYTES = 50 * 1024 * 1024
"""A log that has grown beyond this is put aside as .old at the next start. Chosen."""


class BadUp(Exception):
    """What the operator must change before the fleet can start."""


class UpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """SMTPFLEET_UP_*: var, ports (0: any free one), replicas as `mta=3,smtp-in=2`, maxmemory of Redis."""

    var: str = "var"
    smtp_port: int = 2525
    admin_port: int = 8025
    nats_port: int = 0
    redis_port: int = 0
    replicas: str = ""
    maxmemory: str = "1gb"


def read_settings(environ: Mapping[str, str]) -> UpSettings:
    """Raises BadUp for anything that is not a setting of ours: what a role understands is not passed on."""
    values = {name.removeprefix(PREFIX).lower(): text for name, text in environ.items() if name.startswith(PREFIX)}
    known = [PREFIX + field.upper() for field in UpSettings.__struct_fields__]
    strange = [name for name in environ if name.startswith("SMTPFLEET_") and name not in known]
    if strange:
        raise BadUp(f"{', '.join(sorted(strange))}: not a setting of make up, which knows {', '.join(known)}")
    try:
        return msgspec.convert(values, UpSettings, strict=False)
    except msgspec.ValidationError as error:
        raise BadUp(f"{PREFIX}*: {error}") from None


def parse_replicas(text: str) -> dict[str, int]:
    """`mta=3,smtp-in=2`. Raises BadUp."""
    counts = {}
    for part in filter(None, text.split(",")):
        role, _, count = part.partition("=")
        if role not in ROLES or not count.isdigit() or not int(count):
            raise BadUp(f"{PREFIX}REPLICAS={text}: expected ROLE=COUNT,… with ROLE one of {', '.join(ROLES)}")
        counts[role] = int(count)
    return counts


def run_up(environ: Mapping[str, str]) -> int:
    """Until Ctrl-C, SIGTERM or SIGHUP. The exit code."""
    settings = read_settings(environ)
    replicas = parse_replicas(settings.replicas)
    root = Path(settings.var).resolve()
    # SIGINT too: a shell without job control starts background jobs with it ignored
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with take_lock(root):
        if left := end_leftovers(root):
            print(f"ended {left} process(es) that a killed `make up` had left behind")
        _check_ports(settings)
        fleet = Fleet(
            root,
            replicas=replicas,
            smtp_port=settings.smtp_port,
            admin_port=settings.admin_port,
            nats_port=settings.nats_port,
            redis_port=settings.redis_port,
            maxmemory=settings.maxmemory,
        )
        children: list[Child] = [fleet.nats, fleet.redis, *fleet.replicas()]
        for child in children:
            _put_aside(child.log_path)
        return _run(fleet, children, root)


def _run(fleet: Fleet, children: list[Child], root: Path) -> int:
    console = Console(fleet.replicas())
    code = 0
    try:
        print(f"starting {len(children)} processes, logs in {_shown(root)}/log", flush=True)
        fleet.spawn()
        _await_ready(fleet, console)
        write_running(root, _running(fleet))
        print(_banner(fleet, root), flush=True)
        _watch(children, console)
    except KeyboardInterrupt:
        print("\nstopping: new mail first, then what is in hand; Ctrl-C again ends it at once", flush=True)
    except ChildDied as error:
        print(error, file=sys.stderr)
        code = 1
    finally:
        forget_running(root)
        _stop(fleet, children, console)
    return code


def _await_ready(fleet: Fleet, console: Console) -> None:
    for replica in fleet.replicas():
        try:
            replica.await_ready()
        finally:
            console.show_new()


def _watch(children: list[Child], console: Console) -> None:
    """For ever: show the logs, start again what has ended."""
    ended_at: dict[str, float] = {}
    while True:
        console.show_new()
        for child in children:
            if child.is_running:
                continue
            if child.exit_code == _BAD_SETTINGS:
                raise ChildDied(f"{child.name} refuses to start:\n{child.log_tail(5)}")
            if child.name not in ended_at:
                ended_at[child.name] = time.monotonic()
                print(f"{child.name} ended with {child.exit_code}; starting it again", flush=True)
            elif time.monotonic() - ended_at[child.name] > _RESTART_PAUSE_S:
                del ended_at[child.name]
                child.spawn()
        time.sleep(_LOOK_S)


def _stop(fleet: Fleet, children: list[Child], console: Console) -> None:
    def on_stop(name: str) -> None:
        console.show_new()
        print(f"stopping {name}", flush=True)

    try:
        fleet.stop(on_stop=on_stop)
    except KeyboardInterrupt:
        print("\nended at once; leases of what was in hand run out and the queue is as it was flushed")
        for child in children:
            child.kill9()
    console.show_new()
    print("stopped", flush=True)


def _check_ports(settings: UpSettings) -> None:
    for what, port, name in (
        ("SMTP", settings.smtp_port, "SMTP_PORT"),
        ("admin", settings.admin_port, "ADMIN_PORT"),
        ("NATS", settings.nats_port, "NATS_PORT"),
        ("Redis", settings.redis_port, "REDIS_PORT"),
    ):
        if port and not is_free(port):
            raise BadUp(
                f"port {port} on 127.0.0.1, wanted for {what}, is taken; choose another: {PREFIX}{name}={port + 1} make up"
            )


def _put_aside(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.old"))


def _running(fleet: Fleet) -> Running:
    return Running(
        pid=os.getpid(),
        smtp_port=fleet.smtp_port,
        admin_port=fleet.admin_port,
        nats_port=fleet.nats.port,
        redis_port=fleet.redis.port,
    )


def _banner(fleet: Fleet, root: Path) -> str:
    var = _shown(root)
    note = ""
    if fleet.smtp_port not in fleet.conf.listen_ports():
        note = (
            f"\n  note       {var}/etc/smtpd.conf was edited and does not listen on {fleet.smtp_port}; its ports count"
        )
    counts = " ".join(f"{role}={len(replicas)}" for role, replicas in fleet.roles.items())
    return f"""
The fleet is up: {counts}
  SMTP       127.0.0.1:{fleet.smtp_port}
  admin      {fleet.admin_url}/v1/queue   /v1/fleet   /v1/messages/MSGID
  inside     NATS 127.0.0.1:{fleet.nats.port}, Redis 127.0.0.1:{fleet.redis.port} (every write flushed)
  conf       {var}/etc/smtpd.conf (edit it: the fleet follows), users and aliases beside it
  mail       {var}/mail/alice/Maildir for alice@example.test
  logs       {var}/log/<role>.log, followed below{note}
Send a first message from another terminal:  make mail
Stop with Ctrl-C; the queue stays in {var}.
"""


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
