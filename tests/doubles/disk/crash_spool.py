"""
Take the power away from a spool, again and again, and look what is left.

In every state it must open without setting anything aside; hold every tick whose `append` had returned and that was not
retired, or count it as dropped; and hold nothing else: no half tick, none that was not appended, none out of turn.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from doubles.disk import recorder, writer

from collectors.spool import Spool

ROOM = 1_000_000
STEPS, PROCESSES = 150, 3
STATES_A_RECORDING = 100


@dataclass
class Toll:
    """What so many crashes cost."""

    n: int = 0
    seed: int = 0
    operations: int = 0
    torn: int = 0
    """States in which a write was there in part."""
    ticks: int = 0
    """Found and right, all states together."""
    full: int = 0
    """States of a spool that had had to drop ticks."""
    failures: list[str] = field(default_factory=list)


@dataclass
class Promise:
    """What the spool had said when the power went."""

    appended: int = 0
    retired: int = 0
    dropped: int = 0


def take_the_power(states: int, seed: int, *, honest: bool = True) -> Toll:
    """Return the toll of so many crashes; a disk that is not *honest* loses what it said was safe."""
    toll, random = Toll(seed=seed), Random(seed)
    with tempfile.TemporaryDirectory(prefix="firmwatt-disk-") as name:
        folder = Path(name).resolve()
        library = recorder.compile(folder)
        if library is None:
            pytest.skip("the recorder needs a C compiler (cc)")
        while toll.n < states:
            diary = record(library, folder, random)
            toll.operations += len(diary)
            cuts = [random.randrange(len(diary) + 1) for _ in range(min(STATES_A_RECORDING, states - toll.n))]
            for crash in recorder.crashes(diary, cuts, random, honest=honest):
                inspect(crash, promised(diary[: crash.at]), folder / "left", toll)
    return toll


def record(library: Path, folder: Path, random: Random) -> list[recorder.Operation]:
    """Return the diary of processes that used one spool, one after the other."""
    watched, diary = folder / "watched", folder / "diary"
    shutil.rmtree(watched, ignore_errors=True)
    diary.unlink(missing_ok=True)
    watched.mkdir()
    environment = recorder.environment(library, watched, diary, folder / "trouble")
    for _ in range(PROCESSES):
        command = [sys.executable, writer.__file__, str(watched), str(ROOM), str(random.getrandbits(32)), str(STEPS)]
        subprocess.run(command, env=os.environ | environment, check=True)
    return recorder.read(diary)


def promised(diary: list[recorder.Operation]) -> Promise:
    """Return what the marks in *diary* say."""
    promise = Promise()
    for operation in diary:
        if operation.name == "marks" and operation.do is recorder.Do.WRITE:
            word, *numbers = operation.data.split()
            if word == b"retired":
                promise.retired = int(numbers[0])
            else:
                promise.appended, promise.dropped = map(int, numbers)
    return promise


def inspect(crash: recorder.Crash, promise: Promise, folder: Path, toll: Toll) -> None:
    """Open what *crash* left and add to *toll*."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in crash.files.items():
        (folder / name).write_bytes(content)
    toll.n += 1
    toll.torn += bool(crash.torn)
    toll.full += bool(promise.dropped)
    with Spool.open(folder, ROOM, kernel="after the power came back") as spool:
        found = [tick.payload for tick in spool.pending(100_000)]
        toll.ticks += len(found)
        toll.failures += (
            f"seed {toll.seed}, state {toll.n}, operation {crash.at}: {wrong}"
            for wrong in broken(promise, found, spool)
        )
        spool.append(spool.next_seq, writer.content(0))
        if spool.unstored_total or spool.pending(100_000)[-1].payload != writer.content(0):
            toll.failures.append(f"seed {toll.seed}, state {toll.n}: it does not take another tick")


def broken(promise: Promise, found: list[bytes], spool: Spool) -> list[str]:
    """Return what *spool* does not keep of its *promise*; one append more may have arrived than had returned."""
    numbers = [writer.number_of(payload) for payload in found]
    last = 0 if spool.last is None else writer.number_of(spool.last)
    missing = set(range(promise.retired + 1, promise.appended + 1)) - set(numbers)
    findings = {
        f"set aside, or in trouble: {spool.trouble}": spool.trouble or (spool._folder.path / "spool.bad").exists(),
        "a tick is not what was appended": any(
            payload != writer.content(number) for payload, number in zip(found, numbers, strict=True)
        ),
        "ticks out of turn": numbers != sorted(set(numbers)),
        f"a tick from nowhere: {max(numbers, default=0)}": max(numbers, default=0) > promise.appended + 1,
        f"{len(missing)} ticks missing, {spool.dropped_total} counted": len(missing) > spool.dropped_total,
        f"{spool.dropped_total} counted, {promise.dropped} before": spool.dropped_total < promise.dropped,
        f"goes on after tick {last}, not {promise.appended}": last not in {promise.appended, promise.appended + 1},
        "numbers of a stream that lost its end are used again": spool.next_seq != 1,
    }
    return [wrong for wrong, is_so in findings.items() if is_so]
