"""The stage of a run of the failure harness: a load, workers under a supervisor, readers of what comes out."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Self
from uuid import uuid4

import msgspec
from doubles.fault_proxy import PASS, FaultProxy
from doubles.stream import archive, fleet, sender
from doubles.stream.faults import Kind, line, stopped_s
from doubles.stream.oracle import Seen
from doubles.stream.tail import Read, Tail
from doubles.stream.workers import CLI, LEAVE_WITHIN_S, Member, Place, Workforce

from deploy import supervise
from pipeline.clock import real_clock_from
from pipeline.interval import floor
from pipeline.messages.telemetry import SiteCapacity, SiteInterval
from pipeline.settings import Kafka
from pipeline.topics import SITE_CAPACITY, SITE_INTERVALS

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
PATIENCE = float(os.environ.get("FIRMWATT_PATIENCE", "1"))
LONGEST_S = 24 * 3600
SECOND, SOON = timedelta(seconds=1), timedelta(seconds=5)
LOOK_S, TORN_EVERY_S = 0.05, 0.5
READY_S, RECOVERED_S, SETTLED_S, ARCHIVED_S = 90.0, 60.0, 90.0, 30.0
SENDER = Path(sender.__file__)
TESTS = SENDER.parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a run consists of."""

    seed: int
    workers: int
    faults: Sequence[Kind]
    hosts: int = 24
    speed: float = 5.0
    between_s: tuple[int, int] = fleet.BETWEEN_S
    """In peace, each host, between what happens to it."""
    entry: Sequence[str] = CLI
    before_s: float = 4.0
    """Load before the first fault, and after the last is over, machine time."""
    settled_s: float = SETTLED_S
    """How long figures may take to come right after the last tick."""


@dataclass(eq=False)
class Stage:
    """Load, workers and readers of a run; a context manager."""

    scenario: Scenario
    kafka: Kafka
    """As the load and the readers see it."""
    force: Workforce
    proxy: FaultProxy | None
    random: Random
    seen: Seen = field(default_factory=Seen)
    intervals: list[Read[SiteInterval]] = field(default_factory=list)
    capacities: list[SiteCapacity] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    torn: set[str] = field(default_factory=set)
    _torn_at: float = 0.0

    @property
    def place(self) -> Place:
        """Where the workers are."""
        return self.force.place

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.force)
            self._intervals = stack.enter_context(Tail(self.kafka, SITE_INTERVALS))
            self._capacities = stack.enter_context(Tail(self.kafka, SITE_CAPACITY))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def look(self) -> None:
        """Let the supervisor look, and read what is new."""
        self.force.look()
        for read in self._intervals.read():
            if read.message.site in self.place.sites:
                self.intervals.append(read)
                self.seen.take(read.message)
        self.capacities += (
            read.message for read in self._capacities.read() if read.message.site == self.place.sites[0]
        )
        if time.monotonic() >= self._torn_at:
            self._torn_at = time.monotonic() + TORN_EVERY_S
            self.torn |= archive.torn(self.place.archive_path)

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> bool:
        """Look again and again until *condition* holds; note a failure after *seconds*."""
        deadline = time.monotonic() + seconds * PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.failures.append(f"waited {seconds:g} s for {what}")
                return False
            self.look()
            time.sleep(LOOK_S)
        return True

    def wait(self, seconds: float) -> None:
        """Let machine time pass."""
        over = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= over, seconds + 1, "time to pass")

    def is_whole(self, since: datetime) -> bool:
        """Tell whether a figure of all partitions has come that rests on nothing older than *since*."""
        newest = self.capacities[-1] if self.capacities else None
        return newest is not None and newest.as_of > since and newest.partitions == newest.partitions_expected

    def recovered(self, after: str) -> None:
        """Wait until the figures are whole again."""
        now = self.place.clock.now()
        self.until(lambda: self.is_whole(now), RECOVERED_S, f"whole figures after {after}")

    def begin(self) -> "tuple[fleet.Plan, subprocess.Popen[bytes], Path]":
        """Start the workers, then the load, and return once figures are whole; raise where they never are."""
        crew = [self.force.hire() for _ in range(self.scenario.workers)]
        self.until(lambda: all(member.ready for member in crew), READY_S, "all workers to be ready")
        begun = self.start_load()
        self.until(lambda: self.is_whole(begun[0].start), RECOVERED_S, "the first whole figures")
        if self.failures:
            raise RuntimeError(f"{'; '.join(self.failures)}: {'; '.join(self.force.complaints[-3:])}")
        return begun

    def start_load(self) -> tuple[fleet.Plan, "subprocess.Popen[bytes]", Path]:
        """Let the hosts of the scenario send, from now on."""
        start = floor(self.place.clock.now(), SECOND) + SOON
        plan = fleet.Plan(
            seed=self.scenario.seed,
            sites=self.place.sites,
            hosts=self.scenario.hosts,
            start=start,
            seconds=LONGEST_S,
            between_s=self.scenario.between_s,
        )
        told = self.place.folder / "acknowledged.json"
        order = sender.Order(plan=plan, kafka=self.kafka, clock=str(self.place.clock), acknowledged=told)
        order.write(path := self.place.folder / "order.json")
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        line = [sys.executable, str(SENDER), str(path)]
        return plan, supervise.start(line, log=self.place.folder / "sender.log", env=environment), told

    def end_load(self, process: "subprocess.Popen[bytes]", told: Path) -> sender.Sent:
        """Let the hosts send nothing more; return what was acknowledged."""
        process.terminate()
        self.until(lambda: process.poll() is not None, 60, "the load to be acknowledged")
        if process.poll() != 0:
            raise RuntimeError(f"the load ended with {process.poll()}: {self.place.folder / 'sender.log'}")
        return msgspec.json.decode(told.read_bytes(), type=sender.Sent)

    def strike(self, kind: Kind) -> None:
        """Let a fault of *kind* happen; return once its own part is over."""
        if kind is Kind.JOIN:
            member = self.force.hire()
            self.until(lambda: member.ready, READY_S, f"{member.name} to be ready")
        elif kind is Kind.LEAVE:
            leaver = self._victim()
            self.force.dismiss(leaver)
            self.until(lambda: leaver not in self.force.members, LEAVE_WITHIN_S, f"{leaver.name} to leave")
        elif kind is Kind.KILL:
            self.force.kill(self._victim())
        elif kind is Kind.STOP:
            self._stop(self._victim())
        elif self.proxy is None:
            raise ValueError(f"{kind} needs a proxy")
        elif kind is Kind.RESET:
            self.proxy.reset()
        else:
            ordered, span = line(self.random, kind)
            self.proxy.order(ordered)
            self.wait(span.total_seconds())
            self.proxy.order(PASS)

    def _victim(self) -> Member:
        running = [member for member in self.force.working if member.process.poll() is None]
        if not running:
            self.until(lambda: any(one.process.poll() is None for one in self.force.working), 30, "somebody to run")
            return self._victim()
        return self.random.choice(running)

    def _stop(self, member: Member) -> None:
        process = member.process
        process.send_signal(signal.SIGSTOP)
        try:
            self.wait(stopped_s(self.random))
        finally:
            process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Let all workers leave; each must do so cleanly."""
        for member in self.force.working:
            self.force.dismiss(member)
        self.until(lambda: not self.force.members, LEAVE_WITHIN_S, "all workers to leave")


def place(folder: Path, kafka: Kafka, scenario: Scenario, storage: Path | None = None) -> Place:
    """Return a place for *scenario* with names of its own."""
    site = f"s{scenario.seed}-{uuid4().hex[:6]}"
    clock = real_clock_from(NOON, scenario.speed)
    home = folder / site
    home.mkdir(parents=True)
    return Place(
        folder=home, kafka=kafka, clock=clock, sites=(site, f"{site}-b"), entry=scenario.entry, archive=storage
    )
