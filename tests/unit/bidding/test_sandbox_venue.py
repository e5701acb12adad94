"""The venue without HTTP: gate, revisions, faults, awards, journal. Every instant is an argument."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.sandbox.admission import Submission
from bidding.sandbox.checks import violations
from bidding.sandbox.draws import uniform
from bidding.sandbox.entries import OfferEntry, Outcome
from bidding.sandbox.faults import FaultChange, Faults, FaultShares, Reply
from bidding.sandbox.journal import Journal
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.venue import Venue
from bidding.sandbox.wire import MeterBody, OfferBody, Reading
from pipeline.errors import ConfigError, EnvironmentProblem

START = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EARLY = START - MINUTE * 5
GATE = START - timedelta(seconds=20)
MARKET = SandboxSettings().market()
RULES = MARKET.default

# In a process of its own: the limit would also hold for the file that pytest's output goes to.
FULL_DISK = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from bidding.sandbox.admission import Submission
from bidding.sandbox.faults import Faults, FaultShares
from bidding.sandbox.journal import Journal
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.venue import Venue
from bidding.sandbox.wire import OfferBody
from pipeline.errors import EnvironmentProblem
offer = OfferBody.model_validate_json(sys.argv[3])
with Journal(Path(sys.argv[1])) as journal:
    venue = Venue(SandboxSettings().market(), Faults(FaultShares(), seed=1), journal)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        venue.submit(Submission("o-1", offer, "0" * 64, datetime(2026, 1, 1, tzinfo=UTC)))
    except EnvironmentProblem as problem:
        print(problem)
    print("receipt", venue.book.receipt("o-1"))
"""


def body(*steps: tuple[str, str], start: datetime = START, **changes: object) -> OfferBody:
    """Return an offer of cumulative (MW, price) *steps*; 0.25 MW at modest prices by default."""
    return OfferBody.model_validate(
        {
            "resource": "R",
            "product": "energy-dr",
            "interval_start": start,
            "interval_end": start + MINUTE,
            "curve": [{"mw": mw, "price": price} for mw, price in steps or (("0.10", "50"), ("0.25", "80"))],
            **changes,
        }
    )


def venue(journal: Journal | None = None, **faults: object) -> Venue:
    return Venue(MARKET, Faults(FaultShares.model_validate(faults), seed=1), journal)


def submit(to: Venue, offer_id: str, offer: OfferBody, at: datetime = EARLY) -> OfferEntry:
    return to.submit(Submission(offer_id, offer, sha256(offer.model_dump_json().encode()).hexdigest(), at))


# --------------------------------------------------------------------------------------------- admission


def test_an_offer_that_keeps_the_rules_is_accepted_whole() -> None:
    entry = submit(venue(), "o-1", body())

    assert entry.outcome is Outcome.ACCEPTED
    assert entry.receipt is not None
    assert entry.receipt.accepted_mw == Decimal("0.25")


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (body(("0.09", "50")), "at least 0.1 MW, got 0.09"),
        (body(("0.105", "50")), "MW must be multiples of 0.01"),
        (body(("0.10", "50.001")), "prices must be multiples of 0.01"),
        (body(("0.10", "-1")), "prices must lie between 0 and 2000"),
        (body(("0.10", "2000.01")), "prices must lie between 0 and 2000"),
        (body(("0.10", "50"), ("0.10", "60")), "MW must be positive, cumulative and increasing from step to step"),
        (body(("0.20", "50"), ("0.10", "60")), "MW must be positive, cumulative and increasing from step to step"),
        (body(("0.10", "60"), ("0.20", "50")), "prices must not fall from step to step"),
        (body(*((f"{step / 10 + 0.1:.1f}", "50") for step in range(11))), "at most 10 steps, got 11"),
        (body(product="capacity"), "product is 'energy-dr', got 'capacity'"),
        (body(start=START + timedelta(seconds=30)), "interval must be 60 s long and start on a multiple of that"),
        (body(interval_end=START + MINUTE * 2), "interval must be 60 s long and start on a multiple of that"),
    ],
)
def test_a_broken_rule_is_named_and_the_offer_rejected(offer: OfferBody, reason: str) -> None:
    entry = submit(venue(), "o-1", offer)

    assert entry.outcome is Outcome.REJECTED
    assert entry.receipt is not None
    assert reason in entry.receipt.reasons


def test_all_broken_rules_are_named_at_once() -> None:
    assert len(list(violations(body(("0.055", "3000.001")), RULES))) == 4  # minimum, block, tick, cap


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        (GATE - timedelta(microseconds=1), Outcome.ACCEPTED),
        (GATE, Outcome.GATE_CLOSED),
        (START + MINUTE, Outcome.GATE_CLOSED),
        (START - timedelta(days=1), Outcome.ACCEPTED),
        (START - timedelta(days=1, microseconds=1), Outcome.GATE_NOT_OPEN),
    ],
)
def test_the_gate_is_open_from_a_day_before_until_20_s_before_the_interval(at: datetime, outcome: Outcome) -> None:
    assert submit(venue(), "o-1", body(), at).outcome is outcome


def test_the_same_offer_again_has_the_same_receipt_and_counts_as_a_duplicate() -> None:
    """After gate closure too: the answer to a repetition is what became of the first."""
    market = venue()
    first = submit(market, "o-1", body())

    again = submit(market, "o-1", body(), GATE + MINUTE)

    assert (again.outcome, again.receipt) == (Outcome.DUPLICATE, first.receipt)
    assert market.audit(0, 0).duplicate_submissions == 1
    assert market.audit(0, 0).submissions_applied == 1


def test_the_same_id_with_another_content_is_a_conflict() -> None:
    market = venue()
    submit(market, "o-1", body())

    assert submit(market, "o-1", body(("0.30", "50"))).outcome is Outcome.CONFLICT


def test_a_higher_revision_replaces_a_lower_one_is_stale_and_an_equal_one_a_conflict() -> None:
    market = venue()
    submit(market, "o-2", body(revision=2))

    outcomes = [submit(market, f"o-{name}", body(revision=name)).outcome for name in (1, 3)]
    equal = submit(market, "o-other", body(("0.30", "50"), revision=3))

    assert outcomes == [Outcome.STALE_REVISION, Outcome.ACCEPTED]
    assert equal.outcome is Outcome.CONFLICT
    replaced = market.book.receipt("o-2")
    assert replaced is not None
    assert replaced.replaced_by == "o-3"


def test_a_rejected_revision_leaves_the_one_before_standing() -> None:
    market = venue()
    submit(market, "o-1", body())
    submit(market, "o-2", body(("0.01", "50"), revision=2))

    (award,) = market.awards("R", GATE)

    assert award.offer_id == "o-1"


# ------------------------------------------------------------------------------------------------ awards


def test_awards_appear_at_gate_closure_and_instructions_when_notice_is_due() -> None:
    market = venue()
    submit(market, "o-1", body())
    before, notice = timedelta(microseconds=1), START - timedelta(seconds=10)

    assert market.awards("R", GATE - before) == ()
    (award,) = market.awards("R", GATE)
    assert market.dispatches("R", notice - before) == ()
    (instruction,) = market.dispatches("R", notice)

    assert (award.mw, award.awarded_at) == (Decimal("0.25"), GATE)
    assert (instruction.reduction_mw, instruction.award_id) == (Decimal("0.25"), award.award_id)


def test_the_price_of_an_award_is_the_published_one_and_not_below_the_offer() -> None:
    market = venue()
    submit(market, "o-1", body())

    (award,) = market.awards("R", GATE)
    *_, newest = market.prices("energy-dr", 3, GATE)

    assert (newest.interval_start, newest.price) == (START, award.price)
    assert award.price >= 80


def test_a_partly_accepted_offer_clears_with_its_accepted_part() -> None:
    """Half of 0.25 MW in blocks of 0.01 is 0.12."""
    market = venue(partial_share=1)

    entry = submit(market, "o-1", body())
    (award,) = market.awards("R", GATE)

    assert entry.outcome is Outcome.PARTLY_ACCEPTED
    assert award.mw == Decimal("0.12")


def test_what_cannot_be_halved_above_the_minimum_is_accepted_whole() -> None:
    assert submit(venue(partial_share=1), "o-1", body(("0.10", "50"))).outcome is Outcome.ACCEPTED


def test_an_offer_dearer_than_the_market_is_not_awarded() -> None:
    market = venue()
    submit(market, "o-1", body(("0.10", "2000")))

    assert market.awards("R", GATE) == ()


def test_late_questions_change_nothing_about_what_was_cleared() -> None:
    """Asked at the gate or an hour later, the award is the same, stamped with the gate's instant."""
    at_gate, later = venue(), venue()
    submit(at_gate, "o-1", body())
    submit(later, "o-1", body())

    assert at_gate.awards("R", GATE) == later.awards("R", GATE + timedelta(hours=1))


def test_what_is_cleared_stays_cleared_though_the_clock_was_set_back() -> None:
    market = venue()
    submit(market, "o-1", body())
    awards = market.awards("R", GATE)

    outcome = submit(market, "o-2", body(revision=2), EARLY).outcome

    assert outcome is Outcome.GATE_CLOSED
    assert market.awards("R", GATE) == awards


# ------------------------------------------------------------------------------------------------ faults


def test_faults_are_the_same_for_the_same_seed_and_differ_between_requests() -> None:
    faults = Faults(FaultShares(lose_replies=0.2, late_replies=0.1), seed=3)

    fates = [faults.reply(f"request|{number}") for number in range(2000)]

    assert fates == [faults.reply(f"request|{number}") for number in range(2000)]
    assert 0.17 < fates.count(Reply.LOST) / 2000 < 0.23
    assert 0.05 < fates.count(Reply.LATE) / 2000 < 0.11  # a tenth of the four fifths that are not lost


def test_without_shares_nothing_goes_wrong() -> None:
    faults = Faults(FaultShares(), seed=3)

    assert {faults.reply(f"request|{number}") for number in range(500)} == {Reply.SENT}
    assert not any(faults.rejects(f"{number}") or faults.takes_part(f"{number}") for number in range(500))


def test_a_change_of_faults_leaves_the_others_as_they_are() -> None:
    faults = Faults(FaultShares(lose_replies=0.2, late_s=3), seed=3).changed(FaultChange(late_replies=0.5))

    assert faults.shares == FaultShares(lose_replies=0.2, late_replies=0.5, late_s=3)


def test_a_venue_that_rejects_at_will_says_that_this_is_simulated() -> None:
    entry = submit(venue(reject_share=1), "o-1", body())

    assert entry.outcome is Outcome.REJECTED
    assert entry.detail.startswith("simulated:")


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(), st.text(max_size=20))
def test_a_draw_is_a_number_from_zero_to_below_one(seed: int, name: str) -> None:
    assert 0 <= uniform(seed, name) < 1


# ----------------------------------------------------------------------------------------------- journal


def readings(*kwh: str) -> MeterBody:
    return MeterBody(
        readings=tuple(
            Reading(start=START + MINUTE * number, end=START + MINUTE * (number + 1), kwh=Decimal(each))
            for number, each in enumerate(kwh)
        )
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def filled(path: Path) -> Path:
    """Return the journal of a venue that took two offers, one of them twice, cleared, and took meter data."""
    with Journal(path) as journal:
        market = venue(journal, lose_replies=0.5)
        submit(market, "o-1", body())
        submit(market, "o-2", body(start=START + MINUTE))
        submit(market, "o-2", body(start=START + MINUTE))
        market.clear(START + MINUTE)
        market.take_meter("R", "b-1", readings("1.5", "2.5"), "digest", START + MINUTE)
    return path


def test_a_venue_reopened_from_its_journal_knows_all_it_knew(filled: Path) -> None:
    with Journal(filled) as journal:
        market = venue(journal)

    assert [award.offer_id for award in market.book.awards["R"]] == ["o-1", "o-2"]
    assert market.book.readings("R") == {START: Decimal("1.5"), START + MINUTE: Decimal("2.5")}
    assert market.audit(0, 0).duplicate_submissions == 1
    assert market.audit(0, 0).replies_lost > 0
    assert market.book.receipt("o-1") is not None


def test_reopening_decides_nothing_again(filled: Path) -> None:
    """Not a byte is added, though the faults are others now."""
    before = filled.read_bytes()

    with Journal(filled) as journal:
        market = venue(journal, reject_share=1)
        market.clear(START + MINUTE)

    assert filled.read_bytes() == before


def test_what_a_crash_left_half_written_is_cut_off(filled: Path) -> None:
    whole = filled.read_bytes()
    filled.write_bytes(whole + b'{"kind":"offer","at":"2026')

    with Journal(filled) as journal:
        venue(journal)

    assert filled.read_bytes() == whole


@settings(deadline=None, max_examples=30)  # a busy machine is no failure
@given(cut=st.integers(0, 100))
def test_a_journal_cut_anywhere_opens_with_what_was_whole(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    with Journal(path) as journal:
        submit(venue(journal), "o-1", body())
    whole = path.read_bytes()
    length = len(whole) * cut // 100
    path.write_bytes(whole[:length])

    with Journal(path) as journal:
        market = venue(journal)

    assert (market.book.receipt("o-1") is not None) == (length == len(whole))


def test_a_line_that_is_no_entry_is_a_config_error_that_names_it(filled: Path) -> None:
    lines = filled.read_bytes().splitlines(keepends=True)
    filled.write_bytes(b"".join([lines[0], b'{"kind":"nonsense"}\n', *lines[1:]]))

    with Journal(filled) as journal, pytest.raises(ConfigError, match="line 2, is no journal entry"):
        venue(journal)


def test_a_journal_kept_under_other_rules_is_refused(filled: Path) -> None:
    other = SandboxSettings(interval_s=300).market()

    with Journal(filled) as journal, pytest.raises(ConfigError, match="other rules"):
        Venue(other, Faults(FaultShares(), seed=1), journal)


def test_two_venues_cannot_share_a_journal(filled: Path) -> None:
    with Journal(filled), pytest.raises(EnvironmentProblem, match="another venue is writing"):
        Journal(filled)


def test_a_folder_that_cannot_be_written_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EnvironmentProblem, match="choose another --journal"):
        Journal(tmp_path / "file" / "journal.jsonl")


def test_every_entry_is_on_disk_before_it_is_in_the_book(path: Path) -> None:
    with Journal(path) as journal:
        market = venue(journal)
        submit(market, "o-1", body())

        kinds = [json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines()]

    assert kinds == ["opened", "offer"]


def test_a_disk_that_is_full_applies_nothing(path: Path) -> None:
    """The file may not grow by more than 100 bytes: the entry does not fit, and neither does half of it stay."""
    with Journal(path) as journal:
        venue(journal)
    before = path.read_bytes()

    words = [sys.executable, "-c", FULL_DISK, str(path), str(len(before) + 100), body().model_dump_json()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)

    assert "cannot write" in done.stdout
    assert done.stdout.endswith("receipt None\n")
    assert path.read_bytes() == before


def test_a_batch_sent_again_replaces_the_one_before_and_the_newest_batch_holds() -> None:
    market = venue()
    market.take_meter("R", "b-1", readings("1", "2"), "one", START)
    market.take_meter("R", "b-2", readings("5"), "two", START)
    market.take_meter("R", "b-1", readings("3"), "three", START)

    assert market.book.readings("R") == {START: Decimal(3)}


# ---------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"interval_s": 7}, "interval_s must divide an hour"),
        ({"notice_s": 20}, "notice_s must be shorter than gate_closure_s"),
        ({"horizon_s": 20}, "horizon_s must be longer than gate_closure_s"),
        ({"block_mw": Decimal(0)}, "must be positive"),
        ({"price_floor": Decimal(-1)}, "price_floor must be at least 0"),
        ({"shortfall_factor": Decimal(-1)}, "shortfall_factor and mileage_price must not be negative"),
        ({"timezone": "Pacific/Nowhere"}, "timezone 'Pacific/Nowhere' is not known"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(chosen: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SandboxSettings(**chosen)  # type: ignore[arg-type] # wrong on purpose
