"""Leases while an instruction is in force: what goes out, and what a blind spell does to it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from doubles.builders import MINUTE, NOON, award, capacity, intent, offer, pool
from doubles.clocks import SetClock
from doubles.scripted import ScriptedVenue

from bidding.agents.deliver import Delivery, Intake
from bidding.agents.feed import World
from bidding.book import Book
from bidding.journal import Journal, read
from bidding.settings import Bidding
from bidding.signing import Signer
from pipeline.interval import Interval
from pipeline.kafka import Sender
from pipeline.messages.control import LeaseCommand
from pipeline.messages.market import Dispatch
from pipeline.messages.telemetry import HostPool, HostRecord, SiteInterval, Tier, Workload

#: An hour from noon on; leases of two minutes are renewed once a minute of them is left.
EVENT = Interval(NOON, NOON + 60 * MINUTE)
SETTINGS = Bidding(lease_s=120, ramp_lead_s=0)


class Sent(Sender):
    """Keeps what a broker would have got."""

    def __init__(self) -> None:
        self.commands: list[LeaseCommand] = []

    async def enqueue(self, _topic: object, message: Any) -> "asyncio.Future[Any]":
        self.commands.append(msgspec.json.decode(message.payload, type=LeaseCommand))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def flush(self) -> None:
        pass


@dataclass
class Rig:
    """One host of T3 under an award of 200 kW on a baseline of 1 000 kW."""

    book: Book
    path: Path
    clock: SetClock = field(default_factory=SetClock)
    world: World = field(default_factory=lambda: World("site-1", 10 * MINUTE, MINUTE))
    sent: Sent = field(default_factory=Sent)

    def __post_init__(self) -> None:
        pools = (HostPool(tier=Tier.T3, workload=Workload.INFERENCE, gpu_model="H100", gpus=8),)
        self.world.take(HostRecord(host="h1", site="site-1", pools=pools, seen_at=NOON))
        self.restart()

    def restart(self) -> None:
        signer = Signer(Ed25519PrivateKey.generate(), "k")
        self.delivery = Delivery(
            SETTINGS, book=self.book, world=self.world, signer=signer, sender=self.sent, clock=self.clock
        )

    def see(self, load_kw: float, **changes: object) -> None:
        """Take in capacity of now."""
        self.world.take(capacity(self.clock.now(), pool(Tier.T3, load_kw, 280), **changes))  # type: ignore[arg-type]

    def after(self, seconds: float) -> list[LeaseCommand]:
        """Return what a tick sends *seconds* from now."""
        self.clock.move(seconds)
        before = len(self.sent.commands)
        asyncio.run(self.delivery.tick(self.clock.now()))
        return self.sent.commands[before:]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Journal(tmp_path / "journal") as journal:
        clock = SetClock()
        book = Book(journal, clock)
        offered = offer(interval=EVENT)
        book.write(intent(offered))
        bought = award("0.2", interval=EVENT, offered=offered)
        book.write(bought)
        book.write(
            Dispatch(
                dispatch_id="d-1",
                award_id=bought.award_id,
                resource="r1",
                interval=EVENT,
                reduction_mw=Decimal("0.2"),
                issued_at=NOON,
            )
        )
        yield Rig(book, tmp_path / "journal", clock)


def test_leases_are_renewed_unchanged_while_telemetry_is_silent(rig: Rig) -> None:
    """Leases of two minutes; no capacity message after the first: what goes out a minute later is the same again."""
    rig.see(1000)
    (first,) = rig.after(0)

    assert rig.after(30) == []
    (second,) = rig.after(31)
    (third,) = rig.after(61)

    assert first.caps == second.caps == third.caps != ()
    assert first.seq < second.seq < third.seq
    assert second.expires_at == rig.clock.now() + timedelta(seconds=120 - 61)
    assert second.expires_at < third.expires_at


def test_leases_are_renewed_while_only_some_partitions_are_heard(rig: Rig) -> None:
    rig.see(1000)
    (first,) = rig.after(0)

    rig.clock.move(61)
    rig.see(400, partitions=3)

    assert [command.caps for command in rig.after(0)] == [first.caps]


def test_a_process_started_in_a_blind_spell_renews_what_the_one_before_it_sent(rig: Rig) -> None:
    """The GPUs' limits come from a message of some of the partitions."""
    rig.see(1000)
    (first,) = rig.after(0)
    rig.world.capacity.clear()
    rig.restart()

    rig.clock.move(61)
    rig.see(400, partitions=3)

    assert [command.caps for command in rig.after(0)] == [first.caps]


def test_without_a_plan_a_blind_spell_sends_nothing(rig: Rig) -> None:
    rig.see(1000, partitions=3)

    assert rig.after(0) == rig.after(119) == []


def test_renewal_ends_with_the_event(rig: Rig) -> None:
    rig.see(1000)
    rig.after(0)

    assert rig.after(3600) == []


def test_only_intervals_of_the_settlement_s_length_are_kept() -> None:
    """The pipeline closes intervals of several lengths that begin at the same instant; money is paid on one."""
    world = World("site-1", 10 * MINUTE, MINUTE)
    minute, five = (
        SiteInterval(
            site="site-1",
            interval=Interval(NOON, NOON + length),
            revision=1,
            energy_kwh=kwh,
            hosts=1,
            hosts_partial=0,
            covered_share=1.0,
            partitions=8,
            partitions_expected=8,
            ticks=60,
            ticks_missing=0,
            pools=(),
            simulated=True,
        )
        for length, kwh in ((MINUTE, 10.0), (5 * MINUTE, 50.0))
    )

    world.take(minute)
    world.take(five)

    assert world.intervals == {NOON: minute}


def called(rig: Rig, name: str, reduction_mw: str, interval: Interval) -> None:
    """Let the venue instruct once more on the award of the rig."""
    bought = next(iter(rig.book.ledger.awards.values()))
    rig.book.write(
        Dispatch(
            dispatch_id=name,
            award_id=bought.award_id,
            resource="r1",
            interval=interval,
            reduction_mw=Decimal(reduction_mw),
            issued_at=NOON,
        )
    )


def test_what_is_owed_at_one_instant_adds_up(rig: Rig) -> None:
    """Baseline 1,000 kW; 200 kW of energy and 100 kW of a reserve called beside it: 700 kW less 3 % of 300 kW."""
    called(rig, "d-2", "0.1", EVENT)
    rig.see(1000)

    rig.after(0)

    assert rig.book.ledger.commanded is not None
    assert rig.book.ledger.commanded.target_kw == pytest.approx(1000 - 300 * 1.03)


def test_what_follows_does_not_add_up(rig: Rig) -> None:
    """The next hour's 300 kW are in sight while this hour's 200 kW are held: the lower target counts, not the sum."""
    called(rig, "d-2", "0.3", Interval(EVENT.end, EVENT.end + EVENT.length))
    both = list(rig.book.ledger.dispatches.values())

    target_kw = rig.delivery._target(both, EVENT.end - timedelta(seconds=1))

    assert target_kw == pytest.approx(1000 - 300 * 1.03)


# -------------------------------------------------------------------------------------------- corrected and let go


@dataclass
class Instructing(ScriptedVenue):
    """Says what it is told to say of instructions."""

    says: tuple[Dispatch, ...] = ()

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        del resource
        return self.says


def told(rig: Rig, **changes: object) -> None:
    """Let the venue say the rig's instruction anew, and ask it twice."""
    said = rig.book.ledger.dispatches["d-1"].model_copy(update=changes)
    intake = Intake(SETTINGS, Instructing(says=(said,)), rig.book)
    asyncio.run(intake._dispatches())
    written = len(read(rig.path))
    asyncio.run(intake._dispatches())
    assert len(read(rig.path)) == written


def test_a_corrected_instruction_takes_the_place_of_the_first(rig: Rig) -> None:
    """Baseline 1,000 kW: 200 kW are corrected to 100 kW, and 897 kW are held, not 700 less a margin."""
    rig.see(1000)
    rig.after(0)

    told(rig, reduction_mw=Decimal("0.1"))
    rig.after(6)

    assert rig.delivery._target_kw == pytest.approx(1000 - 100 * 1.03)


@pytest.mark.parametrize(
    "changes",
    [{"reduction_mw": Decimal(0)}, {"interval": Interval(NOON, NOON + timedelta(seconds=30))}],
    ids=["0 MW", "an end that is past"],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_an_instruction_that_is_taken_back_is_let_go_at_once(
    rig: Rig, changes: dict[str, object], *, restarted: bool
) -> None:
    """A lease of two minutes, of which half a minute is gone: the host is told to let go, once."""
    rig.see(1000)
    (first,) = rig.after(0)
    if restarted:
        rig.restart()

    told(rig, **changes)
    (release,) = rig.after(30)

    assert release.is_release
    assert release.seq > first.seq
    assert release.expires_at == rig.clock.now() + timedelta(seconds=SETTINGS.release_s)
    assert rig.after(1) == rig.after(120) == []


def test_leases_are_cut_short_with_the_instruction(rig: Rig) -> None:
    """The hour is to end at 12:01 by a word of 12:00:10: the lease to 12:02 is replaced by one to 12:01:20."""
    rig.see(1000)
    (first,) = rig.after(0)

    told(rig, interval=Interval(NOON, NOON + MINUTE))
    (second,) = rig.after(10)

    assert first.expires_at == NOON + 2 * MINUTE
    assert second.expires_at == NOON + MINUTE + timedelta(seconds=SETTINGS.release_s)
    assert second.caps == first.caps
    assert rig.after(20) == rig.after(60) == []
