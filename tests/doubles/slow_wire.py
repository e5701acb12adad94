"""
A wire to the venue on which a request may be long under way, also after whoever sent it has died.

    submitter ──▶ port ▕ a share of what is sent waits up to *most_s* ▏──▶ venue
              ◀──      ▕ answers pass at once                          ▏◀──
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random
from urllib.parse import urlsplit

CHUNK = 65_536
TURNS = 5


class Wire:
    """One address to connect to, one it leads to."""

    def __init__(self, to: str, share: float, most_s: float, seed: int) -> None:
        parts = urlsplit(to)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._share, self._most_s, self._draw = share, most_s, Random(seed)
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self) -> asyncio.Server:
        """Listen on any port."""
        return await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = asyncio.current_task()
        assert here is not None
        self._open.add(here)  # nothing else keeps a task whose connections are closed
        here.add_done_callback(self._open.discard)
        venue_reader, venue_writer = await asyncio.open_connection(self._host, self._port)
        ways = (self._pass(reader, venue_writer, late=True), self._pass(venue_reader, writer, late=False))
        try:
            await asyncio.gather(*ways)
        except asyncio.CancelledError:
            return  # asyncio's streams complain of a handler that is cancelled
        finally:
            writer.close()
            venue_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        """Carry bytes one way until their sender is gone; what it sent before still arrives."""
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if late and self._draw.random() < self._share:
                    await asyncio.sleep(self._draw.uniform(0, self._most_s))
                writer.write(data)
                await writer.drain()
            if late:
                writer.write_eof()  # whoever sent it is gone; the venue still answers, to nobody
        if not late:
            writer.close()  # the venue has hung up


@contextmanager
def slow_wire(to: str, share: float, most_s: float, seed: int) -> Iterator[str]:
    """Yield the URL of a wire to the venue at *to*; *share* of the requests wait up to *most_s* on it."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(Wire(to, share, most_s, seed).serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    here = asyncio.current_task()
    assert here is not None
    for _ in range(TURNS):  # a connection that was being accepted becomes a task only now
        for task in asyncio.all_tasks() - {here}:
            task.cancel()
        await asyncio.sleep(0.01)
