"""From capacity to an offer: what is firm is sold, at its cost, and missing data only ever lowers it."""

import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from doubles import builders
from doubles.builders import INTERVAL, NOON, capacity, costs, pool, rules, terms
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.capacity import firm_kw
from bidding.offers import NoOffer, build, offer_id
from bidding.pricing import TierCost, round_up, throughput_kept, tokens_lost_per_s, tokens_per_mwh
from pipeline.messages.market import Offer
from pipeline.messages.telemetry import PoolLoad, SiteCapacity, Tier

SECOND = timedelta(seconds=1)
NO_EXCESS = 1e9  # a baseline that the load never exceeds


def window(*pools: PoolLoad, seconds: int = 40, **changes: object) -> list[SiteCapacity]:
    """Return a message for each of the last *seconds* before noon, oldest first."""
    return [capacity(NOON - ago * SECOND, *pools, **changes) for ago in range(seconds, 0, -1)]  # type: ignore[arg-type]


def decide(messages: list[SiteCapacity], baseline_kw: float = NO_EXCESS, **changes: object) -> Offer | NoOffer:
    return build(messages, baseline_kw, rules(**changes), interval=INTERVAL, terms=terms(), now=NOON)


def sold(messages: list[SiteCapacity], baseline_kw: float = NO_EXCESS) -> Decimal:
    decision = decide(messages, baseline_kw)
    return decision.quantity_mw if isinstance(decision, Offer) else Decimal(0)


def test_each_tier_is_a_step_and_the_cheapest_comes_first() -> None:
    """125.9 kW of T3 and 80 kW of T2: 0.12 MW, and up to 0.20 MW in all, because 205.9 kW is 20 whole blocks."""
    decision = decide(window(pool(Tier.T2, 400, 80), pool(Tier.T3, 300, 125.9)))

    assert isinstance(decision, Offer)
    assert [(s.quantity_mw, s.price_per_mwh, s.tier) for s in decision.steps] == [
        (Decimal("0.12"), Decimal("10.00"), Tier.T3),
        (Decimal("0.08"), Decimal("20.00"), Tier.T2),
    ]
    assert decision.simulated
    assert decision.as_of == NOON


@pytest.mark.parametrize(
    ("venue", "telemetry", "offer"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_an_offer_is_simulated_if_the_venue_or_any_telemetry_is(*, venue: bool, telemetry: bool, offer: bool) -> None:
    decision = decide(window(pool(Tier.T3, 700, 200), simulated=telemetry), simulated=venue)

    assert isinstance(decision, Offer)
    assert decision.simulated is offer


def test_the_untouchable_tier_is_never_sold() -> None:
    """A pool of T0 that claims to let 500 kW go sells nothing."""
    claims = msgspec.structs.replace(pool(Tier.T0, 1000, 0), relief_kw=(500.0,) * 15)

    assert isinstance(decide(window(claims)), NoOffer)


def test_load_above_the_baseline_is_shed_before_anything_is_sold() -> None:
    """Load 700 kW, baseline 640 kW: of 200 kW relief 60 kW only lead back to the baseline, 140 kW are a reduction."""
    assert sold(window(pool(Tier.T3, 700, 200)), baseline_kw=640) == Decimal("0.14")


def test_load_below_the_baseline_adds_nothing() -> None:
    """Workload that is missing now is not sold: 200 kW relief stay 200 kW under a baseline 300 kW above the load."""
    assert sold(window(pool(Tier.T3, 700, 200)), baseline_kw=1000) == Decimal("0.20")


def test_firm_is_what_nearly_all_slots_reach() -> None:
    """One slot of ten shows 100 kW, the others 200 kW: at 95 % the low one holds, at 90 % it may be missed."""
    messages = [
        capacity(NOON - ago * SECOND, pool(Tier.T3, 700, 100 if ago in {20, 21} else 200)) for ago in range(40, 0, -1)
    ]

    def total(confidence: float) -> float:
        return firm_kw(messages, builders.window(confidence), NO_EXCESS, NOON, (Tier.T3,)).total_kw

    assert total(0.95) == pytest.approx(100)
    assert total(0.90) == pytest.approx(200)


def test_without_fresh_capacity_nothing_is_offered() -> None:
    """The newest message is 10 s old."""
    old = [m for m in window(pool(Tier.T3, 700, 200)) if m.as_of <= NOON - 10 * SECOND]

    decision = decide(old)

    assert isinstance(decision, NoOffer)
    assert decision.findings[0].name == "halted"


def test_silent_hosts_cost_a_haircut_and_half_of_them_stop_offers() -> None:
    """10 of 100 hosts silent: 200 kW × 0.9 = 180 kW. 51 of 100: nothing."""
    assert sold(window(pool(Tier.T3, 700, 200), hosts_stale=10)) == Decimal("0.18")
    assert sold(window(pool(Tier.T3, 700, 200), hosts_stale=51)) == 0


def test_a_missing_partition_stops_offers() -> None:
    """Without a partition the site's load is not known, and neither is the reduction."""
    assert sold(window(pool(Tier.T3, 700, 200), partitions=7)) == 0


def test_below_the_venues_minimum_nothing_is_offered() -> None:
    """49.9 kW is four blocks, the minimum is five."""
    decision = decide(window(pool(Tier.T3, 700, 49.9)))

    assert isinstance(decision, NoOffer)
    assert decision.findings[0].name == "minimum"


def test_a_step_below_the_minimum_joins_the_dearer_one() -> None:
    """0.03 MW of T3 is too little for a step: it is sold with T2's 0.10 MW, at T2's price."""
    decision = decide(window(pool(Tier.T3, 300, 30), pool(Tier.T2, 400, 100)))

    assert isinstance(decision, Offer)
    assert [(s.quantity_mw, s.price_per_mwh) for s in decision.steps] == [(Decimal("0.13"), Decimal("20.00"))]


def test_a_small_dear_step_does_not_make_the_cheap_power_dear() -> None:
    """0.10 MW of T3 at 10 $/MWh stays at 10 though only 0.02 MW of T2 follow: the minimum is of the whole offer."""
    decision = decide(window(pool(Tier.T3, 300, 100), pool(Tier.T2, 400, 20)))

    assert isinstance(decision, Offer)
    assert [(s.quantity_mw, s.price_per_mwh) for s in decision.steps] == [
        (Decimal("0.10"), Decimal("10.00")),
        (Decimal("0.02"), Decimal("20.00")),
    ]


def test_more_steps_than_the_venue_takes_are_joined_from_the_cheap_end() -> None:
    """Three tiers, two steps: T3 joins T2 at T2's price."""
    pools = (pool(Tier.T3, 300, 100), pool(Tier.T2, 400, 100), pool(Tier.T1, 400, 100))

    decision = decide(window(*pools), max_steps=2)

    assert isinstance(decision, Offer)
    assert [(s.quantity_mw, s.price_per_mwh) for s in decision.steps] == [
        (Decimal("0.20"), Decimal("20.00")),
        (Decimal("0.10"), Decimal("30.00")),
    ]


def test_a_pool_that_costs_more_than_the_cap_is_not_sold() -> None:
    """T2 at 20 $/MWh under a cap of 15 $/MWh: only T3 at 10 is offered."""
    decision = decide(window(pool(Tier.T3, 300, 100), pool(Tier.T2, 400, 100)), price_cap="15")

    assert isinstance(decision, Offer)
    assert decision.quantity_mw == Decimal("0.10")


def test_a_pool_whose_tokens_nobody_counts_is_sold_only_at_an_assumed_rate() -> None:
    """No counters, no assumption: not for sale. 2 million tokens per MWh assumed, at 5 $ per million: 10 $/MWh."""
    uncounted = window(pool(Tier.T3, 700, 200, tokens_per_s=None))
    assumed = TierCost(price_per_million_tokens=Decimal(5), tokens_per_mwh_unmetered=Decimal(2_000_000))

    assert sold(uncounted) == 0

    decision = build(uncounted, NO_EXCESS, rules(), interval=INTERVAL, terms=terms(costs={Tier.T3: assumed}), now=NOON)
    assert isinstance(decision, Offer)
    assert decision.steps[0].price_per_mwh == Decimal("10.00")


def test_prices_never_fall_along_the_curve() -> None:
    """T2 costs 5 $/MWh, less than T3's 10: it is offered at 10 as well, and the two steps become one."""
    decision = build(
        window(pool(Tier.T3, 300, 100), pool(Tier.T2, 400, 100)),
        NO_EXCESS,
        rules(),
        interval=INTERVAL,
        terms=terms(costs=costs(T3="10", T2="5")),
        now=NOON,
    )

    assert isinstance(decision, Offer)
    assert [(s.quantity_mw, s.price_per_mwh) for s in decision.steps] == [(Decimal("0.20"), Decimal("10.00"))]


def test_the_price_is_the_tokens_forgone_and_is_rounded_up() -> None:
    """
    100 GPUs at 630 W, capped at half of 1 000 W: x = 500 ÷ 630 = 0.794, between 0.79 → 0.94 and 0.87 → 0.97.

    Kept: 0.94 + 0.03 × 0.003651 ÷ 0.08 = 0.941369, lost 58.6 of 1 000 tokens/s. Over 13 kW let go that is
    58.631 × 3 600 ÷ 0.013 = 16.24 million tokens per MWh.
    """
    batch = msgspec.structs.replace(pool(Tier.T2, 63, 13), gpus=100)
    cost = TierCost(price_per_million_tokens=Decimal(1))

    tokens = tokens_per_mwh([batch], cost)

    assert tokens_lost_per_s(batch) == pytest.approx(58.631, abs=0.001)
    assert tokens is not None
    assert float(tokens) == pytest.approx(16.2363e6, rel=1e-4)
    assert round_up(Decimal("16.2301"), Decimal("0.01")) == Decimal("16.24")


def test_the_throughput_curve_is_flat_at_first_and_a_cliff_below() -> None:
    """Zeus, A40: 213 of 300 W keep 91 %, 138 W keep 40 %; nothing is kept of no power, all above the draw."""
    assert [throughput_kept(x) for x in (1.2, 1.0, 0.71, 0.46, 0.2, 0.0)] == pytest.approx(
        [1.0, 1.0, 0.91, 0.40, 0.125, 0.0]
    )


def test_a_retry_is_the_same_offer_and_a_revision_another() -> None:
    assert offer_id("r", "v", "p", INTERVAL, 1) == offer_id("r", "v", "p", INTERVAL, 1)
    assert offer_id("r", "v", "p", INTERVAL, 1) != offer_id("r", "v", "p", INTERVAL, 2)
    assert offer_id("r", "v", "p", INTERVAL, 1) != offer_id("r", "v", "p", INTERVAL.next(), 1)


def test_what_is_known_only_later_changes_nothing() -> None:
    """The last ten seconds show 100 kW, before that it was 200: a message from after noon does not bring them back."""
    known = [capacity(NOON - ago * SECOND, pool(Tier.T3, 700, 100 if ago < 10 else 200)) for ago in range(40)]
    later = capacity(NOON + SECOND, pool(Tier.T3, 700, 200))

    assert sold([*known, later]) == sold(known) == Decimal("0.10")


def test_a_hole_in_telemetry_stops_offers_until_it_has_passed() -> None:
    """Two seconds without a message, 20 s ago: one slot of ten is empty, and an empty slot is worth nothing."""
    holed = [m for m in window(pool(Tier.T3, 700, 200)) if NOON - m.as_of not in {20 * SECOND, 21 * SECOND}]

    decision = decide(holed)

    assert isinstance(decision, NoOffer)
    assert str(decision) == "window: 1 of 10 slots of capacity history are empty"


def test_the_loss_of_the_low_messages_does_not_raise_an_offer() -> None:
    """Every other message shows half the relief; without them the offer is the same, not higher."""
    messages = [capacity(NOON - ago * SECOND, pool(Tier.T3, 700, 100 if ago % 2 else 200)) for ago in range(40)]
    high = messages[::2]

    assert sold(high) <= sold(messages)


def test_a_baseline_that_is_no_number_stops_offers() -> None:
    assert sold(window(pool(Tier.T3, 700, 200)), baseline_kw=math.nan) == 0


POWERS = st.floats(0, 400)


@st.composite
def sites(draw: st.DrawFn) -> list[SiteCapacity]:
    """Return half a minute of capacity messages of a site with three sellable tiers, loads and reliefs at random."""
    states = [
        capacity(
            NOON,
            *(
                pool(tier, 400, draw(POWERS), draw(st.sampled_from((None, 50.0))))
                for tier in (Tier.T3, Tier.T2, Tier.T1)
            ),
            load_kw=draw(st.floats(900, 1500)),
            hosts_stale=draw(st.integers(0, 9)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    kinds = draw(st.lists(st.integers(0, 2), min_size=25, max_size=35))
    return [
        msgspec.structs.replace(states[kind % len(states)], as_of=NOON - ago * SECOND) for ago, kind in enumerate(kinds)
    ]


def with_pool(message: SiteCapacity, pick: int, **changes: object) -> SiteCapacity:
    """Return *message* with one of its pools changed."""
    at = pick % len(message.pools)
    changed = msgspec.structs.replace(message.pools[at], **changes)
    return msgspec.structs.replace(message, pools=(*message.pools[:at], changed, *message.pools[at + 1 :]))


def lowered(message: SiteCapacity, pick: int) -> SiteCapacity:
    relief_kw = message.pools[pick % len(message.pools)].relief_kw
    return with_pool(message, pick, relief_kw=tuple(power_kw / (1 + pick % 5) for power_kw in relief_kw))


def without_pool(message: SiteCapacity, pick: int) -> SiteCapacity:
    at = pick % len(message.pools)
    return msgspec.structs.replace(message, pools=message.pools[:at] + message.pools[at + 1 :])


replace = msgspec.structs.replace
HARM: dict[str, Callable[[SiteCapacity, int], SiteCapacity | None]] = {
    "lost": lambda _message, _pick: None,
    "delayed": lambda message, pick: replace(message, as_of=message.as_of - (1 + pick) * SECOND),
    "hosts silent": lambda message, pick: replace(lowered(message, pick), hosts_stale=message.hosts_stale + 1 + pick),
    "partition gone": lambda message, _: replace(message, partitions=7, load_kw=message.load_kw * 0.8),
    "load no number": lambda message, _: replace(message, load_kw=math.nan),
    "pool gone": without_pool,
    "relief lower": lowered,
    "relief no number": lambda message, pick: with_pool(message, pick, relief_kw=(math.nan,) * 15),
    "relief negative": lambda message, pick: with_pool(message, pick, relief_kw=(-100.0,) * 15),
    "power no number": lambda message, pick: with_pool(message, pick, power_kw=math.nan),
    "tokens not counted": lambda message, pick: with_pool(message, pick, tokens_per_s=None),
}


@settings(max_examples=150, deadline=None)
@given(
    messages=sites(),
    harm=st.lists(st.tuples(st.integers(0, 34), st.sampled_from(sorted(HARM)), st.integers(0, 60)), max_size=30),
    baseline_kw=st.floats(800, 1600),
)
def test_missing_or_wrong_data_never_raises_an_offer(
    messages: list[SiteCapacity], harm: list[tuple[int, str, int]], baseline_kw: float
) -> None:
    """Whatever messages are lost, delayed, staled, lowered or made NaN: the quantity stays or falls."""
    spoiled: list[SiteCapacity | None] = list(messages)
    for index, how, pick in harm:
        at = index % len(spoiled)
        if (hit := spoiled[at]) is not None and hit.pools:
            spoiled[at] = HARM[how](hit, pick)

    assert sold([m for m in spoiled if m is not None], baseline_kw) <= sold(messages, baseline_kw)


@settings(max_examples=50, deadline=None)
@given(messages=sites(), baseline_kw=st.floats(800, 1600))
def test_an_offer_never_exceeds_what_could_physically_be_let_go(
    messages: list[SiteCapacity], baseline_kw: float
) -> None:
    """Neither the most relief that any message shows, nor the load that is there."""
    most_kw = max(sum(min(p.relief_kw[-1], p.power_kw) for p in m.pools) for m in messages)

    assert sold(messages, baseline_kw) * 1000 <= Decimal(repr(most_kw))
    assert sold(messages, baseline_kw) * 1000 <= Decimal(repr(max(m.load_kw for m in messages)))
