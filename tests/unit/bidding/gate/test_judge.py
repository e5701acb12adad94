"""The one door: a document leaves, waits for two people, or is refused and says why."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest
from doubles.builders import INTERVAL, MINUTE, NOON, rules, step
from doubles.gate import ACTIVE, HALTED, KEYS, REDUCING, flexibility, halt, limits, minutes, other, resume, situation
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.gate.approval import approve, content_hash
from bidding.gate.control import Approval, Control, Halted, Resumed, Source
from bidding.gate.judge import Decision, Held, Leaves, Outgoing, Refused, judge
from bidding.gate.quality import Trust
from bidding.gate.settings import Effect, Obligation
from bidding.gate.situation import Counters, Situation
from bidding.rules.case import key_of
from pipeline.messages.market import Offer
from pipeline.messages.telemetry import Tier

BARRED = Obligation(name="duty", source="docket", effect=Effect.BARS)


def one(known: Situation, *offers: Offer, content: bytes = b"") -> Decision:
    (decision,) = judge([Outgoing(offers, content)], known)
    return decision


def refused_by(decision: Decision) -> list[str]:
    assert isinstance(decision, Refused)
    return [refusal.rule for refusal in decision.refusals]


def test_a_sound_document_below_all_limits_leaves_by_itself() -> None:
    assert one(situation(), other()) == Leaves((other(),), content_hash((other(),)))


@pytest.mark.parametrize(
    ("offer", "changes", "rule"),
    [
        (other(currency="EUR"), {}, "currency"),
        (other(product="gas"), {}, "unknown_product"),
        (other(), {"flexibility": {"site-1": flexibility(0.29)}}, "promised_twice"),
        (other(), {"obligations": (BARRED,)}, "obligation_bars"),
        (other(), {"standing": (other(),)}, "duplicate"),
    ],
)
def test_one_broken_rule_of_any_kind_refuses(offer: Offer, changes: dict[str, object], rule: str) -> None:
    decision = one(situation(**changes), offer)

    assert refused_by(decision) == [rule]
    assert str(decision).startswith(f"{rule}: ")


def test_the_bytes_are_looked_at_where_there_are_any() -> None:
    known = situation(rules(max_document_bytes=10))

    assert isinstance(one(known, other(), content=bytes(10)), Leaves)
    assert refused_by(one(known, other(), content=bytes(11))) == ["document_size"]


def test_figures_that_are_no_numbers_stop_before_anything_is_calculated() -> None:
    nan = step("0.1", "10").model_copy(update={"price_per_mwh": Decimal("NaN")})
    spoilt = other().model_copy(update={"steps": (nan,)})

    assert refused_by(one(situation(), spoilt)) == ["finite"]
    assert refused_by(
        one(situation(trust=REDUCING, standing=(other(),)), spoilt.model_copy(update={"revision": 2}))
    ) == [
        "finite",
        "data_quality",
    ]


@pytest.mark.parametrize("source", Source)
def test_every_switch_refuses_everything_and_names_who_threw_it(source: Source) -> None:
    decision = one(situation(control=Control().apply(halt(source=source))), other())

    assert refused_by(decision) == ["halted"]
    assert "halted by Ada at 2026-07-23T12:00:00+00:00: wrong prices; `firmwatt bid resume`" in str(decision)
    assert f"kill switch: {source}" in str(decision)


def test_the_file_halts_for_as_long_as_it_is_there_whatever_the_log_says() -> None:
    resumed = Control().apply(halt()).apply(resume())

    assert isinstance(one(situation(control=resumed), other()), Leaves)
    assert refused_by(one(situation(control=resumed, halt_file=("Ada", "fire")), other())) == ["halted"]


def test_data_that_cannot_be_trusted_halt() -> None:
    decision = one(situation(trust=HALTED), other())

    assert refused_by(decision) == ["data_quality"]
    assert "60% of telemetry was missing at 12:00:00Z; wait for telemetry" in str(decision)


@pytest.mark.parametrize(
    ("offer", "leaves"),
    [
        (other(step("0.1", "10"), step("0.1", "20", Tier.T2), revision=2), True),
        (other(step("0.1", "15"), step("0.2", "20", Tier.T2), revision=2), True),
        (other(revision=2), False),
        (other(step("0.1", "10"), step("0.2", "19", Tier.T2), revision=2), False),
        (other(step("0.2", "10"), revision=2), False),
        (other(interval=INTERVAL.next()), False),
        (other(resource="r2"), False),
    ],
)
def test_while_reducing_only_what_offers_less_at_every_price_leaves(offer: Offer, *, leaves: bool) -> None:
    """0.1 MW at 10 and 0.2 MW at 20 stand."""
    decision = one(situation(trust=REDUCING, standing=(other(),)), offer)

    assert isinstance(decision, Leaves) if leaves else refused_by(decision) == ["data_quality"]


def test_while_reducing_it_is_the_newest_revision_that_must_be_lowered() -> None:
    """0.3 MW stood, 0.1 MW stand now; 0.2 MW would be more."""
    standing = (other(), other(step("0.1", "10"), revision=2))

    assert refused_by(one(situation(trust=REDUCING, standing=standing), other(step("0.2", "10"), revision=3))) == [
        "data_quality"
    ]


LARGE = situation(limits=limits(alone_mw="0.2"))
DOCUMENT = content_hash((other(),))


def approved(*approvals: Approval, known: Situation = LARGE) -> Situation:
    control = known.control
    for approval in approvals:
        control = control.apply(approval)
    return replace(known, control=control)


def test_above_a_limit_a_document_waits_for_two_people() -> None:
    a, b = (approve(DOCUMENT, name, NOON, KEYS[name]) for name in ("a", "b"))
    waiting, half = one(LARGE, other()), one(approved(a), other())

    assert isinstance(waiting, Held)
    assert (waiting.needs, waiting.approved_by, waiting.document) == (2, (), DOCUMENT)
    assert str(waiting) == (
        f"document {DOCUMENT[:12]} needs 2 more approvals: document_power: 0.3 MW at one instant, "
        "0.2 MW leave by themselves (by [bidding.limits] alone_mw)"
    )
    assert isinstance(half, Held)
    assert (half.needs, half.approved_by) == (1, ("a",))
    assert one(approved(a, b), other()) == Leaves((other(),), DOCUMENT, ("a", "b"))


def test_approvals_that_do_not_count_are_said_and_the_document_waits() -> None:
    forged = approve(DOCUMENT, "b", NOON, KEYS["c"])
    waiting = one(approved(approve(DOCUMENT, "a", NOON, KEYS["a"]), forged), other())

    assert isinstance(waiting, Held)
    assert waiting.needs == 1
    assert "the signature is not theirs" in str(waiting.refused[0])


def test_approval_goes_with_time_and_with_any_change_of_the_document() -> None:
    agreed = approved(*(approve(DOCUMENT, name, NOON, KEYS[name]) for name in ("a", "b")))

    assert isinstance(one(agreed, other(baseline_kw=1000.1)), Held)
    late = replace(agreed, limits=limits(alone_mw="0.2", approval_valid_s=60), now=NOON + MINUTE)
    assert isinstance(one(late, other()), Leaves)
    assert isinstance(one(replace(late, now=NOON + MINUTE + MINUTE / 60), other()), Held)


def test_three_people_where_three_are_asked_for() -> None:
    three = replace(LARGE, limits=limits(alone_mw="0.2", approvals=3))
    names = ("a", "b", "c")
    by = [approve(DOCUMENT, name, NOON, KEYS[name]) for name in names]

    assert isinstance(one(approved(*by[:2], known=three), other()), Held)
    assert isinstance(one(approved(*by, known=three), other()), Leaves)


def test_approval_lifts_a_limit_and_no_rule() -> None:
    wrong = other(currency="EUR")
    by = [approve(content_hash((wrong,)), name, NOON, KEYS[name]) for name in ("a", "b")]

    assert refused_by(one(approved(*by), wrong)) == ["currency"]


def test_what_lowers_a_standing_offer_needs_nobody() -> None:
    """0.25 MW are above the limit, and below what stands."""
    less = other(step("0.1", "10"), step("0.15", "20", Tier.T2), revision=2)

    assert isinstance(one(replace(LARGE, standing=(other(),)), less), Leaves)


def test_nothing_is_lowered_against_what_only_waits() -> None:
    """0.3 MW wait for two people. 0.25 MW are less than that, and still nobody has agreed to them."""
    less = other(step("0.1", "10"), step("0.15", "20", Tier.T2), revision=2)
    waiting = replace(LARGE, held=(other(),))

    assert isinstance(one(waiting, less), Held)
    assert refused_by(one(replace(waiting, trust=REDUCING), less)) == ["data_quality"]
    assert [type(decision) for decision in judge([Outgoing((other(),)), Outgoing((less,))], LARGE)] == [Held, Held]


def test_a_document_that_waits_is_judged_again_as_itself_and_another_in_its_place_is_a_second() -> None:
    by = [approve(DOCUMENT, name, NOON, KEYS[name]) for name in ("a", "b")]
    waiting = replace(LARGE, held=(other(),))

    assert isinstance(one(waiting, other()), Held)
    assert isinstance(one(approved(*by, known=waiting), other()), Leaves)
    assert refused_by(one(waiting, other(baseline_kw=1000.1))) == ["duplicate"]


def test_what_waits_has_promised_its_power() -> None:
    """0.4 MW are firm and 0.3 MW wait; a revision of them that stands already adds nothing to that."""
    known = situation(rules(), rules(venue="acme"), flexibility={"site-1": flexibility(0.4)}, held=(other(revision=2),))
    standing = replace(known, standing=(other(step("0.2", "10")),))

    for world in (known, standing):
        assert isinstance(one(world, other(step("0.1", "10"), venue="acme")), Leaves)
        assert refused_by(one(world, other(step("0.11", "10"), venue="acme"))) == ["promised_twice"]


def test_documents_bind_those_after_them_held_ones_too() -> None:
    """0.4 MW are firm: a document of 0.3 MW leaves or is held, and another 0.2 MW for the same minute do not fit."""
    later = Outgoing((other(step("0.2", "10"), venue="acme"),))
    known = situation(rules(), rules(venue="acme"), flexibility={"site-1": flexibility(0.4)})

    first, second = judge([Outgoing((other(),)), later], known)
    assert isinstance(first, Leaves)
    assert refused_by(second) == ["promised_twice"]

    first, second = judge([Outgoing((other(),)), later], replace(known, limits=limits(alone_mw="0.25")))
    assert isinstance(first, Held)
    assert refused_by(second) == ["promised_twice"]


def test_a_refused_document_takes_nothing_from_those_after_it() -> None:
    known = situation(rules(), rules(venue="acme"), flexibility={"site-1": flexibility(0.4)})
    wrong, right = Outgoing((other(currency="EUR"),)), Outgoing((other(step("0.2", "10"), venue="acme"),))

    first, second = judge([wrong, right], known)

    assert refused_by(first) == ["currency"]
    assert isinstance(second, Leaves)


def test_the_same_offer_in_two_documents_leaves_once() -> None:
    first, second = judge([Outgoing((other(),)), Outgoing((other(),))], situation())

    assert isinstance(first, Leaves)
    assert "duplicate" in refused_by(second)


def test_a_document_that_replaces_an_earlier_one_of_the_batch_takes_its_place() -> None:
    """0.3 MW, then 0.4 MW instead, are 0.4 MW: the second 0.1 MW of 0.5 MW firm are still there."""
    batch = [
        Outgoing((other(step("0.3", "20")),)),
        Outgoing((other(step("0.4", "20"), revision=2, firm_kw=1e3),)),
        Outgoing((other(step("0.1", "20"), venue="acme"),)),
        Outgoing((other(step("0.1", "20"), venue="acme", resource="r2"),)),
    ]
    known = situation(rules(), rules(venue="acme"), flexibility={"site-1": flexibility(0.5)})

    assert [type(decision) for decision in judge(batch, known)] == [Leaves, Leaves, Leaves, Refused]


def test_the_runaway_guard_counts_the_documents_of_a_batch() -> None:
    batch = [Outgoing((other(interval=minutes(begin)),)) for begin in (2, 3, 4)]
    known = situation(limits=limits(offers_per_minute=3), counters=Counters(last_minute=1))

    decisions = judge(batch, known)

    assert [type(decision) for decision in decisions] == [Leaves, Leaves, Refused]
    assert refused_by(decisions[2]) == ["offers_per_minute"]


def test_what_is_smaller_in_power_and_cheaper_makes_no_room_for_what_comes_before_it() -> None:
    """0.3 MW at 20 stand at acme. 0.1 MW at 10 are no step down, for more is offered at 10; it comes second here."""
    standing = other(step("0.3", "20"), venue="acme")
    known = situation(rules(), rules(venue="acme"), standing=(standing,), flexibility={"site-1": flexibility(0.4)})
    cheaper = Outgoing((other(step("0.1", "10"), venue="acme", revision=2),))
    more = Outgoing((other(step("0.2", "20")),))

    assert [type(decision) for decision in judge([more, cheaper], known)] == [Refused, Leaves]
    assert [type(decision) for decision in judge([cheaper, more], known)] == [Leaves, Leaves]


def test_nothing_leaves_a_situation_of_which_nothing_is_known() -> None:
    empty = Situation(now=NOON, products={}, flexibility={})

    assert refused_by(one(empty, other())) == ["data_quality"]
    assert "promised_twice" in refused_by(one(replace(situation(), flexibility={}), other()))


def test_where_capacity_shrinks_every_step_down_leaves_and_nothing_else_does() -> None:
    """0.5 MW stand at each of two venues, 0.4 MW are left: each may be lowered though the other still stands."""
    standing = tuple(other(step("0.5", "20"), venue=venue) for venue in ("sandbox", "acme"))
    known = situation(rules(), rules(venue="acme"), standing=standing, flexibility={"site-1": flexibility(0.4)})
    down = [
        Outgoing((other(step("0.2", "20"), venue=venue, revision=2, firm_kw=1e3),)) for venue in ("sandbox", "acme")
    ]

    assert [type(decision) for decision in judge(down, known)] == [Leaves, Leaves]
    assert refused_by(one(known, other(step("0.5", "20"), revision=2, firm_kw=1e3))) == ["promised_twice"]
    assert isinstance(one(known, other(step("0.2", "20"), interval=minutes(8)), *down[0].offers), Leaves)


def test_room_that_a_later_document_makes_is_not_there_yet() -> None:
    """0.6 MW firm, 0.3 MW stand at each venue: up by 0.2 MW before the other is down by 0.2 MW is too much."""
    standing = tuple(other(step("0.3", "20"), venue=venue) for venue in ("sandbox", "acme"))
    known = situation(rules(), rules(venue="acme"), standing=standing, flexibility={"site-1": flexibility(0.6)})
    up = Outgoing((other(step("0.5", "20"), revision=2, firm_kw=1e3),))
    down = Outgoing((other(step("0.1", "20"), venue="acme", revision=2, firm_kw=1e3),))

    assert [type(decision) for decision in judge([up, down], known)] == [Refused, Leaves]
    assert [type(decision) for decision in judge([down, up], known)] == [Leaves, Leaves]


def test_what_lowers_is_not_held_up_by_collars_and_still_counts_as_sent() -> None:
    """Its cost has risen above the price that stands; it is one offer more for the runaway guard."""
    dearer = other(step("0.1", "10"), revision=2)
    costly = dearer.model_copy(
        update={"steps": (dearer.steps[0].model_copy(update={"token_cost_per_mwh": Decimal(99)}),)}
    )
    known = situation(standing=(other(),))

    assert isinstance(one(known, costly), Leaves)
    assert refused_by(one(replace(known, limits=limits(offers_per_minute=1), counters=Counters(1, 1)), costly)) == [
        "offers_per_minute"
    ]


OFFERS = st.builds(
    lambda blocks, price, begin, venue, resource, revision: other(
        step(str(blocks / 100), str(price)),
        interval=minutes(begin),
        venue=venue,
        resource=resource,
        revision=revision,
        firm_kw=1000.0,
    ),
    st.integers(5, 40),
    st.integers(0, 30),
    st.integers(1, 6),
    st.sampled_from(["sandbox", "acme"]),
    st.sampled_from(["r1", "r2"]),
    st.integers(1, 3),
)
BATCHES = st.lists(st.lists(OFFERS, min_size=1, max_size=2).map(lambda few: Outgoing(tuple(few))), max_size=6)
WORLD = situation(
    rules(),
    rules(venue="acme", recovery_s=90, max_calls_per_day=2),
    flexibility={"site-1": flexibility(0.5)},
    limits=limits(alone_mw="0.3", offers_per_minute=9, resource_day_money="20"),
)


def kept(known: Situation, decision: Decision) -> Situation:
    """Return the world once *decision* is carried out: sent offers stand in the place of what they replace."""
    if isinstance(decision, Refused):
        return known
    sent = known.counters.last_minute + len(decision.offers)
    known = replace(known, counters=Counters(sent, sent))
    if isinstance(decision, Held):
        return replace(known, held=(*known.held, *decision.offers))
    keys = {key_of(offer) for offer in decision.offers}
    return replace(known, standing=(*(o for o in known.standing if key_of(o) not in keys), *decision.offers))


@settings(max_examples=300)
@given(BATCHES, st.lists(OFFERS, max_size=4, unique_by=key_of))
def test_a_batch_is_judged_as_its_documents_would_be_one_after_the_other(
    batch: list[Outgoing], standing: list[Offer]
) -> None:
    """Also where more stands than is firm, where documents replace each other, and where they leave gaps."""
    world = replace(WORLD, standing=tuple(standing))
    known, decisions = world, []
    for document in batch:
        decision = one(known, *document.offers)
        decisions.append(type(decision))
        known = kept(known, decision)

    assert [type(decision) for decision in judge(batch, world)] == decisions


NUMBERS = st.one_of(st.decimals(), st.sampled_from([Decimal(0), Decimal("-0.1"), Decimal("1e-30"), Decimal("1e30")]))
STRANGE = st.builds(
    lambda offer, amounts, firm_kw, confidence, product: offer.model_copy(
        update={
            "steps": tuple(
                offer.steps[0].model_copy(
                    update={"quantity_mw": quantity, "price_per_mwh": price, "restart_cost_per_mwh": cost}
                )
                for quantity, price, cost in amounts
            ),
            "firm_kw": firm_kw,
            "confidence": confidence,
            "product": product,
        }
    ),
    OFFERS,
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=3),
    st.floats(),
    st.floats(),
    st.sampled_from(["energy-dr", "gas"]),
)


@settings(max_examples=300)
@given(st.lists(st.one_of(STRANGE, OFFERS), min_size=1, max_size=3), st.sampled_from([ACTIVE, REDUCING]))
def test_whatever_an_offer_says_is_judged_and_nothing_strange_leaves(offers: list[Offer], trust: Trust) -> None:
    """NaN, infinities, nothing, less than nothing, thirty digits: an answer, and no crash."""
    decision = one(replace(WORLD, trust=trust, standing=(other(interval=minutes(3)),)), *offers)

    if not isinstance(decision, Refused):
        assert all(0 < offer.quantity_mw <= Decimal("0.5") for offer in offers)
        assert all(0 <= step.price_per_mwh <= 1000 for offer in offers for step in offer.steps)


TIGHTER = st.sampled_from(
    [
        {"obligations": (BARRED,)},
        {"obligations": (Obligation(name="d", source="s", effect=Effect.REDUCES, share=0.5),)},
        {"flexibility": {"site-1": flexibility(0.1)}},
        {"flexibility": {}},
        {"limits": limits(resource_mw="0.1", alone_mw="0.3", offers_per_minute=9, resource_day_money="20")},
        {"limits": limits(resource_day_money="1", alone_mw="0.3", offers_per_minute=9)},
        {"margin": 7 * MINUTE},
        {"trust": REDUCING},
        {"trust": HALTED},
        {"halt_file": ("Ada", "fire")},
        {"control": Control().apply(halt())},
        {"products": {}},
    ]
)


@given(st.lists(OFFERS, min_size=1, max_size=4), TIGHTER)
def test_whatever_makes_the_world_tighter_never_lets_a_refused_document_leave(
    offers: list[Offer], tighter: dict[str, object]
) -> None:
    """Nor does it take away what already refused it, unless the gate is shut altogether."""
    before, after = one(WORLD, *offers), one(replace(WORLD, **tighter), *offers)  # type: ignore[arg-type] # fields

    if isinstance(before, Refused):
        assert isinstance(after, Refused)
    if isinstance(before, Held):
        assert not isinstance(after, Leaves)


RECORDS = st.lists(
    st.one_of(
        st.sampled_from(list(Source)),
        st.booleans(),
        st.sampled_from(["a", "b", "c", "forged"]),
    ),
    max_size=12,
)


@given(RECORDS)
def test_no_order_of_approve_halt_and_resume_lets_a_halted_gate_send(drawn: list[object]) -> None:
    """A switch, a resumption with data well or not, an approval by somebody; told again in a few lines of its own."""
    known, shut, by_data, people = LARGE, False, False, set[str]()
    for number, word in enumerate(drawn):
        at = NOON + number * MINUTE / 60
        record = made(word, at)
        known = replace(known, control=known.control.apply(record), now=at)
        if isinstance(word, Source):
            shut, by_data, people = True, by_data or word is Source.DATA, set()
        elif isinstance(word, bool):
            if word or not by_data:
                shut = by_data = False
        elif word != "forged":
            people.add(str(word))

        decision = one(known, other())

        assert isinstance(decision, Refused) is shut
        assert isinstance(decision, Leaves) is (not shut and len(people) >= 2)


def made(word: object, at: datetime) -> Halted | Resumed | Approval:
    if isinstance(word, Source):
        return halt(at, word)
    if isinstance(word, bool):
        return resume(at, data_well=word)
    if word == "forged":
        return approve(DOCUMENT, "a", at, KEYS["b"])
    return approve(DOCUMENT, str(word), at, KEYS[str(word)])


def test_the_last_accepted_revision_is_what_moves_are_measured_against() -> None:
    """From 40 to 15 $/MWh is -62 %, which waits for two people; from 20 to 40 offers less at any price, and leaves."""
    dear, cheap = other(step("0.1", "40"), revision=2), other(step("0.1", "15"), revision=3)
    first = other(step("0.1", "20"))

    waiting = one(situation(standing=(dear,), accepted={key_of(dear): dear}), cheap)

    assert isinstance(waiting, Held)
    assert [refusal.rule for refusal in waiting.why] == ["document_price_move"]
    assert isinstance(one(situation(standing=(first,), accepted={key_of(first): first}), dear), Leaves)
