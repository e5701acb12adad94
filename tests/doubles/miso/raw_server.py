"""A server that answers every request with the same bytes, or with nothing: what no well-behaved venue does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Raw:
    """A running server and what it was asked."""

    url: str = ""
    asked: list[bytes] = field(default_factory=list)


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """Return an HTTP/1.1 answer of *body*."""
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def serving(*said: bytes) -> AsyncIterator[Raw]:
    """Yield a server whose answers are *said*, one each request, the last one for all that follow."""
    raw, left = Raw(), list(said)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raw.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        await server.wait_closed()
