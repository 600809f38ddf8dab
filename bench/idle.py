"""Memory of idle sessions: opens many connections to smtp-in, says EHLO on each and waits.

Owns the connections, in a process of its own (`python -m bench.idle HOST:PORT COUNT`) that closes them when its standard input ends.
Resident memory of smtp-in and the kernel's socket buffers are read from outside.
"""

import asyncio
import resource
import subprocess
import sys
import time

import uvloop

from bench import cpu
from bench.processes import ROOT
from bench.systems import Smtpfleet

AT_ONCE = 200
SETTLE_S = 1.0
SPARE_FILES = 200
"""Descriptors a process needs beside its sessions; chosen."""


async def _open_one(host: str, port: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection(host, port)
    if not (await reader.readline()).startswith(b"220"):
        raise ConnectionError("no 220")
    writer.write(b"EHLO idle.bench.test\r\n")
    while not (await reader.readline()).startswith(b"250 "):
        if reader.at_eof():
            raise ConnectionError("no answer to EHLO")
    return writer


async def _hold(host: str, port: int, count: int) -> None:
    writers: list[asyncio.StreamWriter] = []
    for begin in range(0, count, AT_ONCE):
        wanted = min(AT_ONCE, count - begin)
        writers += await asyncio.gather(*(_open_one(host, port) for _ in range(wanted)))
    print(f"open {len(writers)}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for writer in writers:
        writer.transport.abort()


def measure(system: Smtpfleet, count: int) -> str:
    """A section of the report. Raises RuntimeError where the sessions cannot be opened."""
    # run.py has raised the limit before the fleet was started.
    count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)
    replicas = system.fleet.roles["smtp-in"]
    for replica in replicas:
        # Fresh: in one that has worked, sessions would fill memory that is resident already.
        replica.stop()
        replica.start()
    host, port = system.address
    before = sum(replica.rss_bytes() for replica in replicas)
    tcp_before = cpu.tcp_memory_bytes()
    started = time.monotonic()
    holder = subprocess.Popen(
        [sys.executable, "-m", "bench.idle", f"{host}:{port}", str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != f"open {count}\n":
            raise RuntimeError(f"{count} idle sessions could not be opened")
        opened_s = time.monotonic() - started
        counted = sum(replica.metrics()["smtpfleet_smtp_sessions_open"] for replica in replicas)
        if counted != count:
            raise RuntimeError(f"smtp-in counts {counted:.0f} open sessions, not {count}")
        time.sleep(SETTLE_S)
        cpu_before = cpu.cpu_s([replica.pid for replica in replicas])
        time.sleep(SETTLE_S)
        used_s = cpu.cpu_s([replica.pid for replica in replicas]) - cpu_before
        ours = (sum(replica.rss_bytes() for replica in replicas) - before) / count
        kernel = (cpu.tcp_memory_bytes() - tcp_before) / count
    finally:
        holder.communicate()
    return (
        f"## Idle sessions\n\n{count:,} sessions open and idle after EHLO (opened in {opened_s:.1f} s): "
        f"**{ours:,.0f} bytes** of resident memory of smtp-in per session, {kernel:,.0f} bytes of socket buffers in the kernel; "
        f"smtp-in uses {used_s / SETTLE_S * 100:.1f} % of one processor meanwhile.\n\n"
    )


def main() -> int:
    host, _, port = sys.argv[1].rpartition(":")
    uvloop.run(_hold(host, int(port), int(sys.argv[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
