"""
The operator's own figures: read in a manual or a contract by a person, and said so in the settings file. Pure.

    [products.miso.energy-da.net_benefits_floor]
    value = 25.30
    source = "MISO net benefits price threshold, November 2026"
    by = "J. Doe"
    confirmed_on = 2026-11-02

Such a figure takes the place of the one in the venue's file and counts as verified.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from bidding.products import Rules
from bidding.products.figures import consistent, figure, known
from bidding.products.product import FIGURES, Product, Source
from pipeline.errors import ConfigError

_KEYS = ("value", "source", "by", "confirmed_on")


def confirmed(product: Product, table: Mapping[str, Any], who_confirmed: str = "") -> Product:
    """
    Return *product* with the figures of *table*, by figure.

    Each says `value`, `source`, `confirmed_on` and, where *who_confirmed* does not, `by`; `ConfigError` otherwise.
    """
    where = f"[products.{product.venue}.{product.product}]"
    given = _confirmations(where, table, who_confirmed)
    figures = {name: given[name][0] if name in given else product.figures.get(name) for name in FIGURES}
    figures = {name: value for name, value in figures.items() if name in given or name in product.figures}
    consistent(where, figures)
    return product.model_copy(
        update={
            "figures": figures,
            "cited": {**product.cited, **{name: f"confirmed {name}" for name in given}},
            "sources": {**product.sources, **{f"confirmed {name}": source for name, (_, source) in given.items()}},
            "unknown": tuple(name for name in product.unknown if name not in given),
        }
    )


def with_overrides(rules: Rules, table: Mapping[str, Any], who_confirmed: str = "") -> Rules:
    """Return *rules* with the figures of *table*, as `confirmed` does for a product: for rules from elsewhere."""
    where = f"[products.{rules.venue}.{rules.product}]"
    given = _confirmations(where, table, who_confirmed)
    values = {name: value for name, (value, _) in given.items()}
    consistent(
        where, {**{name: getattr(rules, name) for name in FIGURES if getattr(rules, name) is not None}, **values}
    )
    return rules.model_copy(
        update={
            **values,
            "cited": {**rules.cited, **{name: str(source) for name, (_, source) in given.items()}},
            "sources": (*rules.sources, *dict.fromkeys(str(source) for _, source in given.values())),
            "unverified": tuple(name for name in rules.unverified if name not in given),
        }
    )


def _confirmations(where: str, table: Any, who: str) -> dict[str, tuple[Any, Source]]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: write it as a table of figures")
    return {name: _confirmation(where, name, entry, who) for name, entry in table.items()}


def _confirmation(where: str, name: str, entry: Any, who: str) -> tuple[Any, Source]:
    known(where, name, FIGURES)
    place = f"{where}: {name}"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{place}: write it as a table of value, source, by and confirmed_on")
    for key in entry:
        known(place, key, _KEYS)
    if "value" not in entry:
        raise ConfigError(f"{place}: value is missing")
    given = entry["value"]
    # A settings file is read with binary floats; what the operator typed is their shortest decimal.
    value = figure(where, name, Decimal(repr(given)) if isinstance(given, float) else given)
    if not isinstance(day := entry.get("confirmed_on"), date):
        raise ConfigError(f"{place}: confirmed_on has to be a day, as in 2026-11-02")
    if not (person := entry.get("by") or who) or not isinstance(person, str):
        raise ConfigError(f"{place}: by is missing: who confirmed it?")
    if not (text := entry.get("source")) or not isinstance(text, str):
        raise ConfigError(f"{place}: source is missing: where was it read?")
    return value, Source(text=f"{text}, confirmed by {person}", verified=True, date=day)
