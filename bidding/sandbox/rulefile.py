"""
A venue's product file, read for ourselves: `--rules-of ercot.toml`.

The sandbox stays simulated: it takes over minimums, steps, segments, price limits, gates and pauses, and nothing else.
Where a product has several dated versions the one without an end holds. What is not traded by intervals, or lacks a
figure that an offer is checked against, is left out.
"""

import logging
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bidding.sandbox.products import RESERVE_ROUNDING
from bidding.sandbox.rules import REGULATION, ROUNDING, Family, Rules, Trading
from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

#: Without these no offer can be judged.
NEEDED = ("interval_s", "block_mw", "min_mw", "max_steps", "price_tick", "price_floor", "price_cap")

#: What a product in the file may say of how it is sold; all else in it is not ours to act on.
TAKEN = (
    *NEEDED,
    *("family", "trading", "title", "max_mw", "max_points", "shape", "max_equal_steps", "net_benefits_floor", "per"),
    *("response_s", "duration_s", "recovery_s", "max_calls_per_day", "telemetry_s", "gate_closure_s", "horizon_s"),
    *("closes", "opens", "pauses", "max_document_bytes", "shortfall_factor", "penalty"),
)


def load(path: Path, like: Rules, signal_s: int) -> tuple[Rules, ...]:
    """
    Return the products of the file at *path*, energy first; figures it lacks are those of *like*.

    Raise `ConfigError` when the file cannot be read or sells nothing that can be offered.
    """
    document = _document(path)
    tables = [table for table in document.get("product", []) if isinstance(table, dict) and "until" not in table]
    lacking = {str(table.get("name")): [key for key in NEEDED if key not in table] for table in tables}
    for name, keys in lacking.items():
        if keys:
            log.info("%s of %s is not sold here: no %s", name, path, ", ".join(keys))
    products = [
        _product(path, document, table, like, signal_s)
        for table in tables
        if not lacking[str(table.get("name"))] and table.get("trading") != Trading.SEASON.value
    ]
    products.sort(key=lambda rules: (rules.family is not Family.ENERGY, rules.trading is not Trading.REAL_TIME))
    if not products:
        raise ConfigError(f"{path} has no product that can be offered; name a file of bidding/products")
    return _on_one_grid(path, tuple(products))


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; give rules_of a file of bidding/products") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _product(path: Path, document: dict[str, Any], table: dict[str, Any], like: Rules, signal_s: int) -> Rules:
    after = document.get("venue", path.stem)
    energy = table.get("family") == Family.ENERGY.value
    gate = {"closes": None, "opens": None, "gate_closure_s": 0}
    try:
        rules = Rules.model_validate(
            like.model_dump()
            | gate
            | {key: table[key] for key in TAKEN if key in table}
            | {
                "product": table.get("name"),
                "timezone": document.get("timezone", like.timezone),
                "currency": document.get("currency", like.currency),
                "baseline_method": like.baseline_method if energy else "",
                "rounding": ROUNDING if energy else RESERVE_ROUNDING,
                "signal_s": signal_s,
                "cited": _cited(document, table),
                "unverified": _unverified(document, table),
                "sources": (
                    f"minimums, steps, segments, price limits, gates and pauses: those of {after}, see cited",
                    f"baseline, notice_s, energy_decimals, other bidders, demand, prices: simulated, not of {after}",
                ),
            }
        )
        return rules if rules.family in REGULATION else rules.model_copy(update={"signal_s": None})
    except (ValidationError, TypeError, AttributeError) as error:
        first = _first(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"{path}: product {table.get('name')}: {first}") from error


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _cited(document: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    """Return by figure the source's words."""
    sources = document.get("sources", {})
    return {
        figure: str(sources.get(key, {}).get("text", key))
        for figure, key in table.get("cited", {}).items()
        if figure in TAKEN
    }


def _unverified(document: dict[str, Any], table: dict[str, Any]) -> tuple[str, ...]:
    sources = document.get("sources", {})
    cited = table.get("cited", {}).items()
    guessed = {figure for figure, key in cited if figure in TAKEN and not sources.get(key, {}).get("verified")}
    return tuple(sorted(guessed | set(table.get("unknown", ()))))


def _on_one_grid(path: Path, products: tuple[Rules, ...]) -> tuple[Rules, ...]:
    """Refuse intervals of which the shortest is no divisor: readings lie on its grid."""
    shortest = min(rules.interval_s for rules in products)
    for rules in products:
        if shortest <= 0 or rules.interval_s % shortest:
            raise ConfigError(f"{path}: {rules.product}: interval_s {rules.interval_s} is no multiple of {shortest}")
    return products
