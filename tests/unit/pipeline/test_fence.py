"""A worker that stood still for longer than its session ends before it takes another step."""

import signal
import subprocess
import sys
import threading
import time

from pipeline.fence import BEAT_S, Fence

WORKER = """
import time
from pipeline.fence import Fence
fence = Fence(1.0)
print("ready", flush=True)
while True:
    fence.check()
    print("step", flush=True)
    time.sleep(0.02)
"""


def test_a_process_that_was_stopped_takes_no_further_step() -> None:
    """Stopped for 2 s of a limit of 1 s; whatever it prints after it wakes would be a step too many."""
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stderr is not None
        try:
            assert worker.stdout.readline() == b"ready\n"
            worker.send_signal(signal.SIGSTOP)
            threading.Event().wait(2.0)  # what is tested is that time passes
            worker.send_signal(signal.SIGCONT)
            woken = time.monotonic()
            steps = worker.stdout.read()

            assert worker.wait(20) == 1
        finally:
            worker.kill()
        said = worker.stderr.read().decode()

    assert time.monotonic() - woken < 20
    assert steps.replace(b"step\n", b"") == b""
    assert said.startswith("stood still for 2.")
    assert said.endswith("start the worker again\n")
    assert said.count("\n") == 1


def test_a_worker_that_stood_still_is_told_even_when_the_beat_has_gone_on_since() -> None:
    """The thread that beats may be the first to wake; a check after it still knows."""
    told: list[float] = []
    fence = Fence(3600.0, told.append)
    fence._stood_still_s = 3601.0
    fence.check()

    assert told == [3601.0]


def test_a_worker_that_runs_is_left_alone() -> None:
    """The limit is a hundred beats."""
    told: list[float] = []
    fence = Fence(100 * BEAT_S, told.append)
    for _ in range(20):
        fence.check()
        threading.Event().wait(BEAT_S / 10)

    assert told == []


def test_a_member_may_stand_still_for_less_than_its_session() -> None:
    """A session of 6 s, of which the last heartbeat may be 1.5 s old: 3.6 s leave the group in the belief it lives."""
    told: list[float] = []
    fence = Fence.of_session(6.0)
    fence._halt = told.append
    fence._stood_still_s = 3.5
    fence.check()
    fence._stood_still_s = 3.7
    fence.check()

    assert told == [3.7]
