"""
Primary and standby on one journal, under load: the primary is killed or stopped again and again; stopped, it goes on.

    primary ─ sells ─ ✗ killed          standby ─ sees it dead ─▶ takes over at once ─▶ resolves what is open ─▶ sells
            └ sells ─ stopped … goes on        └ sees it silent for TAKEOVER_S ─▶ the same; the stale one ends
"""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from doubles.bid_oracle import Verdict, judge
from doubles.bidder import FENCED, Build
from doubles.submitter import LONGEST_LIFE, READY_WITHIN_S, Lived, Stage, spread, staged, wait_for_growth

from bidding.fence import up_s

STALE_FOR_S = 0.5
"""A stopped primary goes on within so long after it has been replaced."""
ENDS_WITHIN_S = 10.0


class NobodyTookOverError(Exception):
    """The standby is not there any more, or waits for ever."""


@dataclass
class Toll:
    """What the fail-overs cost; machine seconds."""

    kills: int = 0
    stops: int = 0
    ended_itself: int = 0
    """Primaries that could not beat for half of the takeover time, and so ended before anybody had ended them."""
    unexpected: list[str] = field(default_factory=list)
    after_kill_s: list[float] = field(default_factory=list)
    """From the kill until the standby had resolved everything that was open."""
    after_stop_s: list[float] = field(default_factory=list)
    """From the stop until then; the takeover time is in it."""
    verdict: Verdict | None = None

    @property
    def wrong(self) -> dict[str, int]:
        """What is not nothing and has to be."""
        found = self.verdict.wrong if self.verdict else {"no verdict": 1}
        return found | ({"unexpected": len(self.unexpected)} if self.unexpected else {})

    @property
    def summary(self) -> dict[str, object]:
        """Everything, as JSON takes it."""
        return {
            "kills": self.kills,
            "stops": self.stops,
            "ended_itself": self.ended_itself,
            "unexpected": self.unexpected,
            "after_kill_s": spread(tuple(self.after_kill_s)),
            "after_stop_s": spread(tuple(self.after_stop_s)),
            **(asdict(self.verdict) if self.verdict else {}),
            "wrong": self.wrong,
        }


def fail_over_again_and_again(folder: Path, rounds: int, seed: int, build: Callable[[], Build] = Build) -> Toll:
    """Return what *rounds* fail-overs come to, half of them kills and half stops."""
    draw, toll = random.Random(seed), Toll()
    with staged(folder, seed, build) as stage:
        running = [stage.start(), stage.start()]
        _next_primary(stage, 0)
        for _ in range(rounds):
            newest = stage.lived()[-1]
            (primary,) = (process for process in running if process.pid == newest.pid)
            wait_for_growth(stage.journal, primary, draw.randrange(LONGEST_LIFE))
            try:
                _one(stage, primary, newest.epoch, draw, toll)
            except NobodyTookOverError:
                toll.unexpected.append("nobody took over")
                break
            running = [process for process in running if process is not primary] + [stage.start()]
        for process in running:
            process.kill()
            process.join()
        if code := stage.finish():
            toll.unexpected.append(f"the last life ended with {code}")
    toll.verdict = judge(stage.journal, stage.venue_journal, stage.compared_at)
    return toll


def _one(stage: Stage, primary: BaseProcess, epoch: int, draw: random.Random, toll: Toll) -> None:
    """End or stop *primary* until another has taken over; a stopped one goes on, and has to end by itself."""
    began_s, stopped = up_s(), draw.random() < 0.5
    if not primary.is_alive() or stage.lived()[-1].epoch > epoch:
        primary.join(ENDS_WITHIN_S)
        toll.ended_itself += 1
        if primary.exitcode != FENCED:
            toll.unexpected.append(f"a primary ended by itself with {primary.exitcode}")
        _next_primary(stage, epoch)
        return
    assert primary.pid is not None
    os.kill(primary.pid, signal.SIGSTOP if stopped else signal.SIGKILL)
    if not stopped:
        primary.join()
    follower = _next_primary(stage, epoch)
    toll.kills += not stopped
    toll.stops += stopped
    (toll.after_stop_s if stopped else toll.after_kill_s).append(follower.resolved_s - began_s)
    if stopped:
        time.sleep(draw.uniform(0, STALE_FOR_S))
        _go_on(primary, toll)


def _go_on(primary: BaseProcess, toll: Toll) -> None:
    """Let a stopped *primary* go on; it was killed already where it stood with the journal locked."""
    if primary.is_alive() and primary.pid is not None:
        os.kill(primary.pid, signal.SIGCONT)
    primary.join(ENDS_WITHIN_S)
    if primary.is_alive():
        toll.unexpected.append("a stale primary went on")
        primary.kill()
        primary.join()
    elif primary.exitcode not in {FENCED, -signal.SIGKILL}:
        toll.unexpected.append(f"a stale primary ended with {primary.exitcode}")


def _next_primary(stage: Stage, epoch: int) -> Lived:
    """Return the first life of a higher epoch than *epoch*, once it has resolved everything."""
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        later = [one for one in stage.lived() if one.epoch > epoch]
        if later:
            return later[0]
        if time.monotonic() > deadline:
            raise NobodyTookOverError
        time.sleep(0.005)
