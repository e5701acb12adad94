"""
Pause and resume Slurm jobs: ``scontrol suspend N``, ``scontrol resume N``.

Slurm sends SIGSTOP to the job's processes on all its nodes at once, so the hosts of one job all ask for the same thing
and it does not matter who is first. What to know before this is switched on:

* Only operators, administrators and, in newer releases, account coordinators may suspend jobs: the user this runs as.
* A paused job keeps its GPUs and their memory and draws what idle GPUs draw. Its cores are free meanwhile, its nodes
  may count as idle, and other jobs that need no GPU may start there.
* The time it stands still does not count against its time limit. If it is requeued meanwhile, it is held.
* SUSPENDED is what the controller has decided. It tells the nodes once; that they obeyed, only the draw shows.
* Slurm's own time slicing (gang scheduling) does not resume a job that was suspended by hand, and may suspend and
  resume others as it likes: then somebody else sets what this lever sets.
* The number of a job array, which is also that of one of its tasks, means the whole array to `scontrol`: a task is
  named by array and index here. The number of a heterogeneous job's leader does mean all its components.

Source: scontrol(1), "suspend" and "resume"; Slurm's src/slurmctld/job_mgr.c (job_suspend2, _job_suspend_op,
_suspend_job_nodes) at commit 00016a59c63e and src/scontrol/update_job.c (_is_job_id) at 006f7eeb1248.
"""

import re
import socket
import threading
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from collectors.levers import Found, LeverError, Reading
from collectors.levers import _programs as programs
from collectors.levers.command import runs_at
from collectors.mappings._slurm_jobs import ENDED, hosts
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import Positive, Section

MAX_BYTES = 24 << 20
"""Slurm before 23.02 answers a question for one job with all of them, at some 8 kB each."""
NUMBER = re.compile(r"([1-9]\d{0,9})(?:_(\d{1,8}))?", re.ASCII)
"""One job, or one task of a job array; nothing else is ever passed to the program."""
ASK_AGAIN = timedelta(seconds=30)
"""A controller that does not answer, or knows no such job, is asked again after this long, of the shared clock."""

RUNS, STANDS = "RUNNING", "SUSPENDED"
SAID = (
    ("access/permission denied", Trouble.NO_PERMISSION),
    ("invalid job id", Trouble.LOST),
    ("already completing or completed", Trouble.LOST),
    ("not supported", Trouble.NOT_SUPPORTED),
)
"""What parts of Slurm's error texts mean (src/common/slurm_errno.c)."""
WHO = "; Slurm lets only its operators and administrators suspend jobs"


PROGRAMS = 3
"""A job is shown, changed and shown again: what a call is allowed the time of."""


class Settings(Section, frozen=True, kw_only=True):
    """``[lever.slurm]``."""

    scontrol: str = "scontrol"
    """The program, by name or path."""
    node: str = ""
    """Slurm's NodeName of this host; empty: the machine's own name without its domain."""
    timeout_s: Positive = 10.0
    """For one run of the program, seconds of the machine; a setting takes two runs, three if it is refused."""


def connect(settings: Settings) -> "Slurm":
    """Return the lever; nothing is run yet."""
    if not settings.scontrol:
        raise ConfigError("lever slurm needs the program scontrol, by name or path")
    return Slurm(settings)


class Job(NamedTuple):
    """One job as the controller tells of it."""

    address: str
    """What names it, and nothing else, to `scontrol`."""
    states: frozenset[str]
    nodes: tuple[str, ...]


class Slurm:
    """The Slurm jobs of this node."""

    kind = Kind.RUN

    def __init__(self, settings: Settings) -> None:
        self.patience_s = PROGRAMS * settings.timeout_s
        self._settings = settings
        self._node = settings.node or socket.gethostname().partition(".")[0]
        self._here: dict[str, bool] = {}
        """Of jobs that the controller was asked about: whether they are on this node."""
        self._ask_again: datetime | None = None
        self._lock = threading.Lock()

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:
        """
        Return those of *jobs* that are Slurm's and on this node.

        The controller is asked once about each job. While it does not answer, whoever claims them is believed.
        """
        numbers = sorted(job for job in jobs if NUMBER.fullmatch(job))
        with self._lock:
            due = self._ask_again is None or not now < self._ask_again
            self._here = {job: here for job, here in self._here.items() if job in numbers and (here or not due)}
            if due:
                self._ask(now, [job for job in numbers if job not in self._here])
            return tuple(Found(job) for job in numbers if self._here.get(job, True))

    def read(self, subject: str) -> Reading:
        """Return 1 for a job that runs, 0 for one that is suspended; raise `LeverError` for one that does neither."""
        job = self._job(subject)
        level = float(_runs(subject, job))
        others = len(job.nodes) - 1
        note = (
            f"it also runs on {others} other node{'s' * (others > 1)}, and is paused on all at once" if others else ""
        )
        return Reading(subject=subject, lowest=0.0, highest=1.0, requested=level, enforced=level, note=note)

    def set(self, subject: str, level: float) -> None:
        """Suspend a job (0) or resume it (1); that it is so already is no error."""
        runs = runs_at(level)
        job = self._job(subject)
        if _runs(subject, job) and runs:
            return
        try:  # also of a job that stands still already: time slicing would resume it
            self._scontrol("resume" if runs else "suspend", job.address)
        except LeverError:
            if _runs(subject, self._job(subject)) is not runs:
                raise  # else another host of this job was quicker

    def close(self) -> None:
        """Forget which jobs are here."""
        with self._lock:
            self._here, self._ask_again = {}, None

    def _ask(self, now: datetime, unknown: Collection[str]) -> None:
        """Ask about jobs that have not been asked about, until the controller does not answer."""
        self._ask_again = None
        for job in unknown:
            try:
                self._here[job] = self._node in self._job(job).nodes
            except LeverError as error:
                if error.trouble is not Trouble.LOST:
                    self._ask_again = now + ASK_AGAIN
                    return
                self._here[job] = False
            if not self._here[job]:
                self._ask_again = now + ASK_AGAIN

    def _job(self, subject: str) -> Job:
        return job_in(self._scontrol("--json", "show", "job", subject), subject)

    def _scontrol(self, *arguments: str) -> bytes:
        if not NUMBER.fullmatch(arguments[-1]):
            raise LeverError(f"{arguments[-1]!r} is no number of a Slurm job", Trouble.NOT_SUPPORTED)
        done = programs.run((self._settings.scontrol, *arguments), self._settings.timeout_s, MAX_BYTES)
        if done.code:
            raise _refusal(done.reason)
        return done.output


class _Raw(msgspec.Struct):
    job_id: Any
    job_state: Any = ""
    nodes: Any = ""
    array_job_id: Any = None
    array_task_id: Any = None


class _Reply(msgspec.Struct):
    jobs: list[_Raw] | None = None
    errors: list[Any] | None = None


def job_in(reply: bytes, subject: str) -> Job:
    """
    Return the job *subject* of ``scontrol --json show job``. Pure, and lenient as `collectors.mappings._slurm_jobs`.

    Raise `LeverError`, as LOST if it is not there.
    """
    try:
        document = msgspec.json.decode(reply, type=_Reply)
    except msgspec.DecodeError as error:
        raise LeverError(f"scontrol answered no job: {error}") from error
    for raw in document.jobs or ():
        array, task = _whole(raw.array_job_id), _whole(raw.array_task_id)
        address = f"{array}_{task}" if array and task is not None else str(_whole(raw.job_id))
        if subject in {address, str(_whole(raw.job_id))}:
            states = raw.job_state if isinstance(raw.job_state, list) else [raw.job_state]
            nodes = tuple(hosts(raw.nodes)) if isinstance(raw.nodes, str) else ()
            return Job(address, frozenset(str(state) for state in states), nodes)
    if document.errors:
        raise _refusal(_text(document.errors[0]))
    raise LeverError(f"Slurm knows no job {subject}", Trouble.LOST)


def _runs(subject: str, job: Job) -> bool:
    """Return whether *job* runs or stands still; raise `LeverError` if it does neither."""
    said = " ".join(sorted(job.states))
    if "COMPLETING" in job.states or job.states & ENDED:
        raise LeverError(f"job {subject} is {said}", Trouble.LOST)
    if STANDS in job.states:
        return False
    if RUNS not in job.states:
        raise LeverError(f"job {subject} is {said or 'in no state'}, neither {RUNS} nor {STANDS}")
    return True


def _refusal(said: str) -> LeverError:
    trouble = next((trouble for part, trouble in SAID if part in said.lower()), Trouble.FAILED)
    return LeverError(f"scontrol: {said}{WHO if trouble is Trouble.NO_PERMISSION else ''}", trouble)


def _whole(field: Any) -> int | None:
    """Return a number of Slurm's, plain or ``{"set": true, "number": 7}``; None where it is not set."""
    if isinstance(field, Mapping):
        field = field.get("number") if field.get("set", True) and not field.get("infinite") else None
    return field if isinstance(field, int) else None


def _text(error: Any) -> str:
    said = (error.get("description") or error.get("error") or error) if isinstance(error, Mapping) else error
    return str(said)[: programs.SHOWN]
