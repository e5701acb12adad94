"""How a tick is put together, and when."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from doubles.clocks import SetClock
from doubles.commands import NOON
from doubles.rolled import energy_j

from collectors import Place, Reading, RestartNeededError, SourceError
from collectors.mappings import Claim
from collectors.runner import Collector, Identity, Node, node
from pipeline.clock import Clock, real_clock_from
from pipeline.messages.telemetry import Covers, GpuSample, HostTick, MeterSample, Quality, Tier, Workload

ME = Identity(host="host-1", site="site-1", simulated=True)
TRAIN = Claim(job="train", tenant="acme", tier=Tier.T3, workload=Workload.TRAINING, served_model="llama-70b")


def gpu(uuid: str, energy_j: float | None = 5000.0, power_w: float = 500.0, *marks: Quality) -> GpuSample:
    """Return a measured GPU that nobody has claimed yet."""
    return GpuSample(uuid=uuid, model="H100", power_w=power_w, energy_j=energy_j, quality=marks)


def bmc(power_w: float | None, energy_j: float | None = None, name: str = "bmc", epoch: int = 0) -> MeterSample:
    """Return a meter of the whole node."""
    return MeterSample(meter=name, covers=Covers.HOST, power_w=power_w, energy_j=energy_j, energy_epoch=epoch)


@dataclass
class Device:
    """A source that answers what it is given, or raises it."""

    answer: Reading | SourceError = field(default_factory=lambda: Reading(gpus=(gpu("a"),)))
    period_s: float = 0.0
    closed: threading.Event = field(default_factory=threading.Event)
    reads: int = 0

    def read(self, now: datetime) -> Reading:  # noqa: ARG002 - the protocol's
        """Answer."""
        self.reads += 1
        if isinstance(self.answer, SourceError):
            raise self.answer
        return self.answer

    def close(self) -> None:
        """Note it."""
        self.closed.set()


@dataclass
class Static:
    """A mapping that always says the same."""

    said: Mapping[str, Claim]
    period_s: float = 5.0
    troubles: tuple[str, ...] = ()

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:  # noqa: ARG002 - the protocol's
        """Answer."""
        return self.said


def collector(clock: Clock | None = None, claims: Mapping[str, Claim] | None = None, **sources: Device) -> Collector:
    """Return a collector over *sources*, at noon."""
    return Collector(ME, clock or SetClock(), sources, {"static": Static(claims or {})})


async def tick(host: Collector, seq: int = 1) -> HostTick:
    """Return a tick that must be there."""
    found = await host.tick("b", seq)
    assert found is not None
    return found


async def test_a_tick_names_the_job_and_tier_of_every_gpu() -> None:
    """Two GPUs train, one is nobody's and therefore T0."""
    host = collector(
        nvml=Device(Reading(gpus=(gpu("a"), gpu("b"), gpu("c")))), claims={"a": TRAIN, "b": TRAIN, "gone": TRAIN}
    )

    made = await tick(host, 7)

    assert (made.host, made.site, made.boot, made.seq, made.measured_at) == ("host-1", "site-1", "b", 7, NOON)
    assert [(g.uuid, g.job, g.tenant, g.tier) for g in made.gpus] == [
        ("a", "train", "acme", Tier.T3),
        ("b", "train", "acme", Tier.T3),
        ("c", None, None, Tier.T0),
    ]
    assert [(j.job, j.served_model, j.gpus, j.tokens_total) for j in made.jobs] == [
        ("train", "llama-70b", ("a", "b"), None)
    ]
    assert made.simulated


async def test_where_two_sources_see_a_gpu_the_first_ones_sample_counts() -> None:
    host = collector(
        nvml=Device(Reading(gpus=(gpu("a", power_w=500),))),
        dcgm=Device(Reading(gpus=(gpu("a", power_w=1), gpu("b", power_w=400)))),
    )

    assert [(g.uuid, g.power_w) for g in (await tick(host)).gpus] == [("a", 500), ("b", 400)]


async def test_the_chassis_is_the_meter_that_covers_the_host_and_no_other() -> None:
    meters = (
        MeterSample(meter="grid", covers=Covers.FACILITY, power_w=9e6),
        MeterSample(meter="cpu-0", covers=Covers.CPU, power_w=300.0),
        bmc(6500.0, 9000.0),
    )

    made = await tick(collector(nvml=Device(), modbus=Device(Reading(meters=meters))))

    assert (made.chassis_w, made.chassis_energy_j) == (6500.0, 9000.0)
    assert [meter.meter for meter in made.meters] == ["grid", "cpu-0", "bmc"]


def test_the_two_feeds_of_a_node_are_added_up_and_half_of_it_is_no_figure() -> None:
    """PDU A and PDU B carry 3 kW and 3.5 kW; with one of them silent or gone the node's draw is unknown."""
    pdu_a, pdu_b = bmc(3000.0, 10.0, "a"), bmc(3500.0, 20.0, "b")

    assert node([pdu_b, pdu_a], ["b", "a"]) == Node(6500.0, 30.0, "a@0,b@0")
    for half in ([pdu_a, bmc(None, None, "b")], [pdu_a]):
        assert (node(half, ["a", "b"]).power_w, node(half, ["a", "b"]).energy_j) == (None, None)


def test_another_meter_or_another_epoch_is_another_epoch_of_the_node() -> None:
    """A second PDU joins with 7 GJ on its counter; one is exchanged; nothing may be subtracted across either."""
    alone = node([bmc(3000.0, 10.0, "a")], ["a"])
    joined = node([bmc(3000.0, 10.0, "a"), bmc(3500.0, 7e9, "b")], ["a", "b"])
    exchanged = node([bmc(3000.0, 10.0, "a", epoch=1), bmc(3500.0, 7e9, "b")], ["a", "b"])

    assert len({alone.epoch, joined.epoch, exchanged.epoch}) == 3


async def test_energy_that_nobody_drew_is_not_made_by_a_pdu_that_joins_however_few_ticks_arrive() -> None:
    """PDU B with 7 GJ on its counter answers from the third second on; of all ticks every second one is lost."""
    clock = SetClock()
    pdus = Device(Reading(meters=(bmc(3000.0, 0.0, name="a"),)))
    host = collector(clock, nvml=Device(Reading(gpus=(gpu("g"),))), snmp=pdus)

    ticks = []
    for second in range(8):
        later = (bmc(3500.0, 7e9 + 3500.0 * second, name="b"),) if second >= 3 else ()
        pdus.answer = Reading(meters=(bmc(3000.0, 3000.0 * second, name="a"), *later))
        ticks.append(await tick(host, second + 1))
        clock.move(1)
    moved_j = [energy_j(pair) for pair in pairwise(ticks[::2])]

    assert moved_j == [6000.0, 0.0, 13_000.0]


async def test_a_node_with_two_kinds_of_meters_is_not_counted_twice() -> None:
    """BMC and PDU both measure the whole node; the first source named is the node's."""
    made = await tick(
        collector(
            redfish=Device(Reading(meters=(bmc(6500.0),))), snmp=Device(Reading(meters=(bmc(6600.0, name="pdu"),)))
        )
    )

    assert made.chassis_w == 6500.0
    assert [meter.meter for meter in made.meters] == ["bmc", "pdu"]


async def test_a_pdu_that_drops_out_takes_the_nodes_draw_with_it() -> None:
    clock = SetClock()
    pdus = Device(Reading(meters=(bmc(3000.0, name="a"), bmc(3500.0, name="b"))))
    host = collector(clock, nvml=Device(), snmp=pdus)
    both = (await tick(host)).chassis_w
    pdus.answer = Reading(meters=(bmc(3000.0, name="a"),), troubles=("b: no answer",))
    clock.move(1)

    assert (both, (await tick(host)).chassis_w) == (6500.0, None)


async def test_an_xid_is_said_once_though_its_reading_holds_for_longer() -> None:
    """A page read every five seconds: its XID is in the first of five ticks."""
    clock = SetClock()
    fallen = GpuSample(uuid="a", model="H100", xids=(79,))
    host = collector(clock, dcgm=Device(Reading(gpus=(fallen,)), period_s=5.0))

    xids = []
    for _ in range(4):
        xids.append((await tick(host)).gpus[0].xids)
        clock.move(1)

    assert xids == [(79,), (), (), ()]
    assert host.xids == {("a", 79): 1}


async def test_a_second_without_measurement_has_no_tick() -> None:
    """Silence makes the host stale; it is counted, and the next second is measured again."""
    device = Device()
    host = collector(nvml=device)
    await tick(host)

    device.answer = SourceError("NVML is away")
    silence = await host.tick("b", 2)
    device.answer = Reading(gpus=(gpu("a"),))

    assert silence is None
    assert host.silent == 1
    assert (await tick(host, 2)).seq == 2


async def test_a_source_that_fails_leaves_the_others() -> None:
    host = collector(nvml=Device(), redfish=Device(SourceError("401")))

    made = await tick(host)

    assert (len(made.gpus), made.chassis_w) == (1, None)
    assert {feed.name: feed.trouble for feed in host.feeds} == {"nvml": None, "redfish": "401"}


async def test_what_only_a_restart_can_mend_ends_the_process() -> None:
    with pytest.raises(RestartNeededError):
        await collector(nvml=Device(RestartNeededError("driver replaced"))).tick("b", 1)


async def test_a_meter_asked_every_five_seconds_is_in_every_tick_and_gone_after_three_periods() -> None:
    clock = SetClock()
    slow = Device(Reading(meters=(bmc(6500.0),)), period_s=5.0)
    host = collector(clock, nvml=Device(), redfish=slow)
    await tick(host)
    slow.answer = SourceError("no answer")

    chassis_w = {}
    for second in range(1, 18):
        clock.move(1)
        chassis_w[second] = (await tick(host)).chassis_w

    assert [second for second, power_w in chassis_w.items() if power_w is None] == [16, 17]


async def test_released_devices_are_closed_and_not_asked_until_they_are_resumed() -> None:
    clock = SetClock()
    device = Device()
    host = collector(clock, nvml=device)
    await tick(host)

    host.release(timedelta(seconds=60))

    assert device.closed.wait(5)
    for _ in range(3):
        clock.move(1)
        assert await host.tick("b", 2) is None
    assert device.reads == 1
    host.resume()
    assert await host.tick("b", 2) is not None
    assert device.reads == 2


async def test_a_release_ends_by_itself() -> None:
    clock = SetClock()
    device = Device()
    host = collector(clock, nvml=device)
    await tick(host)
    host.release(timedelta(seconds=60))
    assert device.closed.wait(5)

    clock.move(59)
    before = await host.tick("b", 2)
    clock.move(1)

    assert before is None
    assert await host.tick("b", 2) is not None


async def test_energy_goes_on_in_its_epoch_after_a_restart_of_the_collector() -> None:
    """The new process sees 9 kJ where the old one's last tick said 5 kJ in epoch 4."""
    last = HostTick(
        host="host-1",
        site="site-1",
        boot="b",
        seq=41,
        measured_at=NOON,
        gpus=(GpuSample(uuid="a", model="H100", energy_j=5000.0, energy_epoch=4),),
    )
    host = collector(nvml=Device(Reading(gpus=(gpu("a", 9000.0),))))
    host.go_on(last)

    assert [(g.energy_j, g.energy_epoch) for g in (await tick(host, 42)).gpus] == [(9000.0, 4)]


async def test_xids_are_counted_by_gpu() -> None:
    fallen = GpuSample(uuid="a", model="H100", xids=(79, 79, 13))
    host = collector(nvml=Device(Reading(gpus=(fallen,))))

    await tick(host)

    assert host.xids == {("a", 79): 2, ("a", 13): 1}


async def test_during_an_event_ticks_are_ten_a_second() -> None:
    clock = SetClock()
    host = collector(clock, nvml=Device())

    host.fast(timedelta(seconds=30))
    during = host.current_period
    clock.move(30)

    assert during == timedelta(seconds=0.1)
    assert host.current_period == timedelta(seconds=1)


async def test_a_clock_set_back_does_not_silence_the_host() -> None:
    """A second before 13:00 the clock is set back by an hour: the next tick is now, not in an hour."""
    clock = SetClock()
    host = collector(clock, nvml=Device())

    async def set_back() -> None:
        await asyncio.sleep(0)
        clock.move(-3600)

    clock.move(0.9)
    _, _ = await asyncio.wait_for(asyncio.gather(host.next_period(), set_back()), 10)


async def test_ticks_fall_on_the_seconds_of_the_shared_clock() -> None:
    """The clock runs 50 times as fast: five ticks take a tenth of a second, each within its own second."""
    clock = real_clock_from(NOON, 50.0)
    host = collector(clock, nvml=Device())

    seconds = []
    for _ in range(5):
        await host.next_period()
        seconds.append((clock.now() - NOON) // timedelta(seconds=1))

    assert len(set(seconds)) == 5
