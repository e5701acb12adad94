"""The walk forward: nothing from the future, nothing from a gap, every local day, and never above perfect foresight."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.bidding.backtest.backtest_world import AT_COST, BY_FORECAST, DAY, ZONE, case, planner, prices

from bidding.backtest.cases import Case, moved_to
from bidding.backtest.day import Outcome
from bidding.backtest.forecast import flexibility, like_days
from bidding.backtest.hourly import Prices, hours_of
from bidding.backtest.walk import (
    FORESIGHT,
    BoundBrokenError,
    Contestant,
    Row,
    apart,
    check,
    gate_of,
    known,
    problem,
    traded,
    truth,
    walk,
)
from bidding.portfolio.model import Plan, Planned, Problem
from pipeline.messages.telemetry import Tier

FIRST = date(2021, 3, 1)
DAYS = 40
EVENING = 18


def wave(day: date, number: int) -> str:
    """30 $, in the evening 100 $ and a dollar more with every day of the month."""
    return str(100 + day.day) if number == EVENING else "30"


def offers(of: Case, day: date) -> tuple[Planned, ...]:
    asked = problem(of, day, traded(of, day), "seed")
    return () if asked is None else planner(BY_FORECAST, asked).offers


def test_the_gate_is_at_ten_of_the_day_before_by_the_venues_clock() -> None:
    """New York is five hours behind UTC before 14 March 2021 and four after."""
    found = case(prices(FIRST, DAYS, wave))

    assert gate_of(found, date(2021, 3, 10)).isoformat() == "2021-03-09T15:00:00+00:00"
    assert gate_of(found, date(2021, 3, 20)).isoformat() == "2021-03-19T14:00:00+00:00"


def test_the_day_before_is_not_known_at_the_gate() -> None:
    """Wednesday 31 March is offered on Tuesday at 10: the newest whole business day is Monday the 29th."""
    found = case(prices(FIRST, DAYS, wave))

    days = like_days(tuple(known(found, gate_of(found, date(2021, 3, 31))).values()), date(2021, 3, 31))

    assert days[:2] == [date(2021, 3, 29), date(2021, 3, 26)]
    assert all(day.weekday() < 5 for day in days)


def test_a_day_with_a_gap_is_nobodys_forecast() -> None:
    series = prices(
        FIRST, DAYS, lambda day, number: None if (day.day, day.month, number) == (29, 3, 4) else wave(day, number)
    )
    found = case(series)

    seen = series.known_at(gate_of(found, date(2021, 3, 31)))
    assert like_days((seen,), date(2021, 3, 31))[0] == date(2021, 3, 26)


@settings(max_examples=25)
@given(
    offered=st.integers(20, DAYS - 1),
    changed=st.dictionaries(st.integers(0, 24 * DAYS - 2), st.integers(-50, 2000), min_size=1, max_size=40),
    power=st.dictionaries(st.integers(0, 24 * DAYS - 2), st.floats(0, 9000), max_size=10),
)
def test_what_is_not_over_at_the_gate_changes_no_offer(
    offered: int, changed: dict[int, int], power: dict[int, float]
) -> None:
    """Whatever prices and power of hours that end after the gate are, the offers are the same."""
    found = case(prices(FIRST, DAYS, wave))
    day = FIRST + DAY * offered
    gate = gate_of(found, day)
    (series,) = found.series.values()
    starts = sorted(series.by_start)
    later = {at for at in starts if at + (hours_of(day, ZONE)[0].length) > gate}
    by_start = dict(series.by_start) | {starts[i]: Decimal(p) for i, p in changed.items() if starts[i] in later}
    kw = dict(found.site.kw) | {
        starts[i]: dict.fromkeys(found.site.costs, p) for i, p in power.items() if starts[i] in later
    }
    other = replace(found, series={"energy": Prices("test", ZONE, by_start)}, site=replace(found.site, kw=kw))

    assert offers(found, day) == offers(other, day)


def test_power_of_the_day_before_is_not_known_either() -> None:
    """31 March is offered on the 30th at 10: power of the 29th counts, that of the 30th does not."""
    found = case(prices(FIRST, DAYS, wave))
    kw = {start: {Tier.T3: 50.0 * start.day, Tier.T2: 0.0} for start in found.site.kw}

    def steps(without: date) -> object:
        gone = {hour.start: {Tier.T3: 0.0, Tier.T2: 0.0} for hour in hours_of(without, ZONE)}
        day = date(2021, 3, 31)
        return flexibility(replace(found.site, kw=kw | gone), hours_of(day, ZONE), gate_of(found, day))

    assert steps(date(2021, 3, 30)) == steps(date(2021, 3, 31))
    assert steps(date(2021, 3, 29)) != steps(date(2021, 3, 31))


def test_every_second_week_is_walked_whole() -> None:
    days = [FIRST + DAY * number for number in range(28)]

    chosen = apart(days, 2)

    assert len(chosen) == 14
    assert {day.weekday() for day in chosen[:7]} == set(range(7))
    assert (chosen[7] - chosen[0]).days == 14
    assert apart(days, 1) == tuple(days)


def test_what_is_over_at_the_gate_does_change_offers() -> None:
    """The counterpart: the property above would hold of a strategy that looks at nothing."""
    found = case(prices(FIRST, DAYS, wave))
    other = case(prices(FIRST, DAYS, lambda day, number: "900" if day == date(2021, 3, 29) else wave(day, number)))

    assert offers(found, date(2021, 3, 31)) != offers(other, date(2021, 3, 31))


def rows(of: Case, contestants: Sequence[Contestant] = (AT_COST, BY_FORECAST)) -> list[Row]:
    return list(walk(of, contestants, planner, "seed"))


def by_day(found: Sequence[Row], name: str) -> dict[date, Outcome]:
    return {row.day: row.outcome for row in found if row.contestant == name}


def test_a_day_at_the_real_price() -> None:
    """
    2 MW asked at their cost of 20, on 31 March: 23 hours at 30 and one at 131.

    2 × (23 × 10 + 111) = 682 $, less what hosts did not answer for: a missed hour lacks 0.4 MW, which is bought back.
    """
    found = case(prices(FIRST, DAYS, wave))
    day = date(2021, 3, 31)
    came = truth(found, traded(found, day), "seed")
    missed = [hour for hour in came.hours if min(max(kw.values()) for kw in [came.available_kw[hour]]) < 2000]

    outcome = by_day(rows(found), AT_COST.name)[day]

    lost = sum(Decimal("0.4") * (2 * came.price["energy"][hour] - 20) for hour in missed)
    assert outcome.value == 682 - lost
    assert outcome.hours_sold == 24
    assert outcome.shortfalls == len(missed)


def test_an_hour_without_a_price_is_not_offered_and_is_no_zero() -> None:
    """The evening hour of 31 March is missing: 23 hours are offered, and what they earn is as before."""
    gap = prices(
        FIRST, DAYS, lambda day, number: None if (day, number) == (date(2021, 3, 31), EVENING) else wave(day, number)
    )
    with_gap, whole = case(gap), case(prices(FIRST, DAYS, wave))
    day = date(2021, 3, 31)

    assert len(offers(with_gap, day)) == 23
    outcome = by_day(rows(with_gap), AT_COST.name)[day]
    assert outcome.hours_sold == 23
    evening = truth(whole, traded(whole, day)[EVENING : EVENING + 1], "seed")
    kw = max(evening.available_kw[evening.hours[0]].values())
    assert kw == 2000
    assert by_day(rows(whole), AT_COST.name)[day].value - outcome.value == 2 * (131 - 20)


def test_a_day_without_any_price_is_no_day() -> None:
    series = prices(FIRST, DAYS, lambda day, number: None if day == date(2021, 3, 31) else wave(day, number))

    assert date(2021, 3, 31) not in {row.day for row in rows(case(series))}


@pytest.mark.parametrize(
    ("first", "day", "count"),
    [(date(2021, 1, 25), date(2021, 3, 14), 23), (date(2021, 9, 20), date(2021, 11, 7), 25)],
)
def test_days_on_which_clocks_change_are_offered_hour_by_hour(first: date, day: date, count: int) -> None:
    found = case(prices(first, 60, wave))

    assert len(offers(found, day)) == count
    assert by_day(rows(found), AT_COST.name)[day].hours_sold == count


def test_perfect_foresight_is_at_least_as_good_on_every_day() -> None:
    """With 5 MWh a day it takes the evening hour whole and the rest where it is 30."""
    found = rows(case(prices(FIRST, DAYS, wave), energy_mwh={}))

    best = by_day(found, FORESIGHT)
    for name in (AT_COST.name, BY_FORECAST.name):
        assert all(outcome.value <= best[day].value for day, outcome in by_day(found, name).items())
    assert len(best) == len(by_day(found, AT_COST.name)) > 10


def test_a_bound_that_is_beaten_stops_the_run() -> None:
    row = Row("test", "too good", FIRST, Outcome(revenue=Decimal(101), hours_sold=1))

    with pytest.raises(BoundBrokenError, match="too good earned 101, perfect foresight 100"):
        check([row], Outcome(revenue=Decimal(100)))
    check([row], Outcome(revenue=Decimal("100.99")))


def test_the_same_seed_gives_the_same_rows_and_another_one_does_not() -> None:
    found = case(prices(FIRST, DAYS, wave))

    assert rows(found) == rows(found)
    assert rows(found) != list(walk(found, (AT_COST, BY_FORECAST), planner, "another seed"))


def test_a_strategy_that_another_one_stood_in_for_is_marked() -> None:
    def stand_in(_: Contestant, asked: Problem) -> Plan:
        return planner(AT_COST, asked)

    found = list(walk(case(prices(FIRST, 25, wave)), (BY_FORECAST,), stand_in, "seed"))

    assert {row.fell_back for row in found if row.contestant == BY_FORECAST.name} == {True}


def test_doubt_leaves_probability_to_no_scenario_and_the_prices_as_they_are() -> None:
    asked: list[Problem] = []

    def remember(contestant: Contestant, problem: Problem) -> Plan:
        asked.append(problem)
        return planner(contestant, problem)

    doubting = replace(AT_COST, name="doubting", unseen=0.1)
    list(walk(case(prices(FIRST, 25, wave)), (AT_COST, doubting), remember, "seed"))

    sure, unsure = asked[0].prices.scenarios, asked[1].prices.scenarios
    assert sum(scenario.probability for scenario in sure) == pytest.approx(1)
    assert sum(scenario.probability for scenario in unsure) == pytest.approx(0.9)
    assert [scenario.series for scenario in sure] == [scenario.series for scenario in unsure]


def test_prices_move_to_another_year_by_the_local_clock() -> None:
    """2017 has no 29 February; 2:00 of 8 March 2020 was skipped, and so 2017's price of that hour is left out."""
    of_2017 = prices(date(2017, 2, 27), 14, lambda day, number: f"{day.month}{day.day:02}.{number:02}")

    # Whichever order they come in, 3:00 keeps its own price.
    backwards = replace(of_2017, by_start=dict(reversed(list(of_2017.by_start.items()))))
    moved = moved_to(backwards, 2020)

    assert date(2020, 2, 29) not in moved.days()
    assert moved.of(date(2020, 2, 28))[hours_of(date(2020, 2, 28), ZONE)[5]] == Decimal("228.05")
    assert len(moved.of(date(2020, 3, 8))) == 23
    first = [str(moved.by_start[hour.start]) for hour in hours_of(date(2020, 3, 8), ZONE)[:4]]
    assert first == ["308.00", "308.01", "308.03", "308.04"]
