"""
Kill three actuators n times in mid-curtailment: ``python tests/long/kill_actuator.py [kills] [seed]``.

By default 200 kills, which take some ten minutes. With nothing wrong in n kills the rate is below 3/n at 95 %
confidence (rule of three). ``controls [kills] [seed]`` runs the same against builds that are broken on purpose, until
each is found out; ``broken NAME actuate --config FILE`` is such a build.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

TESTS = Path(__file__).parent.parent


def sound() -> None:
    """Break nothing: the control of the controls."""


def journal_after_set() -> None:
    """Write the journal once everything is set and has settled."""
    from collectors.actuator import Actuator, Plan
    from pipeline.messages.control import SignedCommand

    record, act = Actuator._record, Actuator._act
    newest: list[tuple[int, SignedCommand]] = []

    def remember(self: Actuator, command: tuple[int, SignedCommand] | None = None) -> None:
        newest[:] = newest if command is None else [command]

    async def act_first(self: Actuator, plan: Plan) -> None:
        await act(self, plan)
        record(self, *newest)

    Actuator._record = remember  # type: ignore[method-assign, assignment]
    Actuator._act = act_first  # type: ignore[method-assign]


def _resume(change: Callable[..., object]) -> None:
    from collectors import memory

    setattr(memory, "resumed", change)  # noqa: B010 - not exported


def lease_forgotten() -> None:
    """Start without the leases in the journal."""
    from collectors.lease import resumed

    _resume(lambda _, levels, deadline, seq, now: resumed((), levels, deadline, seq, now))


def deadline_forgotten() -> None:
    """Start without the leases and without the end of the last."""
    from collectors.lease import resumed

    _resume(lambda _, levels, __, seq, now: resumed((), levels, None, seq, now))


def safety_forgotten() -> None:
    """Start with the economic leases alone."""
    from collectors.lease import resumed

    _resume(
        lambda leases, levels, deadline, seq, now: resumed(
            [lease for lease in leases if not lease.is_safety], levels, deadline, seq, now
        )
    )


def sequence_forgotten() -> None:
    """Start as if no command had ever come."""
    from collectors.lease import resumed

    _resume(lambda leases, levels, deadline, _, now: replace(resumed(leases, levels, deadline, 0, now), highest_seq=0))


def previous_forgotten() -> None:
    """Start with what is found as what was before."""
    from collectors.journal import Record

    Record.found = lambda _: {}  # type: ignore[method-assign, assignment]


def timed_by_wall_clock() -> None:
    """Time leases by a clock that can be stepped."""
    from collectors import build_actuator
    from collectors.steady import SteadyClock
    from pipeline.clock import wall

    setattr(build_actuator, "SteadyClock", lambda clock: SteadyClock(clock, running_s=wall))  # noqa: B010 - not exported


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (
        sound,
        journal_after_set,
        lease_forgotten,
        deadline_forgotten,
        safety_forgotten,
        sequence_forgotten,
        previous_forgotten,
        timed_by_wall_clock,
    )
}


def controls(kills: int, seed: int) -> int:
    """Print one JSON line a fault; return 1 where one was not found out, or the sound build was."""
    from doubles.kill_actuator import kill_again_and_again

    wrong = 0
    for name, fault in FAULTS.items():
        program = (sys.executable, __file__, "broken", name)
        with tempfile.TemporaryDirectory(prefix="firmwatt-kills-") as folder:
            toll = kill_again_and_again(Path(folder), kills, seed, program=program, enough=1)
        is_caught = bool(toll.failures) and not any("Traceback" in failure for failure in toll.failures)
        wrong += is_caught == (fault is sound)
        row = {"fault": name, "caught": is_caught, "kills": toll.kills, "took_s": toll.took_s, "why": toll.failures[:3]}
        print(json.dumps(row), flush=True)  # noqa: T201 - what it is for
    return 1 if wrong else 0


def main(argv: list[str]) -> int:
    """Print the toll as one JSON line; return 1 where anything went wrong."""
    if argv[:1] == ["broken"]:
        from deploy.cli import main as firmwatt

        FAULTS[argv[1]]()
        return firmwatt(argv[2:])
    sys.path.insert(0, str(TESTS))
    if argv[:1] == ["controls"]:
        return controls(int(argv[1]) if argv[1:] else 40, int(argv[2]) if argv[2:] else 1)
    from doubles.kill_actuator import kill_again_and_again

    kills, seed = int(argv[0]) if argv else 200, int(argv[1]) if argv[1:] else 1
    with tempfile.TemporaryDirectory(prefix="firmwatt-kills-") as folder:
        toll = kill_again_and_again(Path(folder), kills, seed)
    print(json.dumps({**vars(toll), "bound_95": 3 / toll.kills}))  # noqa: T201 - what it is for
    return 1 if toll.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
