"""
Read the files: `venues`, every version of a venue's products, those in force on a day, and what can be offered of them.

    venues() ─▶ ("caiso", "ercot", …)
    catalogue("ercot", on) ─▶ {"spin": Product, …}     everything known, offerable or not
    load("ercot", on) ─▶ {"spin": Rules, …}            what can be offered

Anything wrong with a file is a `ConfigError` of one line that names file, product and key.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bidding.products import Rules
from bidding.products.confirm import confirmed
from bidding.products.figures import consistent, figure, known, timezone
from bidding.products.product import FIGURES, Product, Source
from pipeline.errors import ConfigError, UnknownPluginError

FOLDER = Path(__file__).parent

_VENUE = ("venue", "timezone", "currency", "sources", "product")
_PRODUCT = ("name", "family", "trading", "title", "timezone", "cited", "unknown", *FIGURES)
_SOURCE = ("text", "verified", "secondary", "date")


def venues(folder: Path = FOLDER) -> tuple[str, ...]:
    """Return the venues that have a file, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def load(
    venue: str, on: date | None = None, confirmations: Mapping[str, Any] | None = None, folder: Path = FOLDER
) -> dict[str, Rules]:
    """
    Return by name the products of *venue* that can be offered on day *on*; without a day, by its latest rules.

    *confirmations* are the tables ``[products.VENUE.PRODUCT]`` of the settings file, by product: see `confirm`. A
    product of which too little is known is left out; `catalogue` has it.
    """
    found = catalogue(venue, on, confirmations, folder)
    return {name: product.rules() for name, product in found.items() if not product.missing}


def catalogue(
    venue: str, on: date | None = None, confirmations: Mapping[str, Any] | None = None, folder: Path = FOLDER
) -> dict[str, Product]:
    """Return by name, in the file's order, what is known of every product of *venue* in force on day *on*."""
    if venue not in (have := venues(folder)):
        raise UnknownPluginError("bidding.products", venue, list(have))
    found = {product.product: product for product in read(folder / f"{venue}.toml") if product.holds(on)}
    for name, table in (confirmations or {}).items():
        known(f"[products.{venue}]", name, found)
        found[name] = confirmed(found[name], table)
    return found


def confirmations(settings: Path, folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """
    Return the tables ``[products.VENUE.PRODUCT]`` of the file *settings*, by venue, as `load` takes them.

    Raise `ConfigError` where the file cannot be read, or names a venue that is none.
    """
    found = _document(settings).get("products", {})
    tables = [found, *found.values()] if isinstance(found, dict) else [None]
    if not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{settings}: write the operator's figures as [products.VENUE.PRODUCT.FIGURE]")
    for venue in found:
        known(f"{settings}: [products]", venue, venues(folder))
    return dict(found)


def read(path: Path) -> tuple[Product, ...]:
    """Return every version of every product in the file at *path*; raise `ConfigError` if anything in it is wrong."""
    document = _document(path)
    for key in document:
        known(str(path), key, _VENUE)
    venue = _text(str(path), document, "venue")
    if venue != path.stem:
        raise ConfigError(f"{path}: venue is {venue!r}; it has to be the file's name, {path.stem!r}")
    timezone(f"{path}: timezone", _text(str(path), document, "timezone"))
    written, tables = document.get("sources", {}), document.get("product", [])
    if not isinstance(written, dict) or not isinstance(tables, list):
        raise ConfigError(f"{path}: write each source as [sources.KEY] and each product as [[product]]")
    sources = {key: _source(f"{path}: [sources.{key}]", table) for key, table in written.items()}
    products = tuple(_product(path, document, table, sources) for table in tables)
    for one, other in combinations(products, 2):
        _apart(path, one, other)
    used = {key for product in products for key in product.cited.values()}
    if unused := sorted(set(sources) - used):
        raise ConfigError(f"{path}: [sources.{unused[0]}] is cited by no figure; remove it, or cite it")
    return products


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _text(where: str, table: Mapping[str, Any], key: str) -> str:
    text = table.get(key)
    if not isinstance(text, str) or not text:
        raise ConfigError(f"{where}: {key} is missing" if text is None else f"{where}: {key} has to be text")
    return text


def _source(where: str, table: Any) -> Source:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: write it as a table")
    for key in table:
        known(where, key, _SOURCE)
    try:
        return Source.model_validate(table, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {first['loc'][0]}: {first['msg'].lower()}") from error


def _product(path: Path, document: Mapping[str, Any], table: Any, sources: Mapping[str, Source]) -> Product:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: write each product as [[product]]")
    where = f"{path}: product {_text(f'{path}: [[product]]', table, 'name')}"
    for key in table:
        known(where, key, _PRODUCT)
    figures = {name: figure(where, name, table[name]) for name in FIGURES if name in table}
    consistent(where, figures)
    cited = _cited(where, table.get("cited", {}), figures, sources)
    unknown = _unknown(where, table.get("unknown", []), figures)
    try:
        return Product(
            venue=document["venue"],
            product=table["name"],
            family=_text(where, table, "family"),
            trading=_text(where, table, "trading"),
            title=_text(where, table, "title"),
            timezone=timezone(f"{where}: timezone", table.get("timezone", document["timezone"])),
            currency=_text(str(path), document, "currency"),
            figures=figures,
            cited=cited,
            sources={key: sources[key] for key in dict.fromkeys(cited.values())},
            unknown=unknown,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {first['loc'][0]} = {first['input']!r}: {first['msg'].lower()}") from error


def _unknown(where: str, names: Any, figures: Mapping[str, Any]) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise ConfigError(f"{where}: unknown: write it as a list of figures")
    for name in names:
        known(f"{where}: unknown", name, FIGURES)
        if name in figures:
            raise ConfigError(f"{where}: {name} is given, and listed as unknown")
    return tuple(names)


def _cited(where: str, cited: Any, figures: Mapping[str, Any], sources: Mapping[str, Source]) -> dict[str, str]:
    if not isinstance(cited, dict):
        raise ConfigError(f"{where}: cited: write it as a table, a source for each figure")
    for name, key in cited.items():
        if name not in figures:
            raise ConfigError(f"{where}: cited.{name}: there is no such figure here")
        if not isinstance(key, str) or key not in sources:
            raise ConfigError(f"{where}: cited.{name}: no [sources.{key}]")
    for name in figures:
        if name not in cited:
            raise ConfigError(f"{where}: {name} has no source; cite one in [product.cited], or leave it out")
    return {name: cited[name] for name in figures}


def _apart(path: Path, one: Product, other: Product) -> None:
    """Refuse two versions of a product that hold on the same day."""
    if one.product != other.product:
        return
    starts = [product.figures.get("since") or date.min for product in (one, other)]
    ends = [product.figures.get("until") or date.max for product in (one, other)]
    if max(starts) < min(ends):
        raise ConfigError(f"{path}: product {one.product}: two versions hold on {max(starts)}; set since and until")
