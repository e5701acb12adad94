"""
Actuators that are killed with -9 in mid-curtailment, again and again, and what becomes of their GPUs.

    lease       ├─────────── held ──────────┬─ way back ─┤ ends        ┤ 2 s later: nothing is held back any more
    actuator  ██✗─█✗─██████████✗─█████████████✗─██████████✗─██████████     started again as its unit says
    Kafka     ██████████████│        away         │██████████████          in some rounds
    clock     ───────────┐ an hour back ┌──────┐ an hour ahead             of one host, also while nothing runs
    limits    ········································································   looked at 50 times a second

Three hosts side by side, on real time. Each has a T0 GPU, and three others whose limits somebody had set before. What
is right is told by the commands that were signed, the stand-in's own log of every set, and the samples; nothing that
an actuator says of itself is believed, but that its journal must be empty in the end.
"""

import asyncio
import json
import math
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import count
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from doubles.commands import cap, lease, signed
from doubles.gpu_host import GpuHost
from doubles.hostclock import hostclock
from doubles.hostclock.hostclock import HostClock
from doubles.nvml.nvml_double import UNKNOWN, Set, State, What

from deploy.broker import node
from pipeline.clock import Clock
from pipeline.codec import Codec
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.messages.control import AckStatus, SignedCommand
from pipeline.messages.telemetry import Tier
from pipeline.settings import Kafka
from pipeline.tiers import floor_w
from pipeline.topics import ACKS, COMMANDS

PROMISE_S = 2.0
"""No GPU is held back longer than this after its lease's end, by the machine's clock."""
RESTART_S = 0.2
"""As long as the unit of the actuator waits (RestartSec in deploy/systemd)."""
SAMPLE_S = 0.02
SLOW_S = 0.05
"""A gap between two samples beyond this is counted."""
GLANCE_S = 0.02
STARE_S = 0.001
"""Between two looks of whoever waits for the moment of a kill."""
PATIENCE_S = 30.0
START_UP_S = 0.7
"""A life younger than this counts as starting up."""
NEAR_S = 0.3
HOUR_S = 3600.0
HEAP_MB = 256
BRIEF_LIFE = 0.2
"""Of the kills are followed by a life of 0.05 to 0.6 s."""
STEP_WHILE_DOWN = 0.5
WHOLE_WIND_DOWN = 0.2
ALONE_S = 6.0
SAFETY_IN_THE_DARK = 0.3
NEVER_NS = 1 << 62


class Card(NamedTuple):
    """One GPU of each host."""

    tier: Tier
    previous_w: float

    @property
    def floor_w(self) -> float:
        """The lowest limit it may ever be given."""
        return floor_w(self.tier, 200, 700)

    def level_w(self, t3_w: float, t2_w: float) -> float:
        """Return where it belongs under caps on both pools."""
        if self.tier is Tier.T0:
            return self.previous_w
        return min(self.previous_w, max(t3_w if self.tier is Tier.T3 else t2_w, self.floor_w))


CARDS = (Card(Tier.T3, 700), Card(Tier.T2, 650), Card(Tier.T3, 600), Card(Tier.T0, 700))


class Round(StrEnum):
    """What happens in a round besides kills."""

    LEASE = "lease"
    SAFETY = "safety"
    """Held until a release is sent."""
    RENEWED = "renewed"
    WIND_DOWN = "wind-down"
    """SIGTERM while the lease holds, and a kill while it lets go."""


ROUNDS = (Round.LEASE, Round.SAFETY, Round.RENEWED, Round.WIND_DOWN, Round.LEASE)


class Opening(StrEnum):
    """What a kill at a lease's beginning waits for."""

    NOTHING = "no kill"
    SENT = "sent"
    RECORDED = "recorded"
    TOUCHED = "first GPU set"
    DONE = "all GPUs set"
    STEPPED = "a step of the clock in place of a kill"


@dataclass(frozen=True)
class Asked:
    """A command and what it means for each GPU. Instants are of CLOCK_MONOTONIC_RAW."""

    signed: SignedCommand
    seq: int
    levels_w: tuple[float, ...]
    signed_ns: int
    lets_go_ns: int
    ends_ns: int
    """`NEVER_NS` of what latches."""


@dataclass
class Sight:
    """The same limits, seen from one sample to another."""

    first_ns: int
    """Before the first look…"""
    seen_ns: int
    """…and after it."""
    last_ns: int
    """Before the last."""
    limits_w: tuple[float, ...]


class Life(NamedTuple):
    """One process."""

    pid: int
    began_ns: int


@dataclass
class Story:
    """All that an oracle knows of one round of one host."""

    asked: list[Asked] = field(default_factory=list)
    let_go_ns: int = NEVER_NS
    """When it was told to let go before the end: by a safety release, or by SIGTERM."""
    lives: list[Life] = field(default_factory=list)
    sets: list[Set] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)


@dataclass
class Verdict:
    """What an oracle makes of it."""

    failures: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    """Of each GPU that was held: when it was last seen below what it had before, after the end of its lease."""
    first_set_s: list[float] = field(default_factory=list)
    """Of each process started after the lease's end that set anything: from its start to its first set."""
    held: int = 0
    """GPUs."""


@dataclass
class Toll:
    """What the kills came to. Spans in seconds of the machine."""

    seed: int
    hosts: int
    kills: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    """Of the kills, each counted once."""
    circumstances: Counter[str] = field(default_factory=Counter)
    """Of the kills, besides."""
    rounds: Counter[str] = field(default_factory=Counter)
    rounds_held: int = 0
    """In which every GPU that may be was held."""
    starts: int = 0
    deaf: int = 0
    """Ended by a SIGTERM that came before the process listens for it: as with a kill, the next goes on."""
    clock_steps: int = 0
    replays: int = 0
    sets: int = 0
    samples: int = 0
    samples_late: int = 0
    """Beyond `SLOW_S`, all hosts together."""
    longest_gap_s: float = 0.0
    leases_judged: int = 0
    """GPUs by leases."""
    latest_s: float = -math.inf
    """When the last GPU was let go of, after its lease's end."""
    p99_s: float = -math.inf
    first_set_median_s: float | None = None
    first_set_max_s: float | None = None
    first_sets: int = 0
    took_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def raw_ns() -> int:
    """Return what the stand-in stamps its sets with: a clock that nobody sets."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


async def until(ns: int) -> None:
    """Wait until an instant of CLOCK_MONOTONIC_RAW, at once if it is over."""
    await asyncio.sleep(max(0.0, _s(ns - raw_ns())))


# ── the oracle ───────────────────────────────────────────────────────────────────────────────────────────────────────


def judge(story: Story) -> Verdict:
    """Return what is wrong with a round whose GPUs are as they were by now."""
    verdict = Verdict()
    reached_ns = [_judge_gpu(story, gpu, card, verdict) for gpu, card in enumerate(CARDS)]
    if len(story.asked) == 1 and all(reached_ns):
        _judge_sights(story, max(filter(None, reached_ns)), verdict)
    for life in story.lives:
        if any(asked.ends_ns < life.began_ns for asked in story.asked):
            verdict.first_set_s += [_s(made.raw_ns - life.began_ns) for made in story.sets if made.pid == life.pid][:1]
    return verdict


def _judge_gpu(story: Story, gpu: int, card: Card, verdict: Verdict) -> int | None:
    """Follow one GPU through its sets; return when it came to a level that was asked for, 1 if none was."""
    made = [one for one in story.sets if one.gpu == gpu]
    if card.tier is Tier.T0:
        verdict.failures += [f"GPU {gpu} is T0 and was set: {one}" for one in made]
        return 1
    now_w, holder, reached_ns = card.previous_w, -1, None
    for one in made:
        if (one.what, one.code) != (What.LIMIT, 0):
            if one.code != UNKNOWN:
                verdict.failures.append(f"GPU {gpu}: {one}")
            continue
        if not card.floor_w <= one.value <= card.previous_w:
            verdict.failures.append(f"GPU {gpu} was set to {one.value} W, outside {card.floor_w} to {card.previous_w}")
        newer = _holder(story, gpu, one, holder)
        if newer > holder:
            holder, reached_ns = newer, one.raw_ns
        elif one.value != now_w and not (_lets_go_ns(story, holder) <= one.raw_ns and one.value > now_w):
            verdict.failures.append(f"GPU {gpu} went from {now_w} to {one.value} W, {_when(story, one.raw_ns)}")
        now_w = one.value
    if holder >= 0:
        verdict.held += 1
        _judge_end(story, gpu, card, holder, verdict)
    return reached_ns


def _holder(story: Story, gpu: int, made: Set, holder: int) -> int:
    """Return the number of the command of which *made* is the level, if it is newer than *holder*; else that."""
    for number, asked in enumerate(story.asked):
        if number > holder and asked.levels_w[gpu] == made.value and asked.signed_ns <= made.raw_ns:
            return number
    return holder


def _lets_go_ns(story: Story, holder: int) -> int:
    return min(story.let_go_ns, story.asked[holder].lets_go_ns) if holder >= 0 else NEVER_NS


def _judge_end(story: Story, gpu: int, card: Card, holder: int, verdict: Verdict) -> None:
    """Compare when one GPU was last held back with the end of the lease that held it."""
    ends_ns = story.asked[holder].ends_ns
    back_ns = [one.raw_ns for one in story.sets if (one.gpu, one.value, one.code) == (gpu, card.previous_w, 0)]
    seen_ns = [sight.last_ns for sight in story.sights if sight.limits_w[gpu] < card.previous_w]
    if ends_ns == NEVER_NS or not (back_ns or seen_ns):
        return
    late_s = _s(max(*back_ns[-1:], *seen_ns[-1:], 0) - ends_ns)
    verdict.late_s.append(late_s)
    if late_s > PROMISE_S:
        verdict.failures.append(f"GPU {gpu} was held {late_s:.3f} s beyond its lease; {_history(story, gpu, ends_ns)}")


def _judge_sights(story: Story, held_ns: int, verdict: Verdict) -> None:
    """Say when a GPU was seen elsewhere than where it belongs, from when all were there until they may be let go."""
    (asked,) = story.asked
    for sight in story.sights:
        is_while_held = sight.first_ns > held_ns and sight.seen_ns < _lets_go_ns(story, 0)
        if is_while_held and sight.limits_w != asked.levels_w:
            verdict.failures.append(f"{sight.limits_w} W were seen, {_when(story, sight.first_ns)}")


def _history(story: Story, gpu: int, since_ns: int) -> str:
    """Say what was started and what was set, and when, seconds after an instant."""
    starts = [(life.began_ns, f"start of {life.pid}") for life in story.lives]
    sets = [(one.raw_ns, f"{one.value:g} W by {one.pid}") for one in story.sets if one.gpu == gpu]
    return ", ".join(f"{_s(at_ns - since_ns):+.3f} {text}" for at_ns, text in sorted(starts + sets))


def _when(story: Story, ns: int) -> str:
    """Say how far from the ends of all leases, or from the beginning, something was."""
    ends = [asked.ends_ns if asked.ends_ns != NEVER_NS else asked.signed_ns for asked in story.asked]
    asked = "; ".join(str(asked.levels_w) for asked in story.asked)
    return f"{', '.join(f'{_s(ns - end):+.3f}' for end in ends)} s from what asked for {asked}"


def _s(span_ns: int) -> float:
    return span_ns / 1e9


# ── what is seen ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Watch:
    """Samples of one host's limits, and the whole log of its sets, of which the stand-in keeps the last 256."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._sets: list[Set] = []
        self._sights: list[Sight] = []
        self._number = 0
        self.lost = 0

    def look(self) -> None:
        """Take a sample."""
        before_ns = raw_ns()
        limits_w = limits_of(self._state)
        after_ns = raw_ns()
        with self._lock:
            if self._sights and self._sights[-1].limits_w == limits_w:
                self._sights[-1].last_ns = before_ns
            else:
                self._sights.append(Sight(before_ns, after_ns, before_ns, limits_w))
            if self._state.sets_made > self._number:
                self._log()

    def take(self) -> tuple[list[Set], list[Sight]]:
        """Return what has been seen since this was called last."""
        with self._lock:
            sets, self._sets = self._sets, []
            sights, self._sights = self._sights, []
        return sets, sights

    @property
    def is_up_to_date(self) -> bool:
        """Whether every set that was made has been taken down."""
        return self._number == self._state.sets_made

    def _log(self) -> None:
        for made in self._state.sets(self._number):
            if made.number != self._number + 1:
                self.lost += 1
            if made.code == UNKNOWN and made.number == self._state.sets_made:
                return  # it is being made just now
            self._number = made.number
            self._sets.append(made)


def limits_of(state: State) -> tuple[float, ...]:
    """Return what has been asked of each GPU, watts."""
    return tuple(gpu.requested_w for gpu in state.gpus)


@contextmanager
def watching(watches: Sequence[Watch], toll: Toll) -> Iterator[None]:
    """Sample inside the block, in a thread."""
    over = threading.Event()

    def look() -> None:
        last_s = time.monotonic()
        while not over.wait(SAMPLE_S):
            for watch in watches:
                watch.look()
            now_s = time.monotonic()
            toll.samples += len(watches)
            toll.longest_gap_s = max(toll.longest_gap_s, now_s - last_s)
            toll.samples_late += now_s - last_s > SLOW_S
            last_s = now_s

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Desk:
    """Sends commands, and hears what was refused, as long as there is a broker."""

    def __init__(self) -> None:
        self.kafka = Kafka()
        """The broker's address, once it has been open."""
        self.refused: dict[str, str] = {}
        """By command id, why."""
        self._open = AsyncExitStack()
        self._sender: Sender | None = None
        self._hearing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything can be sent."""
        return self._sender is not None

    async def open(self, kafka: Kafka) -> None:
        """Connect."""
        self.kafka = kafka
        reader = await self._open.enter_async_context(consumer(kafka, ACKS))
        self._sender = await self._open.enter_async_context(Sender(kafka))
        self._hearing = asyncio.create_task(self._hear(reader))

    async def close(self) -> None:
        """Disconnect; the broker is about to go."""
        self._sender = None
        if self._hearing:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
        await self._open.aclose()

    async def send(self, *commands: SignedCommand) -> None:
        """Return once the broker has *commands*; without one nothing is sent."""
        for command in commands:
            if self._sender:
                await self._sender.send(COMMANDS, command)

    async def _hear(self, reader: object) -> None:
        codec = Codec(ACKS)
        async for record in reader:  # type: ignore[attr-defined]
            ack = codec.decode(record.value)
            if ack.status is AckStatus.REFUSED:
                self.refused[ack.command_id] = ack.reason or ""


# ── what is done ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Victim:
    """One host, and what is done to it."""

    host: GpuHost
    program: tuple[str, ...]
    random: Random
    toll: Toll
    desk: Desk
    watch: Watch
    clock: HostClock | None
    kinds: Iterator[Round]
    process: "subprocess.Popen[bytes] | None" = None
    story: Story = field(default_factory=Story)
    old: list[SignedCommand] = field(default_factory=list)
    """Sent again after every start, to be refused."""
    seq: int = 0
    late_s: list[float] = field(default_factory=list)
    first_set_s: list[float] = field(default_factory=list)

    @classmethod
    def make(cls, number: int, folder: Path, toll: Toll, desk: Desk, program: tuple[str, ...]) -> "Victim":
        """Return host *number*, nothing running; the first lives by a clock that is stepped."""
        host = GpuHost.make(f"killed-{toll.seed}-{number}", folder / str(number), gpus=len(CARDS))
        for gpu, card in zip(host.state.gpus, CARDS, strict=True):
            gpu.requested_mw = round(card.previous_w * 1000)
        (host.folder / "map.toml").write_text(
            "\n".join(
                f'["{host.state.uuid(gpu)}"]\njob = "job-{card.tier}"\ntier = "{card.tier}"\nworkload = "training"\n'
                for gpu, card in enumerate(CARDS)
            )
        )
        host.configure(desk.kafka, Clock())
        host.amend("[actuator]", "[actuator]\nmin_release_s = 0.5")  # ways back here take a second or two
        # As installed: pip compiles what it installs, and a start that compiles takes three times as long.
        host.extra = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        clock = None
        if number == 0:
            library = hostclock.compile(host.folder)
            assert library
            clock = HostClock(library)
            host.extra |= clock.environment()
        kinds = (ROUNDS[index % len(ROUNDS)] for index in count(number))
        return cls(host, program, Random(f"{toll.seed}-{number}"), toll, desk, Watch(host.state), clock, kinds)

    def start(self) -> None:
        """Start the actuator."""
        line = [*self.program, "actuate", "--config", str(self.host.config)]
        began_ns = raw_ns()
        with (self.host.folder / "actuate.log").open("w") as log:
            self.process = subprocess.Popen(line, env=self.host._environment(), stderr=log)
        self.host.processes = [self.process]
        self.story.lives.append(Life(self.process.pid, began_ns))
        self.toll.starts += 1

    def step(self) -> None:
        """Step the host's clock to an hour before or after the true time, or back to it."""
        if self.clock:
            offsets = {-HOUR_S, 0.0, HOUR_S} - {self.clock.offset_s}
            self.clock.step(self.random.choice(sorted(offsets)) - self.clock.offset_s)
            self.toll.clock_steps += 1

    async def kill(self) -> None:
        """Kill the actuator, and start it again; in between it may live briefly, and the clock may be stepped."""
        self._end_life(None)
        if self.random.random() < BRIEF_LIFE:
            await asyncio.sleep(RESTART_S)
            self.start()
            await asyncio.sleep(self.random.uniform(0.05, 0.6))
            self._end_life("starting up")
        is_released = bool(self.story.asked) and self.story.asked[-1].ends_ns == NEVER_NS != self.story.let_go_ns
        if self.random.random() < STEP_WHILE_DOWN and self.is_recorded() and not is_released:
            self.step()  # not before a release is heard: it would be refused, as it should be
        await self.restart()

    async def restart(self) -> None:
        """Start the actuator as a service manager does, and send it what it has heard before."""
        await asyncio.sleep(RESTART_S)
        self.start()
        await self.desk.send(*self.old)
        self.toll.replays += len(self.old) * self.desk.is_open

    def _end_life(self, moment: str | None) -> None:
        assert self.process
        code, at_ns, is_open = self.process.poll(), raw_ns(), self.desk.is_open
        if code is None:
            self.process.kill()
            self.process.wait()
            self.toll.kills += 1
            self.toll.moments[moment or self._moment(at_ns)] += 1
            latched = bool(self.story.asked) and self.story.asked[0].ends_ns == NEVER_NS
            is_off = self.clock is not None and self.clock.offset_s != 0
            marks = {"safety": latched, "Kafka away": not is_open, "clock off by an hour": is_off}
            self.toll.circumstances.update(mark for mark, holds in marks.items() if holds)
        elif code == -signal.SIGTERM and self.story.let_go_ns != NEVER_NS:
            self.toll.deaf += 1
        elif code or self.story.let_go_ns == NEVER_NS:
            self.fail(f"it ended by itself with {code}: {self.host.log('actuate')[-1000:]}")
        if "Traceback" in self.host.log("actuate"):
            self.fail(self.host.log("actuate")[-2000:])

    def _moment(self, at_ns: int) -> str:
        """Say what a kill at *at_ns* has hit; the GPUs are as it left them."""
        if not self.story.asked:
            return "idle"
        asked, is_told = self.story.asked[-1], self.story.let_go_ns != NEVER_NS
        is_new = _s(at_ns - asked.signed_ns) < 2 * NEAR_S
        renewal = "renewal: " if is_new and len(self.story.asked) > 1 else ""
        levels = [
            (found_w, level_w)
            for found_w, level_w, card in zip(limits_of(self.host.state), asked.levels_w, CARDS, strict=True)
            if card.tier is not Tier.T0
        ]
        at_level = sum(found_w == level_w for found_w, level_w in levels)
        moments = (
            (_s(at_ns - self.story.lives[-1].began_ns) < START_UP_S, "starting up"),
            (is_told and asked.ends_ns != NEVER_NS, "winding down after SIGTERM"),
            (is_told, "way back"),
            (abs(_s(at_ns - asked.ends_ns)) < NEAR_S, "within 0.3 s of the end"),
            (at_ns >= asked.ends_ns, "after the end"),
            (at_ns >= asked.lets_go_ns, "way back"),
            (not self.is_recorded(), f"{renewal}sent, not journalled"),
            (not at_level, f"{renewal}journalled, nothing set"),
            (at_level < len(levels), f"{renewal}some GPUs set, others not"),
            (is_new, f"{renewal}set a moment ago"),
        )
        return next((moment for holds, moment in moments if holds), "held")

    def fail(self, text: str) -> None:
        """Note what went wrong on this host."""
        self.toll.failures.append(f"{self.host.name}, {sum(self.toll.rounds.values())} rounds: {text}")

    def journal(self) -> dict[str, object]:
        """Return what the journal says."""
        try:
            found: dict[str, object] = json.loads(self.host.journal.read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def is_recorded(self) -> bool:
        """Tell whether the newest command is in the journal."""
        return bool(self.story.asked) and self.journal().get("highest_seq") == self.story.asked[-1].seq

    def is_ready(self) -> bool:
        """Tell whether the process that runs has heard from Kafka."""
        return "ready" in self.host.log("actuate")

    def is_at(self, levels_w: Sequence[float]) -> bool:
        """Tell whether these limits are in force."""
        return limits_of(self.host.state) == tuple(levels_w)

    def is_as_before(self) -> bool:
        """Tell whether every limit is what it was, and the journal knows of nothing that is not."""
        journal = self.journal()
        return self.is_at([card.previous_w for card in CARDS]) and not (journal.get("touched") or journal.get("leases"))

    async def spy(self, seen: Callable[[], bool], until_ns: int | None = None, every_s: float = GLANCE_S) -> bool:
        """Wait until something is *seen*, or until an instant; tell which."""
        until_ns = until_ns or raw_ns() + round(PATIENCE_S * 1e9)
        while not seen():
            if raw_ns() >= until_ns:
                return False
            await asyncio.sleep(every_s)
        return True

    # ── one round ──

    def sign(
        self,
        seq: int,
        caps_w: tuple[float, float],
        lasts_s: float,
        release_s: float,
        *,
        kind: Literal["economic", "safety"] = "economic",
        begins: datetime | None = None,
        word: str = "",
    ) -> Asked:
        """Return a lease for all GPUs that begins now; caps of T3 and of T2."""
        begins, at_ns = begins or Clock().now(), raw_ns()
        command = lease(
            seq,
            cap(caps_w[0], Tier.T3),
            cap(caps_w[1], Tier.T2),
            begins=begins,
            lasts_s=lasts_s,
            host=self.host.name,
            kind=kind,
            release_s=release_s,
            award_id=f"award{word}",
        )
        ends_ns = at_ns + round(lasts_s * 1e9)
        lets_go_ns = ends_ns - round(release_s * 1e9)
        if kind == "safety":
            ends_ns = lets_go_ns = NEVER_NS
        levels_w = tuple(card.level_w(*caps_w) for card in CARDS)
        return Asked(signed(command), seq, levels_w, at_ns, lets_go_ns, ends_ns)

    async def round(self) -> None:
        """Go through one round from beginning to end."""
        kind = next(self.kinds)
        await self.begin(kind)
        match kind:
            case Round.SAFETY:
                await self.suffer_safety()
            case Round.WIND_DOWN:
                await self.wind_down()
            case Round.RENEWED:
                await self.renew()
                await self.suffer()
            case _:
                await self.suffer()
        await self.end(kind)

    async def begin(self, kind: Round, openings: Sequence[Opening] = (), lasts_s: tuple[float, float] = (4, 8)) -> None:
        """Send a lease, with a kill at its beginning or none, and wait until it is in force, or is not any more."""
        opening = self.random.choice(openings or self._openings())
        for gpu in range(len(CARDS)):
            lowest_ms = 40 if opening is Opening.RECORDED else 2
            self.host.state.set_latency(self.random.randint(lowest_ms, 80), gpu)
        is_low = kind is Round.RENEWED or self.random.random() < 0.8
        caps_w = self._caps(0) if is_low else (100.0, 250.0)
        self.seq += 2
        lasting_s, release_s = self.random.uniform(*lasts_s), self.random.uniform(1, 2)
        word: Literal["economic", "safety"] = "safety" if kind is Round.SAFETY else "economic"
        asked = self.sign(self.seq, caps_w, lasting_s, release_s, kind=word)
        overtaken = self.sign(self.seq - 1, (210, 350), lasting_s, release_s, kind=word)
        self.old = [] if opening is Opening.STEPPED else [overtaken.signed, asked.signed]
        await self.send(asked, opening)

    def _openings(self) -> list[Opening]:
        none = [Opening.NOTHING] * 2
        kills = [Opening.SENT, Opening.RECORDED, Opening.TOUCHED, Opening.DONE]
        return [*none, *kills, Opening.STEPPED] if self.clock else [*none, *kills]

    def _caps(self, number: int) -> tuple[float, float]:
        """Return caps of T3 and T2, unlike those of another *number*."""
        low = (self.random.randint(220, 380), self.random.randint(360, 450))
        high = (self.random.randint(390, 560), self.random.randint(460, 600))
        return high if number else low

    async def send(self, asked: Asked, opening: Opening) -> None:
        """Send a command, with a kill or a step in the midst of it, and wait until it is in force."""
        made, state = self.host.state.sets_made, self.host.state
        self.story.asked.append(asked)
        sending = asyncio.create_task(self.desk.send(asked.signed))
        until_ns = min(asked.lets_go_ns, raw_ns() + round(PATIENCE_S * 1e9))
        match opening:
            case Opening.SENT:
                await asyncio.sleep(self.random.uniform(0, 0.03))
            case Opening.RECORDED:
                await self.spy(self.is_recorded, until_ns, STARE_S)
            case Opening.TOUCHED:
                await self.spy(lambda: state.sets_made > made, until_ns, STARE_S)
            case Opening.DONE:
                await self.spy(lambda: self.is_at(asked.levels_w), until_ns, STARE_S)
                await asyncio.sleep(self.random.uniform(0, 0.06))
            case Opening.STEPPED:
                await asyncio.sleep(self.random.uniform(0, 0.04))
                self.step()
        if opening not in {Opening.NOTHING, Opening.STEPPED}:
            await self.kill()
        await sending
        await self.spy(lambda: self.is_at(asked.levels_w), until_ns)

    async def renew(self) -> None:
        """Send another lease while the first holds; it takes over."""
        first = self.story.asked[-1]
        await until(self._between_ns(raw_ns(), (raw_ns() + first.lets_go_ns) // 2))
        self.seq += 1
        asked = self.sign(self.seq, self._caps(1), self.random.uniform(5, 8), self.random.uniform(1, 2))
        kills = [Opening.SENT, Opening.RECORDED, Opening.TOUCHED, Opening.DONE]
        if self.clock:
            self.clock.mend()  # or it is refused, as it should be
        await self.send(asked, self.random.choice(kills))

    async def suffer(self) -> None:
        """Be killed once or twice before the lease is over, or just after; and have the clock stepped."""
        asked, now_ns = self.story.asked[-1], raw_ns()
        near_ns = round(NEAR_S * 1e9)
        spans = {
            "held": (now_ns, asked.lets_go_ns),
            "way back": (asked.lets_go_ns, asked.ends_ns),
            "stroke": (asked.lets_go_ns - near_ns, asked.ends_ns - near_ns),
            "end": (asked.ends_ns - near_ns, asked.ends_ns + near_ns),
        }
        doing = [(self._between_ns(*spans[name]), name) for name in self.random.sample(sorted(spans), 2)]
        doing = doing[: self.random.randint(1, 2)]
        if self.clock and self.is_recorded():
            steps = self.random.randint(2, 4)
            doing += [(self._between_ns(now_ns, asked.ends_ns + near_ns), "step") for _ in range(steps)]
        for at_ns, name in sorted(doing):
            await until(at_ns)
            if name == "step":
                self.step()
                continue
            if name == "stroke":
                await self.stroke(asked.ends_ns)
            await self.kill()

    async def stroke(self, until_ns: int) -> None:
        """Wait for the next set."""
        made, state = self.host.state.sets_made, self.host.state
        await self.spy(lambda: state.sets_made > made, until_ns, STARE_S)

    async def suffer_safety(self) -> None:
        """
        Be killed again and again while a safety cap holds, and then be left alone.

        Who has forgotten it lets go in stages of five seconds, the first of them within five.
        """
        now_ns = raw_ns()
        until_ns = now_ns + round(self.random.uniform(2, 4) * 1e9)
        doing = [(self._between_ns(now_ns, until_ns), "kill") for _ in range(self.random.randint(2, 3))]
        if self.clock and self.is_recorded():
            doing += [(self._between_ns(now_ns, until_ns), "step") for _ in range(self.random.randint(2, 4))]
        for at_ns, name in sorted(doing):
            await until(at_ns)
            if name == "step":
                self.step()
            else:
                await self.kill()
        await until(raw_ns() + round(ALONE_S * 1e9))

    async def wind_down(self) -> None:
        """Be asked to end while the lease holds, and be killed before that is done, or not at all."""
        asked = self.story.asked[-1]
        await until(self._between_ns(raw_ns(), asked.lets_go_ns))
        assert self.process
        self.story.let_go_ns = raw_ns()
        self.process.send_signal(signal.SIGTERM)
        if self.random.random() < WHOLE_WIND_DOWN:
            process = self.process
            await self.spy(lambda: process.poll() is not None)
            self._end_life(None)
            await self.restart()
        else:
            left_s = max(0.1, _s(asked.ends_ns - raw_ns()))
            await asyncio.sleep(self.random.uniform(0, 0.8 * min(left_s, 4)))
            await self.kill()

    async def end(self, kind: Round) -> None:
        """Release what latches, wait until all is as it was, and judge."""
        if kind is Round.SAFETY:
            await self.release()
        asked = self.story.asked[-1]
        ends_ns = raw_ns() if asked.ends_ns == NEVER_NS else asked.ends_ns
        await until(ends_ns)
        is_back = await self.spy(self.is_as_before)
        if not is_back:
            journal = self.journal()
            left = {name: journal.get(name) for name in ("highest_seq", "touched")}
            self.fail(f"{kind}: {limits_of(self.host.state)} W; {left}; {self.host.log('actuate')[-1500:]}")
        if self.clock:
            self.clock.mend()
        await self.try_an_old_number()
        self.tell(kind)
        if not self.is_as_before():
            self.heal()

    async def release(self) -> None:
        """Send the signed end of a safety cap, with a kill or two in the midst of it."""
        if self.clock:
            self.clock.mend()
        self.seq += 1
        lasts_s, release_s = 60.0, self.random.uniform(1, 2)
        command = lease(
            self.seq,
            begins=Clock().now(),
            lasts_s=lasts_s,
            host=self.host.name,
            kind="safety",
            release_s=release_s,
        )
        self.story.let_go_ns = raw_ns()
        sending = asyncio.create_task(self.desk.send(signed(command)))
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.uniform(0, 0.1))
            await self.kill()
        await sending
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.uniform(0, release_s))
            await self.kill()

    async def try_an_old_number(self) -> None:
        """Send a lease that is good but for its number, which was used; it must be refused for that."""
        if not (self.desk.is_open and self.is_recorded_once()):
            return
        await self.spy(self.is_ready)
        command_id = f"{self.host.name}-{self.seq}"
        self.desk.refused.pop(command_id, None)
        for attempt in range(15):  # what comes while it connects is history to it, and not answered
            await self.desk.send(self.sign(self.seq, (210, 350), 30, 1, word=f"-{attempt}").signed)
            self.toll.replays += 1
            if await self.spy(lambda: command_id in self.desk.refused, raw_ns() + round(2e9)):
                if not self.desk.refused[command_id].startswith("replayed"):
                    self.fail(f"an old number: {self.desk.refused[command_id]}")
                return
        self.fail("an old number was not refused")

    def is_recorded_once(self) -> bool:
        """Tell whether the newest number was accepted."""
        return self.journal().get("highest_seq") == self.seq

    def tell(self, kind: Round) -> None:
        """Judge the round, and begin another story."""
        deadline_s = time.monotonic() + 1
        while not self.watch.is_up_to_date and time.monotonic() < deadline_s:
            time.sleep(SAMPLE_S)
        self.story.sets, self.story.sights = self.watch.take()
        verdict = judge(self.story)
        if verdict.failures:
            verdict.failures.append(f"its last log: {self.host.log('actuate')[-1500:]}")
        for text in verdict.failures:
            self.fail(f"{kind}: {text}")
        if self.watch.lost:
            self.fail(f"{self.watch.lost} gaps in the log of sets")
        self.toll.rounds[kind] += 1
        self.toll.rounds_held += verdict.held == len(CARDS) - 1
        self.toll.sets += len(self.story.sets)
        self.late_s += verdict.late_s
        self.first_set_s += verdict.first_set_s
        self.story = Story(lives=self.story.lives[-1:])

    def heal(self) -> None:
        """Put right by hand what the actuator has not, so that the next round begins like any other."""
        assert self.process
        self.process.kill()
        self.process.wait()
        for gpu, card in zip(self.host.state.gpus, CARDS, strict=True):
            gpu.requested_mw = round(card.previous_w * 1000)
        self.host.journal.unlink(missing_ok=True)
        self.watch.look()
        self.watch.take()
        self.start()

    def _between_ns(self, first_ns: int, last_ns: int) -> int:
        return round(self.random.uniform(first_ns, max(first_ns, last_ns)))


async def lose_kafka(victims: Sequence[Victim], desk: Desk, broker: Path) -> None:
    """Let Kafka go away while every host is held, and come back once all leases are over."""
    kinds = [Round.SAFETY if victim.random.random() < SAFETY_IN_THE_DARK else Round.LEASE for victim in victims]
    openings = [Opening.NOTHING, Opening.DONE]
    await asyncio.gather(*(victim.begin(kind, openings, (7, 10)) for victim, kind in zip(victims, kinds, strict=True)))
    await desk.close()
    before = desk.kafka
    await asyncio.to_thread(node.stop, broker)
    await asyncio.gather(
        *(
            victim.suffer_safety() if kind is Round.SAFETY else victim.suffer()
            for victim, kind in zip(victims, kinds, strict=True)
        )
    )
    await asyncio.gather(
        *(victim.spy(victim.is_as_before) for victim, kind in zip(victims, kinds, strict=True) if kind is Round.LEASE)
    )
    again = await node.start(broker, heap_mb=HEAP_MB, detach=False)
    assert again.kafka == before
    await desk.open(again.kafka)
    await asyncio.gather(*(victim.end(kind) for victim, kind in zip(victims, kinds, strict=True)))


async def _run(folder: Path, kills: int, toll: Toll, program: tuple[str, ...], *, rounds: int, enough: int) -> None:
    broker = folder / "broker"
    victims: list[Victim] = []
    try:
        kafka = (await node.start(broker, heap_mb=HEAP_MB, detach=False)).kafka
        await ensure_topics(kafka, [COMMANDS, ACKS])
        desk = Desk()
        await desk.open(kafka)
        victims += [Victim.make(number, folder, toll, desk, program) for number in range(toll.hosts)]
        with watching([victim.watch for victim in victims], toll):
            for victim in victims:
                victim.start()
                await victim.spy(victim.is_ready)
            while toll.kills < kills and len(toll.failures) < enough:
                for _ in range(rounds):
                    await asyncio.gather(*(victim.round() for victim in victims))
                if len(toll.failures) < enough:
                    await lose_kafka(victims, desk, broker)
        await desk.close()
    finally:
        for victim in victims:
            victim.host.stop()
        node.stop(broker)
    late_s = sorted(late for victim in victims for late in victim.late_s)
    first_s = [first for victim in victims for first in victim.first_set_s]
    toll.leases_judged, toll.first_sets = len(late_s), len(first_s)
    if late_s:
        toll.latest_s, toll.p99_s = round(late_s[-1], 3), round(late_s[math.ceil(0.99 * len(late_s)) - 1], 3)
    if first_s:
        toll.first_set_median_s, toll.first_set_max_s = round(statistics.median(first_s), 3), round(max(first_s), 3)


def kill_again_and_again(
    folder: Path,
    kills: int,
    seed: int,
    *,
    hosts: int = 3,
    rounds: int = 2,
    program: tuple[str, ...] = (),
    enough: int = 50,
) -> Toll:
    """
    Return what at least so many kills come to; it ends early when *enough* has gone wrong.

    Kafka goes away after every so many *rounds* of each host.
    *program* is started in place of `firmwatt`, with the same arguments.
    """
    toll, began_s = Toll(seed, hosts), time.monotonic()
    firmwatt = (str(Path(sys.executable).with_name("firmwatt")),)
    asyncio.run(_run(folder, kills, toll, program or firmwatt, rounds=rounds, enough=enough))
    toll.took_s = round(time.monotonic() - began_s, 1)
    toll.longest_gap_s = round(toll.longest_gap_s, 3)
    return toll
