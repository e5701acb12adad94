"""`deploy.supervise`: children end when they should, and with their parent at the latest."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import supervise

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    process = supervise.start(["sh", "-c", "echo out; echo err >&2; exit 3"], log=tmp_path / "log")

    assert process.wait(20) == 3
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_a_program_that_is_not_there_says_so_in_the_log(tmp_path: Path) -> None:
    process = supervise.start(["no-such-program"], log=tmp_path / "log")

    assert process.wait(20) == 127
    assert (tmp_path / "log").read_text() == "no-such-program: No such file or directory\n"


def test_stop_asks_first_and_kills_what_does_not_listen(tmp_path: Path) -> None:
    polite = supervise.start(["sleep", "60"], log=tmp_path / "polite")
    stubborn = supervise.start([sys.executable, "-c", STUBBORN], log=tmp_path / "stubborn")
    wait_for(lambda: (tmp_path / "stubborn").read_text() == "up\n")

    supervise.stop([polite, stubborn], grace_s=0.3)

    assert (polite.returncode, stubborn.returncode) == (-signal.SIGTERM, -signal.SIGKILL)


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from deploy import supervise;"
        "print(supervise.start(['sleep', '60'], log=Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path / "log"], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        wait_for(lambda: Path(f"/proc/{child}/cmdline").read_bytes() == b"sleep\x0060\0")
        parent.kill()

    wait_for(lambda: not alive(child))


def test_a_detached_process_outlives_whoever_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from deploy import supervise;"
        "print(supervise.start_detached(['sh', '-c', 'echo on; exec sleep 60'], log=Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "log"], capture_output=True, text=True, check=True, timeout=30
    )
    child = int(done.stdout)
    try:
        wait_for(lambda: (tmp_path / "log").read_text() == "on\n")
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


async def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        await supervise.run(["sh", "-c", "echo $$; exec sleep 60"], log=tmp_path / "log", timeout_s=1)

    assert not alive(int((tmp_path / "log").read_text()))


async def test_a_run_returns_the_exit_code(tmp_path: Path) -> None:
    assert await supervise.run(["sh", "-c", "exit 3"], log=tmp_path / "log", timeout_s=20) == 3
