"""
One figure as a file or an operator gives it: of its type, within sense, or a `ConfigError` that says where. Pure.

The types are those that `Rules` declares, so that a figure added there can be used in a file at once.
"""

import difflib
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from bidding.products import Gate, Rules
from bidding.products.product import FIGURES
from pipeline.cbl import methods
from pipeline.errors import ConfigError

_TYPES: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter[Any](field.annotation)  # type: ignore[arg-type] # pydantic says it may be None, and it is not
    for name, field in Rules.model_fields.items()
    if name in FIGURES
}

#: Figures that make no sense at zero.
_POSITIVE = frozenset({"interval_s", "block_mw", "max_steps", "max_points", "max_equal_steps", "price_tick"})

#: No span, power or price of a market lies beyond these; arithmetic on what does would fail.
_LEAST, _MOST = Decimal("1e-9"), Decimal("1e12")

#: A price that the venue pays or takes may lie below zero.
_SIGNED = frozenset({"price_floor", "price_cap", "net_benefits_floor"})


def figure(where: str, name: str, given: Any) -> Any:
    """
    Return *given* as figure *name* of `Rules`; *where* begins the message if it cannot be.

    Numbers have to be numbers: a quoted one is refused, and so is one that is infinite.
    """
    known(where, name, FIGURES)
    _number(f"{where}: {name}", name, given)
    try:
        found = _TYPES[name].validate_python(given, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join((name, *(str(step) for step in first["loc"])))
        raise ConfigError(f"{where}: {path} = {_shown(given)}: {first['msg'].lower()}") from error
    if isinstance(found, Gate):
        _gate(f"{where}: {name}", found)
    if name == "baseline_method" and found and found not in (have := methods.names()):
        raise ConfigError(f"{where}: baseline_method: no {found!r} in pipeline.cbl.methods{meant(found, have)}")
    return found


def known(where: str, name: str, names: Iterable[str]) -> None:
    """Raise `ConfigError` if *name* is none of *names*; it says what was probably meant."""
    if name not in (have := list(names)):
        raise ConfigError(f"{where}: unknown key {name!r}{meant(name, have)}")


def meant(name: str, names: Iterable[str]) -> str:
    """Return the nearest spelling as the end of a message."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def timezone(where: str, name: str) -> str:
    """Return *name* if it is a time zone; raise `ConfigError` otherwise."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(f"{where}: no time zone {name!r}; write it as in America/Chicago") from error
    return name


def consistent(where: str, figures: dict[str, Any]) -> None:
    """Raise `ConfigError` where two figures contradict each other."""
    for low, high in (("price_floor", "price_cap"), ("min_mw", "max_mw"), ("since", "until")):
        if low in figures and high in figures and figures[low] > figures[high]:
            raise ConfigError(f"{where}: {low} {figures[low]} is above {high} {figures[high]}")
    if figures.get("min_mw", Decimal(0)) % figures.get("block_mw", Decimal(1)):
        raise ConfigError(f"{where}: min_mw {figures['min_mw']} is no multiple of block_mw {figures['block_mw']}")
    if "since" in figures and figures["since"] == figures.get("until"):
        raise ConfigError(f"{where}: since and until are the same day, so that it never holds")


def _number(where: str, name: str, given: Any) -> None:
    kind = str(Rules.model_fields[name].annotation)
    if isinstance(given, bool) and "bool" not in kind:
        raise ConfigError(f"{where}: {_shown(given)} is no number")
    if isinstance(given, str) and any(word in kind for word in ("Decimal", "float", "'int'", "int |")):
        raise ConfigError(f"{where}: {_shown(given)} is text; write the number without quotes")
    if not isinstance(given, (int, float, Decimal)) or isinstance(given, bool):
        return
    if not isfinite(given) or (given and not _LEAST <= abs(Decimal(given)) <= _MOST):
        raise ConfigError(f"{where}: {given} is no figure; leave out what nobody knows")
    if given < 0 and name not in _SIGNED:
        raise ConfigError(f"{where}: {given} is negative")
    if given == 0 and name in _POSITIVE:
        raise ConfigError(f"{where}: has to be above 0")


def _gate(where: str, gate: Gate) -> None:
    if (gate.days_before is None) != (gate.at is None):
        raise ConfigError(f"{where}: days_before and at go together")
    if gate.at is None and gate.zone:
        raise ConfigError(f"{where}: zone is at's clock; without at there is none")
    if gate.before_s < 0 or (gate.days_before or 0) < 0:
        raise ConfigError(f"{where}: lies after the interval")
    if gate.zone:
        timezone(where, gate.zone)


def _shown(given: Any) -> str:
    if isinstance(given, (date, time, Decimal, StrEnum)):
        return str(given)
    return repr(given)
