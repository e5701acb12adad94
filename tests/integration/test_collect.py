"""`firmwatt collect` as a process, over the stand-in library and a real Apache Kafka."""

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from doubles.gpu_host import GpuHost

from pipeline.clock import Clock, real_clock_from
from pipeline.codec import Codec
from pipeline.kafka import consumer
from pipeline.messages.telemetry import HostTick, Tier
from pipeline.topics import HOST_TICKS


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GpuHost]:
    """Return a host with two H100s, whatever runs on it killed in the end."""
    made = GpuHost.make("collect-host", tmp_path)
    yield made
    made.stop()


async def ticks_of(host: GpuHost, kafka: str, count: int) -> list[tuple[bytes, HostTick]]:
    """Return the first *count* ticks of *host* with their keys."""
    codec = Codec(HOST_TICKS)
    found: list[tuple[bytes, HostTick]] = []
    async with consumer(kafka, HOST_TICKS) as reader:
        while len(found) < count:
            record = await reader.getone()
            if record.key == host.name.encode():
                found.append((record.key, codec.decode(record.value)))
    return found


@pytest.mark.broker
async def test_a_tick_a_second_of_the_shared_clock_without_holes(host: GpuHost, kafka: str) -> None:
    """The clock runs at four times the machine's: eight ticks in two seconds of the machine."""
    host.configure(kafka, real_clock_from(Clock().now(), 4.0))
    collect = host.start("collect")

    ticks = [tick for _, tick in await ticks_of(host, kafka, 8)]
    collect.send_signal(signal.SIGTERM)

    assert collect.wait(10) == 0
    assert [tick.seq for tick in ticks] == list(range(1, 9))
    assert len({tick.boot for tick in ticks}) == 1
    seconds = [int(tick.measured_at.timestamp()) for tick in ticks[1:]]
    assert len(set(seconds)) == 7
    assert {(tick.site, tick.simulated) for tick in ticks} == {("site-of-collect-host", True)}
    assert {(gpu.tier, gpu.job) for tick in ticks for gpu in tick.gpus} == {(Tier.T3, "train")}
    assert "stopped: " in host.log("collect")
    assert ", 0 not sent" in host.log("collect")


@pytest.mark.broker
async def test_a_lost_gpu_is_marked_on_the_wire_and_back_in_a_new_epoch(host: GpuHost, kafka: str) -> None:
    host.configure(kafka, real_clock_from(Clock().now(), 10.0))
    host.name = "collect-host-2"
    host.start("collect", "--host", host.name)
    host.state.lose(1)
    marks: list[tuple[bool, int]] = []

    codec = Codec(HOST_TICKS)
    async with consumer(kafka, HOST_TICKS) as reader:
        while (False, 1) not in marks:
            record = await reader.getone()
            if record.key == host.name.encode():
                gpu = codec.decode(record.value).gpus[1]
                marks.append(("lost" in gpu.quality, gpu.energy_epoch))
                if marks[-1][0]:
                    host.state.recover(1)

    assert (True, 0) in marks
    assert "GPUs: lost: " in host.log("collect")


def test_once_prints_one_tick_and_needs_no_kafka(host: GpuHost) -> None:
    """The settings name a port where nobody listens."""
    done = host.run("collect", "--once", "--host", "other-name")

    tick = msgspec.json.decode(done.stdout, type=HostTick)

    assert done.returncode == 0
    assert (tick.host, tick.seq, len(tick.gpus), tick.chassis_w) == ("other-name", 1, 2, None)


def test_without_nvml_one_line_says_so(host: GpuHost) -> None:
    """The library is there as a file that is none."""
    (host.folder / "libnvidia-ml.so.1").write_text("no library")

    done = host.run("collect", "--once")

    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "no libnvidia-ml.so.1 on this host" in done.stderr


def test_without_kafka_one_line_says_so(host: GpuHost) -> None:
    done = host.run("collect")

    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "no Kafka at 127.0.0.1:9" in done.stderr


def test_an_old_driver_without_limit_constraints_is_still_measured(tmp_path: Path) -> None:
    """The symbol is missing: the range is absent, the rest is there."""
    host = GpuHost.make("old", tmp_path, gpus=1, without=["nvmlDeviceGetPowerManagementLimitConstraints"])

    (gpu,) = msgspec.json.decode(host.run("collect", "--once").stdout, type=HostTick).gpus

    assert (gpu.min_w, gpu.max_w, gpu.power_w) == (None, None, 629.45)


def test_a_driver_without_power_fields_is_said_to_be_too_old(tmp_path: Path) -> None:
    host = GpuHost.make("older", tmp_path, gpus=1, without=["nvmlDeviceGetFieldValues"])

    done = host.run("collect", "--once")

    assert done.returncode == 4
    assert "too old" in done.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("[collector]\nsource = 'nvlm'", "no 'nvlm' in collectors.sources; have nvml"),
        ("[collector]\nhots = 'a'", "hots"),
    ],
)
def test_settings_that_cannot_work_are_said(host: GpuHost, section: str, said: str) -> None:
    host.config.write_text(section)

    done = host.run("collect", "--once")

    assert done.returncode == 2
    assert said in done.stderr
