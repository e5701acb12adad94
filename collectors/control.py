"""
What an operator asks of a running collector, over a socket in the file system whose permissions say who may.

One line of JSON each way. `release` lets go of all devices (no driver is replaced and no GPU reset or partitioned while
anybody holds NVML), `resume` takes them up again, `fast` measures ten times a second for a while.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.errors import EnvironmentProblem

LONGEST_S = 3600.0
ANSWER_S = 5.0
"""How long to wait for the collector's answer, seconds of the machine."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question."""

    do: Literal["release", "resume", "fast"]
    seconds: float = 60.0


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer; an empty `refused` is consent."""

    refused: str = ""


async def serve(path: Path, obey: Callable[[Request], Awaitable[str]]) -> asyncio.Server:
    """
    Listen at *path*, for its owner alone; raise `EnvironmentProblem` if that cannot be.

    *obey* does what is asked and returns why it could not, or nothing.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), ANSWER_S)
            writer.write(msgspec.json.encode(await _answer(line, obey)) + b"\n")
            await writer.drain()
        except (TimeoutError, OSError, ValueError):  # gone, silent, or a line without end
            return
        finally:
            writer.close()

    return await asyncio.start_unix_server(talk, sock=_listening(path))


def ask(path: Path, request: Request) -> Answer:
    """Ask the collector that listens at *path*; raise `EnvironmentProblem` if there is none."""
    try:
        with _short(path) as name, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(name)
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as file:
                return msgspec.json.decode(file.readline(), type=Answer)
    except (OSError, msgspec.DecodeError) as error:
        raise EnvironmentProblem(f"no collector answers at {path} ({error}); is `firmwatt collect run` up?") from error


def _listening(path: Path) -> socket.socket:
    """Return a bound socket at *path*, in place of one that a killed collector left behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            with _short(path) as name:
                bound.bind(name)
        finally:
            os.umask(before)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot listen at {path}: {error.strerror}; choose another [collector] socket"
        ) from error
    return bound


async def _answer(line: bytes, obey: Callable[[Request], Awaitable[str]]) -> Answer:
    try:
        request = msgspec.json.decode(line, type=Request)
    except msgspec.DecodeError as error:
        return Answer(refused=str(error))
    if not 0 < request.seconds <= LONGEST_S:
        return Answer(refused=f"seconds must be above 0 and at most {LONGEST_S:g}")
    return Answer(await obey(request))


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of *path* that fits into a socket address (108 bytes, unix(7)), however deep its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
