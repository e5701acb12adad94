"""Rows as text in columns, for command lines. Pure."""

from collections.abc import Iterable, Iterator


def columns(*rows: Iterable[object]) -> Iterator[str]:
    """Yield a line for each of *rows*, equally long, in columns as wide as they must be; the first one is the heads."""
    cells = [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
