"""
A submitter process that is killed, or stopped, again and again, and the count of what went wrong.

    1 journal ─▶ process 1 ✗ ─▶ process 2 ✗ ─▶ … ─▶ process n ✗ ─▶ the last one resolves what is open, and compares
                    └─ the plan of `bidder`, over a slow wire, to a venue that loses replies after having applied

A process that is stopped goes on once the next one has taken over, as one that is stale.
"""

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec
from doubles import venue
from doubles.bid_oracle import Verdict, judge
from doubles.bidder import AT_ONCE, FENCED, MOST_ITEMS, ORIGIN, SPEED, SUBMIT_TIMEOUT_S, Build, Life, live
from doubles.slow_wire import slow_wire

from bidding.fence import up_s
from bidding.journal import read, read_lease
from bidding.ledger import fold
from pipeline.clock import Clock, real_clock_from

LONGEST_LIFE = 40
"""Journal records, some ten offers: a life in work done, so that a slow machine kills at the same points."""
LAST_BREATH_S = 0.02
READY_WITHIN_S = 60.0
ENDS_WITHIN_S = 20.0
"""A stale primary that goes on: long, because a busy machine is no bug, and one without a fence goes on for ever."""
LAST_LIVES = 5
LAST_WITHIN_S = 120.0
"""The last life has everything open to resolve; one that does not come to its end is killed, and called unexpected."""
SPAWNED = 15
"""One life in so many starts a new interpreter."""
FAULTS = {"lose_replies": 0.2, "late_replies": 0.05, "late_s": 0.6, "partial_share": 0.05, "cancel_share": 0.02}
IMPORTED = ("doubles.bidder", "anyio._backends._asyncio", "httpcore", "h11", "encodings.idna")
"""What an interpreter has read before the program's first own instruction, also what is read at the first request."""
SLOW_SHARE, SLOW_MOST_S = 0.05, 0.2


class Lived(msgspec.Struct, frozen=True):
    """What a life said once everything open was resolved; machine seconds."""

    open: int
    epoch: int
    started_s: float
    entered_s: float
    taken_s: float
    resolved_s: float
    pid: int


@dataclass(frozen=True)
class Toll:
    """What the kills cost, and how long it took each time until everything open was resolved."""

    kills: int
    stops: int
    verdict: Verdict
    starved: int
    """Primaries that could not beat for half of the takeover time, and so ended before anybody had ended them."""
    unexpected: tuple[str, ...]
    """Processes that ended otherwise than they should."""
    recovery_s: tuple[float, ...]
    """After a kill, from the process's first own instruction on; those that were killed before they had are missing."""
    recovery_with_interpreter_s: tuple[float, ...]
    """The same from the moment its parent started it, where that meant a new interpreter."""

    @property
    def wrong(self) -> dict[str, int]:
        """What is not nothing and has to be."""
        return self.verdict.wrong | ({"unexpected": len(self.unexpected)} if self.unexpected else {})

    @property
    def summary(self) -> dict[str, object]:
        """Everything, as JSON takes it."""
        return {
            "kills": self.kills,
            "stops": self.stops,
            **asdict(self.verdict),
            "starved": self.starved,
            "unexpected": self.unexpected,
            "recovery_s": spread(self.recovery_s),
            "recovery_with_interpreter_s": spread(self.recovery_with_interpreter_s),
            "wrong": self.wrong,
        }


def spread(figures: tuple[float, ...]) -> dict[str, float]:
    """Return the number of *figures*, their median, 99th percentile (nearest rank) and largest."""
    ordered = sorted(figures)
    if not ordered:
        return {"n": 0}

    def rank(share: float) -> float:
        return round(ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)], 3)

    return {"n": len(ordered), "p50": rank(0.5), "p99": rank(0.99), "max": round(ordered[-1], 3)}


@dataclass
class Stage:
    """A venue behind a slow wire, one journal, and processes to start."""

    folder: Path
    word: str
    build: Callable[[], Build]
    compared_at: datetime = ORIGIN
    """When the last process began."""

    @property
    def journal(self) -> Path:
        """Ours."""
        return self.folder / "journal"

    @property
    def venue_journal(self) -> Path:
        """The venue's."""
        return self.folder / "venue.jsonl"

    def start(self, kind: str = "forkserver", items: int = MOST_ITEMS, *, last: bool = False) -> BaseProcess:
        """Return a process at work; *kind* ``spawn`` starts a new interpreter."""
        context = multiprocessing.get_context(kind)
        life = Life(
            config=self.folder / "firmwatt.toml",
            journal=self.journal,
            word=self.word,
            lives=self.folder / "lives",
            started_s=up_s(),
            items=items,
            last=last,
        )
        process: BaseProcess = context.Process(  # type: ignore[attr-defined] # of every kind
            target=live, args=(life, self.build), daemon=True
        )
        process.start()
        return process

    def lived(self) -> list[Lived]:
        """Return what the lives have said so far; a last line that is not whole is left out."""
        path = self.folder / "lives"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [msgspec.json.decode(line, type=Lived) for line in lines if line.endswith(b"\n")]

    def finish(self) -> int:
        """Bring what was begun to its end, everything compared with the venue; return the last process's exit code."""
        self.compared_at = Clock.parse(self.word).now()
        begun = [int(record.offer.resource[1:]) for record in fold(read(self.journal)).offers.values()]
        items = (max(begun, default=0) // AT_ONCE + 1) * AT_ONCE
        for _ in range(LAST_LIVES):  # on a busy machine one may not beat in time and end, as it has to
            last = self.start(items=items, last=True)
            last.join(LAST_WITHIN_S)
            if last.is_alive():
                last.kill()
                last.join()
            if last.exitcode != FENCED:
                break
        return last.exitcode or 0


@contextmanager
def staged(folder: Path, seed: int, build: Callable[[], Build]) -> Iterator[Stage]:
    """Yield the stage; the venue ends with it."""
    word = str(real_clock_from(ORIGIN, SPEED))
    multiprocessing.get_context("forkserver").set_forkserver_preload(["__main__", *IMPORTED, build.__module__])
    stage = Stage(folder, word, build)
    with (
        venue.start(folder, word, journal=stage.venue_journal, min_mw="0.01", seed=seed, **FAULTS) as url,
        slow_wire(url, SLOW_SHARE, SLOW_MOST_S, seed) as wire,
    ):
        settings = f'[venue.sandbox]\nurl = "{wire}"\nsubmit_timeout_s = {SUBMIT_TIMEOUT_S}\n'
        (folder / "firmwatt.toml").write_text(settings, encoding="utf-8")
        yield stage


def kill_again_and_again(
    folder: Path, kills: int, seed: int, build: Callable[[], Build] = Build, stop_share: float = 0.1
) -> Toll:
    """Return what *kills* ends at random points come to; *stop_share* of them are stops that go on later, stale."""
    draw, unexpected, stops, starved, spawned = random.Random(seed), list[str](), 0, 0, set[int]()
    with staged(folder, seed, build) as stage:
        for life in range(kills):
            kind = "spawn" if life % SPAWNED == SPAWNED - 1 else "forkserver"
            process = stage.start(kind)
            spawned |= {process.pid or 0} if kind == "spawn" else set()
            _let_live(stage, process, draw)
            if process.is_alive() and draw.random() < stop_share:
                stops += 1
                unexpected += _stop_and_go_on(stage, process, draw)
            elif process.is_alive():
                process.kill()
                process.join()
            else:
                process.join()
                starved += process.exitcode == FENCED
                if process.exitcode != FENCED:
                    unexpected.append(f"life {life} ended by itself with {process.exitcode}")
        if code := stage.finish():
            unexpected.append(f"the last life ended with {code}")
        lived = stage.lived()
    after_kill = [one for one in lived if one.taken_s - one.entered_s < 1.0]  # not waiting for a silence
    return Toll(
        kills=kills - stops - starved,
        stops=stops,
        verdict=judge(stage.journal, stage.venue_journal, stage.compared_at),
        starved=starved,
        unexpected=tuple(unexpected),
        recovery_s=tuple(one.resolved_s - one.entered_s for one in after_kill),
        recovery_with_interpreter_s=tuple(one.resolved_s - one.started_s for one in after_kill if one.pid in spawned),
    )


def _let_live(stage: Stage, process: BaseProcess, draw: random.Random) -> None:
    """Return after as much work as was drawn, and a last breath: while it recovers, or while it sells."""
    wait_for_growth(stage.journal, process, draw.randrange(LONGEST_LIFE))
    time.sleep(draw.uniform(0, LAST_BREATH_S))


def _stop_and_go_on(stage: Stage, process: BaseProcess, draw: random.Random) -> Iterator[str]:
    """Stop *process*, let another take over, then let it go on; yield what is wrong with how it ends."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    epoch = read_lease(stage.journal).epoch
    successor = stage.start()
    deadline = time.monotonic() + READY_WITHIN_S
    while read_lease(stage.journal).epoch == epoch and successor.is_alive():
        if time.monotonic() > deadline:
            yield "nobody took over"
            break
        time.sleep(0.01)
    wait_for_growth(stage.journal, successor, draw.randrange(LONGEST_LIFE))
    if process.is_alive():
        os.kill(process.pid, signal.SIGCONT)
    process.join(timeout=ENDS_WITHIN_S)
    if process.is_alive():
        yield "a stale primary went on"
        process.kill()
        process.join()
    elif process.exitcode not in {FENCED, -signal.SIGKILL}:
        yield f"a stale primary ended with {process.exitcode}"
    successor.kill()
    successor.join()


def wait_for_growth(journal: Path, process: BaseProcess, more: int) -> None:
    """Return once *journal* has grown by more than *more* records, or *process* has ended."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not journal.exists() and process.is_alive():
        time.sleep(0.002)
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        before = _count(database)
        while _count(database) <= before + more and process.is_alive():
            assert time.monotonic() < deadline, "the submitter does nothing"
            time.sleep(0.002)


def _count(database: sqlite3.Connection) -> int:
    found: int = database.execute("SELECT coalesce(max(number), 0) FROM records").fetchone()[0]
    return found
