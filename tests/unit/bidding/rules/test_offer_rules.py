"""Rules over one offer: each lets a good offer through, and alone stands between its case and the wire."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from doubles.builders import GATE_MARGIN, INTERVAL, MINUTE, NOON, SECOND, offer, rules, step
from doubles.gate import named, other, written_down

from bidding.products import Gate, Pause, Rules, Shape
from bidding.rules import OFFER_RULES, Case, check, check_case
from bidding.rules.refusal import Rule, apply
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import Tier

HOUR = timedelta(hours=1)
T2 = Tier.T2

GOOD = rules()


@dataclass(frozen=True)
class Broken:
    """An offer that breaks one rule, and what the refusal has to say."""

    offer: Offer
    says: str
    """By how much, or what to do."""
    source: str
    rules: Rules = GOOD
    now: datetime = NOON
    standing: tuple[Offer, ...] = ()

    @property
    def case(self) -> Case:
        return Case.of(self.offer, self.rules, self.now, self.standing, GATE_MARGIN)


def zero_step() -> OfferStep:
    """Return what validation would not let be made."""
    return step("0.1", "10").model_copy(update={"quantity_mw": Decimal(0)})


def hours(begin: datetime, length: int = 1) -> Interval:
    return Interval(begin, begin + length * HOUR)


HOURLY = rules(interval_s=3600, horizon_s=7 * 86400)
BID = rules(shape=Shape.FALLING, first_quantity_zero=True, max_equal_steps=2)
SEVEN_MINUTES = rules(interval_s=420, horizon_s=86400)
#: Seven minutes do not divide a day: one of its intervals runs from 23:55 to 00:02 local time.
OVER_MIDNIGHT = Interval(datetime(2026, 7, 24, 6, 55, tzinfo=UTC), datetime(2026, 7, 24, 7, 2, tzinfo=UTC))

CASES = {
    "finite": Broken(other(baseline_kw=float("nan")), "not a number", "missing data lowers"),
    "minimum": Broken(other(step("0.04", "10")), "0.01 MW below the minimum of 0.05 MW", "min_mw"),
    "maximum": Broken(other(), "0.1 MW above the maximum of 0.2 MW", "max_mw", rules(max_mw="0.2")),
    "block_step": Broken(other(step("0.105", "10")), "round down to 0.100 MW", "block_mw"),
    "price_tick": Broken(other(step("0.1", "10.005")), "no multiple of 0.01", "price_tick"),
    "price_range": Broken(other(step("0.1", "1000.01")), "0.01 above the cap of 1000", "price_cap"),
    "net_benefits": Broken(
        other(), "2.5 below the net benefits price of 12.5", "net_benefits_floor", rules(net_benefits_floor="12.5")
    ),
    "currency": Broken(other(currency="EUR"), "price it in USD", "currency"),
    "curve_shape": Broken(other(step("0.1", "20"), step("0.1", "19.99", T2)), "19.99 USD/MWh follows 20", "shape"),
    "max_steps": Broken(other(), "1 more than the 1 it takes", "max_steps", rules(max_steps=1)),
    "max_points": Broken(
        other(step("0.1", "20"), step("0.1", "10", T2)),
        "3 points are 1 more than the 2 it takes",
        "max_points",
        rules(shape=Shape.FALLING, first_quantity_zero=True, max_points=2),
    ),
    "equal_steps": Broken(
        other(step("0.1", "20"), step("0.1", "20", T2)),
        "3 points in a row have the price 20, at most 2 may",
        "max_equal_steps",
        BID,
    ),
    "first_point": Broken(
        offer(step("0.1", "10")).model_copy(update={"steps": (step("0.1", "10"), zero_step())}),
        "step 2 adds 0 MW",
        "first_quantity_zero",
    ),
    "addressee": Broken(offer(product="reserve"), "sandbox/energy-dr traded", "product"),
    "in_force": Broken(other(), "1 days after these rules held", "until", rules(until=date(2026, 7, 23))),
    "duplicate": Broken(other(), "never send twice", "one offer", standing=(other(),)),
    "revision": Broken(other(), "older than revision 2", "one offer", standing=(other(revision=2),)),
    "interval_grid": Broken(
        other(interval=Interval(INTERVAL.start + SECOND, INTERVAL.end + SECOND)), "0:00:01 after the grid", "interval_s"
    ),
    "whole_local_hours": Broken(
        other(interval=hours(datetime(2026, 7, 23, 14, 30, tzinfo=UTC))),
        "07:30:00 local time, 0:30:00 after its block",
        "interval_s",
        HOURLY,
    ),
    "trading_day": Broken(other(interval=OVER_MIDNIGHT), "split it at local midnight", "timezone", SEVEN_MINUTES),
    "gate_closure": Broken(
        other(), "0:00:02 from now, the margin is 0:00:02", "gate_closure_s", rules(gate_closure_s=298)
    ),
    "horizon": Broken(other(), "in 0:00:01; send it then", "horizon_s", rules(horizon_s=299)),
    "pause": Broken(
        other(),
        "from 04:55 to 05:05 local time, its validation; wait",
        "pauses",
        rules(pauses=(Pause(start=time(4, 55), end=time(5, 5), why="its validation"),)),
    ),
}
"""By rule: a case that no other rule refuses."""


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert named(CASES, OFFER_RULES) == (set(), set())


@pytest.mark.parametrize("rule", OFFER_RULES, ids=lambda rule: rule.__name__)
def test_a_broken_rule_names_itself_its_source_and_what_to_do(rule: Rule[Case]) -> None:
    broken = CASES[rule.__name__]

    (refusal,) = check_case(broken.case)

    assert refusal.rule == rule.__name__
    assert broken.says in refusal.detail
    assert broken.source in refusal.source
    assert refusal.offer_id == broken.offer.offer_id
    assert written_down(rule, refusal)


@pytest.mark.parametrize("rule", OFFER_RULES, ids=lambda rule: rule.__name__)
def test_without_the_rule_its_case_would_leave(rule: Rule[Case]) -> None:
    others = [each for each in OFFER_RULES if each is not rule]

    assert apply(others, CASES[rule.__name__].case) == ()


def broken(candidate: Offer, accepted: Rules | None = None, *standing: Offer, now: datetime = NOON) -> list[str]:
    return [refusal.rule for refusal in check(candidate, accepted or rules(), now, standing, GATE_MARGIN)]


def test_a_good_offer_is_refused_by_no_rule() -> None:
    assert broken(offer()) == []


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """Below the minimum, off the block, off the tick, wrong currency."""
    wrong = offer(step("0.001", "10.001"), currency="EUR")

    assert sorted(broken(wrong)) == ["block_step", "currency", "minimum", "price_tick"]


def test_figures_that_are_no_numbers_are_all_that_is_said() -> None:
    """The currency is wrong too, which matters once there is an offer."""
    assert broken(offer(firm_kw=float("nan"), currency="EUR")) == ["finite"]
    assert set(broken(offer(step("0.1", "1e12")))) == {"finite"}


def test_the_citation_of_the_figure_is_the_source_and_says_when_it_is_unverified() -> None:
    """`cited` comes first, then the source that lists the figure, then the only one there is."""
    late = rules(min_mw="1", cited={"min_mw": "BPM 026, section 4"}, unverified=("min_mw",))
    listed = rules(min_mw="1", sources=("max_mw: a", "min_mw, block_mw: tariff 4.13.5"))

    def source(accepted: Rules) -> str:
        return check(offer(), accepted, NOON, (), GATE_MARGIN)[0].source

    assert source(late) == "sandbox/energy-dr min_mw: BPM 026, section 4 (unverified)"
    assert source(listed) == "sandbox/energy-dr min_mw: min_mw, block_mw: tariff 4.13.5"
    assert source(rules(min_mw="1", sources=("a", "b"))).endswith("min_mw: not cited, see the products of sandbox")
    assert source(rules(min_mw="1")) == "sandbox/energy-dr min_mw: simulated"


def test_a_curve_may_not_have_more_steps_than_the_venue_takes() -> None:
    assert broken(offer(), rules(max_steps=1)) == ["max_steps"]
    assert broken(offer(), rules(max_steps=2)) == []


def test_a_bid_falls_where_an_offer_rises_and_one_price_is_one_step() -> None:
    falling = offer(step("0.1", "20"), step("0.2", "10", T2))

    assert broken(falling, rules(shape=Shape.FALLING)) == []
    assert broken(offer(), rules(shape=Shape.FALLING)) == ["curve_shape"]
    assert broken(offer(), rules(shape=Shape.SINGLE)) == ["curve_shape"]
    assert broken(offer(step("0.3", "20")), rules(shape=Shape.SINGLE)) == []


def test_the_point_at_zero_that_the_encoder_adds_counts_among_equal_neighbours() -> None:
    """On the wire a bid of 0.1 and 0.2 MW at 20 is (0, 20), (0.1, 20), (0.3, 20); an offer has no point at 0."""
    twins = offer(step("0.1", "20"), step("0.2", "20", T2))

    assert broken(twins, BID) == ["equal_steps"]
    assert broken(twins, rules(max_equal_steps=2)) == []


@pytest.mark.parametrize(("before_gate_s", "refused"), [(3, []), (2, ["gate_closure"]), (-1, ["gate_closure"])])
def test_an_offer_must_leave_two_seconds_before_the_gate(before_gate_s: int, refused: list[str]) -> None:
    """The gate closes 20 s before the interval; the margin is two seconds more."""
    gate = INTERVAL.start - 20 * SECOND

    assert broken(offer(), now=gate - before_gate_s * SECOND) == refused


@pytest.mark.parametrize(("ahead", "refused"), [(10 * MINUTE, []), (10 * MINUTE + SECOND, ["horizon"])])
def test_an_interval_too_far_ahead_is_not_traded_yet(ahead: timedelta, refused: list[str]) -> None:
    """The venue opens ten minutes before the interval."""
    assert broken(offer(), now=INTERVAL.start - ahead) == refused


CENTRAL = "America/Chicago"
DAY_AHEAD = rules(
    timezone=CENTRAL,
    interval_s=3600,
    closes=Gate(days_before=1, at=time(10)),
    opens=Gate(days_before=7, at=time(0)),
    pauses=(Pause(start=time(6, 55), end=time(7, 5), why="second validation phase at 07:00"),),
)


@pytest.mark.parametrize(
    ("utc", "refused"),
    [
        ((11, 54, 59), []),
        ((11, 55, 0), ["pause"]),
        ((12, 4, 59), ["pause"]),
        ((12, 5, 0), []),
        ((14, 59, 57), []),
        ((14, 59, 58), ["gate_closure"]),
    ],
)
def test_day_ahead_in_texas_closes_at_ten_central_and_rests_around_seven(
    utc: tuple[int, int, int], refused: list[str]
) -> None:
    """In July Central time is five hours behind UTC: 06:55 is 11:55 UTC, 10:00 less two seconds is 14:59:58 UTC."""
    tomorrow = other(interval=hours(datetime(2026, 7, 24, 12, tzinfo=UTC)))

    assert broken(tomorrow, DAY_AHEAD, now=datetime(2026, 7, 23, *utc, tzinfo=UTC)) == refused


@pytest.mark.parametrize(
    ("interval", "length_s", "refused"),
    [
        (hours(datetime(2026, 11, 1, 8, tzinfo=UTC)), 3600, []),
        (hours(datetime(2026, 11, 1, 9, tzinfo=UTC)), 3600, []),
        (hours(datetime(2026, 11, 1, 7, tzinfo=UTC), 5), 4 * 3600, []),
        (hours(datetime(2026, 11, 1, 7, tzinfo=UTC), 4), 4 * 3600, ["interval_grid"]),
        (hours(datetime(2026, 3, 8, 8, tzinfo=UTC), 3), 4 * 3600, []),
        (hours(datetime(2026, 3, 8, 9, tzinfo=UTC), 3), 4 * 3600, ["whole_local_hours"]),
        (hours(datetime(2026, 11, 1, 7, tzinfo=UTC), 25), 86400, []),
    ],
)
def test_blocks_are_as_long_as_the_wall_clock_says_on_days_of_23_and_25_hours(
    interval: Interval, length_s: int, refused: list[str]
) -> None:
    """
    In Los Angeles 1 November 2026 has 25 hours and 01:00 twice, 8 March 23.

    The block from midnight to four then lasts five hours or three.
    """
    accepted = rules(interval_s=length_s, horizon_s=7 * 86400)

    assert broken(other(interval=interval), accepted, now=interval.start - 24 * HOUR) == refused


def test_hours_are_those_of_the_wall_clock_where_it_is_half_an_hour_off() -> None:
    """In India a whole hour begins at half past in UTC."""
    india = rules(timezone="Asia/Kolkata", interval_s=3600, horizon_s=86400)

    assert broken(other(interval=hours(datetime(2026, 7, 23, 14, 30, tzinfo=UTC))), india) == []
    assert broken(other(interval=hours(datetime(2026, 7, 23, 14, tzinfo=UTC))), india) == ["whole_local_hours"]


def test_a_product_is_offered_on_the_days_its_figures_hold() -> None:
    """The interval is on 23 July local time; `until` is the first day on which they hold no more."""
    assert broken(offer(), rules(since=date(2026, 7, 23), until=date(2026, 7, 24))) == []
    assert broken(offer(), rules(since=date(2026, 7, 24))) == ["in_force"]


def test_a_later_revision_replaces_and_anything_else_for_the_interval_is_refused() -> None:
    """A different interval, resource or product is no duplicate; an interval that overlaps is."""
    standing = other(revision=2)
    halfway = Interval(INTERVAL.start + 30 * SECOND, INTERVAL.end + 30 * SECOND)

    assert broken(other(revision=3), None, standing) == []
    assert broken(other(revision=2), None, standing) == ["duplicate"]
    assert broken(other(revision=1), None, standing) == ["revision"]
    assert broken(other(interval=INTERVAL.next()), None, standing) == []
    assert broken(other(resource="r2"), None, standing) == []
    assert broken(other(), None, other(interval=halfway)) == ["duplicate"]
