"""What MISO says of an instruction later takes the place of what it said first."""

from datetime import timedelta
from decimal import Decimal

from doubles.miso.connecting import SIX_PM
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.markets.miso.answers import Notification
from bidding.markets.miso.results import (
    energy_dispatches,
    orders,
    real_time_awards,
    replaced,
    reserve_dispatches,
    sold,
)
from bidding.products.load import load
from pipeline.interval import Interval
from pipeline.messages.market import Award, Dispatch

MINUTE = timedelta(minutes=1)
FIVE = Interval(SIX_PM.start, SIX_PM.start + 5 * MINUTE)
SOLD = sold(load("miso", SIX_PM.start.date()))


def bought(product: str, mw: str) -> Award:
    return Award(
        award_id=f"miso:{product}",
        offer_id="",
        resource="R1",
        product=product,
        interval=SIX_PM,
        quantity_mw=Decimal(mw),
        price_per_mwh=Decimal(40),
        currency="USD",
        awarded_at=SIX_PM.start,
    )


def notified(created: int, **data: object) -> Notification:
    """Return what was told *created* minutes into the hour."""
    return Notification.model_validate(
        {
            "created": (SIX_PM.start + created * MINUTE).isoformat(),
            "requestPayload": {"test": False, "notificationData": data},
        }
    )


def dispatched(created: int, mw: str) -> Notification:
    said = {"pnodeName": "R1", "interval": FIVE.start.isoformat(), "energyDispatch": {"mw": mw, "price": "45"}}
    return notified(created, dispatchInstructions=[said])


def deployed(created: int, at: int, mw: str) -> Notification:
    said = {"pnodeName": "R1", "timestamp": (SIX_PM.start + at * MINUTE).isoformat(), "mw": mw}
    return notified(created, crDeployments=[said])


def energy(log: list[Notification], *ahead: Award) -> dict[str, Dispatch]:
    """Return what *log* comes to, by product; no id twice."""
    said = orders(log, "R1", label_ends=False)
    awards = (*ahead, *real_time_awards((*said, *replaced(said)), ahead, "R1", SOLD))
    found = energy_dispatches(said, awards)
    named = {award.award_id: award.product for award in awards}
    assert len({one.dispatch_id for one in found}) == len(found)
    return {named[one.award_id]: one for one in found}


def test_an_order_that_is_corrected_keeps_its_name() -> None:
    first = energy([dispatched(-2, "5.0")], bought("energy-da", "5.0"))["energy-da"]
    second = energy([dispatched(-2, "5.0"), dispatched(-1, "3.0")], bought("energy-da", "5.0"))["energy-da"]

    assert (first.reduction_mw, second.reduction_mw) == (Decimal("5.0"), Decimal("3.0"))
    assert first.dispatch_id == second.dispatch_id


def test_an_award_that_the_correction_does_not_reach_any_more_owes_nothing() -> None:
    """6.5 MW on 5.0 bought ahead, corrected to 4.0, then to nothing."""
    log = [dispatched(-3, "6.5"), dispatched(-2, "4.0"), dispatched(-1, "0.0")]
    ahead = bought("energy-da", "5.0")

    told = [{name: one.reduction_mw for name, one in energy(log[:n], ahead).items()} for n in (1, 2, 3)]

    assert told == [
        {"energy-da": Decimal("5.0"), "energy-rt": Decimal("1.5")},
        {"energy-da": Decimal("4.0"), "energy-rt": Decimal("0.0")},
        {"energy-da": Decimal("0.0"), "energy-rt": Decimal("0.0")},
    ]


def test_what_was_never_asked_for_is_not_told() -> None:
    assert energy([dispatched(-1, "0.0")], bought("energy-da", "5.0")) == {}


def test_a_deployment_that_is_released_ends_under_its_own_name() -> None:
    """3.0 MW at 17:20, released at 17:40; 1.0 MW at 17:50."""
    log = [deployed(20, 20, "3.0"), deployed(40, 40, "0.0"), deployed(50, 50, "1.0")]
    spin = [bought("spin", "5.0")]

    (first,) = reserve_dispatches(log[:1], spin, "R1")
    (ended,) = reserve_dispatches(log[:2], spin, "R1")
    again = reserve_dispatches(log, spin, "R1")

    assert ended.dispatch_id == first.dispatch_id
    assert [(one.interval.end - SIX_PM.start, one.reduction_mw) for one in (first, ended)] == [
        (60 * MINUTE, Decimal("3.0")),
        (40 * MINUTE, Decimal("3.0")),
    ]
    assert again[0] == ended
    assert (again[1].interval, again[1].reduction_mw) == (
        Interval(SIX_PM.start + 50 * MINUTE, SIX_PM.end),
        Decimal("1.0"),
    )


def test_of_two_words_on_one_deployment_the_newer_counts() -> None:
    """4.0 MW for 17:20, corrected to 1.0: the supplemental reserve, which it reached, is let go."""
    owed = [bought("spin", "2.0"), bought("supplemental", "5.0")]

    found = reserve_dispatches([deployed(19, 20, "4.0"), deployed(20, 20, "1.0")], owed, "R1")

    assert [one.reduction_mw for one in found] == [Decimal("1.0"), Decimal("0.0")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 80)), max_size=8))
def test_whatever_is_said_the_last_word_is_what_is_owed(words: list[tuple[int, int]]) -> None:
    """Kept by name as the ledger does, the dispatches at each minute add up to the last deployment before it."""
    log = [deployed(n, at, str(Decimal(mw) / 10)) for n, (at, mw) in enumerate(words)]
    owed = [bought("spin", "2.0"), bought("supplemental", "6.0")]
    kept: dict[str, Dispatch] = {}
    for n in range(1, len(log) + 1):
        kept |= {one.dispatch_id: one for one in reserve_dispatches(log[:n], owed, "R1")}

    last = dict(words)
    for minute in range(60):
        now = SIX_PM.start + minute * MINUTE
        before = [at for at in last if at <= minute]
        want = Decimal(last[max(before)]) / 10 if before else Decimal(0)
        assert sum((one.reduction_mw for one in kept.values() if now in one.interval), Decimal(0)) == want
