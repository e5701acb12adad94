"""The process: a loopback socket, uvicorn, signals. Connections can be hung up on, which HTTP servers rarely want."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.errors import EnvironmentProblem

LOOPBACK = "127.0.0.1"


class HangUpProtocol(H11Protocol):
    """HTTP/1.1 whose requests find `hang_up` in their state: close the connection without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Remember how to end this connection."""
        super().connection_made(transport)
        self.app_state = self.app_state | {"hang_up": transport.abort}


class Server(uvicorn.Server):
    """Says when it is ready; leaves signals to `serve`, so that being asked to stop is no failure."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so in one line on standard error."""
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()
            print(f"ready http://{host}:{port}", file=sys.stderr, flush=True)  # noqa: T201 - what the caller waits for

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield


def listen(port: int) -> socket.socket:
    """Return a loopback socket on *port*, 0 for a free one; raise `EnvironmentProblem` when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio asks: no Nagle
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise EnvironmentProblem(f"cannot listen on port {port}: {error.strerror}; choose another --port") from error
    return listener


async def serve(app: Starlette, listener: socket.socket) -> None:
    """Answer on *listener* until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        app,
        http=HangUpProtocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    server = Server(config)

    def stop() -> None:
        server.should_exit = True

    for wanted in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wanted, stop)
    await server.serve(sockets=[listener])
