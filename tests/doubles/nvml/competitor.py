"""
Somebody else who sets power limits on the same host: a real process that says the same again and again, through NVML.

    with competitor.running(library_folder, state, limit_w=700, every_ms=200) as other:
        other.pid                                  # whose sets they are in `state.sets()`
        other.stop()                               # it ends by itself as well: after 60 s, or with its standard input

As a process of its own, where LD_LIBRARY_PATH leads to the stand-in; STATE_FILE is what `FAKE_NVML_STATE` else says:

    PYTHONPATH=tests python -m doubles.nvml.competitor STATE_FILE --gpu 0 --gpu 1 --limit-w 700 --every-ms 200 --times 3

It says "ready" once it has set its first round. A GPU that refuses is asked again in the next round, and NVML that is
stale is opened anew.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pynvml
from doubles.nvml import nvml_double

TESTS = Path(__file__).parents[2]
LONGEST_S = 60.0


class Competitor:
    """A running competitor."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def wait_ready(self) -> None:
        """Return once its first round is done; fail when it has ended before."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the competitor has ended before its first round"

    def wait(self) -> int:
        """Wait until it ends by itself and return its exit code."""
        return self._process.wait(2 * LONGEST_S)

    def stop(self) -> None:
        """Close its standard input and wait until it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self.wait()
        self._process.stdout.close()


@contextmanager
def running(
    folder: Path,
    state: nvml_double.State,
    *,
    gpus: Sequence[int] = (0,),
    limit_w: float = 700,
    every_ms: int = 200,
    times: int | None = None,
    seconds: float = LONGEST_S,
) -> Iterator[Competitor]:
    """
    Set *limit_w* on *gpus* of *state* every *every_ms* until the block ends, *times* rounds or *seconds* at most.

    *folder* holds the library. The block begins when the first round is done.
    """
    words = [word for gpu in gpus for word in ("--gpu", str(gpu))]
    words += ["--limit-w", str(limit_w), "--every-ms", str(every_ms), "--seconds", str(seconds)]
    words += [] if times is None else ["--times", str(times)]
    environment = os.environ | nvml_double.environment(folder, state) | {"PYTHONPATH": str(TESTS)}
    process = subprocess.Popen(
        [sys.executable, "-m", "doubles.nvml.competitor", str(state.path), *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    other = Competitor(process)
    try:
        other.wait_ready()
        yield other
    finally:
        other.stop()


def set_all(gpus: Sequence[int], limit_w: float) -> None:
    """Set one round; raise `NVMLError` when any GPU has refused, after the others were asked."""
    refusals: list[pynvml.NVMLError] = []
    for gpu in gpus:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(gpu)
            pynvml.nvmlDeviceSetPowerManagementLimit(handle, nvml_double.milliwatts(limit_w))
        except pynvml.NVMLError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def compete(options: argparse.Namespace, ended: threading.Event) -> None:
    """Set rounds until it is told to end, or long enough."""
    deadline = time.monotonic() + options.seconds
    rounds, is_open = 0, False
    while True:
        try:
            if not is_open:
                pynvml.nvmlInit()
                is_open = True
            set_all(options.gpu, options.limit_w)
        except pynvml.NVMLError:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()
            is_open = False
        rounds += 1
        if rounds == 1:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        if rounds == options.times or time.monotonic() > deadline or ended.wait(options.every_ms / 1000):
            break
    if is_open:
        pynvml.nvmlShutdown()


def listen(ended: threading.Event) -> None:
    """Say when standard input has ended."""
    sys.stdin.read()
    ended.set()


def main(words: Sequence[str] | None = None) -> None:
    """Compete as the command line says."""
    parser = argparse.ArgumentParser(description="set a power limit again and again")
    parser.add_argument("state")
    parser.add_argument("--gpu", type=int, action="append", required=True)
    parser.add_argument("--limit-w", type=float, required=True)
    parser.add_argument("--every-ms", type=int, default=200)
    parser.add_argument("--times", type=int)
    parser.add_argument("--seconds", type=float, default=LONGEST_S)
    options = parser.parse_args(words)
    os.environ["FAKE_NVML_STATE"] = options.state
    ended = threading.Event()
    threading.Thread(target=listen, args=(ended,), daemon=True).start()
    compete(options, ended)
    sys.stdout.close()
    os._exit(0)  # the listener may sit in a read that holds standard input's lock


if __name__ == "__main__":
    main()
