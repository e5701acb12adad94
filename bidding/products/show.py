"""
Products as a desk reads them: a table of a venue, every figure of one product with its source, the overview. Pure.

    report(found, on)       what `firmwatt bid products` prints: tables, or one product in detail
    table(products, on)     one line a product; `?` stands behind what nobody has read in the venue's own words
    detail(product)         every figure, its source, UNVERIFIED where that was not read
    overview(found)         the table of README.md
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from textwrap import wrap
from typing import Any

from bidding.products import Gate, Pause
from bidding.products.figures import meant
from bidding.products.product import INSTEAD, Product, plain
from pipeline.errors import ConfigError

WIDTH = 120

_SPANS = ((86400, "d"), (3600, "h"), (60, "min"))

_HEADINGS = ("product", "family", "market", "min/step MW", "steps", "price", "response", "hold", "gate", "read")

_LEGEND = (
    "?     not read in the venue's own words: a person has to confirm it before money depends on it",
    "!     cannot be offered: a figure that an offer needs was not found",
    "read  figures whose source was read, of all that are known",
)


def report(found: Mapping[str, Mapping[str, Product]], on: date | None, product: str | None = None) -> list[str]:
    """
    Return *found*, products by name by venue, in force on *on*, as text; with *product* all that is known of that one.

    Raise `ConfigError` where no venue has such a product.
    """
    if product is None:
        tables = [part for products in found.values() for part in (*table(products, on), "")]
        return [*tables, *_LEGEND]
    have = list(dict.fromkeys(name for products in found.values() for name in products))
    if product not in have:
        raise ConfigError(f"no product {product!r}{meant(product, have)} (have {', '.join(have) or 'none'})")
    shown = [detail(products[product]) for products in found.values() if product in products]
    return [part for number, text in enumerate(shown) for part in ([""] * bool(number) + text)]


def table(found: Mapping[str, Product], on: date | None = None) -> list[str]:
    """Return one line a product, headed by the venue; *on* is the day whose rules they are."""
    if not found:
        return [f"no product is known on {on}"]
    one = next(iter(found.values()))
    zones = ", ".join(dict.fromkeys(product.timezone for product in found.values()))
    rows = [_HEADINGS, *(_row(product) for product in found.values())]
    day = f"rules of {on}" if on else "latest rules"
    missing = [f"! {name}: no {', '.join(product.missing)}" for name, product in found.items() if product.missing]
    return [
        f"{one.venue}: {day}, {one.currency}, market days in {zones}",
        "",
        *_columns(rows),
        *([""] if missing else []),
        *(part for text in missing for part in wrap(text, WIDTH, subsequent_indent="    ")),
    ]


def detail(product: Product) -> list[str]:
    """Return every figure of *product* with its source, what nobody found, and what is in the way of an offer."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(product.cited.values()), 1)}
    rows = [_figure_row(product, name, numbers) for name in product.figures]
    notes = [_doubt(product)]
    if product.unknown:
        notes.append(f"Not found, though the venue has it: {', '.join(product.unknown)}.")
    if product.missing:
        notes.append(f"Cannot be offered without {', '.join(product.missing)}.")
    return [
        f"{product.venue} {product.product}: {product.title}",
        f"{product.family}, {product.trading}, {product.currency}, market days in {product.timezone}",
        "",
        *_wrapped(rows),
        "",
        *(part for key, number in numbers.items() for part in _source(product, key, number)),
        "",
        *(part for note in notes for part in wrap(note, WIDTH)),
    ]


def overview(found: Mapping[str, Mapping[str, Product]]) -> list[str]:
    """Return *found*, products by name by venue, as the Markdown table of README.md."""
    head = ["| venue | can be offered | known, figures missing | figures read |", "|---|---|---|---|"]
    return head + [
        f"| `{venue}` | {_names(products, offerable=True)} | {_names(products, offerable=False)} | {_total(products)} |"
        for venue, products in found.items()
    ]


def span(seconds: float | Decimal) -> str:
    """Return a span in the largest unit that takes it whole: `4 s`, `10 min`, `7 d`."""
    for size, unit in _SPANS:
        if seconds >= size and not seconds % size:
            return f"{plain(Decimal(str(seconds)) / size)} {unit}"
    return f"{plain(Decimal(str(seconds)))} s"


def gate(when: Gate) -> str:
    """Return an instant of market time in words: `d-1 10:30 New_York`, `75 min before`."""
    if when.days_before is None or when.at is None:
        return f"{span(when.before_s)} before"
    return f"d-{when.days_before} {when.at:%H:%M}" + (f" {when.zone.rpartition('/')[2]}" if when.zone else "")


def _row(product: Product) -> tuple[str, ...]:
    closes = "closes" if "closes" in product.figures else "gate_closure_s"
    read = sum(product.source(name).verified for name in product.figures)
    return (
        product.product,
        product.family,
        product.trading,
        f"{_cell(product, 'min_mw')}/{_cell(product, 'block_mw')}",
        _cell(product, "max_steps"),
        f"{_cell(product, 'price_floor')} … {_cell(product, 'price_cap')} /{product.figures.get('per', 'MWh')}",
        _cell(product, "response_s"),
        _cell(product, "duration_s"),
        _cell(product, closes),
        f"{read}/{len(product.figures)}" + (" !" if product.missing else ""),
    )


def _cell(product: Product, name: str) -> str:
    if name not in product.figures:
        return "-"
    return _shown(name, product.figures[name]) + ("" if product.source(name).verified else "?")


def _figure_row(product: Product, name: str, numbers: Mapping[str, int]) -> tuple[str, ...]:
    shown = _shown(name, product.figures[name]) or "none"
    mark = "" if product.source(name).verified else "UNVERIFIED"
    return (name, f"[{numbers[product.cited[name]]}]", mark, f"{shown}{_unit(product, name)}")


def _unit(product: Product, name: str) -> str:
    if name.endswith("_mw"):
        return " MW"
    if name.startswith("price_") or name == "net_benefits_floor":
        return f" {product.currency}/{product.figures.get('per', 'MWh')}"
    return " bytes" if name.endswith("_bytes") else ""


def _shown(name: str, figure: Any) -> str:
    if isinstance(figure, Gate):
        return gate(figure)
    if isinstance(figure, tuple):
        return ", ".join(_pause(part) if isinstance(part, Pause) else str(part) for part in figure)
    if isinstance(figure, bool):
        return "yes" if figure else "no"
    if name.endswith("_s"):
        text = span(figure)
        return f"{text} before" if name in INSTEAD else text
    return plain(figure)


def _pause(pause: Pause) -> str:
    return f"{_clock(pause.start)} to {_clock(pause.end)} ({pause.why})"


def _clock(at: time) -> str:
    return f"{at:%H:%M}"


def _source(product: Product, key: str, number: int) -> list[str]:
    head = f"[{number}] "
    return wrap(str(product.sources[key]), WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def _doubt(product: Product) -> str:
    guessed = [name for name in product.figures if not product.source(name).verified]
    if not guessed:
        return "Every figure was read in the venue's own words, or in words that quote them."
    return (
        f"{len(guessed)} of {len(product.figures)} figures are UNVERIFIED: a person has to confirm them in "
        f"[products.{product.venue}.{product.product}] of the settings file before money depends on them."
    )


def _names(products: Mapping[str, Product], *, offerable: bool) -> str:
    return ", ".join(f"`{name}`" for name, product in products.items() if (not product.missing) == offerable) or "-"


def _total(products: Mapping[str, Product]) -> str:
    read = sum(product.source(name).verified for product in products.values() for name in product.figures)
    return f"{read} of {sum(len(product.figures) for product in products.values())}"


def _columns(rows: Sequence[Iterable[str]]) -> list[str]:
    """Return *rows* under each other, each column as wide as its widest cell."""
    cells = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _wrapped(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* under each other; a last cell too long for the line goes on below itself."""
    heads = _columns([row[:-1] for row in rows])
    indent = max(map(len, heads)) + 2
    return [
        part
        for head, row in zip(heads, rows, strict=True)
        for part in wrap(
            row[-1],
            WIDTH,
            initial_indent=f"{head:<{indent}}",
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
    ]
