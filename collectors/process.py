"""What collector and actuator share as processes: logs on standard error, a clean stop on SIGTERM and SIGINT."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable


def run(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run *work* with an event that is set when the process is asked to stop."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(_until_signalled(work))


async def _until_signalled(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await work(stop)


class Changes:
    """Log what is wrong once when it begins and once when it is over, not every second."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._now: dict[str, str] = {}

    def note(self, subject: str, trouble: str | None) -> None:
        """Say that *subject* is in *trouble*, or well again (None)."""
        if self._now.get(subject) == trouble:
            return
        if trouble is None:
            del self._now[subject]
            self._log.info("%s: well again", subject)
        else:
            self._now[subject] = trouble
            self._log.warning("%s: %s", subject, trouble)
