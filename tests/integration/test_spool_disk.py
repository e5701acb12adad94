"""The spool on a disk that fails: no power, no space, no writing, errors. A recorder under a real process plays it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doubles.disk import recorder
from doubles.disk.crash_spool import take_the_power

from collectors.spool import Spool

PROCESS = """
import json, os, sys
from pathlib import Path
from collectors.spool import Spool

folder, trouble = Path(sys.argv[1]), Path(sys.argv[2])
spool = None
for phase in json.loads(sys.argv[3]):
    trouble.write_text(str(phase["errno"]))
    spool = spool or Spool.open(folder, 1_000_000)
    spool._retry_at_s = 0.0  # a file that could not be opened is tried again at once
    for _ in range(phase["ticks"]):
        spool.append(spool.next_seq, json.dumps({"seq": spool.next_seq}).encode())
    print(json.dumps({
        "trouble": spool.trouble, "unstored": spool.unstored_total, "boot": spool.boot,
        "pending": [json.loads(tick.payload)["seq"] for tick in spool.pending(1000)],
    }), flush=True)
os._exit(0)
"""


def live(folder: Path, *phases: tuple[int, int]) -> list[dict[str, Any]]:
    """Run a process through *phases*, an errno of the disk and a number of ticks each; return what it saw."""
    watched = folder / "spool"
    watched.mkdir(exist_ok=True)
    if (library := recorder.compile(folder)) is None:
        pytest.skip("the recorder needs a C compiler (cc)")
    environment = recorder.environment(library, watched, folder / "diary", folder / "trouble")
    told = json.dumps([{"errno": number, "ticks": ticks} for number, ticks in phases])
    command = [sys.executable, "-c", PROCESS, str(watched), str(folder / "trouble"), told]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def left(folder: Path) -> tuple[str, int, list[int]]:
    """Return boot, next number and pending ticks as the next collector finds them."""
    with Spool.open(folder / "spool", 1_000_000) as spool:
        return spool.boot, spool.next_seq, [json.loads(tick.payload)["seq"] for tick in spool.pending(1000)]


def test_no_state_that_a_loss_of_power_leaves_breaks_a_promise(tmp_path: Path) -> None:
    """The long form, with a bound on what was not seen, is tests/long/crash_spool.py."""
    toll = take_the_power(100, seed=7)

    assert toll.failures == []
    assert (toll.n, toll.torn > 20, toll.ticks > 100) == (100, True, True)


def test_the_same_look_finds_a_disk_that_lies() -> None:
    """If nothing said to be safe is, ticks are missing, and the look says so."""
    toll = take_the_power(20, seed=7, honest=False)

    assert any("ticks missing, 0 counted" in failure for failure in toll.failures)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_ticks_go_on_while_the_disk_fails_and_are_stored_once_it_works(tmp_path: Path, number: int) -> None:
    well, ill, well_again = live(tmp_path, (0, 3), (number, 4), (0, 1))

    assert (well["trouble"], well["pending"]) == (None, [1, 2, 3])
    assert "cannot store ticks" in ill["trouble"]
    assert (ill["unstored"], ill["pending"]) == (4, [1, 2, 3, 4, 5, 6, 7])
    assert (well_again["trouble"], well_again["unstored"]) == (None, 4)
    assert left(tmp_path) == (well["boot"], 9, [1, 2, 3, 4, 5, 6, 7, 8])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_killed_while_the_disk_fails_the_next_collector_gives_no_number_away_twice(tmp_path: Path, number: int) -> None:
    well, ill = live(tmp_path, (0, 3), (number, 4))

    boot, next_seq, pending = left(tmp_path)

    assert ill["boot"] == well["boot"] != boot
    assert (next_seq, pending) == (1, [1, 2, 3])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_collector_starts_on_a_disk_that_fails(tmp_path: Path, number: int) -> None:
    ill, well = live(tmp_path, (number, 2), (0, 1))

    assert (ill["unstored"], ill["pending"]) == (2, [1, 2])
    assert (well["trouble"], well["pending"]) == (None, [1, 2, 3])
    assert left(tmp_path) == (ill["boot"], 4, [1, 2, 3])


def test_a_backlog_on_a_disk_that_cannot_be_written_waits_for_better_days(tmp_path: Path) -> None:
    """SQLite must write to recover a log. What is measured meanwhile is another boot's and sent without it."""
    (first,) = live(tmp_path, (0, 3))

    ill, well = live(tmp_path, (errno.EROFS, 2), (0, 1))

    assert (ill["unstored"], ill["pending"]) == (2, [1, 2])
    assert ill["boot"] == well["boot"] != first["boot"]
    assert well["pending"] == [1, 2, 3, 1, 2, 3]
