"""A simulated host's tick, its turn, and its actuator."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from collectors.admit import Keyring
from collectors.bounds import Bounds
from collectors.lease import HostState, Lease, accept, step
from deploy.fleet import curves
from deploy.fleet.actuation import Actuators
from deploy.fleet.host import Node, chassis_energy_j, chassis_w, next_tick, nodes
from deploy.fleet.model import FleetModel
from deploy.fleet.plan import plan
from deploy.fleet.process import Rounds
from deploy.fleet.settings import FleetSettings
from pipeline.clock import Clock, wall
from pipeline.messages.control import AckStatus, CommandAck, LeaseCommand, PoolCap, SignedCommand
from pipeline.messages.telemetry import HostTick, Tier, Workload

START = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYRING = Keyring({"desk": KEY.public_key().public_bytes_raw()})
BOUNDS = Bounds(release_stages=2, max_rate_w_per_s=1e6)


@dataclass
class Fleet:
    """A small fleet with its actuators and what they answered; the clock runs at *speed*."""

    model: FleetModel
    nodes: tuple[Node, ...]
    actuators: Actuators
    clock: Clock
    answers: list[CommandAck]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Step the model as the process does until *condition* holds; fail after five seconds."""
        async with asyncio.timeout(5):
            while not condition():
                self.model.step(self.clock.now().timestamp())
                self.actuators.tell_stepped()
                await self.actuators.let_go()
                await asyncio.sleep(0.02)

    def node(self, tier: Tier) -> Node:
        """Return the first host whose GPUs are all of *tier*."""
        return next(node for node in self.nodes if {gpu.tier for gpu in node.gpus} == {tier})


def fleet(speed: float = 1.0, hosts: int = 20) -> Fleet:
    clock = Clock(START, wall(), speed)
    model = FleetModel(plan(FleetSettings(hosts=hosts), "America/Los_Angeles"), START.timestamp(), speed)
    hosts_of = nodes(model.plan.layout, "s1", "boot-1", START.timestamp())
    answers: list[CommandAck] = []

    async def answer(ack: CommandAck) -> None:
        answers.append(ack)

    actuators = Actuators(hosts_of, model, keyring=KEYRING, clock=clock, answer=answer, bounds=BOUNDS)
    return Fleet(model, hosts_of, actuators, clock, answers)


def lease(host: str, now: datetime, *, seq: int = 1, cap_w: float = 300.0, seconds: float = 600.0) -> LeaseCommand:
    return LeaseCommand(
        command_id=f"c{seq}",
        host=host,
        seq=seq,
        kind="economic",
        award_id="a1",
        dispatch_id="d1",
        issued_at=now,
        not_before=now,
        expires_at=now + timedelta(seconds=seconds),
        caps=tuple(PoolCap(tier=tier, gpu_model=curves.GPU_MODEL, cap_w=cap_w) for tier in (Tier.T1, Tier.T2, Tier.T3)),
    )


def signed(command: LeaseCommand, key: Ed25519PrivateKey = KEY) -> SignedCommand:
    payload = msgspec.json.encode(command)
    return SignedCommand(host=command.host, key_id="desk", payload=payload, signature=key.sign(payload))


def test_a_tick_says_what_the_model_draws_and_that_it_is_simulated() -> None:
    """A training host: eight T3 GPUs of one job with limits of 200 to 700 W, its token counter, its chassis meter."""
    small = fleet()
    small.model.step(START.timestamp() + 1.0)
    node = small.node(Tier.T3)

    tick = next_tick(node, small.model, START + timedelta(seconds=1))

    assert (tick.host, tick.seq, tick.simulated, len(tick.gpus)) == (node.name, 1, True, 8)
    gpu, job = tick.gpus[0], tick.jobs[0]
    assert (gpu.tier, gpu.workload, gpu.job) == (Tier.T3, Workload.TRAINING, "train-000")
    assert (gpu.min_w, gpu.max_w, gpu.enforced_w, gpu.requested_w) == (200.0, 700.0, 700.0, 700.0)
    assert gpu.power_w == pytest.approx(small.model.power_w[node.first_gpu], abs=0.05)
    assert gpu.energy_j == pytest.approx(small.model.energy_j[node.first_gpu], abs=0.05)
    assert job.gpus == tuple(gpu.uuid for gpu in tick.gpus)
    assert job.tokens_total == pytest.approx(small.model.tokens[node.span].sum(), abs=0.05)
    assert (job.served_model, job.engine) == ("Llama-3.1-8B", "torchtitan (simulated)")
    assert tick.chassis_w == pytest.approx(1400 + 1.25 * small.model.power_w[node.span].sum(), abs=0.05)


def test_a_training_job_has_one_name_on_all_its_hosts() -> None:
    """Of twenty hosts eight train: five for the first job, three for the second."""
    small = fleet()

    names = [share.job for node in small.nodes for share, _ in node.shares if share.job.startswith("train")]

    assert names == ["train-000"] * 5 + ["train-001"] * 3


def test_gpus_nobody_has_claimed_are_t0_and_idle() -> None:
    """The spare host counts no tokens and draws 70 W a GPU."""
    small = fleet()
    tick = next_tick(small.nodes[-1], small.model, START)

    assert tick.jobs == ()
    assert {(gpu.tier, gpu.workload, gpu.job, gpu.power_w) for gpu in tick.gpus} == {
        (Tier.T0, Workload.IDLE, None, 70.0)
    }


def test_a_tick_survives_the_wire_in_less_than_four_kilobytes() -> None:
    """The largest: two jobs of four GPUs each."""
    small = fleet()
    tick = next_tick(small.node(Tier.T1), small.model, START)

    payload = msgspec.json.encode(tick)

    assert msgspec.json.decode(payload, type=HostTick) == tick
    assert len(payload) < 4000


def test_the_chassis_counter_is_the_integral_of_the_chassis_meter() -> None:
    """To one in a million over half a minute, uncapped."""
    small = fleet()
    node, energy_j = small.node(Tier.T2), 0.0

    for number in range(1, 301):
        small.model.step(START.timestamp() + 0.1 * number)
        energy_j += chassis_w(node, small.model) * 0.1

    assert chassis_energy_j(node, small.model) == pytest.approx(energy_j, rel=1e-6)


def test_rounded_counters_lose_no_energy() -> None:
    """Ten minutes of ticks: first and last differ by what the model drew, within 0.1 J, though each is rounded."""
    small = fleet()
    node = small.node(Tier.T3)
    first = next_tick(node, small.model, START)
    for second in range(1, 601):
        small.model.step(START.timestamp() + second)
        last = next_tick(node, small.model, START + timedelta(seconds=second))

    drawn_j = (last.gpus[0].energy_j or 0.0) - (first.gpus[0].energy_j or 0.0)

    assert drawn_j == pytest.approx(small.model.energy_j[node.first_gpu], abs=0.1)


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60), st.integers(1, 50))
def test_every_host_gets_its_turn_once_a_second(pauses: list[float], hosts: int) -> None:
    """However irregular the looks at the clock, while none is a second late: turns differ by at most one."""
    rounds, at, turns = Rounds(hosts, 0.0), 0.0, np.zeros(hosts, dtype=int)
    for pause in pauses:
        at += pause
        due = list(rounds.due(at))
        assert len(due) == len(set(due))
        np.add.at(turns, due, 1)

    assert turns.sum() == int(at * hosts) + 1
    assert turns.max() - turns.min() <= 1


def test_after_a_stall_each_host_publishes_once() -> None:
    """Ten seconds late, ten hosts: ten ticks, not a hundred."""
    rounds = Rounds(10, 0.0)
    list(rounds.due(0.0))

    assert sorted(rounds.due(10.0)) == list(range(10))


@given(
    st.lists(st.tuples(st.sampled_from(list(Tier)), st.floats(1.0, 1000.0)), max_size=4, unique_by=lambda cap: cap[0])
)
def test_t0_is_untouched_whatever_is_commanded(caps: list[tuple[Tier, float]]) -> None:
    """Even a lease that slipped through admission never limits a T0 GPU of this fleet."""
    for node in nodes(plan(FleetSettings(hosts=20), "America/Los_Angeles").layout, "s1", "b", START.timestamp()):
        command = msgspec.structs.replace(
            lease(node.name, START),
            caps=tuple(PoolCap(tier=tier, gpu_model=curves.GPU_MODEL, cap_w=cap_w) for tier, cap_w in caps),
        )
        _, levels = step(accept(HostState.initial(), Lease.of(command)), node.gpus, START, BOUNDS, node.name)

        assert not levels.keys() & {gpu.key for gpu in node.gpus if gpu.tier is Tier.T0}


async def test_a_signed_lease_lowers_the_draw_and_the_acknowledgement_says_so() -> None:
    """Training from about 620 W to 300 W a GPU: binding everywhere, after setting and settling, within a second."""
    small = fleet()
    node = small.node(Tier.T3)

    obeyed = asyncio.ensure_future(small.actuators.obey(signed(lease(node.name, small.clock.now()))))
    await small.until(obeyed.done)
    await obeyed

    (ack,) = small.answers
    assert (ack.host, ack.command_id, ack.status, ack.simulated) == (node.name, "c1", AckStatus.APPLIED, True)
    assert ack.before_w is not None
    assert ack.before_w > 2600
    assert ack.after_w is not None
    assert ack.after_w == pytest.approx(8 * 300, rel=0.02)
    assert [(gpu.asked_w, gpu.enforced_w, gpu.binding) for gpu in ack.gpus] == [(300.0, 300.0, True)] * 8
    assert ack.latency_ms is not None
    assert 210 <= ack.latency_ms <= 1000
    assert small.actuators.admitted == 1


async def test_a_floor_is_kept_and_a_cap_above_the_draw_is_called_not_binding() -> None:
    """T2 asked for 250 W gets 350 W, half its limit; asked for 690 W no GPU of the Qwen pool is held back."""
    small = fleet()
    node = next(node for node in small.nodes if node.shares and node.shares[0][0].job.startswith("agents"))
    now = small.clock.now()

    for seq, cap_w in ((1, 250.0), (2, 690.0)):
        command = signed(lease(node.name, now, seq=seq, cap_w=cap_w))
        obeyed = asyncio.ensure_future(small.actuators.obey(command))
        await small.until(obeyed.done)

    deep, shallow = small.answers
    assert {gpu.enforced_w for gpu in deep.gpus} == {350.0}
    assert {(gpu.enforced_w, gpu.binding) for gpu in shallow.gpus} == {(690.0, False)}


async def test_a_lease_ends_by_itself_and_the_release_is_acknowledged() -> None:
    """
    A lease of 20 s on a clock that runs 50 times as fast; its second half is the way back, in two stages.

    Afterwards the limits are 700 W again, and the acknowledgement names the lease that ended.
    """
    small = fleet(speed=50.0)
    node = small.node(Tier.T3)

    obeyed = asyncio.ensure_future(small.actuators.obey(signed(lease(node.name, small.clock.now(), seconds=20))))
    await small.until(lambda: any(ack.status is AckStatus.RELEASED for ack in small.answers))
    await asyncio.wait([obeyed])

    released = next(ack for ack in small.answers if ack.status is AckStatus.RELEASED)
    assert released.command_id == "c1"
    assert small.model.limit_w[node.span].tolist() == [700.0] * 8
    assert node.state.is_idle


async def test_a_lease_sent_ahead_waits_for_its_start() -> None:
    """Issued 30 s ahead on a clock 50 times as fast: acknowledged after its start, timed from its start."""
    small = fleet(speed=50.0)
    node, now = small.node(Tier.T3), small.clock.now()
    start = now + timedelta(seconds=30)
    command = msgspec.structs.replace(lease(node.name, now), not_before=start)

    obeyed = asyncio.ensure_future(small.actuators.obey(signed(command)))
    await small.until(lambda: small.clock.now() > now + timedelta(seconds=1))
    limits_before = small.model.limit_w[node.span].tolist()
    await small.until(obeyed.done)

    assert limits_before == [700.0] * 8
    (ack,) = small.answers
    assert ack.acknowledged_at > start
    assert ack.before_w is not None
    assert ack.before_w > 2600
    assert ack.latency_ms is not None
    assert ack.latency_ms < 1000


async def test_what_is_not_ours_to_obey_changes_nothing() -> None:
    """A signature of somebody else's key is refused aloud, a command to another site's host is not even answered."""
    small = fleet()
    node, stranger = small.node(Tier.T3), Ed25519PrivateKey.generate()

    await small.actuators.obey(signed(lease(node.name, small.clock.now()), stranger))
    await small.actuators.obey(signed(lease("elsewhere", small.clock.now())))

    (ack,) = small.answers
    assert (ack.host, ack.status, ack.command_id, ack.gpus) == (node.name, AckStatus.REFUSED, "", ())
    assert ack.reason is not None
    assert ack.reason.startswith("bad_signature: ")
    assert (small.actuators.admitted, small.actuators.refused) == (0, 1)
    assert small.model.limit_w.min() == curves.MAX_LIMIT_W
