"""
A Slurm whose jobs can be paused: `scontrol` as a real program (`slurm_program`), its jobs in a state file.

    slurm = Slurm(folder)
    slurm.run(42, "n1", "gpu:h100:2(IDX:0-1)")
    subprocess.run([slurm.path, "suspend", "42"])
    slurm.state(42)                                    # "SUSPENDED"
    slurm.denies()                                     # from now on nobody may; `mend` ends all of that
"""

import fcntl
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from doubles.slurm import job
from doubles.slurm_program import UNREACHABLE

PROGRAM = Path(__file__).with_name("slurm_program.py")
FOREVER_S = 3600.0


class Call(NamedTuple):
    """One finished run of `scontrol`; one that was killed leaves no trace, and has done nothing."""

    words: tuple[str, ...]
    code: int


class Slurm:
    """One cluster, seen from one host. Everything may be changed while programs run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "scontrol"
        self._file = folder / "slurm.json"
        state = {"jobs": {}, "calls": [], "denied": False, "refusal": "", "ignores": False}
        self._file.write_text(json.dumps(state | {"delay_s": 0, "late_s": 0}))
        line = shlex.join([sys.executable, "-I", "-S", str(PROGRAM), str(self._file)])
        self.path.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        self.path.chmod(0o755)

    def run(self, number: int, nodes: str = "n1", *gres: str, state: str = "RUNNING", **facts: Any) -> None:
        """Let job *number* be there, as `slurm.job` makes it, in *state*."""
        with self._state() as known:
            known["jobs"][str(number)] = job(number, nodes, *gres, **facts) | {"job_state": [state]}

    def becomes(self, number: int, state: str) -> None:
        """Let job *number* go over to *state*: it ends, or somebody else suspends it."""
        with self._state() as known:
            known["jobs"][str(number)]["job_state"] = [state]

    def forgets(self, number: int) -> None:
        """Let the controller forget job *number*, as it does MinJobAge after its end."""
        with self._state() as known:
            del known["jobs"][str(number)]

    def state(self, number: int) -> str:
        """Return the state of job *number*."""
        with self._state() as known:
            state: str = known["jobs"][str(number)]["job_state"][0]
        return state

    def denies(self) -> None:
        """From now on the caller is no operator: only those may suspend."""
        self._set(denied=True)

    def refuses(self, text: str) -> None:
        """From now on refuse to suspend or resume anything, with one of Slurm's own texts."""
        self._set(refusal=text)

    def is_away(self) -> None:
        """From now on the controller cannot be reached, for reading either."""
        self._set(refusal=UNREACHABLE)

    def ignores(self) -> None:
        """From now on say yes and do nothing."""
        self._set(ignores=True)

    def hangs(self) -> None:
        """Let programs that start from now on never answer; they do nothing until they are killed."""
        self._set(delay_s=FOREVER_S)

    def is_slow(self, delay_s: float) -> None:
        """Let programs that start from now on take so long before they do anything."""
        self._set(delay_s=delay_s)

    def answers_late(self, late_s: float) -> None:
        """Let programs that start from now on do what they are told at once, and end only so much later."""
        self._set(late_s=late_s)

    def mend(self) -> None:
        """Let everything work again."""
        self._set(denied=False, refusal="", ignores=False, delay_s=0, late_s=0)

    @property
    def calls(self) -> list[Call]:
        """What was run, in order."""
        with self._state() as known:
            return [Call(tuple(call["words"]), call["code"]) for call in known["calls"]]

    def _set(self, **options: Any) -> None:
        with self._state() as known:
            known.update(options)

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        with self._file.open("r+") as locked:
            fcntl.flock(locked, fcntl.LOCK_EX)
            state = json.load(locked)
            yield state
            locked.seek(0)
            locked.write(json.dumps(state))
            locked.truncate()
