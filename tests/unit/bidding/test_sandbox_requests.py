"""Documents, withdrawals, cancellations, notices of shortfall, fencing; what of them outlives a restart."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.sandbox_book import EARLY, GATE, MINUTE, START, body, submission, submit, venue
from hypothesis import given
from hypothesis import strategies as st

from bidding.sandbox.answers import Notice, Problem
from bidding.sandbox.clearinghouse import accepted_steps
from bidding.sandbox.entries import Outcome
from bidding.sandbox.journal import Journal
from bidding.sandbox.rules import Shape
from bidding.sandbox.scoring import RESPONSES
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.venue import Venue
from bidding.sandbox.wire import CancelBody, MeterBody, OfferBody, Reading, ResponseBody, ShortfallBody

HOUR = timedelta(hours=1)


def status(market: Venue, offer_id: str) -> tuple[str, Decimal]:
    receipt = market.book.receipt(offer_id)
    assert receipt is not None
    return receipt.status, receipt.accepted_mw


def shortfall(market: Venue, available_mw: str, at: datetime, name: str = "s-1", product: str = "spin") -> Outcome:
    notice = ShortfallBody(
        resource="R",
        product=product,
        interval_start=START,
        interval_end=START + MINUTE,
        available_mw=Decimal(available_mw),
    )
    return market.take_shortfall(name, notice, "0" * 64, at).outcome


# ------------------------------------------------------------------------------------------------- documents


def test_every_offer_of_a_document_is_judged_by_itself() -> None:
    market = venue()
    offers = [
        submission("o-good", body("spin")),
        submission("o-small", body("reg-up", ("0.01", "5"))),
        submission("o-late", body("fast", start=EARLY)),
    ]

    entry = market.submit_document("d-1", "0" * 64, offers, EARLY)

    assert [result.outcome for result in entry.offers] == [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.GATE_CLOSED]
    assert market.audit(0, 0).submissions_applied == 2
    assert (market.audit(0, 0).documents, market.audit(0, 0).after_gate) == (1, 1)


def test_a_document_sent_again_gets_the_same_receipts_and_its_offers_count_as_duplicates() -> None:
    market = venue()
    offers = [submission(f"o-{product}", body(product)) for product in ("spin", "fast")]

    first = market.submit_document("d-1", "0" * 64, offers, EARLY)
    again = market.submit_document("d-1", "0" * 64, offers, GATE + MINUTE)

    assert [offer.receipt for offer in again.offers] == [offer.receipt for offer in first.offers]
    assert [offer.outcome for offer in again.offers] == [Outcome.DUPLICATE] * 2
    assert market.audit(0, 0).duplicate_submissions == 2


def test_part_of_a_document_may_be_accepted_in_part() -> None:
    """Half of the draws: of twenty offers of one document some are halved, some not."""
    market = venue(partial_share=0.5)
    offers = [
        submission(f"o-{number}", body("spin", ("0.40", "0"), start=START + MINUTE * number)) for number in range(20)
    ]

    entry = market.submit_document("d-1", "0" * 64, offers, EARLY)

    assert {(offer.outcome.value, offer.receipt.accepted_mw) for offer in entry.offers if offer.receipt} == {
        ("accepted", Decimal("0.40")),
        ("partly_accepted", Decimal("0.20")),
    }


def test_products_of_one_resource_and_interval_are_offers_of_their_own() -> None:
    """A revision of one does not touch the other."""
    market = venue()
    submit(market, "spin-1", body("spin", revision=5))

    assert submit(market, "fast-1", body("fast", revision=1)).outcome is Outcome.ACCEPTED
    assert {award.product for award in market.awards("R", GATE)} == {"spin", "fast"}


def test_of_a_falling_curve_the_cheapest_part_is_accepted() -> None:
    """A bid to buy load: the last 0.2 MW are let go first, at 30. Half of it is 0.2 MW, so none at 40."""
    sold = SandboxSettings(products="energy-dr").market()
    falling = sold.model_copy(update={"products": (sold.default.model_copy(update={"shape": Shape.FALLING}),)})
    market = venue(market=falling, partial_share=1)

    entry = submit(market, "o-1", body("energy-dr", ("0.20", "40"), ("0.40", "30")))

    assert accepted_steps(entry) == [(Decimal("0.20"), Decimal(30))]


@pytest.mark.parametrize(("ramp", "mw"), [("0.005", "0.05"), ("1", "0.10")])
def test_a_ramp_bounds_a_reserve_that_clears_alone_too(ramp: str, mw: str) -> None:
    """0.005 MW a minute are 0.05 MW in ten minutes."""
    market = venue("spin")
    submit(market, "o-1", body("spin", ramp_mw_per_min=ramp))

    assert [str(award.mw) for award in market.awards("R", GATE)] == [mw]


def test_a_resource_is_not_awarded_more_than_it_has() -> None:
    """0.3 MW in all, offered for nothing as energy, spin and fast response."""
    market = venue()
    for product in ("energy-dr", "spin", "fast"):
        submit(market, product, body(product, ("0.30", "0"), capacity_mw="0.30"))

    awards = market.awards("R", GATE)

    assert sum(award.mw for award in awards) == Decimal("0.30")


# ------------------------------------------------------------------------------------------------ withdrawals


def test_a_withdrawn_offer_is_not_awarded_and_says_so() -> None:
    market = venue()
    submit(market, "o-1", body())

    entry = market.withdraw("o-1", GATE - MINUTE)

    assert entry.outcome is Outcome.WITHDRAWN
    assert status(market, "o-1") == ("withdrawn", Decimal(0))
    assert market.awards("R", GATE) == ()
    assert market.audit(0, 0).withdrawn == 1


def test_withdrawing_twice_is_withdrawing_once() -> None:
    market = venue()
    submit(market, "o-1", body())
    market.withdraw("o-1", EARLY)

    assert market.withdraw("o-1", GATE).outcome is Outcome.DUPLICATE
    assert (market.audit(0, 0).withdrawn, market.audit(0, 0).duplicate_submissions) == (1, 0)


def test_at_the_gate_it_is_too_late_to_withdraw() -> None:
    market = venue()
    submit(market, "o-1", body())

    assert market.withdraw("o-1", GATE).outcome is Outcome.GATE_CLOSED
    assert len(market.awards("R", GATE)) == 1


def test_what_does_not_stand_cannot_be_withdrawn() -> None:
    market = venue()
    submit(market, "rejected", body("spin", ("0.01", "0")))
    submit(market, "replaced", body())
    submit(market, "standing", body(revision=2))

    details = [market.withdraw(name, EARLY).detail for name in ("rejected", "replaced")]

    assert details == ["offer rejected was rejected", "offer replaced was replaced by standing"]
    assert status(market, "standing")[0] == "accepted"


def test_after_a_withdrawal_only_a_higher_revision_is_taken() -> None:
    """What is still on its way from before must not come back to life."""
    market = venue()
    submit(market, "o-2", body(revision=2))
    market.withdraw("o-2", EARLY)

    outcomes = [submit(market, f"o-{number}", body(revision=number)).outcome for number in (1, 3)]

    assert outcomes == [Outcome.STALE_REVISION, Outcome.ACCEPTED]
    assert market.audit(0, 0).stale_revisions == 1
    assert [award.offer_id for award in market.awards("R", GATE)] == ["o-3"]


# ---------------------------------------------------------------------------------------------- cancellations


def test_a_cancelled_offer_is_noticed_and_not_awarded() -> None:
    market = venue()
    submit(market, "o-1", body())

    notice = market.cancel(CancelBody(offer_id="o-1", reason="validation"), GATE - MINUTE)

    assert isinstance(notice, Notice)
    assert market.notices("R", GATE) == (notice,)
    assert (notice.offer_id, notice.product, notice.reason, notice.issued_at) == (
        "o-1",
        "spin",
        "validation",
        GATE - MINUTE,
    )
    assert status(market, "o-1") == ("cancelled", Decimal(0))
    assert market.awards("R", GATE) == ()


@pytest.mark.parametrize(
    ("offer_id", "at", "error"),
    [("nobody", EARLY, "unknown_offer"), ("o-1", GATE, "gate_closed"), ("gone", EARLY, "not_standing")],
)
def test_what_cannot_be_cancelled_is_refused(offer_id: str, at: datetime, error: str) -> None:
    market = venue()
    submit(market, "o-1", body())
    submit(market, "gone", body("fast"))
    market.withdraw("gone", EARLY)

    found = market.cancel(CancelBody(offer_id=offer_id), at)

    assert isinstance(found, Problem)
    assert found.error == error


def test_a_share_of_what_is_accepted_is_taken_back_before_its_gate() -> None:
    """5 s after acceptance: accepted at first, cancelled then; seen by whoever asks, stamped with its own instant."""
    market = venue(cancel_share=1)
    submit(market, "o-1", body())

    before = market.notices("R", EARLY + timedelta(seconds=4.9))
    (notice,) = market.notices("R", GATE + HOUR)

    assert before == ()
    assert notice.issued_at == EARLY + timedelta(seconds=5)
    assert notice.reason.startswith("simulated:")
    assert market.audit(0, 0).cancelled == 1
    assert market.awards("R", GATE + HOUR) == ()


def test_near_the_gate_it_is_taken_back_halfway_to_it() -> None:
    market = venue(cancel_share=1)
    submit(market, "o-1", body(), GATE - timedelta(seconds=4))

    (notice,) = market.notices("R", GATE)

    assert notice.issued_at == GATE - timedelta(seconds=2)


def test_an_offer_replaced_in_time_is_not_taken_back() -> None:
    """Nor is its successor, whose own draw is another."""
    market = venue(cancel_share=1)
    submit(market, "o-1", body())
    market.faults = venue().faults
    submit(market, "o-2", body(revision=2), EARLY + timedelta(seconds=1))

    assert market.notices("R", GATE) == ()
    assert [award.offer_id for award in market.awards("R", GATE)] == ["o-2"]


# ------------------------------------------------------------------------------------------- notices of shortfall


def test_a_notice_of_shortfall_lowers_the_instruction() -> None:
    """0.1 MW of energy was awarded, 0.04 will be there."""
    market = venue()
    submit(market, "o-1", body("energy-dr"))

    outcome = shortfall(market, "0.04", GATE, product="energy-dr")
    (instruction,) = market.dispatches("R", START)

    assert outcome is Outcome.TAKEN
    assert instruction.reduction_mw == Decimal("0.04")
    assert market.audit(0, 0).shortfalls == 1


def test_a_notice_after_the_instruction_does_not_change_it() -> None:
    market = venue()
    submit(market, "o-1", body("energy-dr"))

    shortfall(market, "0.04", START, product="energy-dr")

    assert market.dispatches("R", START)[0].reduction_mw == Decimal("0.10")


def test_a_notice_never_raises_an_instruction() -> None:
    market = venue()
    submit(market, "o-1", body("energy-dr"))

    shortfall(market, "5", GATE, product="energy-dr")

    assert market.dispatches("R", START)[0].reduction_mw == Decimal("0.10")


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        (GATE - timedelta(microseconds=1), Outcome.GATE_OPEN),
        (GATE, Outcome.TAKEN),
        (START + MINUTE - timedelta(microseconds=1), Outcome.TAKEN),
        (START + MINUTE, Outcome.GATE_CLOSED),
    ],
)
def test_a_notice_is_for_the_time_from_the_gate_to_the_end(at: datetime, outcome: Outcome) -> None:
    market = venue()
    submit(market, "o-1", body())

    assert shortfall(market, "0", at) is outcome


def test_without_an_award_there_is_nothing_to_be_short_of() -> None:
    assert shortfall(venue(), "0", GATE) is Outcome.NO_AWARD


def test_the_same_notice_again_changes_nothing_and_another_under_its_name_is_a_conflict() -> None:
    market = venue()
    submit(market, "o-1", body())
    shortfall(market, "0.05", GATE)

    outcomes = [shortfall(market, available, GATE) for available in ("0.05", "0.01")]

    assert outcomes == [Outcome.DUPLICATE, Outcome.CONFLICT]
    assert market.audit(0, 0).shortfalls == 1


# ---------------------------------------------------------------------------------------------------- fencing


@given(st.lists(st.integers(0, 5), max_size=12))
def test_only_senders_of_the_highest_epoch_heard_are_let_through(epochs: list[int]) -> None:
    market = venue("energy-dr")
    passed = []

    for epoch in epochs:
        market.hear(epoch, EARLY)
        if market.fence(epoch, "PUT /v1/offers/o", EARLY) is None:
            passed.append(epoch)

    assert passed == sorted(passed)
    assert market.audit(0, 0).stale_epochs == len(epochs) - len(passed)
    assert market.audit(0, 0).highest_epoch == max(epochs, default=0)


# ----------------------------------------------------------------------------------------------------- restart


def did(market: Venue) -> None:
    """Leave something of everything in the book."""
    market.hear(7, EARLY)
    market.fence(6, "PUT /v1/offers/late", EARLY)
    submit(market, "spin", body("spin", ("0.30", "0")))
    submit(market, "energy", body("energy-dr"))
    market.submit_document(
        "d-1", "1" * 64, [submission("fast", body("fast")), submission("reg", body("reg-up"))], EARLY
    )
    submit(market, "gone", body("contingency"))
    market.withdraw("gone", EARLY)
    submit(market, "back", body("non-spin"))
    market.cancel(CancelBody(offer_id="back"), EARLY)
    market.clear(GATE)
    shortfall(market, "0.1", GATE)
    minute = Reading(start=START, end=START + MINUTE, kwh=Decimal("1.5"))
    market.take_meter("R", "b-1", MeterBody(readings=(minute,)), "2" * 64, START + MINUTE)
    regulation = market.market.rules("reg-up")
    assert regulation is not None
    nothing = ResponseBody(mw=(Decimal(0),) * RESPONSES)
    market.take_response("R", regulation, START, nothing, "3" * 64, now=START + HOUR * 2)


def seen(market: Venue) -> object:
    """Return all that can be asked."""
    late = START + HOUR * 2
    assert market.book.scores
    return (
        market.awards("R", late),
        market.dispatches("R", late),
        market.notices("R", late),
        market.statement("R", late),
        market.audit(0, 0),
        [market.book.receipt(name) for name in ("spin", "energy", "fast", "reg", "gone", "back")],
        market.book.documents,
        market.book.scores,
        market.meter_status("R", "b-1"),
        market.shortfall_status("s-1"),
    )


def test_a_venue_reopened_from_its_journal_knows_all_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        market = venue(journal=journal)
        did(market)
        before = seen(market)
    whole = path.read_bytes()

    with Journal(path) as journal:
        after = seen(venue(journal=journal, reject_share=1, cancel_share=1))

    assert after == before
    assert path.read_bytes() == whole


def test_a_cancellation_that_was_drawn_happens_after_a_restart_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        submit(venue(journal=journal, cancel_share=1), "o-1", body())

    with Journal(path) as journal:
        notices = venue(journal=journal).notices("R", GATE)

    assert [notice.offer_id for notice in notices] == ["o-1"]


def test_a_stale_sender_is_refused_after_a_restart_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        venue(journal=journal).hear(7, EARLY)

    with Journal(path) as journal:
        problem = venue(journal=journal).fence(6, "PUT /v1/offers/o", EARLY)

    assert problem is not None
    assert problem.error == "fenced"


# -------------------------------------------------------------------------------------------- what always holds

ACTIONS: dict[str, Callable[[Venue, OfferBody, str, datetime], object]] = {
    "submit": lambda market, offer, name, at: submit(market, name, offer, at),
    "withdraw": lambda market, _, name, at: market.withdraw(name, at) if name in market.book.offers else None,
    "cancel": lambda market, _, name, at: market.cancel(CancelBody(offer_id=name), at),
    "short": lambda market, offer, name, at: shortfall(market, "0", at, f"s-{name}", offer.product),
}


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(sorted(ACTIONS)), st.sampled_from(["spin", "fast"]), st.integers(1, 4), st.integers(0, 30)
        ),
        max_size=25,
    ),
    share=st.sampled_from([0.0, 0.5]),
)
def test_whatever_happens_a_restart_knows_the_same(
    steps: list[tuple[str, str, int, int]], share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And no offer is awarded that was withdrawn or cancelled, nor two of one product."""
    path = tmp_path_factory.mktemp("restart") / "journal.jsonl"
    with Journal(path) as journal:
        market = venue("spin,fast", journal, cancel_share=share, partial_share=share)
        at = EARLY
        for action, product, revision, wait_s in steps:
            at += timedelta(seconds=wait_s)
            ACTIONS[action](market, body(product, revision=revision), f"{product}-{revision}", at)
        known = market.awards("R", START), market.notices("R", START), market.audit(0, 0)
    with Journal(path) as journal:
        again = venue("spin,fast", journal)
        assert (again.awards("R", START), again.notices("R", START), again.audit(0, 0)) == known

    awarded = [award.offer_id for award in known[0]]
    assert not set(awarded) & set(market.book.ended)
    assert len({award.product for award in known[0]}) == len(awarded)
