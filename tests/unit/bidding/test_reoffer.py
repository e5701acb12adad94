"""Offers that stand, and less or more behind them: what is done about it, by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.builders import GATE_MARGIN, INTERVAL, NOON, award, intent, offer, patience, rules, step
from doubles.clocks import WaitedClock
from doubles.scripted import ScriptedVenue
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.agents.revise import Revising, put_off
from bidding.book import Book
from bidding.entries import Held, Refused
from bidding.journal import Journal
from bidding.ledger import Ledger
from bidding.markets import Receipt, Shortfall
from bidding.owed import cut
from bidding.reoffer import Action, Bounds, Revise, Standing, Tell, Withdraw, reoffer, standing
from bidding.settings import Bidding
from bidding.states import key_of
from bidding.submit import Submitter
from pipeline.errors import RejectedError, UnknownOutcomeError
from pipeline.messages.market import Dispatch, Offer, OfferState, OfferStep

OFFER = offer()
"""0.3 MW; the venue's minimum is 0.05 MW, its gate closes 20 s before the interval."""
PRODUCTS = {"energy-dr": rules()}
BOUNDS = Bounds(Decimal("0.05"), most_raises=1, gate_margin=GATE_MARGIN, can_withdraw=True, can_tell=True)
GATE = INTERVAL.start - timedelta(seconds=20)


def steps(mw: str) -> tuple[OfferStep, ...]:
    return (step(mw, "10"),) if Decimal(mw) else ()


def one(promised: str = "0.3", *, bought: bool = False, raises: int = 0, told: str | None = None) -> Standing:
    told_mw = None if told is None else Decimal(told)
    return Standing(OFFER, Decimal(promised), bought=bought, next_revision=2, raises=raises, told_mw=told_mw)


def decide(given: Standing, mw: str | None, now: datetime = NOON, bounds: Bounds = BOUNDS) -> list[Action]:
    firm = {} if mw is None else {key_of(OFFER): steps(mw)}
    return reoffer([given], firm, PRODUCTS, now, bounds)


def test_less_than_promised_is_revised_down_to_what_is_there() -> None:
    (action,) = decide(one(), "0.2")

    assert isinstance(action, Revise)
    assert (action.offer.revision, action.offer.quantity_mw, action.offer.as_of) == (2, Decimal("0.2"), NOON)
    assert action.offer.offer_id != OFFER.offer_id
    assert key_of(action.offer) == key_of(OFFER)


@pytest.mark.parametrize(("mw", "acts"), [("0.285", False), ("0.284", True), ("0.3", False), ("0.315", False)])
def test_within_the_deadband_nothing_is_done(mw: str, *, acts: bool) -> None:
    """5 % of 0.3 MW are 0.015 MW."""
    assert bool(decide(one(), mw)) is acts


def test_of_a_partly_accepted_offer_only_the_accepted_part_has_to_be_there() -> None:
    assert decide(one("0.1"), "0.2") == []


@pytest.mark.parametrize("mw", ["0.04", "0", None])
def test_below_the_minimum_it_is_withdrawn_and_what_is_not_known_is_nothing(mw: str | None) -> None:
    (action,) = decide(one(), mw)

    assert isinstance(action, Withdraw)
    assert action.offer_id == OFFER.offer_id


def test_where_nothing_can_be_withdrawn_nothing_is_promised_anew() -> None:
    assert decide(one(), "0", bounds=Bounds(Decimal("0.05"), 1, GATE_MARGIN, can_withdraw=False, can_tell=True)) == []


def test_more_is_offered_once_and_then_no_more() -> None:
    (action,) = decide(one(), "0.4")
    assert isinstance(action, Revise)
    assert action.offer.quantity_mw == Decimal("0.4")

    assert decide(one(raises=1), "0.4") == []


def test_in_the_gates_margin_and_after_it_nothing_is_sent_and_an_award_is_told_short() -> None:
    assert decide(one(), "0.1", GATE - GATE_MARGIN) == []
    assert decide(one(), "0.1", GATE) == []

    (action,) = decide(one(bought=True), "0.1", GATE)
    assert isinstance(action, Tell)
    assert action.shortfall.available_mw == Decimal("0.1")


def test_a_shortfall_is_told_once_for_each_step_down() -> None:
    assert decide(one(bought=True, told="0.1"), "0.1", GATE) == []
    assert decide(one(bought=True, told="0.1"), "0.096", GATE) == []
    assert decide(one(bought=True, told="0.1"), "0.2", GATE) == []
    assert len(decide(one(bought=True, told="0.1"), "0.05", GATE)) == 1
    assert len(decide(one(bought=True, told="0.1"), "0", GATE)) == 1
    assert decide(one(bought=True, told="0"), "0", GATE) == []


def test_once_the_interval_has_begun_nothing_is_decided() -> None:
    assert decide(one(bought=True), "0", INTERVAL.start) == []


@settings(deadline=None, max_examples=200)
@given(
    promised=st.integers(1, 100),
    available=st.integers(0, 120),
    less=st.integers(0, 120),
    seconds=st.integers(-400, 30),
    bought=st.booleans(),
)
def test_less_behind_it_never_raises_an_offer(
    promised: int, available: int, less: int, seconds: int, *, bought: bool
) -> None:
    """Whatever the time and the promise: with less there, the offer that results is not larger."""
    now = GATE + timedelta(seconds=seconds)
    standing_one = Standing(OFFER, Decimal(promised) / 100, bought=bought, next_revision=2)

    def left_with(hundredths: int) -> Decimal:
        (action,) = decide(standing_one, str(Decimal(hundredths) / 100), now) or (None,)
        match action:
            case Revise(revised):
                return revised.quantity_mw
            case Withdraw():
                return Decimal(0)
            case _:
                return OFFER.quantity_mw

    low, high = sorted((less, available))
    assert left_with(low) <= max(left_with(high), OFFER.quantity_mw)
    if left_with(low) > OFFER.quantity_mw:
        assert left_with(high) >= left_with(low)


def receipt(given: Offer, mw: str = "0.3") -> Receipt:
    return Receipt(offer_id=given.offer_id, receipt="R", status="accepted", accepted_mw=Decimal(mw))


def test_what_stands_is_the_newest_that_the_venue_took_and_a_raise_counts_as_one() -> None:
    """Revision 2 raised it, revision 3 was refused: 2 stands, the next is 4."""
    book, second = Ledger(), offer(step("0.4", "10"), offer_id="two", revision=2)
    third = offer(step("0.2", "10"), offer_id="three", revision=3)
    for document in (intent(OFFER), receipt(OFFER), intent(second), receipt(second, "0.35"), intent(third)):
        book.apply(document)
    book.apply(Refused(offer_id="three", reason="no"))

    (found,) = standing(book, NOON)

    assert found == Standing(second, Decimal("0.35"), bought=False, next_revision=4, raises=1)
    assert standing(book, INTERVAL.start) == []


def test_an_award_is_what_binds_and_what_was_told_is_known() -> None:
    book = Ledger()
    short = Shortfall(
        shortfall_id="s", resource="r1", product="energy-dr", interval=INTERVAL, available_mw=Decimal("0.1"), reason=""
    )
    for document in (intent(OFFER), receipt(OFFER), award("0.25"), short):
        book.apply(document)

    (found,) = standing(book, NOON)

    assert found == Standing(OFFER, Decimal("0.25"), bought=True, next_revision=2, told_mw=Decimal("0.1"))


# -------------------------------------------------------------------------------------------- the shell


@dataclass
class Rig:
    venue: ScriptedVenue
    book: Book
    submitter: Submitter
    revising: Revising
    firm_mw: list[str]


@contextmanager
def rig(path: Path, venue: ScriptedVenue, instant: datetime = NOON, wait_s: float = 0) -> Iterator[Rig]:
    clock, firm_mw = WaitedClock.from_(instant), ["0.3"]
    with Journal(path) as journal:
        book = Book(journal, clock)
        submitter = Submitter(venue, book, clock, patience(milliseconds=1))

        async def propose(offers: object, _now: datetime) -> None:
            assert isinstance(offers, list)
            await submitter.submit(offers)

        revising = Revising(
            Bidding(revise_wait_s=wait_s),
            venue,
            book=book,
            submitter=submitter,
            firm=lambda *_: steps(firm_mw[0]),
            propose=propose,
        )
        yield Rig(venue, book, submitter, revising, firm_mw)


async def test_capacity_shrinks_and_shrinks_again_until_the_offer_is_taken_back(tmp_path: Path) -> None:
    """0.3, 0.2, then nothing: revision 2 replaces 1, then 2 is withdrawn; ticks without news do nothing."""
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        for firm in ("0.3", "0.2", "0.2", "0", "0"):
            r.firm_mw[0] = firm
            await r.revising.tick(NOON)

    assert [record.state for record in r.book.ledger.offers.values()] == [OfferState.SUPERSEDED, OfferState.WITHDRAWN]
    assert r.venue.calls.count("submit") == 2
    assert r.venue.calls.count("withdraw") == 1


async def test_a_curve_that_was_refused_is_proposed_again_after_a_growing_pause(tmp_path: Path) -> None:
    """0.2 MW at 0, 60 and 180 s, not in between; 0.1 MW at once. The venue refuses all of it."""
    seen = ((0, "0.2"), (1, "0.2"), (59, "0.2"), (60, "0.2"), (179, "0.2"), (180, "0.2"), (181, "0.1"))
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        r.venue.verdict = "rejected"
        sent = []
        for seconds, firm in seen:
            r.firm_mw[0] = firm
            before = r.venue.calls.count("submit")
            await r.revising.tick(NOON + timedelta(seconds=seconds))
            if r.venue.calls.count("submit") > before:
                sent.append((seconds, firm))

    assert sent == [(0, "0.2"), (60, "0.2"), (180, "0.2"), (181, "0.1")]


def test_a_curve_that_waits_for_people_is_not_proposed_again() -> None:
    book, held = Ledger(), offer(step("0.4", "10"), offer_id="two", revision=2)
    for document in (intent(OFFER), receipt(OFFER), Held(document="d", offers=(held,), why=("MW",), needs=2)):
        book.apply(document)
    third = offer(step("0.4", "10"), offer_id="three", revision=3)

    assert put_off(third, book.revisions(key_of(third)), NOON + timedelta(hours=9))
    assert not put_off(offer(step("0.2", "10"), offer_id="three", revision=3), book.revisions(key_of(third)), NOON)


async def test_a_gap_of_some_seconds_takes_nothing_back(tmp_path: Path) -> None:
    """Less has to be there for 15 s without a break; then it is revised."""
    with rig(tmp_path / "j", ScriptedVenue(), wait_s=15) as r:
        await r.submitter.submit([OFFER])
        for seconds, firm in ((0, "0"), (14, "0"), (15, "0.3"), (16, "0.2"), (30, "0.2")):
            r.firm_mw[0] = firm
            await r.revising.tick(NOON + timedelta(seconds=seconds))
        assert r.venue.calls.count("submit") == 1

        await r.revising.tick(NOON + timedelta(seconds=31))

    assert r.venue.calls.count("submit") == 2
    assert r.venue.calls.count("withdraw") == 0


async def test_just_before_the_gate_there_is_no_time_to_wait(tmp_path: Path) -> None:
    """The gate closes 20 s before the interval, the margin is 2 s: at the last look what is missing is taken back."""
    with rig(tmp_path / "j", ScriptedVenue(), wait_s=15) as r:
        await r.submitter.submit([OFFER])
        r.firm_mw[0] = "0"

        await r.revising.tick(GATE - GATE_MARGIN - timedelta(seconds=4))
        assert r.venue.calls.count("withdraw") == 0
        await r.revising.tick(GATE - GATE_MARGIN - timedelta(seconds=2))

    assert r.venue.calls.count("withdraw") == 1


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=5, unique_by=lambda s: s[1]),
    st.integers(0, 260),
)
def test_a_cut_keeps_the_cheapest_and_never_more_than_the_room(curve: list[tuple[int, int]], room: int) -> None:
    """In the curve's own order, rising or falling."""
    given_steps = [step(str(Decimal(mw) / 100), str(price)) for mw, price in curve]
    limit = Decimal(room) / 100

    kept = cut(given_steps, limit)

    total = sum((one.quantity_mw for one in given_steps), Decimal(0))
    assert sum((one.quantity_mw for one in kept), Decimal(0)) == min(limit, total)
    left_out = {one.price_per_mwh for one in given_steps} - {one.price_per_mwh for one in kept}
    assert all(one.price_per_mwh < gone for one in kept for gone in left_out)
    order = [one.price_per_mwh for one in given_steps]
    assert [one.price_per_mwh for one in kept] == [price for price in order if price not in left_out]


@dataclass
class Deaf(ScriptedVenue):
    """Answers to a shortfall as told."""

    answers: tuple[Exception, ...] = ()

    async def notify(self, shortfall: Shortfall, epoch: int) -> None:
        await super().notify(shortfall, epoch)
        if len(self.told) <= len(self.answers):
            raise self.answers[len(self.told) - 1]


@pytest.mark.parametrize(
    ("answers", "times", "refused"),
    [((), 1, ""), ((UnknownOutcomeError("no answer"),), 2, ""), ((RejectedError("no award"),), 1, "no award")],
    ids=["heard", "no answer at first", "refused"],
)
async def test_a_shortfall_is_told_until_the_venue_has_answered(
    tmp_path: Path, answers: tuple[Exception, ...], times: int, refused: str
) -> None:
    with rig(tmp_path / "j", Deaf(answers=answers), GATE) as r:
        r.book.write(intent(OFFER))
        r.book.write(receipt(OFFER))
        r.book.write(award("0.25"))
        r.firm_mw[0] = "0.1"
        for _ in range(3):
            await r.revising.tick(GATE)

    assert len(r.venue.told) == times
    assert len({short.shortfall_id for short in r.venue.told}) == 1
    assert [told.refused for told in r.book.ledger.told.values()] == [refused]


@pytest.mark.parametrize(
    ("mw", "calls"), [("0.1", ["submit"]), ("0", ["submit", "submit"])], ids=["owed", "taken back"]
)
async def test_while_load_is_held_down_nothing_is_decided(tmp_path: Path, mw: str, calls: list[str]) -> None:
    """The relief that is left then is what has not been let go yet, not what the next interval could let go."""
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        before = offer(interval=type(INTERVAL)(NOON, NOON + timedelta(minutes=1)), offer_id="now")
        r.book.write(
            Dispatch(
                dispatch_id="d",
                award_id="a",
                resource="r1",
                interval=before.interval,
                reduction_mw=Decimal(mw),
                issued_at=NOON,
            )
        )
        r.firm_mw[0] = "0.1"
        await r.revising.tick(NOON)

    assert r.venue.calls == calls
