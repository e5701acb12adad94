"""
Settings: one TOML file, a section for each part, frozen structs, checked before the first connection.

Every part declares its own section as a `msgspec.Struct` and calls `load`; a GPU host needs nothing heavier to do so.
An unknown key, a wrong type or a value out of bounds is a `ConfigError` that names file, line, section and reason.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from pipeline.clock import Clock
from pipeline.errors import ConfigError, FirmwattError

S = TypeVar("S", bound=msgspec.Struct)

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
"""Finite: what is a number of seconds stays below what a calendar can hold."""

Keys: TypeAlias = tuple[str | int, ...]
"""The way to a value in a document."""

#: The tables that parts of firmwatt read; all parts of a deployment may share one file.
TABLES = frozenset(
    {"kafka", "clock", "site", "pipeline", "bidding", "venue", "sandbox", "fleet", "collector", "actuator"}
    | {"source", "engine", "mapping", "lever", "mirror", "products"}
)

#: The units with which a key's name may end.
UNITS = {
    "ms": "milliseconds",
    "s": "seconds",
    "min": "minutes",
    "h": "hours",
    "w": "watts",
    "kw": "kilowatts",
    "mw": "megawatts",
    "b": "bytes",
    "kb": "kilobytes",
    "mb": "megabytes",
    "gb": "gigabytes",
}

_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_PATH = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: frozen, and a misspelt key is an error."""


class Kafka(Section, frozen=True, kw_only=True):
    """``[kafka]``: where the brokers are and who we are to them. `pipeline.kafka_security` hands it to each client."""

    bootstrap: str = "127.0.0.1:9092"
    """Addresses to begin with, ``HOST:PORT``, separated by commas."""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """Kafka's listener protocol: ``ssl`` encrypts, ``sasl_…`` proves who we are with a password."""
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256"] = "SCRAM-SHA-512"
    username: str = ""
    password_file: str = ""
    """Its first line is the password; nobody but its owner may read it."""
    ca_file: str = ""
    """PEM, the authorities that may vouch for a broker; empty: those of the system."""
    certificate_file: str = ""
    """PEM, our own certificate and those between it and its authority: proves who we are without a password."""
    key_file: str = ""
    """PEM, the private key of `certificate_file`, not encrypted; nobody but its owner may read it."""
    telemetry_partitions: Annotated[int, msgspec.Meta(ge=1)] = 8
    """Of `pipeline.topics.HOST_TICKS`; the same for all parts of a deployment, and it cannot be changed later."""

    def __post_init__(self) -> None:
        """Refuse what would be ignored, and what is missing."""
        if problem := _security_problem(self):
            raise ValueError(problem)


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


def _security_problem(kafka: Kafka) -> str | None:
    """Return in one line why the settings of *kafka* do not fit together, None if they do."""
    sasl, tls = kafka.security.startswith("sasl_"), kafka.security.endswith("ssl")
    if sasl and not (kafka.username and kafka.password_file):
        return f'security = "{kafka.security}" needs username and password_file'
    if bool(kafka.certificate_file) != bool(kafka.key_file):
        return "certificate_file and key_file belong together: give both or neither"
    unused = [] if sasl else ["username", "password_file"]
    unused += [] if tls else ["ca_file", "certificate_file", "key_file"]
    if given := [name for name in unused if getattr(kafka, name)]:
        return f'{given[0]} has no use with security = "{kafka.security}": remove it, or choose another security'
    return None


def load(path: Path, section: str, kind: type[S]) -> S:
    """
    Return *section* of the TOML file at *path* as *kind*; an absent section means its defaults.

    A dotted *section* (``venue.sandbox``) is a nested table.
    """
    text = _text(path)
    return _section(path, text, _parsed(path, text), tuple(section.split(".")), kind)


def load_each(path: Path, section: str, kind: type[S]) -> list[S]:
    """Return every entry of the array of tables ``[[section]]`` as *kind*; none where it is absent."""
    text = _text(path)
    document = _parsed(path, text)
    steps = tuple(section.split("."))
    entries = _at(path, text, document, steps, absent=[])
    if not isinstance(entries, list):
        raise ConfigError(f"{path}, line {_line(text, steps)}: write [[{section}]], one for each")
    return [_section(path, text, document, (*steps, number), kind) for number in range(len(entries))]


def table(path: Path, section: str) -> dict[str, Any]:
    """Return *section* of the TOML file at *path* as it stands there, empty where it is absent; nothing is checked."""
    text = _text(path)
    found = _at(path, text, _parsed(path, text), tuple(section.split(".")), absent={})
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: write [{section}] as a table")
    return found


def check_tables(path: Path) -> None:
    """Raise `ConfigError` if the file at *path* has a table that no part of firmwatt reads."""
    _refuse_others(path, (), sorted(TABLES))


def names_in(path: Path, family: str, known: list[str]) -> list[str]:
    """Return the names of the tables ``[family.NAME]``; raise `ConfigError` for one that is not *known*."""
    return _refuse_others(path, (family,), known)


@contextmanager
def placed(path: Path, *section: str | int, key: str = "") -> Iterator[None]:
    """Turn any expected error within into a `ConfigError` that names *section* of *path* and the line of its *key*."""
    try:
        yield
    except FirmwattError as error:
        line = _line(_text(path), (*section, key) if key else section)
        raise ConfigError(f"{path}, line {line}, section [{_name(section)}]: {error}") from error


def _refuse_others(path: Path, steps: Keys, known: list[str]) -> list[str]:
    text = _text(path)
    names = list(_at(path, text, _parsed(path, text), steps, absent={}))
    for name in names:
        if name not in known:
            table = _name((*steps, name))
            raise ConfigError(
                f"{path}, line {_line(text, (*steps, name))}: no part of firmwatt reads [{table}]{_meant(name, known)}"
            )
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not its grammar, a number of 5,000 digits, a thousand brackets
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _section(path: Path, text: str, document: Any, steps: Keys, kind: type[S]) -> S:
    try:
        return msgspec.convert(_at(path, text, document, steps, absent={}), kind)
    except msgspec.ValidationError as error:
        where, reason = _explained(str(error), steps, kind)
        raise ConfigError(f"{path}, line {_line(text, where)}, section [{_name(steps)}]: {reason}") from error


def _at(path: Path, text: str, document: Any, steps: Keys, absent: Any) -> Any:
    """Return the value at *steps*, *absent* where it is not; `ConfigError` if the way there is not one of tables."""
    for depth, step in enumerate(steps):
        if isinstance(step, str) and not isinstance(document, dict):
            above = steps[:depth]
            raise ConfigError(f"{path}, line {_line(text, above)}: write [{_name(above)}] as one table")
        if isinstance(step, str) and step not in document:
            return absent
        document = document[step]
    return document


def _name(steps: Keys) -> str:
    """Return a table's name, as in ``[venue.sandbox]``."""
    return ".".join(step for step in steps if isinstance(step, str))


def _explained(reason: str, steps: Keys, kind: type[msgspec.Struct]) -> tuple[Keys, str]:
    """Return the path to what msgspec's *reason* complains about, and the reason with what was probably meant."""
    keys = _keys(reason)
    if (unknown := _UNKNOWN.search(reason)) is None:
        return steps + keys, reason
    name = unknown[1]
    return (*steps, *keys, name), f"unknown key {name!r}{_meant(name, _known(kind, keys))}"


def _known(kind: type[msgspec.Struct], keys: Keys) -> list[str]:
    """Return the names of the keys that the table at *keys* within *kind* may have."""
    node = msgspec.inspect.type_info(kind)
    for key in keys:
        if isinstance(node, msgspec.inspect.StructType):
            node = next(field.type for field in node.fields if field.encode_name == key)
        elif isinstance(node, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
            node = node.item_type
        if isinstance(node, msgspec.inspect.UnionType):
            node = next((one for one in node.types if isinstance(one, msgspec.inspect.StructType)), node)
    return [field.encode_name for field in node.fields] if isinstance(node, msgspec.inspect.StructType) else []


def _keys(reason: str) -> Keys:
    """Return the keys in the path at the end of a msgspec error, as in ``… - at `$.pdus[0].host```."""
    path = _PATH.search(reason)
    return tuple(int(index) if index else key for key, index in _STEP.findall(path[1])) if path else ()


def _meant(name: str, known: list[str]) -> str:
    """Return what was probably meant: the same quantity in another unit, or the nearest spelling."""
    quantity, _, unit = name.rpartition("_")
    for other in known:
        other_quantity, _, other_unit = other.rpartition("_")
        if quantity == other_quantity and unit in UNITS and other_unit in UNITS:
            return f"; it is given in another unit: {other} ({UNITS[other_unit]})"
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _line(text: str, where: Keys) -> int:
    """
    Return the number of the line on which what sets the value at *where* begins, or what sets the nearest table.

    The parser tells no positions, so it is asked: the first lines of *text* that parse and hold the value end with it.
    """
    lines = text.split("\n")  # a file's other line endings are already these; others that Python knows are not TOML's
    begins = 1
    for count in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue  # inside a value of several lines
        if _holds(document, where):
            return begins
        begins = count + 1
    return _line(text, where[:-1]) if where else 1


def _holds(document: Any, where: Keys) -> bool:
    for step in where:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
