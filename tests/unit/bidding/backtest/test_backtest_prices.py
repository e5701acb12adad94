"""What the loaders take and what they refuse."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bidding.backtest import prices, reserves
from pipeline.errors import ConfigError

HEAD = list(prices.COLUMNS)
GOOD = ["PJM_DOM_RT", "2020-01-01T05:00:00Z", "17.5"]


def test_a_row_is_a_price_of_the_hour_that_it_names() -> None:
    (series,) = prices.parse([HEAD, GOOD], "f.csv").values()

    assert series.by_start == {datetime(2020, 1, 1, 5, tzinfo=UTC): Decimal("17.5")}
    assert series.timezone == "America/New_York"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([["market", "price"]], "the columns must be market, datetime_utc, price_usd_per_mwh"),
        ([HEAD, GOOD[:2]], "f.csv row 2: 2 cells, need 3"),
        ([HEAD, ["SPP", *GOOD[1:]]], "f.csv row 2: unknown market 'SPP'"),
        ([HEAD, [GOOD[0], "2020-01-01 05:00", "1"]], "'2020-01-01 05:00' is no time"),
        ([HEAD, [GOOD[0], "2020-01-01T05:30:00Z", "1"]], "is no whole hour"),
        ([HEAD, GOOD, [*GOOD[:2], "n/a"]], "f.csv row 3: 'n/a' is no number"),
        ([HEAD, [*GOOD[:2], "NaN"]], "'NaN' is not finite"),
        ([HEAD, GOOD, GOOD], "f.csv row 3: a second price for 2020-01-01 05:00 UTC"),
    ],
)
def test_a_row_that_cannot_be_taken_is_refused_by_its_name(rows: list[list[str]], says: str) -> None:
    with pytest.raises(ConfigError, match=r".+") as refused:
        prices.parse(rows, "f.csv")

    assert says in str(refused.value)


def test_the_real_hubs_have_the_gaps_that_their_source_names(shared_data: Path) -> None:
    """PJM lacks 31 December of each year: 2 × 24 hours inside the record, the third at its end."""
    hubs = prices.load(shared_data / "data")

    assert {name: series.missing() for name, series in hubs.items()}["PJM_DOM_RT"] == 48
    assert not hubs["PJM_DOM_RT"].of(date(2020, 12, 31))
    assert len(hubs["ERCOT_HB_HUBAVG_DAM"].of(date(2021, 11, 7))) == 25
    assert max(hubs["ERCOT_HB_HUBAVG_DAM"].by_start.values()) == Decimal("8995.26")


REPORT = [
    ["Preliminary Synchronized Reserve Summary "],
    ["Month:", "January, 2017"],
    [*reserves.HEADS, *(f"column {number}" for number in range(5, 20))],
]
ROW = ["01/31/2017 24", "02/01/2017 05", "RTO", reserves.MAD, "2.82", *["0"] * 15]


def read(*rows: list[str]) -> dict[datetime, Decimal]:
    by_start: dict[datetime, Decimal] = {}
    reserves.parse_report([*REPORT, *rows], "r.csv", reserves.MAD, by_start)
    return by_start


def test_a_reserve_price_belongs_to_the_hour_that_ends_at_its_stamp() -> None:
    other = [*ROW[:3], "Non PJM Mid Atlantic Dominion (MAD)", "9.99", *ROW[5:]]

    assert read(ROW, other, ["End of Report"]) == {datetime(2017, 2, 1, 4, tzinfo=UTC): Decimal("2.82")}


def test_midnight_is_written_as_0_or_24() -> None:
    assert reserves.hour_ending("02/01/2017 00", "r.csv") == reserves.hour_ending("01/31/2017 24", "r.csv")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([ROW], "ends without 'End of Report'"),
        ([ROW, ROW, ["End of Report"]], "r.csv row 5: a second price"),
        ([ROW[:5], ["End of Report"]], "r.csv row 4: 5 cells, need 20"),
        ([[ROW[0], "02/01/2017 25", *ROW[2:]]], "hour 25"),
        ([[*ROW[:4], "?", *ROW[5:]]], "'?' is no number"),
    ],
)
def test_a_report_that_is_not_whole_is_refused(rows: list[list[str]], says: str) -> None:
    with pytest.raises(ConfigError, match=r".+") as refused:
        read(*rows)

    assert says in str(refused.value)


def test_a_charge_is_summed_over_the_hours_of_its_day_and_the_power_is_not() -> None:
    """33,628.43 $ in each of two hours in which 183.728 and 154.329 MW were short: 366.07 $ a MW."""
    first = [*ROW[:17], "183.728", "33628.43", "0"]
    second = [*ROW[:17], "154.329", "33628.43", "0"]
    by_day: dict[str, tuple[Decimal, Decimal]] = {}

    reserves.charges([*REPORT, first, second, ROW], "r.csv", reserves.MAD, by_day)

    assert by_day == {"01/31/2017": (Decimal("183.728"), Decimal("67256.86"))}
    assert round(reserves.Retroactive(1, *by_day["01/31/2017"]).per_mw, 2) == Decimal("366.07")


def test_an_event_ends_after_it_starts() -> None:
    row = {
        "event_start_ept": "2015-12-24 12:34:00",
        "event_end_ept": "2015-12-24 12:42:00",
        "zone": "RTO",
        "subzone": "",
    }

    (event,) = reserves.parse_events([row], "e.csv")

    assert event.length == timedelta(minutes=8)
    with pytest.raises(ConfigError, match=r"e\.csv row 2: lasts"):
        reserves.parse_events([{**row, "event_end_ept": row["event_start_ept"]}], "e.csv")


def test_the_real_reports_cover_every_hour_and_the_list_has_857_events(shared_data: Path) -> None:
    srmcp = reserves.srmcp(shared_data / "data")

    assert len(srmcp.by_start) == 181 * 24 - 1
    assert srmcp.missing() == 0
    assert len(reserves.events(shared_data / "data")) == 857
    charged = reserves.retroactive(shared_data / "data")
    assert (charged.events, charged.charged) == (3, Decimal("94424.54"))


def test_a_missing_file_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set FIRMWATT_SHARED"):
        prices.load(tmp_path)
    with pytest.raises(ConfigError, match="set FIRMWATT_SHARED"):
        reserves.srmcp(tmp_path)
