"""
A pipeline with one fault planted in it: ``python broken_pipeline.py BUG pipeline run …``.

The failure harness must find each: one that it would not see is one that it does not exclude.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

LINGER_S = 1.0
HALF_WAY_S = 0.2


def count_again() -> None:
    """``+=`` in place of the last value: a tick that comes twice is added twice."""
    from pipeline import straggler

    fill = straggler._fill

    def add(state: Any, host: int, layout: Any, tick: Any, *, simulated: bool) -> None:
        if any(gap.holds(layout.boot, tick.seq) for gap in state.gaps.get(host, [])):
            fill(state, host, layout, tick, simulated=simulated)
            return
        _, last = straggler._last(state, host)
        straggler._pair(state, tick, last, 1)
        straggler._count(state, tick, simulated=simulated)

    straggler._fill = add


def no_watermark() -> None:
    """Intervals end by the wall clock, and what comes after is dropped."""
    from pipeline import rollup
    from pipeline.intervals import Closing

    due, take = rollup.Partition.due, Closing.take

    def by_the_clock(self: Any, now: Any, _: Any = None) -> Any:
        return due(self, now, now)

    def drop_late(self: Any, start_us: int, totals: Any, measured_us: Any) -> None:
        if start_us // self.length_us * self.length_us >= self.open_from_us:
            take(self, start_us, totals, measured_us)

    rollup.LATENESS = timedelta(0)
    rollup.Partition.due = by_the_clock  # type: ignore[method-assign, assignment]
    Closing.take = drop_late  # type: ignore[method-assign]


def commit_before_effect() -> None:
    """State and offset are committed as soon as intervals are closed, and their figures sent a second later."""
    from pipeline.agents.rollup import Rollup

    send = Rollup._send
    held: list[tuple[float, Any]] = []

    def hold(self: Any, news: Any) -> None:
        send(self, replace(news, partials=[], corrections=[]))
        held.append((time.monotonic() + LINGER_S, replace(news, gauges=[], records=[])))

    def save_then_send(self: Any) -> list[int]:
        while held and held[0][0] <= time.monotonic():
            send(self, held.pop(0)[1])
        self._acknowledged(self._producer)
        return list(self._owned)

    Rollup._send = hold  # type: ignore[method-assign]
    Rollup._due_for_saving = save_then_send  # type: ignore[method-assign]


def no_rename() -> None:
    """Archive files are written where readers look for them."""
    from pipeline import files

    durably = files.replace_durably

    def write(path: Path, content: bytes) -> None:
        if path.suffix != ".parquet":
            durably(path, content)
            return
        half = len(content) // 2
        with path.open("wb", buffering=0) as file:
            file.write(content[:half])
            time.sleep(HALF_WAY_S)
            file.write(content[half:])

    files.replace_durably = write


BUGS: dict[str, Callable[[], None]] = {
    "count-again": count_again,
    "no-watermark": no_watermark,
    "commit-before-effect": commit_before_effect,
    "no-rename": no_rename,
}


def entry(bug: str) -> tuple[str, str]:
    """Return what Python has to run."""
    return __file__, bug


if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    from deploy.cli import main

    sys.exit(main())
