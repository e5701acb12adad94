"""Two people over exactly one document."""

from datetime import timedelta, timezone

import pytest
from doubles.builders import MINUTE, NOON, SECOND, step
from doubles.gate import APPROVERS, KEYS, other
from hypothesis import given
from hypothesis import strategies as st

from bidding.gate.approval import Agreement, agreement, approve, content_hash
from bidding.gate.control import Approval
from pipeline.messages.market import Offer

VALID = 15 * MINUTE
DOCUMENT = content_hash((other(),))


def agreed(*approvals: Approval, document: str = DOCUMENT) -> Agreement:
    return agreement(document, approvals, APPROVERS, NOON, VALID)


def by(name: str, age: timedelta = MINUTE, document: str = DOCUMENT, signer: str = "") -> Approval:
    return approve(document, name, NOON - age, KEYS[signer or name])


def test_two_people_with_their_own_keys_agree() -> None:
    assert agreed(by("a"), by("b")) == Agreement(("a", "b"), ())


@pytest.mark.parametrize(
    ("approval", "said"),
    [
        (by("a").model_copy(update={"by": "mallory"}), "no such name in [bidding.approvers]; it has a, b, c"),
        (by("a", signer="b"), "the signature is not theirs over this document"),
        (by("a").model_copy(update={"at": NOON}), "the signature is not theirs over this document"),
        (by("a").model_copy(update={"signature": "?"}), "the signature is not theirs over this document"),
        (by("a").model_copy(update={"signature": ""}), "the signature is not theirs over this document"),
        (by("a", document="f" * 64), "is for document ffffffffffff, this is"),
        (by("a", document="f" * 64).model_copy(update={"document": DOCUMENT}), "the signature is not theirs"),
        (by("a", age=15 * MINUTE + SECOND), "is 0:15:01 old, it counts for 0:15:00; approve again"),
        (by("a", age=-6 * SECOND), "0:00:06 ahead of our clock"),
    ],
)
def test_an_approval_that_does_not_count_says_why_in_one_line(approval: Approval, said: str) -> None:
    found = agreed(approval)

    assert found.by == ()
    (refusal,) = found.refused
    assert said in refusal.detail
    assert "\n" not in refusal.detail


def test_the_same_person_twice_is_one_person() -> None:
    found = agreed(by("a"), by("a", age=2 * MINUTE), by("b"))

    assert found.by == ("a", "b")
    assert [refusal.detail for refusal in found.refused] == [
        "approval of 'a' is there already; another person has to agree"
    ]


def test_an_approval_counts_to_the_end_of_its_time_and_whatever_its_time_zone() -> None:
    local = approve(DOCUMENT, "a", (NOON - MINUTE).astimezone(timezone(timedelta(hours=2))), KEYS["a"])

    assert agreed(by("a", age=VALID), by("b", age=-5 * SECOND)).by == ("a", "b")
    assert agreed(Approval.model_validate_json(local.model_dump_json())).by == ("a",)


def test_the_order_of_the_offers_is_not_part_of_the_document() -> None:
    first, second = other(), other(resource="r2")

    assert content_hash((first, second)) == content_hash((second, first))
    assert content_hash((first, second)) != content_hash((first,))
    assert content_hash((first, first)) != content_hash((first,))


def test_a_document_that_comes_back_from_the_journal_is_the_same_document() -> None:
    """Its hash is that of what was held, or nobody's approval would count after a restart."""
    local = other(as_of=NOON.astimezone(timezone(timedelta(hours=-5))), baseline_kw=0.1 + 0.2)

    for offer in (other(step("0.10", "20.00")), local):
        again = Offer.model_validate_json(offer.model_dump_json())
        assert again == offer
        assert content_hash((again,)) == content_hash((offer,))


QUANTITIES = st.integers(1, 40).map(lambda blocks: str(blocks / 100))
OFFERS = st.builds(
    lambda quantity, price, revision, resource: other(step(quantity, price), revision=revision, resource=resource),
    QUANTITIES,
    st.integers(0, 100).map(str),
    st.integers(1, 3),
    st.sampled_from(["r1", "r2"]),
)
DOCUMENTS = st.lists(OFFERS, min_size=1, max_size=3).map(tuple)


@given(DOCUMENTS, DOCUMENTS)
def test_approval_of_one_document_never_lets_another_leave(one: tuple[Offer, ...], another: tuple[Offer, ...]) -> None:
    """Nor when whoever sends it writes the other's hash on it."""
    approvals = [by(name, document=content_hash(one)) for name in ("a", "b")]
    relabelled = [each.model_copy(update={"document": content_hash(another)}) for each in approvals]
    same = sorted(map(str, one)) == sorted(map(str, another))

    assert agreed(*approvals, document=content_hash(one)).by == ("a", "b")
    assert (agreed(*approvals, *relabelled, document=content_hash(another)).by == ("a", "b")) is same
