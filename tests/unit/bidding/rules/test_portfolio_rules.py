"""Rules over everything that stands and everything new: power, work, exposure, sanity."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from doubles.builders import INTERVAL, rules, step
from doubles.gate import flexibility, limits, minutes, named, other, situation, written_down

from bidding.gate.judge import PORTFOLIO_RULES, RUN_RULES, SANITY_RULES
from bidding.gate.settings import Collars, Effect, Obligation
from bidding.gate.situation import Counters, Flexibility, Situation
from bidding.products import Family
from bidding.rules.case import key_of
from bidding.rules.portfolio_view import Portfolio
from bidding.rules.refusal import Refusal, Rule, apply
from pipeline.messages.market import Offer
from pipeline.messages.telemetry import Tier

DOCKET = "PUCT Docket 59220, 23 Jul 2026 (secondary source RN-1)"
ALL_RULES = (*PORTFOLIO_RULES, *RUN_RULES, *SANITY_RULES)
SPIN = rules(product="spin", family=Family.SPINNING, response_s=10, cited={"response_s": "BPM 002"})
CALLED = rules(product="called", recovery_s=120, max_calls_per_day=2, cited={"recovery_s": "tariff 4"})
LONG = rules(product="long", duration_s=300, family=Family.CONTINGENCY)
MARKET = (rules(), SPIN, CALLED, LONG, rules(venue="acme"))


@dataclass(frozen=True)
class Broken:
    """New offers in a situation that break one rule, and what the refusal has to say."""

    offers: tuple[Offer, ...]
    situation: Situation
    says: str
    source: str

    @property
    def portfolio(self) -> Portfolio:
        return Portfolio(self.offers, self.situation)


def market(**changes: object) -> Situation:
    return situation(*MARKET, **changes)


def megawatts(quantity_mw: str, price: str = "10", **changes: object) -> Offer:
    return other(step(quantity_mw, price), firm_kw=100_000.0, **changes)


def called(begin: int, revision: int = 1) -> Offer:
    return megawatts("0.1", product="called", interval=minutes(begin), revision=revision)


def duty(effect: Effect, **changes: object) -> Obligation:
    return replace_duty(Obligation(name="large load", source=DOCKET, effect=Effect.BARS), effect=effect, **changes)


def replace_duty(obligation: Obligation, **changes: object) -> Obligation:
    fields = {name: getattr(obligation, name) for name in obligation.__struct_fields__}
    return Obligation(**(fields | changes))


def accepted(offer: Offer) -> dict[object, Offer]:
    return {key_of(offer): offer}


CASES = {
    "promised_twice": Broken(
        (megawatts("0.6", venue="acme"),),
        market(standing=(megawatts("0.5"),)),
        "0.5 MW sandbox/energy-dr + 0.6 MW acme/energy-dr need 1.1 MW, 1.0 MW are firm, 0.1 MW too much",
        "never promised twice",
    ),
    "ramp": Broken(
        (megawatts("0.5", product="spin"),),
        market(flexibility={"site-1": flexibility(ramp_kw_per_s=40)}),
        "0.5 MW within 10 s, 40 kW/s reach 0.4 MW",
        "BPM 002",
    ),
    "held_long_enough": Broken(
        (megawatts("0.5", product="long"),),
        market(
            flexibility={
                "site-1": Flexibility(
                    firm_kw={minutes(0, 6): 1000.0, minutes(6, 60): 200.0}, ramp_kw_per_s=100, deferrable_kwh=1e4
                )
            }
        ),
        "a call may last 300 s, 0.2 MW are firm that long, 0.5 MW offered; offer 0.3 MW less",
        "duration_s",
    ),
    "obligation_bars": Broken(
        (megawatts("0.1"),), market(obligations=(duty(Effect.BARS),)), "0.1 MW must not be sold", DOCKET
    ),
    "obligation_reduces": Broken(
        (megawatts("0.8"),),
        market(obligations=(duty(Effect.REDUCES, mw=Decimal("0.4")),)),
        "0.4 of 1.0 MW are owed to curtailment, 0.6 MW may be sold, 0.8 MW are offered, 0.2 MW too much",
        DOCKET,
    ),
    "deferrable": Broken(
        (megawatts("0.9", interval=minutes(5, 60)),),
        market(
            flexibility={"site-1": flexibility(deferrable_mwh=1.2)},
            standing=(megawatts("0.4", interval=minutes(65, 60)),),
        ),
        "site-1 2026-07-23: 1300 kWh may be called, 1200 kWh of work can wait, 100 kWh too much",
        "deferrable",
    ),
    "recovery": Broken(
        (called(7),), market(standing=(called(5),)), "0:01:00 of rest before 2026-07-23 12:07Z", "tariff 4"
    ),
    "calls_per_day": Broken(
        (called(15),),
        market(standing=(called(5), called(10))),
        "3 separate runs, 2 calls a day; join or leave out 1",
        "max_calls_per_day",
    ),
    "resource_power": Broken(
        (megawatts("0.3"),),
        market(limits=limits(resource_mw="0.5"), standing=(megawatts("0.3", venue="acme"),)),
        "r1: 0.6 MW at one instant, 0.5 MW allowed, 0.1 MW too much",
        "[bidding.limits] resource_mw",
    ),
    "venue_power": Broken(
        (megawatts("0.3"),),
        market(limits=limits(venue_mw="0.5"), standing=(megawatts("0.3", resource="r2"),)),
        "sandbox: 0.6 MW at one instant",
        "[bidding.limits] venue_mw",
    ),
    "resource_money": Broken(
        (megawatts("0.4"),),
        market(limits=limits(resource_day_money="9.99")),
        "r1 2026-07-23: 10.00 USD at stake, 9.99 allowed, 0.01 too much",
        "[bidding.limits] resource_day_money",
    ),
    "venue_money": Broken(
        (megawatts("0.2"),),
        market(limits=limits(venue_day_money="9"), standing=(megawatts("0.2", resource="r2", interval=minutes(900)),)),
        "sandbox 2026-07-23: 10.00 USD at stake",
        "[bidding.limits] venue_day_money",
    ),
    "expected_money": Broken(
        (megawatts("0.4", "20", interval=minutes(5, 60)),),
        market(limits=limits(expected_day_money="0.5")),
        "r1 2026-07-23: 0.60 USD at stake",
        "[bidding.limits] expected_day_money",
    ),
    "within_firm": Broken(
        (other(firm_kw=299.0),), market(), "300 kW offered, 299 kW firm at 95%, 1 kW too much", "measured"
    ),
    "price_against_cost": Broken(
        (other(step("0.1", "10").model_copy(update={"price_per_mwh": Decimal("9.99")}), step("0.1", "20", Tier.T2)),),
        market(),
        "9.99 USD/MWh is 0.01 below its collar, cost is 10",
        "[bidding.collars] below_cost",
    ),
    "price_against_reference": Broken(
        (megawatts("0.1", "201"),),
        market(
            reference={("sandbox", "energy-dr", INTERVAL): Decimal(100)},
            collars=Collars(above_reference=1.0),
        ),
        "201 USD/MWh is outside",
        "[bidding.collars] above_reference",
    ),
    "price_move": Broken(
        (megawatts("0.2", "70", revision=2),),
        market(accepted=accepted(megawatts("0.1", "10"))),
        "moves a price by 600% against revision 1, 500% allowed",
        "[bidding.limits] price_move",
    ),
    "quantity_jump": Broken(
        (megawatts("0.5", revision=2),),
        market(accepted=accepted(megawatts("0.1")), limits=limits(quantity_move_mw="0.3")),
        "adds 0.4 MW to revision 1, 0.3 MW allowed",
        "[bidding.limits] quantity_move_mw",
    ),
    "offers_per_minute": Broken(
        (megawatts("0.1"),),
        market(counters=Counters(last_minute=5), limits=limits(offers_per_minute=5)),
        "6 offers in the last minute with these, 5 allowed",
        "[bidding.limits] offers_per_minute",
    ),
    "offers_per_day": Broken(
        (megawatts("0.1"),),
        market(counters=Counters(today=9), limits=limits(offers_per_day=9)),
        "10 offers in this day with these",
        "[bidding.limits] offers_per_day",
    ),
}
"""By rule: a case that no other rule of the portfolio refuses."""


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert named(CASES, ALL_RULES) == (set(), set())


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.__name__)
def test_a_broken_rule_names_itself_its_source_and_what_to_do(rule: Rule[Portfolio]) -> None:
    broken = CASES[rule.__name__]

    (refusal,) = apply(ALL_RULES, broken.portfolio)

    assert refusal.rule == rule.__name__
    assert broken.says in refusal.detail
    assert broken.source in refusal.source
    assert written_down(rule, refusal)


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.__name__)
def test_without_the_rule_its_case_would_leave(rule: Rule[Portfolio]) -> None:
    others = [each for each in ALL_RULES if each is not rule]

    assert apply(others, CASES[rule.__name__].portfolio) == ()


def broken(known: Situation, *offers: Offer) -> list[str]:
    return [refusal.rule for refusal in apply(ALL_RULES, Portfolio(offers, known))]


def refusals(known: Situation, *offers: Offer) -> tuple[Refusal, ...]:
    return apply(ALL_RULES, Portfolio(offers, known))


def test_offers_up_to_the_firm_power_are_refused_by_no_rule() -> None:
    assert broken(market(standing=(megawatts("0.4", venue="acme"),)), megawatts("0.6")) == []


def test_a_revision_takes_the_place_of_what_stood() -> None:
    """0.9 MW instead of 0.8, not on top of it."""
    assert broken(market(standing=(megawatts("0.8"),)), megawatts("0.9", revision=2)) == []


def test_power_that_nothing_is_known_of_is_not_there() -> None:
    """An instant that no figure covers, a NaN, a negative figure, a site nobody knows: nothing to sell."""
    half = Flexibility(firm_kw={minutes(5): 1000.0}, ramp_kw_per_s=100, deferrable_kwh=1e4)
    hole = replace(half, firm_kw={minutes(5): 1000.0, minutes(7): 1000.0})
    nan = replace(half, firm_kw={minutes(5): float("nan")})
    negative = replace(half, firm_kw={minutes(5): -1.0})

    assert broken(market(flexibility={"site-1": half}), megawatts("0.1")) == []
    assert broken(market(flexibility={"site-1": half}), megawatts("0.1", interval=minutes(5, 2))) == ["promised_twice"]
    assert broken(market(flexibility={"site-1": hole}), megawatts("0.1", interval=minutes(5, 3))) == ["promised_twice"]
    assert broken(market(flexibility={"site-1": nan}), megawatts("0.1")) == ["promised_twice"]
    assert broken(market(flexibility={"site-1": negative}), megawatts("0.1")) == ["promised_twice"]
    assert broken(market(), megawatts("0.1", site="elsewhere")) == ["deferrable", "promised_twice"]


def stacking(*spin_with: str, energy_with: tuple[str, ...] = ("spin",)) -> Situation:
    spin = rules(product="spin", family=Family.SPINNING, stacks_with=spin_with)
    return situation(rules(stacks_with=energy_with), spin, standing=(megawatts("0.9"),))


def test_power_is_shared_only_where_both_products_say_so() -> None:
    """0.9 MW of energy and 0.8 MW of reserve on 1 MW: allowed only if each names the other."""
    reserve = megawatts("0.8", product="spin")

    assert broken(stacking("energy-dr"), reserve) == []
    assert broken(stacking("sandbox/energy-dr"), reserve) == []
    assert broken(stacking(), reserve) == ["promised_twice"]
    assert broken(stacking("energy-dr", energy_with=()), reserve) == ["promised_twice"]
    assert broken(stacking("acme/energy-dr"), reserve) == ["promised_twice"]


def test_regulation_down_is_load_to_be_added_and_takes_none_that_can_be_let_go() -> None:
    down = rules(product="down", family=Family.REGULATION_DOWN)
    known = situation(rules(), down, standing=(megawatts("1"),))

    assert broken(known, megawatts("1", product="down")) == []
    assert broken(known, megawatts("1.01", product="down")) == ["promised_twice"]


def test_what_is_sold_in_both_directions_takes_power_of_both() -> None:
    """1 MW of symmetric regulation leaves nothing to let go, and nothing to add."""
    both, down = rules(product="both", symmetric=True), rules(product="down", family=Family.REGULATION_DOWN)
    known = situation(rules(), both, down, standing=(megawatts("0.95", product="both"),))

    assert broken(known, megawatts("0.05")) == broken(known, megawatts("0.05", product="down")) == []
    assert broken(known, megawatts("0.06")) == ["promised_twice"]
    assert broken(known, megawatts("0.06", product="down")) == ["promised_twice"]


def test_a_site_without_a_limit_of_ramp_or_work_has_none() -> None:
    free = Flexibility(firm_kw=flexibility().firm_kw, ramp_kw_per_s=math.inf, deferrable_kwh=math.inf)
    unknown = replace(free, ramp_kw_per_s=math.nan, deferrable_kwh=math.nan)

    assert broken(market(flexibility={"site-1": free}), megawatts("1", product="spin")) == []
    assert broken(market(flexibility={"site-1": unknown}), megawatts("1", product="spin")) == ["deferrable", "ramp"]


def test_the_price_of_standing_ready_may_lie_below_the_cost_of_being_called() -> None:
    """Ready for 1 $ per MW and hour, 10 $ a MWh when called."""
    ready = rules(product="spin", per="MW-h")
    cheap = other(step("0.1", "10").model_copy(update={"price_per_mwh": Decimal(1)}), product="spin")

    assert broken(situation(ready), cheap) == []
    assert broken(situation(rules(product="spin")), cheap) == ["price_against_cost"]


@pytest.mark.parametrize(
    ("per", "at_stake"), [("MWh", "150.00"), ("MW-h", "150.00"), ("MW-day", "6.25"), ("MW-block", "150.00")]
)
def test_money_is_counted_by_what_a_price_is_for(per: str, at_stake: str) -> None:
    """0.1 MW for an hour at a cap of 1,000 × 1.5: 150 $ by the hour or the block, a 24th of it by the day."""
    known = situation(rules(per=per), limits=limits(resource_day_money="0"))

    (refusal,) = refusals(known, megawatts("0.1", "10", interval=minutes(5, 60)))

    assert f"r1 2026-07-23: {at_stake} USD at stake" in refusal.detail


def test_what_answers_faster_counts_against_the_slower_too() -> None:
    """100 kW/s reach 0.3 MW in 3 s and 1 MW in 10 s: 0.3 and 0.7 MW fit, 0.3 and 0.71 do not."""
    fast = rules(product="fast", family=Family.FAST, response_s=3)
    known = situation(
        fast, SPIN, flexibility={"site-1": flexibility(2.0)}, standing=(megawatts("0.3", product="fast"),)
    )

    assert broken(known, megawatts("0.7", product="spin")) == []
    assert broken(known, megawatts("0.71", product="spin")) == ["ramp"]


def test_a_product_called_twice_an_hour_long_holds_back_two_hours_of_work() -> None:
    """24 hours of 0.5 MW are 12 MWh; two calls of an hour are 1 MWh."""
    reserve = rules(product="reserve", interval_s=3600, duration_s=3600, max_calls_per_day=2)
    day = tuple(megawatts("0.5", product="reserve", interval=minutes(60 * hour, 60)) for hour in range(1, 12))
    known = situation(reserve, flexibility={"site-1": flexibility(deferrable_mwh=1.0)})
    less = situation(reserve, flexibility={"site-1": flexibility(deferrable_mwh=0.99)})

    assert broken(known, *day) == []
    assert broken(less, *day) == ["deferrable"]


def test_days_are_those_of_the_site() -> None:
    """12:05 UTC on 23 and on 24 July are two local days; 06:59 UTC on the 24th is still the 23rd."""
    known = market(limits=limits(resource_day_money="5"), standing=(megawatts("0.2"),))
    next_day = minutes(0, day=datetime(2026, 7, 24, 12, 5, tzinfo=UTC))
    same_day = minutes(0, day=datetime(2026, 7, 24, 6, 59, tzinfo=UTC))
    firm = {"site-1": replace(flexibility(), firm_kw={next_day: 1e3, same_day: 1e3})}

    assert broken(replace(known, flexibility=firm), megawatts("0.2", interval=next_day)) == []
    assert broken(replace(known, flexibility=firm), megawatts("0.2", interval=same_day)) == ["resource_money"]


@pytest.mark.parametrize(
    ("duty_words", "barred"),
    [
        ({}, True),
        ({"resources": ("r2",)}, False),
        ({"venues": ("acme",)}, False),
        ({"families": (Family.CAPACITY,)}, False),
        ({"families": (Family.ENERGY,), "venues": ("sandbox",), "resources": ("r1",)}, True),
        ({"begins": INTERVAL.end}, False),
        ({"ends": INTERVAL.start}, False),
        ({"begins": INTERVAL.start, "ends": INTERVAL.end}, True),
    ],
)
def test_a_duty_bars_whom_it_concerns_while_it_holds(duty_words: dict[str, object], *, barred: bool) -> None:
    known = market(obligations=(duty(Effect.BARS, **duty_words),))

    assert broken(known, megawatts("0.1")) == (["obligation_bars"] if barred else [])


def test_duties_add_up_and_are_cited_with_their_doubt() -> None:
    """Of 1 MW 0.3 MW and a quarter are owed: 0.45 MW are left."""
    large = duty(Effect.REDUCES, mw=Decimal("0.3"))
    shed = duty(Effect.REDUCES, share=0.25, name="firm load shed", source="Texas SB6", verified=True)
    known = market(obligations=(large, shed))

    assert refusals(known, megawatts("0.45")) == ()
    (refusal,) = refusals(known, megawatts("0.46"))
    assert "0.01" in refusal.detail
    assert refusal.source == f"large load: {DOCKET} (unverified); firm load shed: Texas SB6"


def test_the_worst_case_is_the_cap_times_the_shortfall_factor_or_the_dearest_step() -> None:
    """0.4 MW for a minute at 1,000 $/MWh × 1.5 are 10 $; at the offered 30 $/MWh they are 0.30 $."""
    by_cap = market(limits=limits(resource_day_money="10"))
    by_offer = market(limits=limits(resource_day_money="0.30", worst_price="offer"))

    assert broken(by_cap, megawatts("0.4", "30")) == []
    assert broken(by_offer, megawatts("0.4", "30")) == []
    assert broken(by_offer, megawatts("0.41", "30")) == ["resource_money"]


def test_money_of_two_currencies_is_never_added() -> None:
    """10 $ and 10 € are each at their limit; another cent's worth of either is above it."""
    known = market(limits=limits(resource_day_money="10"), standing=(megawatts("0.4", currency="EUR"),))

    assert broken(known, megawatts("0.4", venue="acme")) == []
    assert broken(known, megawatts("0.41", venue="acme")) == ["resource_money"]


def test_a_price_is_compared_where_both_curves_have_power() -> None:
    """The accepted curve asked 10 for 0.1 and 40 for the next 0.1; the new one asks 40 for all: +300 % on the first."""
    old = other(step("0.1", "10"), step("0.1", "40", Tier.T2))
    known = market(accepted=accepted(old), limits=limits(price_move=2.9))

    (refusal,) = refusals(known, megawatts("0.2", "40", revision=2))

    assert "300%" in refusal.detail
    assert broken(replace(known, limits=limits(price_move=3.0)), megawatts("0.2", "40", revision=2)) == []


def test_small_moves_of_small_prices_are_no_jumps() -> None:
    """From 1 to 11 $/MWh is 1,000 %, and ten dollars."""
    known = market(accepted=accepted(megawatts("0.1", "1")))

    assert broken(known, megawatts("0.1", "11", revision=2)) == []
