"""From capacity messages to what a plan may sell."""

import math
from datetime import timedelta
from decimal import Decimal

import msgspec
from doubles.builders import NOON, capacity, pool, terms
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.bidding.portfolio.problems import hours, product

from bidding.portfolio.flexibility import CURVE, NOW_FOR_LATER, UNMETERED, Found, SiteLimits, Telemetry, of_site
from bidding.pricing import TierCost
from pipeline.messages.telemetry import PoolLoad, SiteCapacity, Tier

SITE = (pool(Tier.T3, 7000, 2000), pool(Tier.T2, 4000, 800))
NO_EXCESS = 1e9


def messages(*pools: PoolLoad, seconds: int = 40) -> list[SiteCapacity]:
    return [capacity(NOON - timedelta(seconds=ago), *pools) for ago in range(seconds, 0, -1)]


def found(seen: list[SiteCapacity], baseline_kw: float = NO_EXCESS, limits: SiteLimits | None = None) -> Found:
    telemetry = Telemetry(seen, lambda _interval: baseline_kw, NOON)
    return of_site(telemetry, hours(2), terms(), [product("energy")], limits or SiteLimits())


def test_each_tier_is_a_step_with_its_cost_in_every_hour() -> None:
    """2000 kW of T3 at 10 $ and 800 kW of T2 at 20 $, at the window's one confidence."""
    made = found(messages(*SITE)).flexibility

    assert [slot.interval for slot in made.slots] == list(hours(2))
    for slot in made.slots:
        assert [(s.tier, round(s.firm_kw), s.cost_per_mwh, s.confidence) for s in slot.steps] == [
            (Tier.T3, 2000, Decimal(10), 0.95),
            (Tier.T2, 800, Decimal(20), 0.95),
        ]


def test_what_is_assumed_is_said() -> None:
    said = found(messages(*SITE)).flexibility.assumptions

    assert {NOW_FOR_LATER, CURVE, "telemetry is simulated"} <= set(said)
    assert any("no quantiles" in text for text in said)
    assert UNMETERED not in said

    cost = TierCost(price_per_million_tokens=Decimal(1), tokens_per_mwh_unmetered=Decimal(5_000_000))
    telemetry = Telemetry(messages(pool(Tier.T3, 1000, 500, None)), lambda _interval: NO_EXCESS, NOON)
    unmetered = of_site(telemetry, hours(1), terms(costs={Tier.T3: cost}), [product("energy")]).flexibility
    assert UNMETERED in unmetered.assumptions
    assert unmetered.slots[0].steps[0].tokens_per_mwh == 5_000_000


def test_tokens_are_priced_by_the_curve() -> None:
    """1000 tokens/s at full draw; T3's floor of 30 % keeps 18.75 % of them: 812.5 × 3600 s over 2 MW."""
    (step, *_) = found(messages(pool(Tier.T3, 1000, 500))).flexibility.slots[0].steps

    assert step.tokens_per_mwh == Decimal(str(round(1000 * (1 - 0.30 / 0.40 * 0.25) * 3600 / 0.5, 1)))


def test_without_capacity_there_is_nothing_and_the_reason() -> None:
    old = [msgspec.structs.replace(m, as_of=m.as_of - timedelta(minutes=5)) for m in messages(*SITE)]

    assert found(old).flexibility.slots == ()
    assert [finding.name for finding in found(old).findings] == ["halted"]
    assert [finding.name for finding in found(messages(*SITE, seconds=9)).findings] == ["window"]
    assert all(slot.steps == () for slot in found(messages(*SITE), math.nan).flexibility.slots)


def test_the_owners_limits_are_taken_over() -> None:
    limits = SiteLimits(deferrable_mwh=7.5, ramp_kw_per_min=600, recovery_s=3600, max_calls_per_day=2, up_kw=400)
    made = found(messages(*SITE), limits=limits).flexibility

    assert (made.all_called_mwh, made.ramp_kw_per_min, made.recovery_s, made.max_calls_per_day) == (7.5, 600, 3600, 2)
    assert made.slots[0].up_kw == 400


@settings(max_examples=60, deadline=None)
@given(
    gone=st.lists(st.integers(0, 39), max_size=20),
    lower=st.lists(st.tuples(st.integers(0, 39), st.sampled_from([0.0, 0.5, math.nan])), max_size=20),
    baseline_kw=st.floats(9_000, 12_000),
)
def test_no_message_that_is_lost_or_lowered_adds_power(
    gone: list[int], lower: list[tuple[int, float]], baseline_kw: float
) -> None:
    seen: list[SiteCapacity | None] = list(messages(*SITE))
    for at, by in lower:
        message = seen[at]
        if message is not None:
            pools = tuple(
                msgspec.structs.replace(p, relief_kw=tuple(kw * by for kw in p.relief_kw)) for p in message.pools
            )
            seen[at] = msgspec.structs.replace(message, pools=pools)
    for at in gone:
        seen[at] = None
    whole, less = (
        [sum(s.power_kw for s in slot.steps) for slot in found(given_messages, baseline_kw).flexibility.slots]
        or [0.0, 0.0]
        for given_messages in (messages(*SITE), [m for m in seen if m is not None])
    )

    assert all(after <= before + 1e-6 for before, after in zip(whole, less, strict=True))
