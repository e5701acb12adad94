"""
Programs that turn something for us: no shell, and a bound on time; who exceeds it ends with all it has started.

What they print goes through files: of too much only the beginning is read, and a child that lives on holds nothing up.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from collectors.levers import LeverError
from pipeline.errors import ConfigError
from pipeline.messages.control import Trouble

SHOWN = 200
"""Characters of a program's own complaint that an error shows."""
GRACE_S = 1.0
"""How long a killed program gets to be gone, seconds of the machine; one that hangs in the kernel never is."""


class Done(NamedTuple):
    """How a program ended."""

    code: int
    """0, an exit code, or minus the signal that ended it."""
    output: bytes
    complaint: str
    """The last line it wrote to its standard error, cut."""

    @property
    def reason(self) -> str:
        """What is wrong, in its own words if it has any."""
        return self.complaint or (f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}")


def run(command: Sequence[str], timeout_s: float, most_bytes: int = 4096) -> Done:
    """
    Run *command*, a program and its arguments, and return how it ended and the first *most_bytes* it printed.

    Raise `LeverError` if it cannot be started, or has not ended in time: then it is killed, and what it started too.
    """
    try:
        output, complaint = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed just below
    except OSError as error:
        raise LeverError(f"no room for what {command[0]} prints: {error.strerror}") from error
    with output, complaint:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=complaint, start_new_session=True
            )
        except OSError as error:
            denied = isinstance(error, PermissionError)
            text = f"cannot run {command[0]}: {error.strerror}"
            raise LeverError(text, Trouble.NO_PERMISSION if denied else Trouble.FAILED) from error
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise LeverError(f"{command[0]} did not end within {timeout_s:g} s", Trouble.HANGS) from error
        return Done(code, _start(output, most_bytes), _last_line(complaint))


def check(command: Sequence[str], what: str, placeholder: str = "") -> None:
    """Raise `ConfigError` if *command*, which is to do *what*, cannot be run or does not get the *placeholder*."""
    if not command:
        raise ConfigError(f"{what}: give a program and its arguments")
    program = command[0]
    if not Path(program).is_absolute():
        raise ConfigError(f"{what}: write the full path of {program!r}")
    if not os.access(program, os.X_OK) or not Path(program).is_file():
        raise ConfigError(f"{what}: {program} is no program that we may run")
    if placeholder and not any(placeholder in argument for argument in command[1:]):
        raise ConfigError(f"{what}: no argument has {placeholder} in it, so it would do the same whatever is meant")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)


def _start(file: IO[bytes], most_bytes: int) -> bytes:
    file.seek(0)
    return file.read(most_bytes)


def _last_line(file: IO[bytes]) -> str:
    """Return the last line with anything on it, without what a terminal would obey."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4096))
    lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return "".join(letter for letter in lines[-1].strip() if letter.isprintable())[:SHOWN] if lines else ""
