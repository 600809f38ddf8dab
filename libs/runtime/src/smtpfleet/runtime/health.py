"""/healthz, /readyz and /metrics of a role, served by uvicorn in the role's own event loop.

In the loop on purpose: a role whose loop hangs does not answer and is restarted. /readyz says which condition is missing. Called by
role.py alone; admin's REST API is another server.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from smtpfleet.runtime import metrics
from smtpfleet.runtime.settings import split_address

Check = Callable[[], bool]
_Scope = MutableMapping[str, Any]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class InLoopServer(uvicorn.Server):
    """uvicorn without its signal handlers: the role owns the signals."""

    def capture_signals(self) -> Any:
        """Nothing to capture."""
        from contextlib import nullcontext

        return nullcontext()


def in_loop_server(app: Any, listener: socket.socket) -> tuple[InLoopServer, asyncio.Task[None]]:
    """`app` served on the bound socket as a task of the running loop; stop it by `should_exit = True`."""
    server = InLoopServer(
        uvicorn.Config(app, interface="asgi3", log_config=None, access_log=False, lifespan="off", timeout_keep_alive=15)
    )
    return server, asyncio.get_running_loop().create_task(server.serve(sockets=[listener]), name="http")


def bind(address: str) -> socket.socket:
    """A listening socket at ADDRESS:PORT. Raises OSError with the address in its text."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    listener.listen(64)
    return listener


class Health:
    """The health endpoints of one process."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._server: InLoopServer | None = None
        self._task: asyncio.Task[None] | None = None
        self.address = ""

    def ready_when(self, name: str, check: Check) -> None:
        """Adds a condition of /readyz."""
        self._checks[name] = check

    def missing(self) -> list[str]:
        """Names of the conditions that do not hold now."""
        return [name for name, check in self._checks.items() if not check()]

    async def start(self, address: str) -> None:
        """Listens; port 0 takes a free one, which `address` then tells."""
        listener = bind(address)
        host, port = listener.getsockname()[:2]
        self.address = f"{host}:{port}"
        self._server, self._task = in_loop_server(self._app, listener)

    async def stop(self) -> None:
        """Stops listening."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            await self._task

    async def _app(self, scope: _Scope, receive: object, send: _Send) -> None:
        path = scope.get("path", "")
        kind = b"application/json"
        if path == "/metrics":
            code, kind, body = 200, b"text/plain; version=0.0.4; charset=utf-8", metrics.exposition()
        elif path == "/healthz":
            code, body = 200, b'{"status":"alive"}\n'
        elif path == "/readyz":
            missing = self.missing()
            code = 503 if missing else 200
            body = (json.dumps({"status": "not ready" if missing else "ready", "waiting_for": missing}) + "\n").encode()
        else:
            code, body = 404, b'{"status":"not found"}\n'
        await send({"type": "http.response.start", "status": code, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})
