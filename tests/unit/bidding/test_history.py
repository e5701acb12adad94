"""Metered history as readings: what is covered in part is no lower load."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from doubles.builders import INTERVAL, MINUTE
from doubles.site import HOSTS

from bidding.agents.feed import World
from bidding.agents.history import History
from bidding.performance import LookBack
from pipeline.calendar import Calendar
from pipeline.messages.telemetry import SiteInterval

NOW = datetime(2027, 1, 1, tzinfo=UTC)
WHOLE = SiteInterval(
    site="site-1",
    interval=INTERVAL,
    revision=1,
    energy_kwh=12.0,
    hosts=HOSTS,
    hosts_partial=0,
    covered_share=1.0,
    partitions=8,
    partitions_expected=8,
    ticks=300,
    ticks_missing=0,
    pools=(),
    simulated=True,
)


def history(place: Path, figure: SiteInterval) -> History:
    """Return what is known where *figure* is all that was ever published."""
    world = World("site-1", timedelta(hours=1), MINUTE)
    world.take(figure)
    return History(str(place), world, MINUTE, LookBack(0, timedelta(0)))


@pytest.mark.parametrize(
    ("covered_share", "partitions", "energy_kwh", "covered"),
    [(1.0, 8, "12.0", 1.0), (0.9, 8, "12.0", 0.9), (0.89, 8, None, 0.89), (1.0, 6, None, 0.75), (0.0, 8, None, 0.0)],
    ids=["whole", "nine hosts of ten", "fewer", "six partitions of eight", "nobody"],
)
def test_a_reading_is_what_was_measured_and_there_is_none_where_that_is_little(
    tmp_path: Path, covered_share: float, partitions: int, energy_kwh: str | None, covered: float
) -> None:
    """12 kWh of nine tenths of a site are 12 kWh, which lowers a baseline; of less there is no reading, not 0 kWh."""
    known = history(tmp_path, msgspec.structs.replace(WHOLE, covered_share=covered_share, partitions=partitions))

    readings = known.readings([INTERVAL], Calendar("UTC"), NOW)
    metered = known.metered(INTERVAL)

    assert [one.energy_kwh for one in readings] == ([Decimal(energy_kwh)] if energy_kwh else [])
    assert metered is not None
    assert (metered.energy_kwh, metered.covered_share) == (12.0, covered)
