"""
Settings: one TOML file, a section for each part, frozen structs, checked before the first connection.

Every part declares its own section as a `msgspec.Struct` and calls `load`; a GPU host needs nothing heavier to do so.
An unknown key, a wrong type or a value out of bounds is a `ConfigError` that names file, section and reason.
"""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from pipeline.clock import Clock
from pipeline.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: frozen, and a misspelt key is an error."""


class Kafka(Section, frozen=True, kw_only=True):
    """``[kafka]``."""

    bootstrap: str = "127.0.0.1:9092"


class ClockSection(Section, frozen=True, kw_only=True):
    """``[clock]``: left out for real time."""

    word: str = ""

    def clock(self) -> Clock:
        """Return the clock that all processes of this deployment share."""
        return Clock.parse(self.word)


class Site(Section, frozen=True, kw_only=True):
    """``[site]``."""

    name: str = "site-1"
    timezone: str = "America/Los_Angeles"
    interval_s: Annotated[int, msgspec.Meta(ge=1)] = 300
    """Length of the settlement interval, seconds of the clock."""

    @property
    def interval(self) -> timedelta:
        """The settlement interval."""
        return timedelta(seconds=self.interval_s)


def load(path: Path, section: str, kind: type[S]) -> S:
    """
    Return *section* of the TOML file at *path* as *kind*; an absent section means its defaults.

    A dotted *section* (``venue.sandbox``) is a nested table.
    """
    try:
        document: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for name in section.split("."):
        document = document.get(name, {}) if isinstance(document, dict) else document
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}, section [{section}]: {error}") from error
