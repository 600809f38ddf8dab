"""Load generator and sink as processes of their own, as the measurements start them.

They run apart so that their CPU is theirs, and the system under test shares neither interpreter nor event loop with them.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.load import Attempt, new_run, read_log
from bench.mark import Arrival, count_sink_log, read_sink_log

ROOT = Path(__file__).resolve().parent.parent


class Sink:
    """A running sink; a context manager."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder
        self._wanted_port = port
        self._number = 0
        self._process: subprocess.Popen[str] | None = None
        self.port = port
        self.log = folder / "sink.log"

    def start(self) -> None:
        """Start it on a fresh log. Raises RuntimeError where it does not listen."""
        self._number += 1
        self.log = self._folder / f"sink-{self._number}.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sink", "--listen", f"127.0.0.1:{self.port}", "--log", str(self.log)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if not words or words[0] != "ready":
            self.stop()
            raise RuntimeError(f"the sink does not listen on port {self.port}")
        self.port = int(words[1])

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def restart(self) -> None:
        """Forget everything: a new process on a new log and the same port."""
        self.stop()
        self.start()

    def count(self) -> int:
        return count_sink_log(self.log)

    def arrivals(self) -> list[Arrival]:
        return read_sink_log(self.log)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Loader:
    """One run of the load generator. start() returns at once; finish() waits and reads what it wrote."""

    def __init__(self, folder: Path, address: tuple[str, int], rcpts: list[str], options: list[str]) -> None:
        self.run = new_run()
        self._log = folder / f"load-{self.run}.log"
        self._argv = [sys.executable, "-m", "bench.load", "--to", f"{address[0]}:{address[1]}", "--run", self.run]
        self._argv += ["--log", str(self._log), *options]
        for rcpt in rcpts:
            self._argv += ["--rcpt", rcpt]
        self._process: subprocess.Popen[str] | None = None
        self.attempts: list[Attempt] = []
        self.summary: dict[str, Any] = {}

    def start(self) -> Self:
        self._process = subprocess.Popen(self._argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        return self

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def finish(self, timeout_s: float) -> Self:
        """Wait for its end. Raises TimeoutExpired, having killed it, or RuntimeError."""
        assert self._process is not None
        try:
            out, _ = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        if self._process.returncode:
            raise RuntimeError(f"load generator ended with {self._process.returncode}")
        self.summary = json.loads(out)
        self.attempts = read_log(self._log)
        self._log.unlink()
        return self
