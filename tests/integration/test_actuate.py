"""`firmwatt actuate` as a process, over the stand-in library and a real Apache Kafka."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.commands import STRANGER, cap, lease, signed
from doubles.gpu_host import DEADLINE_S, GpuHost, eventually

from deploy.broker import node
from pipeline.clock import Clock, real_clock_from
from pipeline.codec import Codec
from pipeline.kafka import Sender, consumer
from pipeline.messages.control import AckStatus, CommandAck, LeaseCommand
from pipeline.topics import ACKS, COMMANDS

pytestmark = pytest.mark.broker

SPEED = 20.0
"""Of the tests' clock: a lease of a minute takes three seconds."""


@dataclass
class Dispatcher:
    """The other end: sends commands to one host and hears what it answers."""

    host: GpuHost
    clock: Clock
    sender: Sender
    reader: Any

    async def cap(self, seq: int, cap_w: float, lasts_s: float) -> LeaseCommand:
        """Send a lease for every GPU of the host, to begin now."""
        command = lease(seq, cap(cap_w), begins=self.clock.now(), lasts_s=lasts_s, host=self.host.name)
        await self.sender.send(COMMANDS, signed(command))
        return command

    async def answer(self) -> CommandAck:
        """Return the host's next acknowledgement."""
        while True:
            record = await asyncio.wait_for(self.reader.getone(), DEADLINE_S)
            if record.key == self.host.name.encode():
                return Codec(ACKS).decode(record.value)


@asynccontextmanager
async def dispatching(host: GpuHost, kafka: str, clock: Clock) -> AsyncIterator[Dispatcher]:
    """Yield a dispatcher to *host*."""
    async with Sender(kafka) as sender, consumer(kafka, ACKS) as reader:
        yield Dispatcher(host, clock, sender, reader)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that runs fast."""
    return real_clock_from(Clock().now(), SPEED)


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GpuHost]:
    """Return a host with two H100s, named after the test, whatever runs on it killed in the end."""
    made = GpuHost.make(request.node.name, tmp_path)
    yield made
    made.stop()


async def test_a_lease_is_applied_measured_acknowledged_and_released(host: GpuHost, kafka: str, clock: Clock) -> None:
    """Two GPUs at 629.45 W go to 400 W within the settle time of 250 ms, and back to 700 W after the lease."""
    host.configure(kafka, clock)
    actuate = host.start("actuate")

    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=60)
        applied = await desk.answer()
        limits_w = host.limits_w()
        released = await desk.answer()
    actuate.send_signal(signal.SIGTERM)

    assert actuate.wait(10) == 0
    assert (applied.status, applied.seq, applied.simulated) == (AckStatus.APPLIED, 1, True)
    assert applied.before_w == pytest.approx(1258.9, abs=1)
    assert applied.after_w == pytest.approx(800, abs=5)
    assert limits_w == [400, 400]
    assert applied.latency_ms is not None
    assert 250 <= applied.latency_ms < 5000
    assert (released.status, released.command_id) == (AckStatus.RELEASED, applied.command_id)
    assert host.limits_w() == [700, 700]


async def test_killed_in_the_middle_and_started_again_it_restores(host: GpuHost, kafka: str, clock: Clock) -> None:
    """Kill -9 leaves the cap in force; the next start finds the journal, and the old command is not obeyed again."""
    host.configure(kafka, clock)
    actuate = host.start("actuate")
    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=600)
        await desk.answer()
    actuate.kill()
    actuate.wait()
    left_w = host.limits_w()

    host.start("actuate")

    assert left_w == [400, 400]
    assert host.limits_w() == [700, 700]
    assert "found limits of an earlier run: all limits are as they were" in host.log("actuate")


async def test_a_lease_ends_with_kafka_down(host: GpuHost, fresh_kafka: str, tmp_path: Path, clock: Clock) -> None:
    """Nobody is left to tell it; it still acknowledged what it could, and stops cleanly afterwards."""
    host.configure(fresh_kafka, clock)
    actuate = host.start("actuate")
    async with dispatching(host, fresh_kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=60)
        await desk.answer()

    node.stop(tmp_path / "broker")
    held_w = host.limits_w()
    eventually(lambda: host.limits_w() == [700, 700] or None, "limits are back")
    actuate.send_signal(signal.SIGTERM)

    assert held_w == [400, 400]
    assert actuate.wait(20) == 0


async def test_a_command_sent_while_it_was_down_is_obeyed_if_it_still_holds(
    host: GpuHost, kafka: str, clock: Clock
) -> None:
    """Of two commands that waited, one has expired; it is passed over without an answer."""
    host.configure(kafka, clock)
    async with dispatching(host, kafka, clock) as desk:
        await desk.sender.send(
            COMMANDS,
            signed(lease(1, cap(500), begins=clock.now() - timedelta(seconds=90), lasts_s=60, host=host.name)),
        )
        await desk.cap(2, 400, lasts_s=600)
        host.start("actuate")
        answer = await desk.answer()

    assert (answer.status, answer.seq) == (AckStatus.APPLIED, 2)


async def test_what_must_not_be_obeyed_is_refused_with_its_reason(host: GpuHost, kafka: str, clock: Clock) -> None:
    """A stranger's signature, bytes that are no message, another host's command; then a good one still works."""
    host.configure(kafka, clock)
    host.start("actuate")
    async with dispatching(host, kafka, clock) as desk:
        command = lease(1, cap(400), begins=clock.now(), lasts_s=600, host=host.name)
        await desk.sender.send(COMMANDS, signed(command, key=STRANGER))
        refused = await desk.answer()
        for garbage in (b"", b"\x00\xff", b"{}", b"[]", None):
            await desk.sender._producer.send_and_wait(COMMANDS.name, garbage, key=host.name.encode())
        await desk.sender._producer.send_and_wait(COMMANDS.name, b"not for us", key=b"other-host")
        await desk.cap(1, 400, lasts_s=600)
        answers = [await desk.answer()]
        while answers[-1].status is AckStatus.REFUSED:
            answers.append(await desk.answer())

    assert (refused.status, refused.command_id) == (AckStatus.REFUSED, "")
    assert "bad_signature" in (refused.reason or "")
    assert {answer.status for answer in answers[:-1]} <= {AckStatus.REFUSED}
    assert answers[-1].status is AckStatus.APPLIED


async def test_a_driver_without_event_reasons_cannot_say_what_binds(tmp_path: Path, kafka: str, clock: Clock) -> None:
    """The symbol is missing, its older name too: the cap is set and measured all the same."""
    names = [f"nvmlDeviceGetCurrentClocks{word}Reasons" for word in ("Event", "Throttle")]
    host = GpuHost.make("no-reasons", tmp_path, gpus=1, without=names)
    host.configure(kafka, clock)
    try:
        host.start("actuate")
        async with dispatching(host, kafka, clock) as desk:
            await desk.cap(1, 400, lasts_s=600)
            (gpu,) = (await desk.answer()).gpus
    finally:
        host.stop()

    assert (gpu.requested_w, gpu.binding) == (400, None)


async def test_a_dry_run_says_what_it_would_do_and_touches_nothing(host: GpuHost, kafka: str, clock: Clock) -> None:
    host.configure(kafka, clock)
    actuate = host.start("actuate", "--dry-run")
    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=600)
        eventually(lambda: "would set" in host.log("actuate") or None, "it says so")
    actuate.send_signal(signal.SIGTERM)

    assert actuate.wait(10) == 0
    assert host.limits_w() == [700, 700]
    assert [gpu.set_calls for gpu in host.state.gpus] == [0, 0]
    assert not host.journal.exists()


def test_without_kafka_it_says_so_and_has_restored_what_it_found(host: GpuHost) -> None:
    """The way back does not need a broker."""
    host.state.gpu(0).requested_mw = 400_000
    host.journal.write_text(f'{{"highest_seq": 4, "previous_w": {{"{host.state.uuid(0)}": 700.0}}}}')

    done = host.run("actuate")

    assert done.returncode == 5
    assert host.limits_w() == [700, 700]


def test_without_a_keyring_it_does_not_start(host: GpuHost) -> None:
    (host.folder / "keys.toml").unlink()

    done = host.run("actuate")

    assert done.returncode == 2
    assert "cannot read" in done.stderr
