"""
Pause and resume jobs by programs of the site's own: for jobs that no cluster manager here can pause.

    [lever.command]
    jobs = ["finetune-*"]                                   # patterns of the jobs it may touch; none by default
    pause = ["/usr/local/bin/job-pause", "{job}"]
    resume = ["/usr/local/bin/job-resume", "{job}"]
    state = ["/usr/local/bin/job-state", "{job}"]           # prints "running" or "paused"; may be left out

Exit code 0 says that it is done, anything else that it is not, with the reason as the last line on standard error. A
program may be asked again for what is so already, and runs as we do. No shell ever sees a job's name: it is part of
one argument, and a name that could be taken for an option is refused.

Without `state` nobody knows what a job does but for what we asked of it since we started.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from fnmatch import fnmatchcase

from collectors.levers import Found, LeverError, Reading
from collectors.levers import _programs as programs
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import Positive, Section

JOB = "{job}"
STATES = {"running": 1.0, "paused": 0.0}
UNTELLABLE = frozenset("\0\r\n")
"""Characters of no job's name."""


PROGRAMS = 2
"""A job is changed, and its state asked: what a call is allowed the time of."""


class Settings(Section, frozen=True, kw_only=True):
    """``[lever.command]``."""

    jobs: tuple[str, ...] = ()
    """Patterns of the names of jobs that may be touched, as a shell matches file names; case counts."""
    pause: tuple[str, ...]
    resume: tuple[str, ...]
    state: tuple[str, ...] = ()
    timeout_s: Positive = 10.0
    """For one run of a program, seconds of the machine; then it is killed."""


def connect(settings: Settings) -> "Command":
    """Return the lever; no program is run yet. Raise `ConfigError` for one that cannot be."""
    programs.check(settings.pause, "pause", JOB)
    programs.check(settings.resume, "resume", JOB)
    if settings.state:
        programs.check(settings.state, "state", JOB)
    return Command(settings)


class Command:
    """The jobs that the site's programs pause."""

    kind = Kind.RUN

    def __init__(self, settings: Settings) -> None:
        self.patience_s = PROGRAMS * settings.timeout_s
        self._settings = settings
        self._asked: dict[str, float] = {}

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:  # noqa: ARG002 - nothing is paced
        """Return those of *jobs* that it may touch; nobody is asked whether they are there."""
        for gone in self._asked.keys() - set(jobs):
            self._asked.pop(gone, None)
        return tuple(Found(job) for job in sorted(jobs) if self._may_touch(job))

    def read(self, subject: str) -> Reading:
        """Return whether a job runs, as `state` says it or as we asked for it last."""
        requested = self._state(subject) if self._settings.state else self._asked.get(subject)
        return Reading(subject=subject, lowest=0.0, highest=1.0, requested=requested, enforced=requested)

    def set(self, subject: str, level: float) -> None:
        """Pause a job (0) or let it run (1)."""
        runs = runs_at(level)
        self._run(self._settings.resume if runs else self._settings.pause, subject)
        self._asked[subject] = float(runs)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _may_touch(self, job: str) -> bool:
        return is_tellable(job) and any(fnmatchcase(job, pattern) for pattern in self._settings.jobs)

    def _state(self, job: str) -> float:
        words = self._run(self._settings.state, job).output.decode(errors="replace").split()
        if len(words) != 1 or words[0] not in STATES:
            said = " ".join(words)[: programs.SHOWN]
            raise LeverError(f"{self._settings.state[0]} printed {said!r}, and not running or paused")
        return STATES[words[0]]

    def _run(self, command: Sequence[str], job: str) -> programs.Done:
        if not self._may_touch(job):
            raise LeverError(f"{job!r} is not to be touched: see `jobs`", Trouble.NOT_SUPPORTED)
        argv = [command[0], *(argument.replace(JOB, job) for argument in command[1:])]
        done = programs.run(argv, self._settings.timeout_s)
        if done.code:
            raise LeverError(f"{command[0]} failed: {done.reason}")
        return done


def is_tellable(job: str) -> bool:
    """Tell whether a program can be told *job* without taking it for something else."""
    return bool(job) and not job.startswith("-") and UNTELLABLE.isdisjoint(job)


def runs_at(level: float) -> bool:
    """Return whether a job runs at *level*; raise `LeverError` for what is neither paused nor running."""
    if 0 < level < 1 or not level >= 0:
        raise LeverError(f"a job runs (1) or is paused (0), and not {level:g}", Trouble.OUT_OF_RANGE)
    return level >= 1
