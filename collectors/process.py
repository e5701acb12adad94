"""What collector and actuator share as processes: logs on standard error, a clean stop on SIGTERM and SIGINT."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec

#: What a log record has by itself; all else was given with it (`extra=`).
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


ENDING = (signal.SIGTERM, signal.SIGINT)


def wait_to_end() -> None:
    """Let SIGTERM and SIGINT wait until `run` hears them: a process that must put something back ends no other way."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


class JsonLines(logging.Formatter):
    """One JSON object a line: when, how bad, who, what, and the fields that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON."""
        fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
            "event": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def run(work: Callable[[asyncio.Event], Awaitable[None]], log: Literal["text", "json"] = "text") -> None:
    """Run *work* with an event that is set when the process is asked to stop."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log == "json" else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    asyncio.run(_until_signalled(work))


async def _until_signalled(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # what came before anybody could hear it comes now
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
            self._log.info("%s: well again", subject, extra={"subject": subject, "well": True})
        else:
            self._now[subject] = trouble
            self._log.warning("%s: %s", subject, trouble, extra={"subject": subject, "well": False})
