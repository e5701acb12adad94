"""
Start processes that cannot outlive us, and stop them.

A process started here gets SIGTERM from the kernel when its parent dies, however the parent dies (Linux
`PR_SET_PDEATHSIG`, prctl(2)); it leads a process group of its own, so Ctrl-C reaches the parent alone, which then stops
its children in order. The signal is set by this same file run as a script, between fork and exec, because Python code
between the two is unsafe in a process with threads (`preexec_fn` in the library manual).

The kernel watches the *thread* that started the process: call `start` from a thread that lives as long as the process
should, in practice the main thread.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_S = 0.05


def start(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """
    Start *argv* with its output appended to *log*; it dies with the calling thread.

    *env* replaces the environment. A program that cannot be executed ends with code 127 and says why in *log*.
    """
    return _popen([str(os.getpid()), *argv], log, env)


def start_detached(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start *argv* in a session of its own, with its output appended to *log*; return its pid. It outlives us."""
    launcher = _popen(["0", *argv], log, env, stdout=subprocess.PIPE)
    answer, _ = launcher.communicate()
    return int(answer)


def _popen(
    args: Sequence[str], log: Path, env: Mapping[str, str] | None, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *args],
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            env=env,
            process_group=0,
        )


def stop(processes: Iterable[subprocess.Popen[bytes]], grace_s: float) -> None:
    """
    Stop all *processes* at once: SIGTERM, and after *grace_s* seconds SIGKILL to their whole groups.

    Returns once every one has ended and is reaped. One that has ended already is left as it is.
    """
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + grace_s
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End *process* and everything in its group now, and reap it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def until(true: Callable[[], bool], timeout_s: float) -> None:
    """Return once *true* says so; raise `TimeoutError` after *timeout_s* seconds."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - processes and file locks set no event
            await asyncio.sleep(POLL_S)


async def run(argv: Sequence[str], *, log: Path, timeout_s: float, env: Mapping[str, str] | None = None) -> int:
    """
    Run *argv* to its end, output appended to *log*, and return its exit code.

    Raise `TimeoutError` after *timeout_s* seconds. Whatever ends the wait early, a cancellation too, ends the process.
    """
    process = start(argv, log=log, env=env)
    try:
        await until(lambda: process.poll() is not None, timeout_s)
    finally:
        kill(process)
    return process.returncode


def _become(parent: int, argv: list[str]) -> None:
    """Turn this process into *argv*; let it die with *parent*, or if that is 0 let it live on by itself."""
    if parent:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel was told
            return
    else:
        if child := os.fork():
            os.write(sys.stdout.fileno(), str(child).encode())
            return
        os.setsid()
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - an argument list needs no shell
    except OSError as error:
        os.write(sys.stderr.fileno(), f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
