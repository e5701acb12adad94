"""What a view of the desk is, and what many of them say. Pure data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """A view and its documentation; `columns` names every column of `sql`."""

    name: str
    comment: str
    columns: dict[str, str]
    sql: str


DAY = {"day": "UTC day, the archive's folder: a query that names it opens no other day's files"}
INTERVAL = {"interval_start": "Start of the interval, UTC, included", "interval_end": "End of the interval, excluded"}
SIMULATED = {"simulated": "True where simulated hosts or a simulated venue stand behind the row"}
PARTITIONS = {
    "partitions": "Telemetry partitions in the figure",
    "partitions_expected": "Telemetry partitions there are; fewer in the figure means a part of the site is unknown",
}
