"""
What a command costs a host with eight GPUs: received, set, followed by the draw, acknowledged. One JSON line a figure.

    PYTHONPATH=tests python tests/bench/bench_actuator.py [COMMANDS]       200 by default, which a p99 needs

In this process: the real actuator with journal and keyring on disk, over eight H100s of the stand-in whose draw follows
a limit with a lag of 25 ms, by the machine's clock. Every command takes all eight from 629 W to 400 W; in between they
go back, which is not counted.

- **set**: from the record's bytes until every limit is set and read back (`set_ms` of the acknowledgement).
- **verified**: until the acknowledgement is posted, which waits for the draw to be where the limit puts it.
- **own**: of that, what is not the driver's and the cards'. Those are measured beside it, in the same run, by a bare
  loop: eight threads that each set one limit through nvidia-ml-py and then look at the draw every millisecond until it
  is within 2 W of the limit. Its median is taken off each command's time. What is left is signature, journal, threads,
  reading back, and the wait for the next look at the draw.

Both for setters that cost nothing and for setters of 10 ms (zeus issue 29 measured 10 to 20). The reference is eight
runs, one after the other, of a program that sets one limit and ends (`doubles/nvml/set_limit.c`), under the same
latency. p50 and p99 are over all commands, ratios medians over runs.

As a process: `firmwatt actuate` and a real Kafka; from a command's hand-over to the producer until its acknowledgement
is back, and what the process costs while nothing is held, while a lease holds, and while commands come.
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pynvml
from doubles.actuated import Said
from doubles.commands import HOST, KEY_ID, PUBLIC, cap, keyring_text, lease, signed
from doubles.gpu_host import DEADLINE_S, GpuHost
from doubles.nvml import nvml_double

from collectors.actuator import Actuator
from collectors.answers import Answers
from collectors.bounds import Bounds
from collectors.hands import Hands
from collectors.journal import Journal
from collectors.keys import Keys
from collectors.levers import nvml
from collectors.listen import Ears
from collectors.mappings import Claim
from collectors.memory import Memory
from collectors.steady import SteadyClock, boot_id
from collectors.whose import Whose
from deploy.broker import node
from pipeline.clock import Clock
from pipeline.codec import Codec
from pipeline.errors import EnvironmentProblem
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.messages.control import AckStatus, CommandAck
from pipeline.messages.telemetry import Tier
from pipeline.settings import Kafka
from pipeline.topics import ACKS, COMMANDS, TOPICS

GPUS, RUNS, COMMANDS_MADE = 8, 5, 200
FREE_W, HELD_W, SETTLED_W = 700.0, 400.0, 2.0
DRAW_BACK_S = 0.2
"""Eight lags of 25 ms: the draw is back where it was."""
SET_LATENCIES_MS = (0, 10)
WATCHED_S = 20.0
"""For how long a process is looked at, idle and with a lease."""
UNHURRIED = Bounds(max_rate_w_per_s=1e6)
"""Commands follow each other faster than limits may move otherwise."""


def said(**line: object) -> None:
    """Print one line."""
    print(json.dumps(line), flush=True)  # noqa: T201 - a benchmark talks


def p(share: float, numbers: Sequence[float]) -> float:
    """Return the *share* of *numbers*' distribution."""
    ordered = sorted(numbers)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)


# ---- in this process ----


@dataclass
class Desk:
    """The real actuator in this process, and its answers."""

    state: nvml_double.State
    folder: Path
    answered_s: dict[int, float] = field(default_factory=dict)
    answers: dict[int, CommandAck] = field(default_factory=dict)
    seq: int = 0

    def __post_init__(self) -> None:
        (self.folder / "keys.toml").write_text(keyring_text({KEY_ID: PUBLIC}))
        (self.folder / "keys.toml").chmod(0o644)
        self.clock = Clock()
        mapping = Said({self.state.uuid(i): Claim(job=f"job-{i // 4}", tier=Tier.T3) for i in range(GPUS)})
        hands = Hands([nvml.connect()])
        keys, steady = Keys(self.folder / "keys.toml"), SteadyClock(self.clock)
        memory = Memory(Journal(self.folder / "journal.json"), keys, steady, boot_id(), UNHURRIED.min_release)
        self.actuator = Actuator(
            host=HOST,
            hands=hands,
            memory=memory,
            answers=Answers(hands, self.clock, 1.0, simulated=True, acknowledged_seq=0, post=self._note),
            keys=keys,
            whose=Whose({"said": mapping}, lambda: hands.places),
            bounds=UNHURRIED,
            clock=self.clock,
            steady=steady,
        )
        self.ears = Ears(self.actuator, {})

    async def command(self, cap_w: float) -> tuple[float, float, float]:
        """Let a command arrive; return milliseconds until all was set, acknowledged, and the actuator free again."""
        self.seq += 1
        message = signed(lease(self.seq, cap(cap_w), begins=self.clock.now(), lasts_s=600))
        record = Codec(COMMANDS).encode(message)
        began_s = time.monotonic()
        await self.ears.hear(record, is_history=False)
        free_s = time.monotonic()
        answer = self.answers[self.seq]
        assert answer.status is AckStatus.APPLIED
        assert answer.set_ms is not None
        assert [gpu.error for gpu in answer.gpus] == [None] * GPUS
        return answer.set_ms, (self.answered_s[self.seq] - began_s) * 1000, (free_s - began_s) * 1000

    def _note(self, ack: CommandAck) -> None:
        self.answered_s[ack.seq], self.answers[ack.seq] = time.monotonic(), ack


@dataclass
class Bare:
    """The same driver calls with nothing around them."""

    handles: list[Any]
    pool: ThreadPoolExecutor

    def ms(self, cap_w: float) -> tuple[float, float]:
        """Set all limits at once; return milliseconds until they are set, and until the draw has followed."""
        together, set_at_s = threading.Barrier(len(self.handles)), []

        def one(handle: Any) -> None:
            together.wait()
            pynvml.nvmlDeviceSetPowerManagementLimit(handle, round(cap_w * 1000))
            set_at_s.append(time.monotonic())
            while _draw_w(handle) > cap_w + SETTLED_W:
                time.sleep(0.001)

        began_s = time.monotonic()
        list(self.pool.map(one, self.handles))
        return (max(set_at_s) - began_s) * 1000, (time.monotonic() - began_s) * 1000


def _draw_w(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetFieldValues(handle, [186])[0].value.uiVal) / 1000


def one_by_one_ms(program: Path, state: nvml_double.State, cap_w: float) -> float:
    """Run *program* for each GPU in turn; return milliseconds."""
    environment = os.environ | nvml_double.environment(program.parent, state)
    began_s = time.monotonic()
    for gpu in range(GPUS):
        subprocess.run([str(program), str(gpu), str(cap_w)], env=environment, check=True)
    return (time.monotonic() - began_s) * 1000


async def in_process(folder: Path, program: Path, set_ms: int, commands: int) -> None:
    """Print what a command takes under one latency of the driver's setters."""
    state = nvml_double.State.create(folder / "gpus", gpus=GPUS)
    state.set_latency(set_ms)
    place = folder / f"host-{set_ms}"
    place.mkdir()
    desk = Desk(state, place)
    await desk.actuator.begin()
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in range(GPUS)]
    runs: list[Run] = []
    with ThreadPoolExecutor(GPUS) as pool:
        bare = Bare(handles, pool)
        await desk.command(FREE_W - 1)  # opens, starts threads
        for _ in range(RUNS):
            run = Run()
            for number in range(commands // RUNS):
                await _back(desk)
                run.add(*await desk.command(HELD_W))
                if number % 5 == 0:
                    await _back(desk)
                    run.add_bare(*await asyncio.to_thread(bare.ms, HELD_W))
                    await asyncio.to_thread(bare.ms, FREE_W)  # as the actuator left it, or it would find a rival
                if number % 10 == 0:
                    await _back(desk)
                    run.one_by_one.append(await asyncio.to_thread(one_by_one_ms, program, state, HELD_W))
                    await asyncio.to_thread(bare.ms, FREE_W)
            runs.append(run)
    pynvml.nvmlShutdown()
    await desk.actuator.hands.close()
    _say(runs, set_ms)


@dataclass
class Run:
    """What one run took, milliseconds."""

    set: list[float] = field(default_factory=list)
    verified: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    bare_set: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    one_by_one: list[float] = field(default_factory=list)

    def add(self, set_ms: float, verified_ms: float, busy_ms: float) -> None:
        """Take in one command."""
        self.set.append(set_ms)
        self.verified.append(verified_ms)
        self.busy.append(busy_ms)

    def add_bare(self, set_ms: float, followed_ms: float) -> None:
        """Take in one round of the bare loop."""
        self.bare_set.append(set_ms)
        self.bare.append(followed_ms)

    @property
    def own(self) -> list[float]:
        """Of each command, what neither driver nor cards took."""
        device_ms = statistics.median(self.bare)
        return [ms - device_ms for ms in self.verified]


def _say(runs: Sequence[Run], set_ms: int) -> None:
    def every(take: Callable[[Run], list[float]]) -> list[float]:
        return [ms for run in runs for ms in take(run)]

    def against(take: Callable[[Run], list[float]]) -> dict[str, object]:
        ratios = [statistics.median(take(run)) / statistics.median(run.one_by_one) for run in runs]
        return {
            "ratio": round(statistics.median(ratios), 2),
            "against": "eight serial runs of a program that sets one limit",
            "against_ms": p(0.5, every(lambda run: run.one_by_one)),
        }

    same: dict[str, object] = {"gpus": GPUS, "setter_ms": set_ms, "commands": len(every(lambda run: run.set))}
    taken: list[tuple[str, Callable[[Run], list[float]], dict[str, object]]] = [
        ("actuator_set", lambda run: run.set, {"bare_ms_p50": p(0.5, every(lambda run: run.bare_set))}),
        ("actuator_verified", lambda run: run.verified, {"bare_ms_p50": p(0.5, every(lambda run: run.bare))}),
        ("actuator_own", lambda run: run.own, {"aim_ms": 50}),
        ("actuator_busy", lambda run: run.busy, {}),
    ]
    for name, take, more in taken:
        ms = every(take)
        said(bench=name, **same, ms_p50=p(0.5, ms), ms_p99=p(0.99, ms), **more, **against(take))


async def _back(desk: Desk) -> None:
    """Let all draw what they like again."""
    await desk.command(FREE_W)
    await asyncio.sleep(DRAW_BACK_S)


def compiled(folder: Path) -> Path:
    """Return the program that sets one limit, beside the library it is linked with."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None
    source = Path(nvml_double.__file__).with_name("set_limit.c")
    words = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", str(folder / "set_limit"), str(source)]
    subprocess.run([compiler, *words, str(folder / nvml_double.SONAME)], check=True)
    return folder / "set_limit"


# ---- as a process ----


@contextmanager
def broker(data: Path) -> Iterator[Kafka]:
    """Yield the settings of a Kafka of its own."""
    started = asyncio.run(node.start(data, heap_mb=256, detach=False))
    try:
        asyncio.run(ensure_topics(started.kafka, TOPICS))
        yield started.kafka
    finally:
        node.stop(data)


@dataclass
class Watched:
    """What a process costs over a span."""

    process: psutil.Process

    def __post_init__(self) -> None:
        self._cpu_s, self._began_s = self._used_s(), time.monotonic()

    @property
    def span_s(self) -> float:
        """How long ago this began."""
        return time.monotonic() - self._began_s

    def line(self) -> dict[str, object]:
        """Return share of one core and memory since this began."""
        memory = self.process.memory_info().rss / 1e6
        share = (self._used_s() - self._cpu_s) / self.span_s
        return {
            "seconds": round(self.span_s),
            "cpu_percent_of_a_core": round(100 * share, 2),
            "rss_mb": round(memory, 1),
        }

    def _used_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


async def as_process(host: GpuHost, kafka: Kafka, process: psutil.Process, commands: int) -> None:
    """Print what the process costs and how long a command takes through Kafka."""
    await asyncio.sleep(5)
    watched = Watched(process)
    await asyncio.sleep(WATCHED_S)
    said(bench="actuator_process_idle", **watched.line(), aim_cpu_percent=0.5, aim_rss_mb=80)
    clock, codec, latency_ms, answered_ms = Clock(), Codec(ACKS), list[float](), list[float]()
    key = host.name.encode()
    async with Sender(kafka) as sender, consumer(kafka, ACKS) as reader:
        watched = Watched(process)
        for seq in range(1, 2 * commands + 1):
            message = lease(seq, cap(HELD_W if seq % 2 else FREE_W), begins=clock.now(), lasts_s=600, host=host.name)
            began_s = time.monotonic()
            await sender.send(COMMANDS, signed(message))
            while True:
                record = await asyncio.wait_for(reader.getone(), DEADLINE_S)
                if record.key == key and (ack := codec.decode(record.value)).seq == seq:
                    break
            assert ack.status is AckStatus.APPLIED, ack
            if seq % 2:
                answered_ms.append((time.monotonic() - began_s) * 1000)
                latency_ms.append(ack.latency_ms or 0)
            else:
                await asyncio.sleep(DRAW_BACK_S)
        said(bench="actuator_process_busy", commands_per_s=round(2 * commands / watched.span_s, 1), **watched.line())
        said(
            bench="actuator_process",
            commands=commands,
            ms_p50=p(0.5, answered_ms),
            ms_p99=p(0.99, answered_ms),
            acknowledged_latency_ms_p50=p(0.5, latency_ms),
        )
        await sender.send(
            COMMANDS, signed(lease(seq + 1, cap(HELD_W), begins=clock.now(), lasts_s=600, host=host.name))
        )
        await asyncio.sleep(2)
        watched = Watched(process)
        await asyncio.sleep(WATCHED_S)
        said(bench="actuator_process_event", **watched.line(), aim_rss_mb=80)


def process(folder: Path, commands: int) -> None:
    """Print what `firmwatt actuate` does with a real Kafka; one line where there is none."""
    try:
        with broker(folder / "broker") as kafka:
            host = GpuHost.make("bench", folder, gpus=GPUS)
            host.configure(kafka, Clock())
            host.amend("[actuator]", "[actuator]\nmax_rate_w_per_s = 1000000")
            try:
                started = host.start("actuate")
                asyncio.run(as_process(host, kafka, psutil.Process(started.pid), commands))
            finally:
                host.stop()
    except EnvironmentProblem as error:
        said(bench="actuator_process", skipped=str(error))


def main(commands: int = COMMANDS_MADE) -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory(prefix="firmwatt-bench-") as name:
        folder = Path(name)
        if not nvml_double.attach(folder):
            said(bench="actuator", skipped="no C compiler")
            return
        program = compiled(folder)
        for set_ms in SET_LATENCIES_MS:
            asyncio.run(in_process(folder, program, set_ms, commands))
        (folder / "process").mkdir()
        process(folder / "process", commands)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
