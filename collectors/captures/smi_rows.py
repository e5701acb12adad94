"""The table of ``nvidia-smi --query-gpu=… --format=csv``, with or without ``nounits``: the header tells the units."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from collectors.captures.quantities import words
from collectors.captures.smi_fields import gpu_of_row
from collectors.captures.values import CaptureError, Gpu

_COLUMN = re.compile(r"([a-z][\w.]*)(?: \[(\S+)\])?", re.ASCII)
_IDENTITY = frozenset({"uuid", "pci.bus_id", "index"})
_POWER = frozenset({"power.draw", "power.draw.instant", "power.draw.average"})


class Row(NamedTuple):
    """One GPU at one moment."""

    gpu: Gpu
    taken_at: str | None
    driver: str | None


def columns_of(line: str) -> Mapping[str, str] | None:
    """
    Return the columns that *line* names with their units if it is the header of a table of GPUs.

    Tables of processes and retired pages call the GPU ``gpu_uuid``. One name alone is a line of a list of names.
    """
    if not line[:1].islower():  # most lines: no need to look at all of a long one
        return None
    cells = [_COLUMN.fullmatch(cell.strip()) for cell in line.split(",")]
    columns = {cell[1]: cell[2] or "" for cell in cells if cell is not None}
    if len(columns) < 2 or len(columns) != len(cells):  # noqa: PLR2004 - one is none
        return None
    return columns if columns.keys() & (_IDENTITY | _POWER) else None


def parse(lines: Sequence[str]) -> Iterator[Row]:
    """Return the rows below the header in ``lines[0]``; a line with another number of cells ends the table."""
    columns = columns_of(lines[0])
    if columns is None:
        return
    rows = []
    for line in lines[1:]:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(columns):
            break
        rows.append(dict(zip(columns, cells, strict=True)))
    if len(rows) > 1 and not columns.keys() & _IDENTITY:
        raise CaptureError("has rows that do not say which GPU they are about: query uuid, too")
    for row in rows:
        yield Row(gpu_of_row(row, columns), words(row.get("timestamp")), words(row.get("driver_version")))
