"""
Do two archives hold the same? Pure; the shell is `pipeline.rebuild_sources`.

An archive built anew from Kafka holds what Kafka still has: of the archive it is compared with, only rows of the same
offsets count. Days that went as retention says are not missed, and loaded history, which never was on Kafka, is not
compared. That both hold the same says that nothing was lost or altered on the way into files; whether a figure was
computed right, which only its ticks can tell, is not asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.archive_hash import Contents
from pipeline.archive_places import Place
from pipeline.errors import EnvironmentProblem

#: By topic and partition: the first offset that was read, and the first that was not.
Spans = Mapping[tuple[str, int], tuple[int, int]]
#: What is in a place, or why that cannot be said.
Held = Contents | EnvironmentProblem


@dataclass(frozen=True)
class Difference:
    """A place that does not hold the same in both archives; None: one of them has nothing there."""

    place: Place
    built: Held | None
    found: Held | None

    def __str__(self) -> str:
        return f"{self.place}: {_said(self.found)} in the archive, {_said(self.built)} built anew"


def _said(held: Held | None) -> str:
    if isinstance(held, EnvironmentProblem):
        return f"damage ({held})"
    return "nothing" if held is None else f"{held.rows} messages {held.rows_sha256[:12]}"


def differences(built: Mapping[Place, Held], found: Mapping[Place, Held]) -> list[Difference]:
    """Return where the two differ, in the order of topic, day and site."""
    return [
        Difference(place, built.get(place), found.get(place))
        for place in sorted(built.keys() | found.keys())
        if built.get(place) != found.get(place)
    ]


def within(topic: str, rows: pl.DataFrame, spans: Spans | None) -> pl.DataFrame:
    """Return those of *rows* whose offsets lie in *spans*; all of them where there are none to lie in."""
    if spans is None:
        return rows
    offset, partition = pl.col("kafka_offset"), pl.col("kafka_partition")
    inside = [
        (partition == number) & (offset >= begin) & (offset < end)
        for (name, number), (begin, end) in spans.items()
        if name == topic
    ]
    return rows.filter(pl.any_horizontal(inside)) if inside else rows.clear()


def table(held: Mapping[Place, Held]) -> list[str]:
    """Return what *held* says, a line for each place under a heading."""
    rows = [("topic", "day", "site", "messages", "sha256")]
    rows += [
        (place.topic, place.day.isoformat(), place.site or "-", str(what.rows), what.rows_sha256)
        for place, what in sorted(held.items(), key=lambda one: one[0])
        if isinstance(what, Contents)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
