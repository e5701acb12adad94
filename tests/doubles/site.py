"""
A small site behind Kafka, for bidding's tests: five hosts of 200 GPUs that obey leases to the watt.

Everything is published that the pipeline would publish: host records, back-filled history, capacity, closed intervals
and acknowledgements. Uncapped it draws 1 000 kW: 400 kW of T3, 400 kW of T2, 200 kW of T1.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from pipeline import topics
from pipeline.clock import Clock
from pipeline.codec import Codec
from pipeline.interval import Interval
from pipeline.kafka import Sender, consumer
from pipeline.messages.control import AckStatus, CommandAck, LeaseCommand, PoolCap, SignedCommand
from pipeline.messages.telemetry import (
    CAP_SHARES,
    HostPool,
    HostRecord,
    PoolLoad,
    SiteCapacity,
    SiteInterval,
    Tier,
    Workload,
)
from pipeline.settings import Kafka
from pipeline.tiers import FLOOR_SHARE

MODEL = "H100"
MAX_W = 1000.0
HOSTS = 5
GPUS = {Tier.T3: 400, Tier.T2: 400, Tier.T1: 200}
UNCAPPED_KW = 1000.0
MINUTE = timedelta(minutes=1)
PUBLISH_EVERY_S = 0.2


@dataclass
class Site:
    """One simulated site on one clock."""

    kafka: Kafka
    clock: Clock
    name: str
    leases: dict[str, LeaseCommand] = field(default_factory=dict)
    """By host: the highest sequence."""
    received: list[LeaseCommand] = field(default_factory=list)
    energy_kwh: dict[datetime, float] = field(default_factory=dict)

    def draw_w(self, host: str, tier: Tier, now: datetime) -> float:
        """Return what a GPU of *tier* on *host* draws."""
        lease = self.leases.get(host)
        caps: tuple[PoolCap, ...] = lease.caps if lease and lease.not_before <= now < lease.expires_at else ()
        return min((cap.cap_w for cap in caps if cap.tier is tier), default=MAX_W)

    def pool(self, tier: Tier, now: datetime) -> PoolLoad:
        """Return the gauge of *tier*."""
        per_host = GPUS[tier] / HOSTS
        draws_w = [self.draw_w(host, tier, now) for host in self.hosts]
        return PoolLoad(
            tier=tier,
            workload=Workload.INFERENCE,
            gpu_model=MODEL,
            gpus=GPUS[tier],
            power_kw=sum(draws_w) * per_host / 1000,
            relief_kw=tuple(
                sum(max(0.0, draw - max(share, FLOOR_SHARE[tier]) * MAX_W) for draw in draws_w) * per_host / 1000
                for share in CAP_SHARES
            ),
            max_w=MAX_W,
            tokens_per_s=GPUS[tier] * 10.0,
        )

    @property
    def hosts(self) -> list[str]:
        """Their names, unlike those of any other site."""
        return [f"{self.name}-host-{number}" for number in range(HOSTS)]

    def capacity(self, now: datetime) -> SiteCapacity:
        """Return the site's gauge."""
        pools = tuple(self.pool(tier, now) for tier in GPUS)
        return SiteCapacity(
            site=self.name,
            as_of=now,
            known_at=now,
            partitions=8,
            partitions_expected=8,
            hosts=HOSTS,
            hosts_stale=0,
            gpus=sum(GPUS.values()),
            load_kw=sum(pool.power_kw for pool in pools),
            pools=pools,
            ticks_open=0,
            age_p50_ms=1.0,
            age_p99_ms=2.0,
            simulated=True,
        )

    def interval(self, interval: Interval, energy_kwh: float, source: str = "metered") -> SiteInterval:
        """Return a closed interval, fully covered."""
        return SiteInterval(
            site=self.name,
            interval=interval,
            revision=1,
            energy_kwh=energy_kwh,
            hosts=HOSTS,
            hosts_partial=0,
            covered_share=1.0,
            partitions=8,
            partitions_expected=8,
            ticks=300,
            ticks_missing=0,
            pools=(),
            simulated=True,
            source=source,
        )

    async def prepare(self, days: int, ahead: timedelta = timedelta(minutes=20)) -> None:
        """Publish host records and *days* days of history at 1 000 kW, four hours before now to *ahead* after."""
        pools = tuple(
            HostPool(tier=tier, workload=Workload.INFERENCE, gpu_model=MODEL, gpus=count // HOSTS)
            for tier, count in GPUS.items()
        )
        now = self.clock.now()
        async with Sender(self.kafka) as sender:
            for host in self.hosts:
                await sender.send(topics.HOST_RECORDS, HostRecord(host=host, site=self.name, pools=pools, seen_at=now))
            for back in range(days, -1, -1):
                first = Interval.containing(now - timedelta(days=back, hours=4, minutes=10), MINUTE).start
                last = now - timedelta(days=back) + (ahead if back else -MINUTE)
                for piece in Interval(first, Interval.containing(last, MINUTE).start).split(MINUTE):
                    await sender.enqueue(topics.SITE_INTERVALS, self.interval(piece, UNCAPPED_KW / 60, "backfill"))
            await sender.flush()

    async def run(self) -> None:
        """Publish and obey until cancelled."""
        async with Sender(self.kafka) as sender:
            obeying = asyncio.ensure_future(self._obey(sender))
            try:
                before = self.clock.now()
                while not obeying.done():
                    await asyncio.sleep(PUBLISH_EVERY_S)
                    before = await self._publish(sender, before)
                await obeying
            finally:
                obeying.cancel()
                with suppress(asyncio.CancelledError):
                    await obeying

    async def _publish(self, sender: Sender, before: datetime) -> datetime:
        now = self.clock.now()
        gauge = self.capacity(now)
        await sender.send(topics.SITE_CAPACITY, gauge)
        while before < now:
            minute = Interval.containing(before, MINUTE)
            until = min(now, minute.end)
            hours = (until - before) / timedelta(hours=1)
            self.energy_kwh[minute.start] = self.energy_kwh.get(minute.start, 0.0) + gauge.load_kw * hours
            if until == minute.end:
                await sender.send(topics.SITE_INTERVALS, self.interval(minute, self.energy_kwh[minute.start]))
            before = until
        return now

    async def _obey(self, sender: Sender) -> None:
        codec = Codec(topics.COMMANDS)
        async with consumer(self.kafka, topics.COMMANDS) as reader:
            async for message in reader:
                try:
                    signed: SignedCommand = codec.decode(message.value)
                    command = msgspec.json.decode(signed.payload, type=LeaseCommand)
                except ValueError:  # other tests send garbage on the broker they share
                    continue
                known = self.leases.get(command.host)
                if command.host in self.hosts and (known is None or command.seq > known.seq):
                    self.leases[command.host] = command
                    self.received.append(command)
                    await sender.send(topics.ACKS, self._ack(command))

    def _ack(self, command: LeaseCommand) -> CommandAck:
        return CommandAck(
            host=command.host,
            command_id=command.command_id,
            seq=command.seq,
            status=AckStatus.APPLIED,
            reason=None,
            issued_at=command.issued_at,
            acknowledged_at=self.clock.now(),
            latency_ms=12.0,
            before_w=None,
            after_w=None,
            gpus=(),
            simulated=True,
        )
