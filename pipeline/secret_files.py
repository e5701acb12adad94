"""Secrets come from files that only their owner can read; they are never logged, shown or sent back."""

import os
import stat
from pathlib import Path

from pipeline.errors import ConfigError


class Secret:
    """Text that does not show itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the call that needs it and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


def read(path: str | Path) -> Secret:
    """
    Return the first line of the file at *path*.

    Raise `ConfigError` if it cannot be read, is empty, or may be read or written by anybody but its owner.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(f"{path} holds a secret and has mode {mode:04o}: `chmod 600 {path}`")
            text = file.readline().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the secret in {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the secret in {path} is not UTF-8 text") from error
    if not text:
        raise ConfigError(f"{path} should hold a secret and its first line is empty")
    return Secret(text)
