"""Calls that may never return: they keep their lane, and nobody and nothing else."""

import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from collectors.lanes import Lane

PATIENCE_S = 10.0

END_WITH_A_CALL_OUT = """
import threading
from collectors.lanes import Lane

lane = Lane("wedged")
answer = lane.call(threading.Event().wait)
print("busy" if lane.busy and not answer.done() else "free")
"""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Return what a hanging call waits for; it is opened in the end, so that no test leaves a thread behind."""
    made = threading.Event()
    yield made
    made.set()


def eventually(holds: Callable[[], bool]) -> bool:
    """Return whether *holds* comes true before patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.001)
    return holds()


def test_a_call_returns_its_result_from_the_lanes_own_thread() -> None:
    lane: Lane[str] = Lane("gpu-0")

    names = [lane.call(lambda: threading.current_thread().name).result(PATIENCE_S) for _ in range(3)]

    assert names == ["gpu-0"] * 3
    assert not lane.busy


def test_all_calls_of_a_lane_are_made_by_one_thread() -> None:
    lane: Lane[int] = Lane("gpu-0")

    assert len({lane.call(threading.get_ident).result(PATIENCE_S) for _ in range(10)}) == 1


def test_a_lane_that_is_never_used_starts_no_thread() -> None:
    Lane[None]("unused")

    assert "unused" not in {thread.name for thread in threading.enumerate()}


def test_a_hanging_call_keeps_its_lane_and_no_other(gate: threading.Event) -> None:
    wedged, healthy = Lane[bool]("wedged"), Lane[str]("healthy")

    answer = wedged.call(gate.wait)

    with pytest.raises(TimeoutError):
        answer.result(0.01)
    assert wedged.busy
    assert healthy.call(lambda: "measured").result(PATIENCE_S) == "measured"


def test_a_busy_lane_takes_no_second_call(gate: threading.Event) -> None:
    lane: Lane[bool] = Lane("wedged")
    second = threading.Event()
    lane.call(gate.wait)

    def be_second() -> bool:
        second.set()
        return True

    with pytest.raises(RuntimeError, match="lane wedged is busy"):
        lane.call(be_second)

    gate.set()
    assert eventually(lambda: not lane.busy)
    lane.call(lambda: True).result(PATIENCE_S)  # whatever had been queued would have run before
    assert not second.is_set()


def test_a_lane_whose_call_comes_back_works_again(gate: threading.Event) -> None:
    lane: Lane[bool] = Lane("was wedged")
    late = lane.call(gate.wait)

    gate.set()

    assert late.result(PATIENCE_S) is True
    assert lane.call(lambda: False).result(PATIENCE_S) is False


@pytest.mark.parametrize("error", [OSError("no device"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_a_call_raises_reaches_who_asked_and_the_lane_lives_on(error: BaseException) -> None:
    lane: Lane[str] = Lane("gpu-0")

    def fail() -> str:
        raise error

    with pytest.raises(type(error)) as caught:
        lane.call(fail).result(PATIENCE_S)

    assert caught.value is error
    assert lane.call(lambda: "next").result(PATIENCE_S) == "next"


def test_an_idle_lane_holds_on_to_nothing_of_the_call_before() -> None:
    class Buffer:
        """Something large."""

    lane: Lane[None] = Lane("gpu-0")
    buffer = Buffer()
    watched = weakref.ref(buffer)

    def use(used: Buffer = buffer) -> None:
        assert used

    lane.call(use).result(PATIENCE_S)
    del buffer, use

    assert eventually(lambda: watched() is None)


def test_a_process_ends_while_a_call_of_its_lane_hangs() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", END_WITH_A_CALL_OUT], capture_output=True, text=True, check=False, timeout=30
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "busy\n", "")
