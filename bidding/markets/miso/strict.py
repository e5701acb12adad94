"""
JSON as two machines agree on it: UTF-8, no name twice in an object, finite numbers of a sane length, no bomb. Pure.

Numbers are read as they are written, `Decimal` where they have a point: 0.1 stays 0.1, and 12.30 keeps its zero.
"""

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, JsonValue, ValidationError

from pipeline.errors import VenueError

M = TypeVar("M", bound=BaseModel)

LONGEST_NUMBER = 40
"""Characters; MISO's longest are 12 (99999999.9, MUI 3.3.0), our floats 24."""
WIDEST_EXPONENT = 400
"""A float's own is 324; beyond that, what writes a number out in full writes without end."""
DEEPEST = 64
"""Levels of nesting; MISO's deepest document has 9."""
SHOWN = 160
"""Characters of a reason that are shown."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def read(content: bytes, largest: int) -> JsonValue:
    """Return the value in *content*; raise `VenueError` on more than *largest* bytes and on what is not strict JSON."""
    if len(content) > largest:
        raise VenueError(f"{len(content)} bytes of JSON are too many, at most {largest} are read")
    try:
        value: JsonValue = json.loads(content.decode(), **_HOOKS)
        _refuse_deep(value)
    except (ValueError, RecursionError) as error:
        raise VenueError(f"not JSON as we read it: {line(error)}") from error
    return value


def write(value: object) -> bytes:
    """Return *value* as JSON, `Decimal` as a number, digit for digit."""
    return _ENCODER.encode(value)


def parse(kind: type[M], value: object) -> M:
    """Return *value*, as `read` made it, as *kind*; raise `VenueError` that names the first field that is wrong."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise VenueError(f"not a {kind.__name__}: {why(error)}") from error


def why(error: ValidationError) -> str:
    """Return the first of pydantic's complaints and where it is, as one line."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return line(f"{place}: {first['msg']}")


def line(reason: object) -> str:
    """Return *reason* as one printable line that is not too long."""
    text = " ".join(str(reason).split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def _refuse_deep(value: JsonValue) -> None:
    """Raise `ValueError` where lists and objects nest too deep for what comes after us."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        level = [below for one in level for below in _within(one)]


def _within(value: JsonValue) -> Iterable[JsonValue]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (one for one in inside if isinstance(one, dict | list))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice!r} stands twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters")
    return int(text)


def _number(text: str) -> Decimal:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters")
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"the number {text} is beyond all measure") from error
    if number and abs(number.adjusted()) > WIDEST_EXPONENT:
        raise ValueError(f"the number {text} is beyond all measure")
    return number


def _constant(text: str) -> Decimal:
    raise ValueError(f"{text} is no number")


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _object,
    "parse_int": _integer,
    "parse_float": _number,
    "parse_constant": _constant,
}
