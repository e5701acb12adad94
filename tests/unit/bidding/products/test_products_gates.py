"""Gates and pauses, against instants worked out by hand; the clocks of 2026 change on 8 March and 1 November."""

from datetime import UTC, date, datetime, time, timedelta

import pytest

from bidding.products import Gate, Rules
from bidding.products.load import catalogue, load
from pipeline.interval import Interval


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hour(text: str) -> Interval:
    return Interval(at(text), at(text) + timedelta(hours=1))


@pytest.mark.parametrize(
    ("start", "closes"),
    [
        ("2026-01-15T18:00", "2026-01-14T16:00"),  # winter: 10:00 CST is 16:00 UTC
        ("2026-07-15T18:00", "2026-07-14T15:00"),  # summer: 10:00 CDT is 15:00 UTC
        ("2026-03-08T18:00", "2026-03-07T16:00"),  # the day of 23 hours closes on the last morning of winter time
        ("2026-03-09T18:00", "2026-03-08T15:00"),  # the day after it closes on the first morning of summer time
        ("2026-11-01T18:00", "2026-10-31T15:00"),  # the day of 25 hours
        ("2026-11-02T18:00", "2026-11-01T16:00"),
        ("2026-11-02T05:00", "2026-10-31T15:00"),  # 23:00 CST on 1 November, still that day
        ("2026-11-02T06:00", "2026-11-01T16:00"),  # 00:00 CST on 2 November
    ],
)
def test_ercot_s_day_ahead_offers_close_at_ten_in_the_morning_central(start: str, closes: str) -> None:
    assert load("ercot")["reg-up"].gate_closes(hour(start)) == at(closes)


@pytest.mark.parametrize(
    ("start", "closes"),
    [
        ("2026-01-15T18:00", "2026-01-14T15:30"),  # 10:30 EST
        ("2026-07-02T05:00", "2026-07-01T14:30"),  # 00:00 EST on 2 July: 10:30 EDT the day before
        (
            "2026-07-02T04:00",
            "2026-06-30T14:30",
        ),  # 00:00 in New York, but still 1 July in the market, which knows EST only
        ("2026-03-09T05:00", "2026-03-08T14:30"),  # the gate is on the first morning of summer time
    ],
)
def test_miso_counts_days_in_standard_time_and_closes_them_by_the_clock_on_the_wall(start: str, closes: str) -> None:
    assert load("miso")["spin"].gate_closes(hour(start)) == at(closes)


@pytest.mark.parametrize(
    ("venue", "product", "before"),
    [
        ("ercot", "energy-rt", timedelta(hours=1)),
        ("miso", "energy-rt", timedelta(minutes=30)),
        ("caiso", "energy-rt", timedelta(minutes=75)),
        ("pjm", "energy-rt", timedelta(minutes=65)),
        ("nordic", "mfrr-energy", timedelta(minutes=45)),
    ],
)
def test_real_time_offers_close_so_long_before_their_interval(venue: str, product: str, before: timedelta) -> None:
    closes = load(venue)[product].gate_closes(hour("2026-07-02T15:00"))
    assert closes == at("2026-07-02T15:00") - before


@pytest.mark.parametrize(
    ("venue", "opens"),
    [
        ("caiso", "2026-07-01T20:00"),  # 13:00 PDT the day before
        ("pjm", "2026-07-01T22:30"),  # 18:30 EDT
        ("ercot", "2026-06-25T15:00"),  # seven days before, our own choice
    ],
)
def test_real_time_offers_open_the_day_before_or_when_we_choose_to(venue: str, opens: str) -> None:
    assert load(venue)["energy-rt"].gate_opens(hour("2026-07-02T15:00")) == at(opens)


@pytest.mark.parametrize(
    ("start", "closes"),
    [
        ("2026-07-01T22:00", "2026-07-01T13:00"),  # block 1 of 2 July begins at 23:00 BST on 1 July
        ("2026-07-02T02:00", "2026-07-01T13:00"),  # block 2, same auction: 14:00 BST
        ("2026-07-01T18:00", "2026-06-30T13:00"),  # block 6 of 1 July
        ("2026-01-14T23:00", "2026-01-14T14:00"),  # block 1 of 15 January begins at 23:00 GMT
    ],
)
def test_the_first_block_of_a_british_day_begins_the_evening_before(start: str, closes: str) -> None:
    product = catalogue("gb")["dc"]
    assert product.figures["closes"].instant(hour(start), product.timezone) == at(closes)


def test_a_gate_at_a_time_that_the_clocks_skip_is_an_hour_later() -> None:
    """On 8 March 2026 Chicago has no 02:30; 03:30 CDT is 08:30 UTC."""
    gate = Gate(days_before=1, at=time(2, 30))
    assert gate.instant(hour("2026-03-09T18:00"), "America/Chicago") == at("2026-03-08T08:30")


@pytest.mark.parametrize(
    ("now", "paused"),
    [
        ("2026-07-01T11:54:59", False),  # 06:54:59 CDT
        ("2026-07-01T11:55:00", True),
        ("2026-07-01T12:04:59", True),
        ("2026-07-01T12:05:00", False),
        ("2026-01-15T12:55:00", True),  # 06:55 CST
    ],
)
def test_nothing_is_sent_to_ercot_around_its_second_validation(now: str, *, paused: bool) -> None:
    rules: Rules = load("ercot")["non-spin"]
    assert [pause.holds(at(now), rules.timezone) for pause in rules.pauses] == [paused]


@pytest.mark.parametrize(("day", "cap"), [(date(2025, 12, 4), 5000), (date(2025, 12, 5), 2000)])
def test_ercot_s_real_time_cap_falls_on_the_day_of_rtc_b(day: date, cap: int) -> None:
    assert load("ercot", day)["energy-rt"].price_cap == cap


def test_no_real_time_bid_is_known_from_the_time_of_the_cap_before() -> None:
    assert "energy-rt" not in load("ercot", date(2021, 12, 31))
    assert load("ercot", date(2022, 1, 1))["energy-rt"].price_cap == 5000


def test_ecrs_is_bought_from_its_first_day_on() -> None:
    assert "ecrs" not in load("ercot", date(2023, 6, 9))
    assert load("ercot", date(2023, 6, 10))["ecrs"].duration_s == 7200
    assert load("ercot", date(2025, 12, 4))["ecrs"].duration_s == 7200
    assert load("ercot", date(2025, 12, 5))["ecrs"].duration_s == 3600


def test_without_a_day_the_latest_rules_hold() -> None:
    assert load("ercot")["energy-rt"].price_cap == 2000
    assert load("ercot")["ecrs"].since == date(2025, 12, 5)
