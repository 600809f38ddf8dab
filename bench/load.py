"""The load generator: `python -m bench.load --to HOST:PORT --rcpt ADDRESS …`; the same client for every system that is measured.

Closed loop (each session sends its next message when the last was answered) or, with --rate, open loop: messages fall due by the
clock whether or not the server keeps up, and their waiting counts. With --retry-after it behaves as an MTA does: what was refused with
4xx or cut off is sent again later. Writes one line per attempt to --log and a summary as JSON to standard output.
"""

import argparse
import asyncio
import heapq
import json
import secrets
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench.mark import Mark
from bench.session import Fate, Session, Stage

RECONNECT_S = 0.1
"""Pause after a connection that could not be made; chosen, no source."""
TICK_S = 0.002
"""How often the open loop looks at the clock; 2 ms is far below any latency we report."""
LINE_LENGTH = 76


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPlan:
    """What to send. One of count and duration_s ends it; rate 0 is a closed loop; retry_after_s 0 never sends anything again.

    settle_s: how long after the end of new messages refused ones are still retried.
    """

    host: str
    port: int
    rcpts: tuple[str, ...]
    run: str
    sender: str = "load@bench.test"
    sessions: int = 20
    size_bytes: int = 4096
    count: int = 0
    duration_s: float = 0.0
    rate: float = 0.0
    messages_per_connection: int = 0
    is_pipelining: bool = False
    retry_after_s: float = 0.0
    settle_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt and its fate. Times are epoch nanoseconds; text is the last reply's."""

    mark: Mark
    fate: str
    began_ns: int
    ended_ns: int
    stage: str
    text: str


def content_of(size_bytes: int, mark_header_bytes: int) -> bytes:
    """What follows the mark: headers, lines of text and the final dot, so that the whole content has `size_bytes`."""
    head = b"From: load@bench.test\r\nTo: bench@local.test\r\nSubject: bench\r\n\r\n"
    left = max(size_bytes - mark_header_bytes - len(head), 2)
    line = b"x" * (LINE_LENGTH - 2) + b"\r\n"
    body = (line * (left // LINE_LENGTH + 1))[: left - 2] + b"\r\n"
    return head + body.replace(b"\r\r\n", b"x\r\n") + b".\r\n"


class Load:
    """Runs a plan: keeps its sessions open and hands them messages."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.attempts: list[Attempt] = []
        self.fates: Counter[str] = Counter()
        self.ehlo = b"EHLO load.bench.test\r\n"
        self.sender = f"MAIL FROM:<{plan.sender}>\r\n".encode()
        self.content = content_of(plan.size_bytes, len(Mark(plan.run, 0, 0, 0).text) + 14)
        self.messages_per_connection = plan.messages_per_connection
        self.is_pipelining = plan.is_pipelining
        self._rcpts = [f"RCPT TO:<{rcpt}>\r\n".encode() for rcpt in plan.rcpts]
        self._issued = 0
        self._due: deque[Mark] = deque()
        self._retries: list[tuple[float, int, int]] = []
        self._open_numbers: set[int] = set()
        self._idle: list[Session] = []
        self._sessions: set[Session] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._ends_at = 0.0
        self._is_over = False
        self._finished = asyncio.Event()

    # the sessions' side

    def next_mark(self) -> Mark | None:
        if self._due:
            return self._due.popleft()
        if self.plan.rate or self._has_issued_all():
            return None
        return self._new_mark()

    def rcpt_of(self, mark: Mark) -> bytes:
        return self._rcpts[mark.number % len(self._rcpts)]

    def on_idle(self, session: Session) -> None:
        if self._is_over:
            session.close()
        else:
            self._idle.append(session)
            self._check_finished()

    def on_fate(self, mark: Mark, fate: Fate, began_ns: int, stage: Stage, reply: bytes) -> None:
        # In the open loop latency counts from when the message was due, so a server that stalls cannot hide it.
        start_ns = mark.sent_ns if self.plan.rate else began_ns
        text = reply.strip().decode("ascii", "replace")
        self.attempts.append(Attempt(mark, fate.value, start_ns, time.time_ns(), stage.name, text))
        self.fates[fate.value] += 1
        if fate is Fate.ACCEPTED or not self.plan.retry_after_s or reply[:1] == b"5":
            self._open_numbers.discard(mark.number)
        else:
            heapq.heappush(self._retries, (time.time() + self.plan.retry_after_s, mark.number, mark.attempt + 1))

    def on_closed(self, session: Session) -> None:
        self._sessions.discard(session)
        if session in self._idle:
            self._idle.remove(session)
        if not self._is_over:
            self._open()

    # the clock's side

    async def run(self) -> None:
        """Send everything; returns when every message has been answered for good, or settle_s after the last was issued."""
        self._ends_at = time.time() + self.plan.duration_s if self.plan.duration_s else float("inf")
        for _ in range(self.plan.sessions):
            self._open()
        ticker = asyncio.create_task(self._tick())
        await self._finished.wait()
        self._is_over = True
        ticker.cancel()
        for session in list(self._idle):
            session.close()
        for _ in range(20):
            if not self._sessions:
                break
            await asyncio.sleep(0.05)
        for session in list(self._sessions):
            session.abort()
        for task in self._connecting:
            task.cancel()
        await asyncio.sleep(0)

    def unanswered(self) -> int:
        """Messages that were given up without 250 or 5xx."""
        return len(self._open_numbers)

    def _has_issued_all(self) -> bool:
        return bool(self.plan.count and self._issued >= self.plan.count) or time.time() >= self._ends_at

    def _new_mark(self) -> Mark:
        self._issued += 1
        self._open_numbers.add(self._issued)
        return Mark(self.plan.run, self._issued, 1, time.time_ns())

    def _open(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_over:
            try:
                _, session = await loop.create_connection(lambda: Session(self), self.plan.host, self.plan.port)
            except OSError:
                await asyncio.sleep(RECONNECT_S)
                continue
            if not session.is_gone:
                self._sessions.add(session)
            return

    async def _tick(self) -> None:
        started_at = time.time()
        while True:
            now = time.time()
            if self.plan.rate and not self._has_issued_all():
                wanted = int((now - started_at) * self.plan.rate)
                if self.plan.count:
                    wanted = min(wanted, self.plan.count)
                while self._issued < wanted:
                    self._due.append(self._new_mark())
            while self._retries and self._retries[0][0] <= now:
                _, number, attempt = heapq.heappop(self._retries)
                self._due.append(Mark(self.plan.run, number, attempt, time.time_ns()))
            while self._due and self._idle:
                self._idle.pop().wake()
            self._check_finished()
            await asyncio.sleep(TICK_S if self.plan.rate else 0.02)

    def _check_finished(self) -> None:
        if not self._has_issued_all():
            return
        if self._ends_at == float("inf"):
            self._ends_at = time.time()
        if not self._open_numbers or time.time() > self._ends_at + self.plan.settle_s:
            self._finished.set()


def write_log(path: Path, attempts: list[Attempt]) -> None:
    """One attempt per line, fields separated by tabs; read_log reads it."""
    with path.open("w") as out:
        for a in attempts:
            out.write(f"{a.mark.text}\t{a.fate}\t{a.began_ns}\t{a.ended_ns}\t{a.stage}\t{a.text}\n")


def read_log(path: Path) -> list[Attempt]:
    """What write_log wrote."""
    attempts = []
    for line in path.read_text().splitlines():
        mark, fate, began, ended, stage, text = line.split("\t", 5)
        run, number, attempt, sent = mark.split(".")
        attempts.append(
            Attempt(
                Mark(run, int(number, 16), int(attempt, 16), int(sent, 16)), fate, int(began), int(ended), stage, text
            )
        )
    return attempts


def new_run() -> str:
    """A fresh name for a run."""
    return secrets.token_hex(4)


def parse_arguments(arguments: list[str]) -> tuple[LoadPlan, Path | None]:
    parser = argparse.ArgumentParser(prog="bench.load", description="SMTP load generator")
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--rcpt", action="append", required=True, help="repeat it: recipients take turns")
    parser.add_argument("--sender", default="load@bench.test")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="bytes of content")
    parser.add_argument("--count", type=int, default=0, help="messages; or --duration")
    parser.add_argument("--duration", type=float, default=0.0, help="seconds")
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second, open loop; 0: closed loop")
    parser.add_argument("--per-connection", type=int, default=0, help="messages per connection; 0: no limit")
    parser.add_argument("--pipelining", action="store_true")
    parser.add_argument("--retry-after", type=float, default=0.0, help="seconds; 0: never send anything again")
    parser.add_argument("--settle", type=float, default=30.0, help="seconds of retrying after the last new message")
    parser.add_argument("--run", default="", help="eight characters, for the marks")
    parser.add_argument("--log", type=Path, help="file for a line per attempt")
    given = parser.parse_args(arguments)
    if not given.count and not given.duration:
        parser.error("--count or --duration")
    host, _, port = given.to.rpartition(":")
    plan = LoadPlan(
        host=host,
        port=int(port),
        rcpts=tuple(given.rcpt),
        run=given.run or new_run(),
        sender=given.sender,
        sessions=given.sessions,
        size_bytes=given.size,
        count=given.count,
        duration_s=given.duration,
        rate=given.rate,
        messages_per_connection=given.per_connection,
        is_pipelining=given.pipelining,
        retry_after_s=given.retry_after,
        settle_s=given.settle,
    )
    return plan, given.log


async def _run(plan: LoadPlan) -> Load:
    load = Load(plan)
    await load.run()
    return load


def main() -> int:
    plan, log = parse_arguments(sys.argv[1:])
    # Without the interpreter's start, which costs as much as a thousand messages.
    before_s = time.process_time()
    load = uvloop.run(_run(plan))
    cpu_s = time.process_time() - before_s
    if log is not None:
        write_log(log, load.attempts)
    accepted = load.fates["accepted"]
    refusals = Counter(a.text[:60] for a in load.attempts if a.fate == "refused")
    summary = {
        "plan": asdict(plan),
        "fates": dict(load.fates),
        "unanswered": load.unanswered(),
        "cpu_s": round(cpu_s, 3),
        "refusals": dict(refusals.most_common(5)),
    }
    if accepted:
        took = [a for a in load.attempts if a.fate == "accepted"]
        span_s = (max(a.ended_ns for a in took) - min(a.began_ns for a in took)) / 1e9
        summary["accepted_per_s"] = round(accepted / span_s, 1) if span_s else 0.0
        summary["cpu_ms_per_message"] = round(cpu_s * 1000 / accepted, 4)
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
