"""The rest of the internet for path tests: one DNS zone and any number of scripted peers, each on a loopback address of its own.

They run in the event loop of a thread of their own, so that tests read from top to bottom and wait as a client does. All peers share one
port, the fleet's SMTP port for exchangers. Nothing of ours runs here.
"""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import trustme

from smtpfleet.local.ports import free_port
from tests.support.peer import Peer, Script, scripted_peer
from tests.support.zone import Zone, serve_zone

T = TypeVar("T")
_ANSWER_S = 10.0


class World:
    """A context manager. `port` is where every peer listens; `nameserver` is what mta is told to ask."""

    def __init__(self) -> None:
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="world")
        self._open = contextlib.AsyncExitStack()
        self._records: list[str] = []
        self._hosts = itertools.count(1)

    def __enter__(self) -> Self:
        self._thread.start()
        self.zone: Zone = self._run(self._open.enter_async_context(serve_zone("")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._open.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)

    def call(self, work: Callable[[], T]) -> T:
        """Runs `work` in the loop: whatever touches a peer's connections."""

        async def do() -> T:
            return work()

        return self._run(do())

    @property
    def nameserver(self) -> str:
        return self.zone.nameserver

    def new_address(self) -> str:
        """A loopback address that nobody listens on."""
        number = next(self._hosts)
        return f"127.0.{10 + number // 200}.{1 + number % 200}"

    def peer(self, script: Script | None = None, *, ca: trustme.CA | None = None, name: str = "peer.test") -> Peer:
        """A peer on an address of its own, until the world ends."""
        return self._run(
            self._open.enter_async_context(
                scripted_peer(script, ca=ca, name=name, address=self.new_address(), port=self.port)
            )
        )

    def publish(self, records: str) -> None:
        """Adds lines to the zone (tests/support/zone.py has their form)."""
        self._records += [line.strip() for line in records.splitlines() if line.strip()]
        self._load()

    def withdraw(self, record: str) -> None:
        """Takes a line out again."""
        self._records.remove(record)
        self._load()

    def _load(self) -> None:
        text = "\n".join(self._records)
        self.call(lambda: self.zone.load(text))

    def exchanger(self, domain: str, script: Script | None = None, *, ca: trustme.CA | None = None) -> Peer:
        """A peer that is the only exchanger of `domain`, in zone and in fact."""
        peer = self.peer(script, ca=ca, name=f"mx.{domain}")
        self.publish(f"{domain}. 60 IN MX 10 mx.{domain}.\nmx.{domain}. 60 IN A {peer.address}")
        return peer
