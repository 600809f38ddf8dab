"""`make bench`: the matrix of cases on smtpfleet, Postfix and OpenSMTPD, in interleaved rounds of one run, into bench/RESULTS.md.

In every round each system is measured on all its cases, one system after the other, so that a slow minute of the machine meets all
alike. Only the system being measured runs (the peers stay up between, idle, at no CPU). Ten minutes by default; --quick is a smoke run.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench import document, idle, machine, report, smtp_source
from bench.cell import measure
from bench.processes import Sink
from bench.systems import SINK_PORT, Case, OpenSMTPD, Peers, Postfix, Smtpfleet, System, find_peers_lab

KIB = 1024
STEADY_RATE = 200.0
"""Messages/s of the latency cases: below half of what the slowest system delivers here."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. seconds: of load per case."""

    rounds: int
    seconds: float
    sessions: int
    cases: tuple[Case, ...]
    idle_sessions: int


def all_cases() -> tuple[Case, ...]:
    shapes = [(kind, size, how) for how in (False, True) for kind in (True, False) for size in (4 * KIB, 64 * KIB)]
    steady = tuple(Case(is_local, 4 * KIB, False, STEADY_RATE) for is_local in (True, False))
    return tuple(Case(*shape) for shape in shapes) + steady


QUICK_CASES = (Case(True, 4 * KIB, False), Case(False, 4 * KIB, False), Case(True, 4 * KIB, True))


def measure_round(system: System, plan: Plan, sink: Sink, folder: Path, results: report.Results) -> None:
    """All cases once. A short warm-up first, so that no case pays for first connections and compiled scripts."""
    for is_local in (True, False):
        case = Case(is_local, 4 * KIB, False)
        if not system.why_not(case):
            measure(system, case, sink, folder, seconds=0.7, sessions=plan.sessions)
    for case in plan.cases:
        if why := system.why_not(case):
            results.skipped[case.title, system.name] = why
            continue
        figures = measure(system, case, sink, folder, seconds=plan.seconds, sessions=plan.sessions)
        results.add(case, system.name, figures)
        say(
            f"  {system.name:10} {case.title:45} accepted {figures.accepted_per_s:6.0f}/s delivered {figures.delivered_per_s:6.0f}/s "
            f"{figures.cpu_ms_total:5.2f} CPU-ms  {figures.accepted - figures.delivered or 'none'} missing"
        )


def run(plan: Plan, systems: list[System], sink: Sink, folder: Path) -> tuple[report.Results, str]:
    """Every round, and what is measured once beside them: the results, and the sections of the report about the latter."""
    results = report.Results()
    foreign = smtp_source.Rounds()
    sessions_text = ""
    for number in range(1, plan.rounds + 1):
        for system in systems:
            say(f"round {number} of {plan.rounds}: {system.name}")
            system.start()
            try:
                measure_round(system, plan, sink, folder, results)
                smtp_source.measure_round(system, sink, foreign, seconds=plan.seconds, sessions=plan.sessions)
                if number == plan.rounds and isinstance(system, Smtpfleet) and plan.idle_sessions:
                    sessions_text = idle.measure(system, plan.idle_sessions)
            finally:
                system.stop()
    return results, foreign.markdown() + sessions_text


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def write(path: Path, command: str, head: str, results: report.Results, sections: str) -> None:
    """The matrix part of the report."""
    text = (
        f"# Measured side by side\n\nWritten by `{command}`; what the columns mean is in docs/bench.md.\n\n{head}\n"
        f"## As fast as it goes\n\n{report.throughput(results)}\n{report.losses(results)}\n\n"
        f"## At a steady rate\n\n{report.latency(results)}\n"
        f"## smtpfleet's CPU by role\n\nCPU-ms per delivered message, of the median round.\n\n{report.cpu_by_role(results)}\n{sections}"
    )
    document.replace_part("matrix", text, path)


def allow_many_files() -> None:
    """Raise our limit of open files, which the fleet's processes inherit, as far as we may: idle sessions need one each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.run", description="measure smtpfleet beside Postfix and OpenSMTPD")
    parser.add_argument(
        "--quick", action="store_true", help="one short round of three cases, no 10,000 sessions: a smoke run"
    )
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="of load per case")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument(
        "--only", default="", help="measure only cases whose title contains this, such as `local, 4 KiB, open`"
    )
    parser.add_argument("--systems", default="smtpfleet,Postfix,OpenSMTPD")
    parser.add_argument("--replicas", default="", help="of the fleet, such as smtp-in=2,mta=2; default one of each")
    parser.add_argument("--idle-sessions", type=int, default=-1)
    parser.add_argument("--out", type=Path, default=document.RESULTS)
    return parser.parse_args(arguments)


def plan_from(given: argparse.Namespace) -> Plan:
    cases = QUICK_CASES if given.quick else all_cases()
    return Plan(
        rounds=given.rounds or (1 if given.quick else 3),
        seconds=given.seconds or (1.5 if given.quick else 3.0),
        sessions=given.sessions,
        cases=tuple(case for case in cases if given.only in case.title),
        idle_sessions=given.idle_sessions if given.idle_sessions >= 0 else (0 if given.quick else 10_000),
    )


def parse_replicas(text: str) -> dict[str, int]:
    pairs = (part.split("=") for part in text.split(",") if part)
    return {role: int(count) for role, count in pairs}


def main() -> int:
    given = parse_arguments(sys.argv[1:])
    plan = plan_from(given)
    allow_many_files()
    wanted = given.systems.split(",")
    script = find_peers_lab()
    with tempfile.TemporaryDirectory(prefix="smtpfleet-bench-") as name:
        folder = Path(name)
        systems: list[System] = []
        if "smtpfleet" in wanted:
            systems.append(Smtpfleet(folder, parse_replicas(given.replicas)))
        peers = Peers(script) if script is not None else None
        if peers is None:
            say("no peers: peers-lab is not beside the repository, or we are not root (PEERS_LAB_SCRIPT names it)")
        else:
            peers.up()
            systems += [peer for peer in (Postfix(peers), OpenSMTPD(peers)) if peer.name in wanted]
        try:
            with Sink(folder, SINK_PORT) as sink:
                results, sections = run(plan, systems, sink, folder)
            head = machine.describe([system.version() for system in systems])
        finally:
            if peers is not None:
                peers.down()
    command = document.command_line("bench.run", sys.argv[1:])
    write(given.out, command, head, results, sections)
    print(given.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
