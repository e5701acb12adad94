"""The page says what is simulated, what was constructed, who won and who did not."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from unit.bidding.backtest.backtest_world import AT_COST, BY_FORECAST, DAY, ZONE, case, planner, prices

from bidding.backtest import __main__ as command
from bidding.backtest import site
from bidding.backtest.calls import CallModel
from bidding.backtest.cases import Case, Real, cases, joint
from bidding.backtest.day import Outcome
from bidding.backtest.finding import DEEP, MAIN, WHY_DEEP, WHY_LEVEL, WHY_MISSING, finding, signed, why
from bidding.backtest.report import HEADS, Plan, report, table
from bidding.backtest.reserves import Retroactive
from bidding.backtest.site import Measured
from bidding.backtest.summary import Summary, summaries
from bidding.backtest.walk import FORESIGHT, Row, walk
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Tier

FIRST = date(2021, 3, 1)
SIMPLE = replace(AT_COST, name="simple", strategy="simple")
CONTESTANTS = (SIMPLE, BY_FORECAST)
PLAN = Plan(CONTESTANTS, seed="seed", weeks_apart=8, folder="there")


def small_real() -> Real:
    """Every input, made up: 60 days of prices, a call a day at 7, a fleet whose demand is half of its highest."""
    demand = np.full((14, 144), 0.5)
    demand[:, 0] = 1.0
    return Real(
        hubs={"PJM_DOM_RT": prices(date(2021, 1, 1), 60, lambda _, number: str(20 + number), name="PJM_DOM_RT")},
        srmcp=prices(date(2017, 1, 1), 60, lambda _, number: str(number % 3)),
        calls=CallModel(
            365.0,
            dict.fromkeys(range(1, 13), 1.0),
            {at: float(at == 7) for at in range(24)},
            (timedelta(minutes=15),),
            9,
        ),
        retroactive=Retroactive(3, Decimal(100), Decimal(36_000)),
        measured=Measured(demand, 2548.0, 6827.0, np.linspace(60.0, 460.0, 1001)),
    )


def page(of: Sequence[Case]) -> str:
    lines = [line for each in of for line in summaries(list(walk(each, CONTESTANTS, planner, "seed")), 7)]
    return report(of, lines, small_real(), PLAN).text


def test_the_page_says_what_is_simulated_and_what_is_real() -> None:
    text = page([case(prices(FIRST, 30, lambda _, number: str(20 + number)))])

    assert "**The site is simulated; prices are real; calls are drawn from real events.**" in text
    assert "| flexible power | **simulated** |" in text
    assert "| reserve calls | **simulated** |" in text
    assert "| delivery | **simulated** |" in text
    assert "| cost of tokens | **assumed** |" in text
    assert "Prices of 2017 and events to 2015 do not overlap" in text
    assert "Not modelled: scarcity adders" in text
    assert "Offers are made in every 8th week" in text


def test_a_construction_is_called_one() -> None:
    real = small_real()
    (history,) = cases(real, "seed", ["PJM_DOM_RT"])
    constructed = joint(2021, real, "seed")

    text = report([history], [], real, PLAN).text
    assert "construction" not in text
    assert constructed.constructed
    assert constructed.title.startswith("Constructed, not history")
    assert not history.constructed


def test_what_a_missing_mwh_of_a_call_costs_is_learned_from_real_charges() -> None:
    """360 $ a MW, calls of a quarter of an hour, mean price 1 $: 360 ÷ 0.25."""
    assert small_real().shortfall_factor == 1440


def summary(name: str, *daily: float, outcome: Outcome | None = None) -> list[Row]:
    return [
        Row("m", name, FIRST + DAY * number, replace(outcome or Outcome(), revenue=Decimal(str(value))))
        for number, value in enumerate(daily)
    ]


def lines(ours: float, simple: float) -> list[Summary]:
    """Four weeks of the same day."""
    days = 28
    return summaries(
        [*summary("simple", *[simple] * days), *summary(MAIN, *[ours] * days), *summary(FORESIGHT, *[10.0] * days)], 7
    )


def test_shares_and_gains_are_those_of_the_days() -> None:
    simple, ours, best = lines(8, 4)

    assert (simple.value, ours.value, best.value) == (112, 224, 280)
    assert (simple.captured, ours.captured) == (0.4, 0.8)
    assert simple.over_rule is None
    assert ours.over_rule is not None
    assert (ours.over_rule.difference, ours.over_rule.ratio) == (112, 2.0)


def test_who_is_not_better_is_named_with_the_reason() -> None:
    assert f"`{MAIN}` against `simple` is worse (-112 $): paid -112 $" in why(lines(4, 8))
    assert f"`{MAIN}` against `simple` is level (+0 $)" in why(lines(8, 8))
    assert why(lines(8, 4)) == ""


def test_the_finding_says_who_won_and_by_how_much() -> None:
    better, worse = finding(lines(8, 4)), finding(lines(4, 8))

    assert "+112 $ (95 %: +112 to +112), better; 80.0% of perfect foresight against 40.0%" in better
    assert f"`{MAIN}`: surely better than `simple` in 1 of 1 markets, surely worse in 0" in better
    assert f"`{MAIN}`: surely better than `simple` in 0 of 1 markets, surely worse in 1" in worse
    assert "**Energy alone: the optimiser earned 2.00 to 2.00 times what the rule did**, surely more in 1" in better
    assert signed(-0.3) == "+0"
    assert WHY_LEVEL in worse
    assert WHY_LEVEL not in better


def test_more_that_was_missing_than_with_the_rule_is_told() -> None:
    short = Outcome(missing_mwh=Decimal(3), sold_mwh=Decimal(9), sold_energy_mwh=Decimal(9))
    found = summaries([*summary("simple", 4.0), *summary(MAIN, 8.0, outcome=short), *summary(FORESIGHT, 9.0)], 7)

    assert f"{WHY_MISSING}. Missing MWh: m 3 against 0." in finding(found)
    assert WHY_MISSING not in finding(lines(8, 4))


def test_reserve_that_was_not_there_is_held_against_who_sold_it() -> None:
    sold = Outcome(sold_mwh=Decimal(9))
    rows = [
        *summary("simple", 4.0, outcome=sold),
        *summary(MAIN, 8.0, outcome=sold),
        *summary(f"{MAIN}{DEEP}", 9.0, outcome=replace(sold, missing_mwh=Decimal(5))),
        *summary(FORESIGHT, 10.0),
    ]

    assert f"{WHY_DEEP}: m 5 against 0." in finding(summaries(rows, 7))
    energy = [replace(row, outcome=replace(row.outcome, sold_energy_mwh=row.outcome.sold_mwh)) for row in rows]
    assert WHY_DEEP not in finding(summaries(energy, 7))


def test_years_are_told_apart_and_together() -> None:
    """31 December 2020 is worth 1, New Year 2."""
    rows = [Row("m", "simple", date(2020, 12, 31) + DAY * n, Outcome(revenue=Decimal(n + 1))) for n in range(2)]

    found = summaries(rows, 7)

    assert [(line.span, line.whole, line.value) for line in found] == [
        ("2020 to 2021", True, 3),
        ("2020", False, 1),
        ("2021", False, 2),
    ]


def test_a_row_has_a_cell_for_every_head() -> None:
    rows = table(lines(8, 4)).splitlines()

    assert {row.count("|") for row in rows} == {len(HEADS) + 1}
    assert rows[3].startswith(f"| `{MAIN}` | 224 | 80.0% | +112 (+112 to +112) | 2.000 (2.000 to 2.000) | 8 |")


def test_dollars_a_million_tokens() -> None:
    """100 $ less 20 $ of penalties for 40 million tokens."""
    outcome = Outcome(penalty=Decimal(20), tokens=Decimal(40_000_000))

    (line,) = summaries(summary("simple", 100.0, outcome=outcome), 7)

    assert line.per_million_tokens == 2


def test_the_pictures_are_svg_and_lie_where_the_page_looks(tmp_path: Path) -> None:
    small = case(prices(FIRST, 30, lambda _, number: str(20 + number)))
    of = summaries(list(walk(small, CONTESTANTS, planner, "seed")), 7)
    made = report([small], of, small_real(), replace(PLAN, folder="page"))

    command.write(made, tmp_path / "PAGE.md")

    for name in ("frontier.svg", "test-value.svg", "test-captured.svg"):
        assert f"(page/{name})" in made.text
        assert ET.parse(tmp_path / "page" / name).getroot().tag.endswith("svg")
    assert (tmp_path / "page" / "monthly.csv").read_text().startswith("case,contestant,month,value_usd\ntest,")


def test_an_unknown_market_is_refused_by_name(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FIRMWATT_SHARED", str(shared_data))

    with pytest.raises(ConfigError, match="no market SPP; have CAISO_NP15_DAM"):
        command.main(["--out", str(tmp_path / "P.md"), "--markets", "SPP"])


def test_the_command_walks_the_live_strategies(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two days of reserve: nobody falls back, and the page names them all."""
    pytest.importorskip("linopy")
    monkeypatch.setenv("FIRMWATT_SHARED", str(shared_data))

    command.main(["--out", str(tmp_path / "P.md"), "--markets", "sync-reserve", "--days", "2"])

    text = (tmp_path / "P.md").read_text()
    assert "### 2017: 2 days" in text
    assert all(f"| `{contestant.name}` |" in text for contestant in (*command.EVERYWHERE, *command.AT_RISK))
    assert "optimiser, λ 0, any day` |" not in text
    assert (tmp_path / "p" / "sync-reserve-value.svg").exists()


def test_the_site_lets_go_what_its_engines_draw_above_the_floor() -> None:
    """
    Half of 10,000 engines are busy; 80 % of the others run batch: 16,000 GPUs at 637 W, floor 350 W: 4,592 kW.

    The hour that holds the window of highest demand has no batch work at all.
    """
    found = list(site.flexible(small_real().measured, FIRST, ZONE, "seed").values())

    assert found[5].kw[1] == pytest.approx(4592)
    assert found[0].kw[1] == 0


def test_preemptible_work_is_capped_at_its_floor() -> None:
    """A GPU at 260 W, the middle of the draws, lets go 140 W above the floor of 120 W; one at 100 W nothing."""
    measured = small_real().measured

    assert site.training_relief_w(measured, 0.5) == pytest.approx(140)
    assert site.training_relief_w(measured, 0.1) == 0


def test_a_mwh_costs_the_tokens_that_the_desk_would_count() -> None:
    """T3: 38 billion tokens at 0.15 $ a million, half a percent of them lost: 28.50 $."""
    assert site.costs(small_real().measured)[Tier.T3].per_mwh == Decimal("28.50")
