"""The faults of the chaos run, one function each: does it, and returns when what was broken is whole again.

Rows are those of DESIGN section 5. Replicas and servers that end are started again by the keeper, except where a fault holds them down
for a while itself. Nothing is judged here.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.keeper import Keeper
from smtpfleet.local.fleet import Fleet
from smtpfleet.local.replica import Replica

AWAY_S = 5.0
"""How long a server stays away: longer than the store's patience for a commit (queue.committer REPEAT_S), so that 451 is seen too."""
BEYOND_LEASE_S = 3.0
WATCH_S = 1.0
"""How long replicas are watched to see which of them works."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a fault may touch. lease_s: how long work is held without a heartbeat."""

    fleet: Fleet
    keeper: Keeper
    lease_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    """row: the event of DESIGN section 5. lasts_s: about how long inject takes. needs_small_disk: Redis's folder is a disk of its own."""

    name: str
    row: str
    inject: Callable[[Ground], None]
    lasts_s: float
    expected: str
    needs_small_disk: bool = False


def _await_running(ground: Ground, name: str, deadline_s: float = 30.0) -> None:
    """Until the keeper has started `name` again and it is ready."""
    ends_at = time.monotonic() + deadline_s
    replica = next(replica for replica in ground.fleet.replicas() if replica.name == name)
    while time.monotonic() < ends_at:
        if replica.is_ready:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{name} is not ready again: {replica.log_tail()}")


def _busiest(ground: Ground, role: str) -> Replica:
    """The role's replica that has work in hand: a worker that is only parked would make an easy fault."""
    replicas = ground.fleet.roles[role]
    before = [replica.cpu_s() for replica in replicas]
    time.sleep(WATCH_S)
    return max(zip(replicas, before, strict=True), key=lambda pair: pair[0].cpu_s() - pair[1])[0]


def kill9(role: str) -> Callable[[Ground], None]:
    """SIGKILL of the role's busiest replica."""

    def inject(ground: Ground) -> None:
        replica = _busiest(ground, role)
        replica.kill9()
        _await_running(ground, replica.name)

    return inject


def kill9_all(role: str) -> Callable[[Ground], None]:
    """SIGKILL of every replica of the role at once."""

    def inject(ground: Ground) -> None:
        for replica in ground.fleet.roles[role]:
            replica.kill9()
        for replica in ground.fleet.roles[role]:
            _await_running(ground, replica.name)

    return inject


def terminate(role: str) -> Callable[[Ground], None]:
    """SIGTERM of every replica of the role, one after the other, as a roll-out does."""

    def inject(ground: Ground) -> None:
        for replica in ground.fleet.roles[role]:
            before = replica.start_count
            replica.term()
            if replica.wait(40.0) is None:
                raise TimeoutError(f"{replica.name} does not end after SIGTERM: {replica.log_tail()}")
            while replica.start_count == before:
                time.sleep(0.1)
            _await_running(ground, replica.name)

    return inject


def freeze(role: str) -> Callable[[Ground], None]:
    """SIGSTOP of the role's busiest replica past the lease, then SIGCONT."""

    def inject(ground: Ground) -> None:
        replica = _busiest(ground, role)
        replica.freeze()
        time.sleep(ground.lease_s + BEYOND_LEASE_S)
        replica.thaw()

    return inject


def _nats_restart(ground: Ground) -> None:
    ground.keeper.spared.add("nats")
    ground.fleet.nats.stop()
    time.sleep(AWAY_S)
    ground.fleet.nats.start()
    ground.keeper.spared.discard("nats")


def _nats_kill(ground: Ground) -> None:
    ground.fleet.nats.kill9()
    while not ground.fleet.nats.is_running or ground.fleet.nats.complaint():
        time.sleep(0.1)


def _redis_restart(ground: Ground) -> None:
    ground.keeper.spared.add("redis")
    ground.fleet.redis.stop()
    time.sleep(AWAY_S)
    ground.fleet.redis.start()
    ground.keeper.spared.discard("redis")


def _redis_kill(ground: Ground) -> None:
    ground.fleet.redis.kill9()
    while not ground.fleet.redis.is_running or ground.fleet.redis.complaint():
        time.sleep(0.1)


def _redis_read_only(ground: Ground) -> None:
    ground.fleet.redis.make_read_only()
    time.sleep(AWAY_S * 2)
    ground.fleet.redis.make_writable()


def _redis_without_replicas(ground: Ground) -> None:
    ground.fleet.redis.config_set("min-replicas-to-write", 1)
    time.sleep(AWAY_S * 2)
    ground.fleet.redis.config_set("min-replicas-to-write", 0)


def _redis_full(ground: Ground) -> None:
    redis = ground.fleet.redis
    before = str(redis.command("CONFIG", "GET", "maxmemory")[1])  # type: ignore[index]
    redis.config_set("maxmemory", max(redis.used_memory_bytes() // 2, 1024 * 1024))
    time.sleep(AWAY_S * 2)
    redis.config_set("maxmemory", before)


def _disk_full(ground: Ground) -> None:
    """Redis's disk is filled to the last block and freed again. With `appendfsync always` Redis ends when it cannot write."""
    filler = ground.fleet.redis.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        block = b"\0" * 65536
        try:
            while True:
                file.write(block)
        except OSError:
            block = b"\0"
    time.sleep(AWAY_S)
    filler.unlink()
    while not ground.fleet.redis.is_running or ground.fleet.redis.complaint():
        time.sleep(0.1)


def mount_small_disk(folder: str, size: str = "256m") -> None:
    """A disk of its own at `folder`, in memory. Raises CalledProcessError; needs root."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)


def unmount(folder: str) -> None:
    subprocess.run(["umount", folder], check=True, capture_output=True)


def may_mount() -> bool:
    return os.geteuid() == 0 and hasattr(signal, "SIGKILL")


KILLED_SMTP_IN = "smtp-in killed before 250, or between commit and 250"
WORKER_KILLED = "mta/mda killed mid-work"
FROZEN = "worker frozen (SIGSTOP) and thawed after its lease"
SIGTERM = "SIGTERM (roll-out, scale-down)"
NATS_DOWN = "NATS down"
REDIS_DOWN = "Redis down or read-only"

FAULTS = (
    Fault(
        "kill -9 config", "(not in the table) config killed", kill9("config"), 4, "nothing: every role has its snapshot"
    ),
    Fault(
        "kill -9 smtp-in",
        KILLED_SMTP_IN,
        kill9("smtp-in"),
        4,
        "duplicates only where the connection ended after the final dot",
    ),
    Fault(
        "kill -9 queue (one of two)", "queue killed in commit, or with a full cache", kill9("queue"), 4, "no duplicates"
    ),
    Fault(
        "kill -9 queue (both)",
        "queue killed in commit, or with a full cache",
        kill9_all("queue"),
        4,
        "421 or 451, then all is well",
    ),
    Fault("kill -9 scheduler (one of two)", "scheduler killed", kill9("scheduler"), 4, "no duplicates"),
    Fault("kill -9 scheduler (both)", "scheduler killed", kill9_all("scheduler"), 4, "no duplicates"),
    Fault(
        "kill -9 mta (one of two)",
        WORKER_KILLED,
        kill9("mta"),
        4,
        "duplicates only of what the peer had and nobody reported",
    ),
    Fault("kill -9 mda (one of two)", WORKER_KILLED, kill9("mda"), 4, "none: the redelivered file has the same name"),
    Fault("kill -9 admin", "(not in the table) admin killed", kill9("admin"), 4, "nothing"),
    Fault(
        "SIGSTOP and SIGCONT of mta", FROZEN, freeze("mta"), 13, "duplicates only of what it sent and could not report"
    ),
    Fault("SIGSTOP and SIGCONT of mda", FROZEN, freeze("mda"), 13, "none: the redelivered file has the same name"),
    Fault("SIGTERM of each mta", SIGTERM, terminate("mta"), 8, "no duplicates"),
    Fault("SIGTERM of each mda", SIGTERM, terminate("mda"), 8, "no duplicates"),
    Fault("SIGTERM of each queue", SIGTERM, terminate("queue"), 8, "no duplicates"),
    Fault("SIGTERM of each scheduler", SIGTERM, terminate("scheduler"), 8, "no duplicates"),
    Fault("SIGTERM of smtp-in", SIGTERM, terminate("smtp-in"), 6, "no duplicates: sessions get 421 between messages"),
    Fault(
        "NATS killed and started again",
        NATS_DOWN,
        _nats_kill,
        3,
        "451 or 421 meanwhile; duplicates only behind a 451 to the dot",
    ),
    Fault(
        "NATS away for 5 s",
        NATS_DOWN,
        _nats_restart,
        7,
        "451 or 421 meanwhile; duplicates only behind a 451 to the dot",
    ),
    Fault("Redis killed and started again", REDIS_DOWN, _redis_kill, 3, "at most a pause: queue repeats the commit"),
    Fault("Redis away for 5 s", REDIS_DOWN, _redis_restart, 7, "451 meanwhile"),
    Fault("Redis read-only (replica)", REDIS_DOWN, _redis_read_only, 10, "451 meanwhile"),
    Fault("Redis refuses writes (min-replicas)", REDIS_DOWN, _redis_without_replicas, 10, "451 meanwhile"),
    Fault(
        "Redis out of memory",
        "Redis out of memory (`maxmemory`, noeviction)",
        _redis_full,
        10,
        "421 or 452 meanwhile; deliveries go on",
    ),
    Fault("disk of the AOF full", "disk of AOF full", _disk_full, 8, "451 meanwhile", needs_small_disk=True),
)
