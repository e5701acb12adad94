"""Lists of holidays: which days, of which years, and what a file must be like."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.calendar import NERC_HOLIDAYS, Calendar
from pipeline.cbl import holidays
from pipeline.errors import ConfigError

BY_HAND = {
    2024: ["2024-01-01", "2024-05-27", "2024-07-04", "2024-09-02", "2024-11-28", "2024-12-25"],
    2025: ["2025-01-01", "2025-05-26", "2025-07-04", "2025-09-01", "2025-11-27", "2025-12-25"],
    2026: ["2026-01-01", "2026-05-25", "2026-07-04", "2026-09-07", "2026-11-26", "2026-12-25"],
    2027: ["2027-01-01", "2027-05-31", "2027-07-05", "2027-09-06", "2027-11-25", "2027-12-25"],
    2028: ["2028-01-01", "2028-05-29", "2028-07-04", "2028-09-04", "2028-11-23", "2028-12-25"],
}


def of_year(name: str, year: int) -> list[str]:
    return [day.isoformat() for day in sorted(holidays.find(name).days) if day.year == year]


def written(folder: Path, text: str) -> Path:
    path = folder / "holidays.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("year", BY_HAND)
def test_nercs_six_days_are_those_found_by_hand(year: int) -> None:
    assert of_year("us-nerc", year) == BY_HAND[year]


@pytest.mark.parametrize(
    ("sunday", "monday"),
    [("2017-01-01", "2017-01-02"), ("2021-07-04", "2021-07-05"), ("2022-12-25", "2022-12-26")],
)
def test_a_nerc_holiday_on_a_sunday_is_kept_on_the_monday_and_not_on_the_sunday(sunday: str, monday: str) -> None:
    nerc = holidays.find("us-nerc")

    assert nerc.is_holiday(date.fromisoformat(monday))
    assert not nerc.is_holiday(date.fromisoformat(sunday))


def test_a_nerc_holiday_on_a_saturday_is_kept_on_no_other_day() -> None:
    nerc = holidays.find("us-nerc")

    assert nerc.is_holiday(date(2026, 7, 4))
    assert not nerc.is_holiday(date(2026, 7, 3))
    assert not nerc.is_holiday(date(2026, 7, 6))


def test_every_nerc_year_from_2010_to_2035_has_six_days() -> None:
    assert {year: len(of_year("us-nerc", year)) for year in range(2009, 2037)} == {
        2009: 0,
        **dict.fromkeys(range(2010, 2036), 6),
        2036: 0,
    }


def test_the_default_calendar_and_the_list_hold_the_same_days() -> None:
    days = "2027-01-01 2027-05-31 2027-07-05 2027-09-06 2027-11-25 2027-12-25 2028-05-29 2028-09-04 2028-11-23"

    assert set(map(date.fromisoformat, days.split())) <= NERC_HOLIDAYS
    assert {day for day in holidays.find("us-nerc").days if 2024 <= day.year <= 2030} == NERC_HOLIDAYS


@pytest.mark.parametrize(
    ("day", "kept"),
    [
        ("2020-05-04", False),  # early May bank holiday moved…
        ("2020-05-08", True),  # …to VE Day
        ("2021-12-27", True),  # Christmas on a Saturday
        ("2021-12-28", True),
        ("2022-05-30", False),  # spring bank holiday moved…
        ("2022-06-02", True),  # …to the jubilee
        ("2022-09-19", True),  # the Queen's funeral
        ("2023-05-08", True),  # the coronation
        ("2026-08-31", True),
        ("2026-08-03", False),  # Scotland's
    ],
)
def test_englands_bank_holidays_hold_the_days_that_were_moved_or_proclaimed(day: str, *, kept: bool) -> None:
    assert holidays.find("gb-england").is_holiday(date.fromisoformat(day)) is kept


@pytest.mark.parametrize(
    ("day", "kept"),
    [
        ("2025-01-27", True),  # Australia Day on a Sunday
        ("2025-04-25", True),  # Anzac Day
        ("2022-09-22", True),  # day of mourning for the Queen
        ("2025-11-04", False),  # Melbourne Cup: Victoria alone
        ("2026-04-27", False),  # Anzac Day on a Saturday: a day more in New South Wales and Canberra alone
        ("2025-06-09", False),  # King's Birthday, which Queensland keeps in October
    ],
)
def test_a_day_that_some_states_keep_is_a_business_day_of_the_australian_market(day: str, *, kept: bool) -> None:
    assert holidays.find("au-nem").is_holiday(date.fromisoformat(day)) is kept


@pytest.mark.parametrize(("name", "fewest", "most"), [("gb-england", 8, 10), ("au-nem", 6, 8)])
def test_lists_by_year_leave_no_year_out_and_hold_weekdays_only(name: str, fewest: int, most: int) -> None:
    held = holidays.find(name)

    assert held.years == frozenset(range(2015, 2029))
    assert all(fewest <= len(of_year(name, year)) <= most for year in range(2015, 2029))
    assert all(day.weekday() < 5 for day in held.days)


@pytest.mark.parametrize(
    ("name", "day"), [("us-nerc", "2009-12-31"), ("us-nerc", "2036-01-01"), ("au-nem", "2029-01-01")]
)
def test_a_day_of_a_year_that_a_list_has_not_is_refused_and_never_no_holiday(name: str, day: str) -> None:
    with pytest.raises(ConfigError) as error:
        holidays.find(name).is_holiday(date.fromisoformat(day))

    assert f"not {day[:4]}; give a list with that year" in str(error.value)
    assert name in str(error.value)
    assert error.value.exit_code == 2


def test_days_that_reach_back_into_a_year_without_holidays_are_refused_with_every_such_year() -> None:
    nerc = holidays.find("us-nerc")

    nerc.require(date(2010, 1, 1), date(2035, 12, 31))
    with pytest.raises(ConfigError, match="cover 2010 to 2035, not 2008, 2009;"):
        nerc.require(date(2008, 12, 1), date(2010, 1, 10))


def test_none_is_said_of_every_year() -> None:
    none = holidays.find("none")

    assert not none.is_holiday(date(1999, 12, 25))
    assert none.calendar("UTC").is_business_day(date(2026, 12, 25))


def test_a_list_says_where_it_is_from_and_that_it_was_not_read_there() -> None:
    assert holidays.names() == ("us-nerc", "gb-england", "au-nem", "none")
    for name in ("us-nerc", "gb-england", "au-nem"):
        held = holidays.find(name)
        assert not held.verified
        assert "UNVERIFIED" in held.source


def test_a_calendar_made_of_a_list_refuses_the_years_that_the_list_refuses() -> None:
    calendar = holidays.find("us-nerc").calendar("America/Los_Angeles")

    assert not calendar.is_business_day(date(2023, 1, 2))
    assert calendar.is_business_day(date(2023, 1, 3))
    with pytest.raises(ConfigError, match="no holidays are known of 2036, only of 2010 to 2035"):
        calendar.is_business_day(date(2036, 1, 2))


def test_a_calendar_that_was_told_no_years_answers_as_it_always_did() -> None:
    assert Calendar("America/Los_Angeles").is_business_day(date(2040, 12, 25))


def test_a_file_is_a_list_of_the_years_it_has_rows_of(tmp_path: Path) -> None:
    rows = ("\ufeffDate, name", "2026-01-01, New Year", "", " 2026-08-14, site closed", "2027-01-01, New Year", "")
    path = written(tmp_path, "\r\n".join(rows))

    held = holidays.find(str(path))

    assert held.name == "holidays.csv"
    assert sorted(held.days) == [date(2026, 1, 1), date(2026, 8, 14), date(2027, 1, 1)]
    assert not held.is_holiday(date(2026, 12, 25))
    with pytest.raises(ConfigError, match=r"holidays\.csv cover 2026 to 2027, not 2025"):
        held.is_holiday(date(2025, 12, 25))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("date\n2026-01-01\n2026-13-01\n", "holidays.csv, line 3: '2026-13-01' is no date; write YYYY-MM-DD"),
        ("date\n2026-02-29\n", "line 2: '2026-02-29' is no date"),
        ("date\n01.05.2026\n", "line 2: '01.05.2026' is no date"),
        ("date\n20260501\n", "line 2: '20260501' is no date"),
        ("date\n2026-W18-5\n", "line 2: '2026-W18-5' is no date"),
        ("name,date\nNew Year\n", "line 2: '' is no date"),
        ("name,date\nNew Year,\n", "line 2: '' is no date"),
        ("date\n2026-01-01\n\n2026-01-01\n", "line 4: 2026-01-01 is in line 2 already; give each day once"),
        ("date\n2026-01-01\n2029-01-01\n", "line 3: 2029-01-01, but no row of 2027; correct it or add 2027"),
        ("day\n2026-01-01\n", "holidays.csv has no column date; it has day"),
        ("", "holidays.csv has no column date; it has none"),
        ("date\n", "holidays.csv has no rows; for no holidays say none"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        holidays.read(written(tmp_path, text))

    assert told in str(error.value)


def test_a_file_in_another_encoding_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("date,name\n2026-08-15,Mariä Himmelfahrt\n".encode("latin-1"))

    with pytest.raises(ConfigError, match=r"latin\.csv cannot be read as CSV in UTF-8"):
        holidays.read(path)


def test_a_name_that_is_neither_a_list_nor_a_file_is_told_with_what_there_is() -> None:
    with pytest.raises(ConfigError) as error:
        holidays.find("us-nrec")

    assert str(error.value) == (
        "no holidays 'us-nrec'; give one of us-nerc, gb-england, au-nem, none, or a CSV file with a column date"
    )
