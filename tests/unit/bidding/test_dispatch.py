"""From an instruction to caps: the shallowest that do it, tier by tier, and corrections in proportion."""

from datetime import timedelta

import msgspec
import pytest
from doubles.builders import NOON, capacity, pool
from hypothesis import given
from hypothesis import strategies as st

from bidding.dispatch import (
    Cut,
    Lease,
    Plan,
    caps_of,
    commands,
    correct,
    lease_end,
    next_seq,
    plan,
    share_for,
    target_kw,
    tier_relief,
)
from pipeline.messages.telemetry import CAP_SHARES, HostPool, HostRecord, SiteCapacity, Tier, Workload
from pipeline.tiers import FLOOR_SHARE

# 400 kW of T3 let 280 kW go at 30 %, 400 kW of T2 200 kW at 50 %, 200 kW of T1 60 kW at 70 %: 540 of 1 000 kW in all
SITE = (pool(Tier.T3, 400, 280), pool(Tier.T2, 400, 200), pool(Tier.T1, 200, 60))


def host(name: str, *tiers: Tier) -> HostRecord:
    pools = tuple(HostPool(tier=tier, workload=Workload.INFERENCE, gpu_model="H100", gpus=8) for tier in tiers)
    return HostRecord(host=name, site="site-1", pools=pools, seen_at=NOON)


def test_the_target_is_below_what_is_owed_by_the_margin() -> None:
    """1 000 kW baseline, 200 kW awarded, 3 %: hold 794 kW."""
    assert target_kw(1000, 200, 0.03) == pytest.approx(794)


def test_the_preemptible_tier_alone_gives_what_it_can() -> None:
    """140 kW are half of T3's 280 kW: half way from no cap to 30 %, which is 65 %."""
    planned = plan(capacity(NOON, *SITE), 860)

    assert set(planned.cuts) == {Tier.T3}
    assert planned.cuts[Tier.T3].share == pytest.approx(0.65)
    assert planned.missing_kw == 0


def test_the_next_tier_follows_when_the_first_is_at_its_floor() -> None:
    """380 kW: T3 to its floor gives 280, T2 the other 100, half of its 200 kW: 75 %."""
    planned = plan(capacity(NOON, *SITE), 620)

    assert {tier: round(cut.share, 6) for tier, cut in planned.cuts.items()} == {Tier.T3: 0.3, Tier.T2: 0.75}


def test_what_cannot_be_reached_is_said() -> None:
    """600 kW needed, 540 kW there: every tier at its floor, 60 kW missing."""
    planned = plan(capacity(NOON, *SITE), 400)

    assert {tier: cut.share for tier, cut in planned.cuts.items()} == {Tier.T3: 0.3, Tier.T2: 0.5, Tier.T1: 0.7}
    assert planned.missing_kw == pytest.approx(60)
    assert planned.findings[0].name == "relief exhausted"


def test_the_untouchable_tier_is_never_capped() -> None:
    assert plan(capacity(NOON, pool(Tier.T0, 1000, 0)), 0).cuts == {}


def test_load_below_target_needs_no_caps() -> None:
    assert plan(capacity(NOON, *SITE), 1000).cuts == {}


def test_between_two_levels_the_cap_is_in_proportion() -> None:
    """0, 0, 10, 30 kW at 100, 95, 90, 85 %: 20 kW is half way from 90 to 85 %."""
    assert share_for((0.0, 0.0, 10.0, 30.0), 20.0) == pytest.approx(0.875)


def test_going_deeper_starts_at_the_cap_in_force() -> None:
    """Capped at 62 %, relief 0 kW at 65 % and 10 kW at 60 %: 5 kW more is 61 %, not 62.5 %."""
    relief = (*[0.0] * 8, 10.0)

    assert share_for(relief, 5.0, present=0.62) == pytest.approx(0.61)


def test_relief_of_a_tier_stops_at_its_floor_and_ignores_what_is_no_number() -> None:
    """T1 ends at 70 %: seven levels from 100 % on."""
    levels = tier_relief([pool(Tier.T1, 200, 60), pool(Tier.T1, 200, float("nan"))], Tier.T1)

    assert len(levels) == 7
    assert levels[-1] == pytest.approx(60)


def test_load_above_the_deadband_goes_deeper_and_keeps_what_is_capped() -> None:
    """20 kW too much with T3 at its floor already: T2 gives them, T3 stays."""
    in_force = Plan({Tier.T3: Cut(0.3, 280.0)}, {(Tier.T3, "H100"): 1000.0})
    now = capacity(NOON, pool(Tier.T3, 120, 0), pool(Tier.T2, 400, 200), load_kw=720)

    corrected = correct(in_force, now, 700, deadband_kw=5)

    assert corrected.cuts[Tier.T3].share == 0.3
    assert corrected.cuts[Tier.T2].share == pytest.approx(0.95)


def test_load_inside_the_deadband_changes_nothing() -> None:
    in_force = Plan({Tier.T3: Cut(0.5, 200.0)})

    assert correct(in_force, capacity(NOON, load_kw=704.9), 700, deadband_kw=5).cuts == in_force.cuts
    assert correct(in_force, capacity(NOON, load_kw=695.1), 700, deadband_kw=5).cuts == in_force.cuts


def test_over_delivery_relaxes_the_dearest_tier_in_proportion() -> None:
    """50 kW too little load on a T2 cut set for 100 kW: a quarter of the way from 80 % to no cap, 85 %."""
    in_force = Plan({Tier.T3: Cut(0.3, 280.0), Tier.T2: Cut(0.8, 100.0)})

    corrected = correct(in_force, capacity(NOON, load_kw=650), 700, deadband_kw=5)

    assert corrected.cuts[Tier.T3] == Cut(0.3, 280.0)
    assert corrected.cuts[Tier.T2].share == pytest.approx(0.85)
    assert corrected.cuts[Tier.T2].relief_kw == pytest.approx(75)


def test_relaxing_never_gives_back_more_than_a_quarter_of_a_cut_at_once() -> None:
    """190 kW too little on a cut set for 200 kW: half of the surplus would be 48 % of the way, a quarter is given."""
    in_force = Plan({Tier.T3: Cut(0.6, 200.0)})

    assert correct(in_force, capacity(NOON, load_kw=510), 700, deadband_kw=5).cuts[Tier.T3].share == pytest.approx(0.7)


def test_a_cut_that_holds_back_less_than_the_surplus_is_given_back_whole_and_stays_in_the_plan() -> None:
    """60 kW too little, T2 holds back 4 kW: T2 to its full limit, T3 answers for 56 kW, 10 % of the way from 30 %."""
    in_force = Plan({Tier.T3: Cut(0.3, 280.0), Tier.T2: Cut(0.97, 4.0)}, {(Tier.T2, "H100"): 1000.0})

    corrected = correct(in_force, capacity(NOON, load_kw=640), 700, deadband_kw=5)

    assert corrected.cuts[Tier.T2] == Cut(1.0, 0.0)
    assert corrected.cuts[Tier.T3].share == pytest.approx(0.37)
    assert caps_of(corrected, host("h1", Tier.T2))[0].cap_w == 1000.0


def test_a_cut_that_is_nearly_full_is_given_back_whole_even_when_it_was_set_for_more() -> None:
    in_force = Plan({Tier.T3: Cut(0.3, 280.0), Tier.T2: Cut(0.99, 80.0)})

    assert correct(in_force, capacity(NOON, load_kw=640), 700, deadband_kw=5).cuts == {
        Tier.T3: Cut(0.3, 280.0),
        Tier.T2: Cut(1.0, 0.0),
    }


CUTS = st.fixed_dictionaries(
    {},
    optional={
        tier: st.builds(Cut, st.floats(FLOOR_SHARE[tier], 1), st.floats(0, 400)) for tier in (Tier.T3, Tier.T2, Tier.T1)
    },
)


@given(cuts=CUTS, surplus_kw=st.floats(5.01, 500))
def test_over_delivery_never_deepens_a_cap_and_always_lifts_one_that_is_in_force(
    cuts: dict[Tier, Cut], surplus_kw: float
) -> None:
    before = Plan(cuts)

    after = correct(before, capacity(NOON, load_kw=700 - surplus_kw), 700, deadband_kw=5)

    assert after.cuts.keys() == cuts.keys()
    assert all(after.cuts[tier].share >= cut.share for tier, cut in cuts.items())
    assert after.cuts != cuts or all(cut.share == 1 for cut in cuts.values())


def under(caps: Plan, demand: dict[Tier, float]) -> SiteCapacity:
    """Return what `SITE` shows under *caps* when its GPUs want *demand*, a share of their limit."""
    pools = []
    for tier, gpus in ((Tier.T3, 400), (Tier.T2, 400), (Tier.T1, 200)):
        cut = caps.cuts.get(tier)
        draw = min(demand[tier], cut.share if cut else 1.0)
        relief_kw = tuple(gpus * max(0.0, draw - max(share, FLOOR_SHARE[tier])) for share in CAP_SHARES)
        pools.append(msgspec.structs.replace(pool(tier, gpus * draw, 0), relief_kw=relief_kw))
    return capacity(NOON, *pools)


@given(
    shares=st.tuples(st.floats(0.3, 0.6), st.floats(0.9, 0.999)),
    reliefs=st.tuples(st.floats(1, 280), st.floats(0.1, 200)),
    demand=st.fixed_dictionaries({tier: st.floats(0.75, 1) for tier in (Tier.T3, Tier.T2, Tier.T1)}),
    over_kw=st.floats(20, 100),
)
def test_a_deep_cheap_cap_under_a_shallow_dear_one_is_given_back_until_the_load_is_at_its_target(
    shares: tuple[float, float], reliefs: tuple[float, float], demand: dict[Tier, float], over_kw: float
) -> None:
    """Whatever the two were set for: an estimate that was wrong costs a correction more, not the target."""
    caps = Plan({Tier.T3: Cut(shares[0], reliefs[0]), Tier.T2: Cut(shares[1], reliefs[1])})
    target = under(caps, demand).load_kw + over_kw

    for _ in range(60):
        caps = correct(caps, under(caps, demand), target, deadband_kw=5)
        assert all(FLOOR_SHARE[tier] <= cut.share <= 1 for tier, cut in caps.cuts.items())

    load_kw = under(caps, demand).load_kw
    assert abs(load_kw - target) <= 5.001 or (load_kw < target and all(cut.share == 1 for cut in caps.cuts.values()))


def test_a_deep_cheap_cap_rises_once_the_dear_one_has_nothing_left_to_give() -> None:
    """T3 at 30 % and T2 at 97 % hold 292 kW back, 60 kW more than asked: T2 goes, T3 rises to 42 %."""
    wanted = dict.fromkeys((Tier.T3, Tier.T2, Tier.T1), 1.0)
    caps = Plan({Tier.T3: Cut(0.3, 280.0), Tier.T2: Cut(0.97, 12.0)})
    target = under(caps, wanted).load_kw + 60

    for _ in range(12):
        before, caps = caps, correct(caps, under(caps, wanted), target, deadband_kw=1)
        assert caps.cuts[Tier.T3].share >= before.cuts[Tier.T3].share

    assert caps.cuts[Tier.T2].share == 1
    assert caps.cuts[Tier.T3].share == pytest.approx(0.42, abs=0.005)


@given(target=st.floats(0, 1200), powers=st.tuples(*[st.floats(0, 500)] * 3), parts=st.tuples(*[st.floats(0, 1)] * 3))
def test_a_plan_stays_within_the_floors_and_reaches_the_target_or_says_so(
    target: float, powers: tuple[float, ...], parts: tuple[float, ...]
) -> None:
    """Relief set for plus what is missing is the whole need; no cap is below its tier's floor."""
    tiers = (Tier.T3, Tier.T2, Tier.T1)
    site = capacity(NOON, *(pool(t, kw, kw * part) for t, kw, part in zip(tiers, powers, parts, strict=True)))

    planned = plan(site, target)

    assert planned.relief_kw + planned.missing_kw == pytest.approx(max(0.0, site.load_kw - target), abs=1e-6)
    assert all(FLOOR_SHARE[tier] <= cut.share <= 1 for tier, cut in planned.cuts.items())


def test_every_host_with_capped_gpus_gets_one_command_with_only_its_caps() -> None:
    """h1 holds T3 and T1, h2 only T1, h3 T3: with T3 and T2 capped, h1 and h3 hear of T3."""
    planned = Plan({Tier.T3: Cut(0.65, 140.0), Tier.T2: Cut(0.9, 1.0)}, {(Tier.T3, "H100"): 700.0})
    lease = Lease("a-1", "d-1", NOON, NOON + timedelta(minutes=1), seq=7)

    issued = commands(planned, [host("h3", Tier.T3), host("h2", Tier.T1), host("h1", Tier.T3, Tier.T1)], lease)

    assert [command.host for command in issued] == ["h1", "h3"]
    assert [(cap.tier, cap.gpu_model, cap.cap_w) for cap in issued[0].caps] == [(Tier.T3, "H100", 455.0)]
    assert {command.seq for command in issued} == {7}
    assert issued[0].kind == "economic"
    assert (issued[0].not_before, issued[0].expires_at) == (NOON, NOON + timedelta(minutes=1))


def test_caps_are_rounded_down_to_a_tenth_of_a_watt() -> None:
    """66.667 % of 700 W is 466.669 W: 466.6 W, deeper rather than shallower."""
    planned = Plan({Tier.T3: Cut(0.66667, 1.0)}, {(Tier.T3, "H100"): 700.0})

    assert caps_of(planned, host("h", Tier.T3))[0].cap_w == 466.6


def test_sequences_grow_with_the_clock_and_over_a_clock_set_back() -> None:
    assert next_seq(NOON, 0) == 1784808000000000
    assert next_seq(NOON, 1784808000000009) == 1784808000000010


def test_a_lease_ends_a_way_back_after_the_event_or_has_to_be_renewed() -> None:
    """Hosts use its last 20 s to let go, so that they hold until the event's end."""
    longest, release = timedelta(minutes=10), timedelta(seconds=20)

    assert lease_end(NOON, NOON + timedelta(minutes=2), longest, release) == NOON + timedelta(minutes=2, seconds=20)
    assert lease_end(NOON, NOON + timedelta(hours=1), longest, release) == NOON + timedelta(minutes=10)
