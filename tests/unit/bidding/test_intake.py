"""Awards as a venue tells them: kept once, replaced where they are corrected, said loudly where nothing stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.builders import MINUTE, NOON, award, intent, offer
from doubles.clocks import SetClock
from doubles.scripted import ScriptedVenue

from bidding.agents.deliver import Intake
from bidding.book import Book
from bidding.journal import Journal
from bidding.markets import Receipt
from bidding.settings import Bidding
from pipeline.messages.market import Award, Offer, OfferState

OFFER = offer()


class Buying(ScriptedVenue):
    """Tells *bought*."""

    bought: tuple[Award, ...] = ()

    async def awards(self, resource: str) -> tuple[Award, ...]:
        del resource
        return self.bought


@contextmanager
def intake(path: Path, venue: ScriptedVenue, *answered: tuple[Offer, str]) -> Iterator[tuple[Intake, Book]]:
    """Yield an intake over the journal at *path*; *answered* are offers and the venue's words for them."""
    with Journal(path) as journal:
        book = Book(journal, SetClock())
        for given, status in answered:
            book.write(intent(given))
            book.write(Receipt(offer_id=given.offer_id, receipt="R", status=status, accepted_mw=given.quantity_mw))
        yield Intake(Bidding(), venue, book), book


async def test_an_award_is_written_once_and_again_where_it_is_corrected(tmp_path: Path) -> None:
    """0.25 MW, told again a minute later with that minute's stamp; then 0.1 MW under the same id."""
    venue = Buying()
    first = award("0.25").model_copy(update={"offer_id": ""})
    told = (
        first,
        first.model_copy(update={"awarded_at": NOON + MINUTE}),
        corrected := first.model_copy(update={"quantity_mw": Decimal("0.1")}),
        corrected,
    )
    with intake(tmp_path / "j", venue, (OFFER, "accepted")) as (agent, book):
        for one in told:
            venue.bought = (one,)
            await agent.tick(NOON)
    with Journal(tmp_path / "j") as journal:
        kinds = [record.kind for record in journal.records]

    assert kinds.count("award") == 2
    assert [a.quantity_mw for a in book.ledger.awards.values()] == [Decimal("0.1")]
    assert book.ledger.offers[OFFER.offer_id].state is OfferState.AWARDED


async def test_an_award_for_what_does_not_stand_here_binds_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    venue = Buying()
    venue.bought = (award().model_copy(update={"offer_id": ""}),)
    newer = offer(offer_id="newer", revision=2)
    with intake(tmp_path / "j", venue, (OFFER, "accepted"), (newer, "accepted"), (newer, "withdrawn")) as (agent, book):
        await agent.tick(NOON)

    assert book.ledger.offers[OFFER.offer_id].state is OfferState.AWARDED
    assert f"offer {OFFER.offer_id[:8]} is superseded here, and bought" in caplog.text


async def test_an_award_for_nothing_of_ours_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    venue = Buying()
    venue.bought = (award().model_copy(update={"offer_id": ""}),)
    with intake(tmp_path / "j", venue) as (agent, _book):
        await agent.tick(NOON)
        await agent.tick(NOON)

    assert caplog.text.count("nothing was offered that it could be for") == 1
