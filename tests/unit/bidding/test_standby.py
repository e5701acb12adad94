"""Who may write: a primary that is dead, silent or alive, seen by a standby; processes are real ones."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doubles.builders import NOON

from bidding import fence
from bidding.entries import Absent
from bidding.fence import Lease, Watch
from bidding.journal import Journal, read, read_lease
from bidding.standby import Primary, take_over
from pipeline.errors import FencedError

PRIMARY = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from bidding.entries import Absent
from bidding.journal import Journal
from pipeline.errors import FencedError
with Journal(Path(sys.argv[1])) as journal:
    if sys.argv[2] == "locked":
        journal._database.execute("BEGIN IMMEDIATE")
    print("ready", flush=True)
    try:
        while sys.argv[2] == "beats":
            journal.append(datetime(2026, 7, 23, tzinfo=UTC), "absent", Absent(document_id="old"))
            time.sleep(0.01)
    except FencedError:
        sys.exit(7)
    sys.stdin.read()
"""


def primary(path: Path, what: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", PRIMARY, str(path), what], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_a_lease_is_silent_once_it_has_been_the_same_for_the_takeover_time() -> None:
    """The watcher's own clock counts: 2 s without a beat, and a beat starts it anew."""
    watch = Watch(takeover_s=2)

    assert not watch.is_silent(Lease(1, "h", 1), 100.0)
    assert not watch.is_silent(Lease(1, "h", 1), 101.9)
    assert not watch.is_silent(Lease(1, "h", 2), 102.1)
    assert not watch.is_silent(Lease(1, "h", 2), 104.0)
    assert watch.is_silent(Lease(1, "h", 2), 104.1)


def test_a_process_is_dead_when_its_machine_no_longer_knows_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here, _, _ = fence.me().rpartition(f" {os.getpid()} ")
    started = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    name = f"{here} {process.pid} {started}"

    assert not fence.is_dead(name)
    assert fence.is_dead(f"{here} {process.pid} 1")  # its number has been given to another
    process.kill()
    while not fence.is_dead(name):  # a zombie until it is waited for
        time.sleep(0.001)
    process.communicate()
    assert fence.is_dead(name)
    assert not fence.is_dead(f"another-boot {name.partition(' ')[2]}")


async def test_a_killed_primary_is_taken_over_at_once(tmp_path: Path) -> None:
    """No need to wait for silence: the takeover time is an hour."""
    path = tmp_path / "j"
    end(primary(path, "waits"))

    async with asyncio.timeout(5), take_over(path, 3600) as journal:
        assert journal.epoch == 2


async def test_a_journal_that_was_given_back_is_free(tmp_path: Path) -> None:
    with Journal(tmp_path / "j"):
        pass
    async with asyncio.timeout(5), take_over(tmp_path / "j", 3600) as journal:
        assert journal.epoch == 2


async def test_a_primary_that_lives_is_not_taken_over(tmp_path: Path) -> None:
    process = primary(tmp_path / "j", "beats")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), take_over(tmp_path / "j", 0.5):
            pass

    assert read_lease(tmp_path / "j").epoch == 1
    end(process)


async def test_a_stopped_primary_is_taken_over_and_fenced_when_it_goes_on(tmp_path: Path) -> None:
    """SIGSTOP, takeover after 0.4 s of silence, SIGCONT: it ends with exit code 7 and has written nothing more."""
    path = tmp_path / "j"
    process = primary(path, "beats")
    process.send_signal(signal.SIGSTOP)

    began = time.monotonic()
    async with asyncio.timeout(20), take_over(path, 0.4) as journal:
        assert time.monotonic() - began >= 0.4
        journal.append(NOON, "absent", Absent(document_id="new"))
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.wait(timeout=20)
        assert process.returncode in {7, -signal.SIGKILL}  # killed only where it was stopped with the lock in its hand
        journal.append(NOON, "absent", Absent(document_id="new"))
    process.communicate()

    epochs = [record.epoch for record in read(path)]
    assert epochs == sorted(epochs)
    assert epochs[-2:] == [2, 2]


async def test_a_stopped_primary_that_keeps_the_journal_locked_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    process = primary(path, "locked")
    process.send_signal(signal.SIGSTOP)

    async with asyncio.timeout(30), take_over(path, 0.4) as journal:
        assert journal.epoch == 2

    assert process.wait(timeout=10) == -signal.SIGKILL
    process.communicate()


def test_a_primary_stops_at_half_of_the_takeover_time_without_a_beat(tmp_path: Path) -> None:
    """At 5 s of 10 it still may, after that it may not; an append is a beat."""
    since = 0.0
    with Journal(tmp_path / "j") as journal:
        guard = Primary(journal, 10, lambda: journal.beaten_s + since)
        guard.check()
        since = 5.0
        guard.check()
        since = 5.1
        with pytest.raises(FencedError, match="no beat for 5 s"):
            guard.check()


async def test_a_primary_beats_and_ends_when_it_has_been_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        beating = asyncio.ensure_future(Primary(journal, 0.06).run())
        before = read_lease(path).beat
        while read_lease(path).beat < before + 3:  # noqa: ASYNC110 - it is another process's view of it
            await asyncio.sleep(0.001)
        with Journal(path, silent=read_lease(path)), pytest.raises(FencedError):  # nothing beats in between
            await beating
