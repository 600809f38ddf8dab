"""`python -m bench.deep_queue`: what a queue of 1,000,000 envelopes, due far in the future, changes.

While mta is away, the envelopes come in over SMTP for 1,000 relays (bench.fill). Then their due times are moved a day ahead in the store,
which is the only step that is not the product's own; it writes what a deferral writes, and a scheduler cannot tell. Measured in the same
run before and after: delivered/s and CPU per message, local and relay; besides, memory per 100,000 envelopes and each role's start.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import document, machine
from bench.cell import Figures, measure
from bench.fill import fill
from bench.processes import Sink
from bench.report import median_of, number, table
from bench.run import say
from bench.systems import SINK_PORT, Case, Smtpfleet
from smtpfleet.contracts import keys
from smtpfleet.contracts.subjects import ROLES

AHEAD_MS = 24 * 3600 * 1000
CASES = (Case(True, 4096, False), Case(False, 4096, False))
MAXMEMORY = "12gb"
STARTS = 3
"""Each start is measured so often and the best counts: on two busy processors a single one says little."""
SHIFT = """
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local members, first = {}, nil
for i = 1, #all, 2 do
  local at = tonumber(all[i + 1]) + tonumber(ARGV[2])
  first = first and math.min(first, at) or at
  redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', at), all[i])
end
redis.call('ZADD', KEYS[2], 'XX', string.format('%.0f', first), ARGV[1])
return #all / 2
"""
"""What queue's result.lua writes for a deferral: a later due time per envelope, and the relay's turn at the first of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """envelopes in all, in messages of `rcpts`, over `domains` relays; rounds and seconds of each measurement."""

    envelopes: int
    rcpts: int
    domains: int
    rounds: int
    seconds: float


class DeepQueue:
    """The measurement on a running fleet."""

    def __init__(self, system: Smtpfleet, sink: Sink, folder: Path, plan: Plan) -> None:
        self._system = system
        self._sink = sink
        self._folder = folder
        self._plan = plan

    def run(self) -> str:
        """All of it, as the part of the report."""
        fleet = self._system.fleet
        self._measure_once(0.7)
        empty_start = self._start_times()
        before = self._measure()
        memory_before = fleet.redis.used_memory_bytes()
        fill_s = self._fill()
        memory = (fleet.redis.used_memory_bytes() - memory_before) / (self._plan.envelopes / 100_000)
        self._await_rewrite()
        after = self._measure()
        full_start = self._start_times()
        redis_start_s = self._restart_redis()
        return self._text(before, after, memory, fill_s, empty_start, full_start, redis_start_s)

    def _measure_once(self, seconds: float) -> dict[Case, Figures]:
        return {
            case: measure(self._system, case, self._sink, self._folder, seconds=seconds, sessions=20) for case in CASES
        }

    def _measure(self) -> dict[Case, list[Figures]]:
        rounds = [self._measure_once(self._plan.seconds) for _ in range(self._plan.rounds)]
        for figures in rounds:
            say(
                "  "
                + ", ".join(
                    f"{case.title}: {f.delivered_per_s:.0f}/s {f.cpu_ms_total:.2f} CPU-ms"
                    for case, f in figures.items()
                )
            )
        return {case: [figures[case] for figures in rounds] for case in CASES}

    def _fill(self) -> float:
        """Queue the envelopes with mta away, move them ahead, and let mta come back. Seconds of filling."""
        fleet, plan = self._system.fleet, self._plan
        say(f"queueing {plan.envelopes:,} envelopes")
        for replica in fleet.roles["mta"]:
            replica.stop()
        started = time.monotonic()
        uvloop.run(fill(self._system.address, plan.envelopes, rcpts=plan.rcpts, domains=plan.domains))
        fill_s = time.monotonic() - started
        moved = self._move_ahead()
        if moved != plan.envelopes:
            raise RuntimeError(f"{moved:,} envelopes are queued, not {plan.envelopes:,}")
        for replica in fleet.roles["mta"]:
            replica.start()
        say(f"queued in {fill_s:.0f} s")
        return fill_s

    def _move_ahead(self) -> int:
        redis = self._system.fleet.redis
        relays = redis.command("ZRANGE", keys.ready("mta", 0), 0, -1)
        assert isinstance(relays, list)
        moved = 0
        for relay in relays:
            count = redis.command(
                "EVAL", SHIFT, 2, keys.due("mta", str(relay), 0), keys.ready("mta", 0), str(relay), AHEAD_MS
            )
            assert isinstance(count, int)
            moved += count
        return moved

    def _start_times(self) -> dict[str, tuple[float, int]]:
        """By role: seconds from its start until it is ready, the best of STARTS, and its resident memory then."""
        found = {}
        for role in ROLES:
            replica = self._system.fleet.replica(role)
            taken = []
            for _ in range(STARTS):
                replica.stop()
                started = time.monotonic()
                replica.start()
                taken.append((time.monotonic() - started, replica.rss_bytes()))
            found[role] = min(taken)
        return found

    def _await_rewrite(self) -> None:
        """Until Redis has rewritten its log: filling makes it do so, which takes a processor for some seconds."""
        while "aof_rewrite_in_progress:1" in str(self._system.fleet.redis.command("INFO", "persistence")):
            time.sleep(0.5)

    def _restart_redis(self) -> float:
        """Seconds until Redis has read its log again; every role waits meanwhile and then goes on."""
        redis = self._system.fleet.redis
        redis.stop(60.0)
        started = time.monotonic()
        redis.start()
        took_s = time.monotonic() - started
        self._system.fleet.await_ready()
        return took_s

    def _text(
        self,
        before: dict[Case, list[Figures]],
        after: dict[Case, list[Figures]],
        memory: float,
        fill_s: float,
        empty_start: dict[str, tuple[float, int]],
        full_start: dict[str, tuple[float, int]],
        redis_start_s: float,
    ) -> str:
        plan = self._plan
        rows = [_change(case, before[case], after[case]) for case in CASES]
        starts = [
            [role, number(empty_start[role][0], 2), number(full_start[role][0], 2)]
            + [number(taken[role][1] / 2**20, 0) for taken in (empty_start, full_start)]
            for role in ROLES
        ]
        return (
            f"# {plan.envelopes:,} envelopes in the queue\n\nWritten by `python -m bench.deep_queue`: {plan.envelopes // plan.rcpts:,} "
            f"messages of {plan.rcpts} recipients for {plan.domains:,} relays, queued over SMTP in {fill_s:.0f} s "
            f"({plan.envelopes / fill_s:,.0f} envelopes/s), due in a day.\n\n{machine.describe([self._system.version()])}\n"
            + table(["case", "delivered/s before", "after", "change", "CPU-ms/msg before", "after", "change"], rows)
            + f"\nRedis holds **{memory / 2**20:.0f} MiB per 100,000 envelopes**, contents included; it reads its log again in "
            f"{redis_start_s:.1f} s. Start of each role, from its process to ready, best of {STARTS}:\n\n"
            + table(["role", "s with an empty queue", "s with the full one", "MiB empty", "MiB full"], starts)
        )


def _change(case: Case, before: list[Figures], after: list[Figures]) -> list[str]:
    b, a = median_of(before), median_of(after)
    return [
        case.title,
        number(b.delivered_per_s),
        number(a.delivered_per_s),
        f"{(a.delivered_per_s / b.delivered_per_s - 1) * 100:+.1f} %",
        number(b.cpu_ms_total, 2),
        number(a.cpu_ms_total, 2),
        f"{(a.cpu_ms_total / b.cpu_ms_total - 1) * 100:+.1f} %",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.deep_queue", description="measure with a million envelopes queued")
    parser.add_argument("--envelopes", type=int, default=1_000_000)
    parser.add_argument("--rcpts", type=int, default=100, help="per message")
    parser.add_argument("--domains", type=int, default=1000, help="relays")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=document.RESULTS)
    given = parser.parse_args()
    plan = Plan(given.envelopes, given.rcpts, given.domains, given.rounds, given.seconds)
    with tempfile.TemporaryDirectory(prefix="smtpfleet-deep-") as name, Sink(Path(name), SINK_PORT) as sink:
        system = Smtpfleet(Path(name), {}, MAXMEMORY)
        system.start()
        try:
            text = DeepQueue(system, sink, Path(name), plan).run()
        finally:
            system.stop()
    document.replace_part("deep queue", text, given.out)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
