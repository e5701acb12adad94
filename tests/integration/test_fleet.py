"""The fleet's process against a real Apache Kafka."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy import toml
from deploy.broker import node
from deploy.fleet import curves, process
from deploy.fleet.plan import plan
from deploy.fleet.publish import Produced
from pipeline.clock import Clock, wall
from pipeline.codec import Codec
from pipeline.errors import BrokerGoneError
from pipeline.kafka import Sender, consumer
from pipeline.messages.control import AckStatus, CommandAck, LeaseCommand, PoolCap, SignedCommand
from pipeline.messages.telemetry import HostTick, Tier
from pipeline.settings import Kafka
from pipeline.topics import ACKS, COMMANDS, HOST_TICKS

pytestmark = pytest.mark.broker

ORIGIN = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@dataclass
class Run:
    """A fleet that is running; `stop` ends it and returns what it produced."""

    setting: process.Setting
    ended: "asyncio.Future[Produced | None]"
    stopping: asyncio.Event
    said: list[str]

    async def stop(self) -> Produced:
        """Stop cleanly."""
        self.stopping.set()
        produced = await self.ended
        assert produced is not None
        return produced


def configured(kafka: Kafka, folder: Path, site: str, patience_s: float) -> process.Setting:
    """Return the settings of a fleet of 20 hosts, read from a file as the command does."""
    keys, config = folder / "keys.toml", folder / "firmwatt.toml"
    keys.write_text(f'desk = "{base64.b64encode(KEY.public_key().public_bytes_raw()).decode()}"\n', encoding="utf-8")
    config.write_text(
        f'{toml.table("kafka", kafka)}[clock]\nword = "{Clock(ORIGIN, wall(), 2.0)}"\n[site]\nname = "{site}"\n'
        f'[fleet]\nhosts = 20\nkeyring = "{keys}"\npatience_s = {patience_s}\n',
        encoding="utf-8",
    )
    return process.load(config)


def serving(
    setting: process.Setting, stop: asyncio.Event, say: Callable[[str], None]
) -> Coroutine[None, None, Produced | None]:
    """Return the fleet's process, not started yet."""
    return process.serve(setting, plan(setting.fleet, setting.site.timezone), stop, say)


def unheard(_line: str) -> None:
    """Take what the fleet says when nobody listens."""


@asynccontextmanager
async def running(kafka: Kafka, folder: Path, site: str, patience_s: float = 15.0) -> AsyncIterator[Run]:
    """Yield a ready fleet of 20 hosts on a clock of its own."""
    setting = configured(kafka, folder, site, patience_s)
    ready, stop = asyncio.Event(), asyncio.Event()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        ready.set()

    ended = asyncio.ensure_future(serving(setting, stop, say))
    announced = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait([ended, announced], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        assert ready.is_set()
        yield Run(setting, ended, stop, said)
    finally:
        stop.set()
        announced.cancel()
        await asyncio.wait([ended], timeout=20)


def lease(host: str, now: datetime) -> LeaseCommand:
    return LeaseCommand(
        command_id=f"cap-{host}",
        host=host,
        seq=1,
        kind="economic",
        award_id="a1",
        dispatch_id="d1",
        issued_at=now,
        not_before=now,
        expires_at=now + timedelta(minutes=10),
        caps=(PoolCap(tier=Tier.T3, gpu_model=curves.GPU_MODEL, cap_w=300.0),),
    )


async def gather(reader: AIOKafkaConsumer, site: str) -> list[HostTick]:
    """Return all ticks of *site* that the broker holds."""
    codec, found = Codec(HOST_TICKS), []
    ends = await reader.end_offsets(reader.assignment())
    while any([await reader.position(partition) < end for partition, end in ends.items()]):
        for records in (await reader.getmany(timeout_ms=200)).values():
            found += [codec.decode(record.value) for record in records]
    return [tick for tick in found if tick.site == site]


async def acks_of(reader: AIOKafkaConsumer, hosts: set[str]) -> dict[str, CommandAck]:
    """Return the first acknowledgement of each of *hosts*; fail after ten seconds."""
    found: dict[str, CommandAck] = {}
    async with asyncio.timeout(10):
        while hosts - found.keys():
            for records in (await reader.getmany(timeout_ms=200)).values():
                for ack in (Codec(ACKS).decode(record.value) for record in records):
                    found.setdefault(ack.host, ack)
    return found


async def test_every_acknowledged_tick_is_on_the_broker_once(kafka: Kafka, tmp_path: Path) -> None:
    """
    20 hosts, ready after a first tick each, for five more seconds of the clock: about 120 ticks, and as many on Kafka.

    Sequence numbers run from 1 without a hole, a host's ticks are about a second apart, all say they are simulated.
    """
    async with running(kafka, tmp_path, "fleet-count") as run:
        await run.setting.clock.sleep(timedelta(seconds=5))
        produced = await run.stop()
    async with consumer(kafka, HOST_TICKS) as reader:
        ticks = await gather(reader, "fleet-count")

    assert len(ticks) == produced.ticks_produced
    assert 100 <= produced.ticks_produced <= 160
    assert produced.hosts == 20
    for host, (low, high) in produced.seq.items():
        own = sorted((tick for tick in ticks if tick.host == host), key=lambda tick: tick.seq)
        assert [tick.seq for tick in own] == list(range(low, high + 1))
        assert low == 1
        assert all(
            timedelta(seconds=0.4) < later.measured_at - earlier.measured_at < timedelta(seconds=2.5)
            for earlier, later in pairwise(own)
        )
        assert {(tick.boot, tick.simulated) for tick in own} == {(produced.boots[host], True)}
    assert run.said[0].startswith("ready: 20 hosts with 160 GPUs; SIMULATED fleet")


async def test_a_signed_lease_lowers_the_measured_watts_and_an_unsigned_one_is_refused(
    kafka: Kafka, tmp_path: Path
) -> None:
    """The same command twice: once with a wrong signature, once with the right one."""
    async with running(kafka, tmp_path, "fleet-lease") as run, Sender(kafka) as sender:
        host, other = "fleet-lease-sim-0012", "fleet-lease-sim-0013"  # the second and third training hosts
        payloads = {name: msgspec.json.encode(lease(name, run.setting.clock.now())) for name in (host, other)}
        async with consumer(kafka, ACKS) as reader:
            for name, signature in ((other, bytes(64)), (host, KEY.sign(payloads[host]))):
                command = SignedCommand(host=name, key_id="desk", payload=payloads[name], signature=signature)
                await sender.send(COMMANDS, command)
            acks = await acks_of(reader, {host, other})
        refused, applied = acks[other], acks[host]
        await run.setting.clock.sleep(timedelta(seconds=2))
        produced = await run.stop()
    async with consumer(kafka, HOST_TICKS) as reader:
        last = max((t for t in await gather(reader, "fleet-lease") if t.host == host), key=lambda tick: tick.seq)

    assert refused.status is AckStatus.REFUSED
    assert applied.status is AckStatus.APPLIED
    assert applied.before_w is not None
    assert applied.after_w is not None
    assert applied.after_w < 8 * 301 < applied.before_w
    assert applied.latency_ms is not None
    assert applied.latency_ms < 3000
    assert {gpu.enforced_w for gpu in last.gpus} == {300.0}
    assert all(gpu.power_w is not None and gpu.power_w <= 300.5 for gpu in last.gpus)
    assert (produced.commands_admitted, produced.commands_refused) == (1, 1)


async def test_a_broker_that_goes_away_ends_the_fleet_with_one_line(fresh_kafka: Kafka, tmp_path: Path) -> None:
    """Two seconds of patience, then an error that says how many ticks are safe; not the forty seconds of a producer."""
    async with running(fresh_kafka, tmp_path, "fleet-gone", patience_s=2.0) as run:
        await asyncio.to_thread(node.stop, tmp_path / "broker")
        with pytest.raises(BrokerGoneError, match="ticks before that are safe"):
            await asyncio.wait_for(run.ended, timeout=12)


async def test_no_broker_is_an_error_at_once(tmp_path: Path, unused_tcp_port: int) -> None:
    """Nobody listens on the port."""
    setting = configured(Kafka(bootstrap=f"127.0.0.1:{unused_tcp_port}"), tmp_path, "fleet-none", 2.0)

    with pytest.raises(BrokerGoneError, match=str(unused_tcp_port)):
        await asyncio.wait_for(serving(setting, asyncio.Event(), unheard), timeout=10)


async def test_stopping_does_not_wait_for_a_broker_that_never_answers(tmp_path: Path) -> None:
    """Something listens and says nothing; told to stop, the fleet stops, and there is nothing to sum up."""
    asked, stop = asyncio.Event(), asyncio.Event()

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await stop.wait()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        setting = configured(Kafka(bootstrap=f"127.0.0.1:{port}"), tmp_path, "fleet-mute", 2.0)
        ended = asyncio.ensure_future(serving(setting, stop, unheard))
        await asyncio.wait_for(asked.wait(), timeout=10)
        stop.set()

        assert await asyncio.wait_for(ended, timeout=10) is None


def test_the_summary_is_written_whole(tmp_path: Path) -> None:
    """By rename: no part file is left, and it reads back."""
    produced = Produced(
        description="SIMULATED fleet",
        simulated=True,
        hosts=1,
        gpus=8,
        boots={"h": "b"},
        ticks_produced=3,
        seq={"h": (1, 3)},
        commands_admitted=0,
        commands_refused=0,
    )

    process.write(tmp_path / "fleet.json", produced)

    assert [path.name for path in tmp_path.iterdir()] == ["fleet.json"]
    assert json.loads((tmp_path / "fleet.json").read_text())["seq"] == {"h": [1, 3]}
