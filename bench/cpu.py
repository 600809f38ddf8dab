"""CPU time and memory of processes, from /proc.

CPU is counted over a process tree: user and system time of every live process in it plus what each has inherited from children that
ended and were waited for. That is right for Postfix and OpenSMTPD, whose short-lived processes are all children of one master: nothing
is counted twice, nothing that has ended is lost, and no cgroup is needed (several machines mount none that we may write). Work the
kernel does in threads of its own (journal, writeback) is counted for nobody.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# proc(5), counted after the name in parentheses: ppid is field 4; utime, stime, cutime, cstime are 14 to 17.
_PPID = 1
_TIMES = slice(11, 15)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def tree_of(roots: Iterable[int]) -> set[int]:
    """The pids of `roots` and everything below them."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children[int(fields[_PPID])].append(int(entry))
    found: set[int] = set()
    waiting = [root for root in roots if root]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children[pid])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds of these processes, children that ended included. The kernel rounds to 10 ms per process."""
    return sum(sum(int(ticks) for ticks in _stat(pid)[_TIMES]) for pid in pids) / _TICKS


def cpu_of_trees_s(roots: dict[str, list[int]]) -> dict[str, float]:
    """CPU seconds by name of the root's group."""
    return {name: cpu_s(tree_of(pids)) for name, pids in roots.items()}


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def tcp_memory_bytes() -> int:
    """What the kernel holds in TCP socket buffers, for the whole machine."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
