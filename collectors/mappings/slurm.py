"""
Slurm: which job has which GPU of this node, from the files of a prolog or from `scontrol`, and how long it may wait.

With `map_dir` the prolog's files say which GPU, and who a job is; what they do not say of a job, `scontrol` does.
Without `map_dir`, `scontrol` says both. Rules turn a job into a tier, the first that fits:

    [mapping.slurm]
    map_dir = "/run/firmwatt/gpus"

    [[mapping.slurm.rules]]
    partition = "batch"
    tier = "T2"
    workload = "training"

A rule that asks for something not known of a job cannot be decided, so the job is T0 until it is known.
"""

import functools
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from collectors import Place, SourceError
from collectors.claims import Use, gathered
from collectors.mappings import Claim
from collectors.mappings import _slurm_map as slurm_map
from collectors.mappings._paced import Paced
from collectors.mappings._scontrol import ask
from collectors.mappings._slurm_jobs import Job
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Tier, Workload
from pipeline.settings import Positive, Section

FACTS = ("partition", "qos", "account", "user")
"""What a rule may ask of a job."""


class Rule(Section, frozen=True, kw_only=True):
    """``[[mapping.slurm.rules]]``: jobs of which everything given holds; what is empty is not asked."""

    partition: str = ""
    qos: str = ""
    account: str = ""
    user: str = ""
    tier: Tier
    workload: Workload = Workload.UNKNOWN
    served_model: str | None = None

    def fits(self, job: Job) -> bool | None:
        """Return whether *job* is one of these, None while that is not known."""
        asked = [(getattr(self, fact), getattr(job, fact)) for fact in FACTS if getattr(self, fact)]
        if any(told and told != wanted for wanted, told in asked):
            return False
        return True if all(told for _, told in asked) else None


class Settings(Section, frozen=True, kw_only=True):
    """``[mapping.slurm]``."""

    map_dir: str = ""
    """Folder of the prolog's files; empty: `scontrol` is asked which job has which GPU."""
    scontrol: str = ""
    """The program, by name or path; empty: it is not run. Each run asks the controller for all its jobs: where
    thousands of hosts would, use the prolog, which asks nobody."""
    node: str = ""
    """Slurm's NodeName; empty: the machine's own name without its domain."""
    period_s: Positive = 5.0
    """How often the files are read."""
    scontrol_period_s: Positive = 30.0
    scontrol_timeout_s: Positive = 10.0
    rules: tuple[Rule, ...] = ()
    default_tier: Tier = Tier.T0
    """Of jobs that no rule fits."""


def connect(settings: Settings) -> "Slurm":
    """Return the mapping; nothing is read or run yet."""
    if not settings.map_dir and not settings.scontrol:
        raise ConfigError('mapping slurm needs map_dir (where the prolog writes), scontrol = "scontrol", or both')
    return Slurm(settings)


def claim_of(job: Job, rules: Sequence[Rule], default_tier: Tier) -> Claim:
    """Return what *job* claims: by the first rule that fits, T0 if the first that may fit cannot be decided. Pure."""
    claim = Claim(job=job.number, tenant=job.account or job.user or None)
    for rule in rules:
        fits = rule.fits(job)
        if fits is None:
            return claim
        if fits:
            return msgspec.structs.replace(
                claim, tier=rule.tier, workload=rule.workload, served_model=rule.served_model
            )
    return msgspec.structs.replace(claim, tier=default_tier)


class Slurm:
    """This node's jobs."""

    def __init__(self, settings: Settings) -> None:
        node = settings.node or socket.gethostname().partition(".")[0]
        question = functools.partial(ask, settings.scontrol, node, settings.scontrol_timeout_s)
        self._settings = settings
        self._folder = Path(settings.map_dir) if settings.map_dir else None
        self._scontrol = Paced(question, settings.scontrol_period_s) if settings.scontrol else None
        self._troubles: list[str] = []

    @property
    def period_s(self) -> float:
        """How often it is worth asking, seconds of the shared clock."""
        return self._settings.period_s if self._folder else self._settings.scontrol_period_s

    @property
    def troubles(self) -> tuple[str, ...]:
        """One line for each file, job or GPU that the last call could not tell."""
        return tuple(self._troubles)

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:
        """Return the claims of the jobs on this node; raise `SourceError` if none can be told."""
        self._troubles = []
        uses = self._by_file(self._folder, now, places) if self._folder else self._by_number(now, places)
        return gathered(uses, places)

    def _by_number(self, now: datetime, places: Sequence[Place]) -> Iterator[Use]:
        """Yield what `scontrol` says; its numbers are those of the device files, which are not always NVML's."""
        jobs = self._asked(now)
        if any(place.mig for place in places):
            raise SourceError("scontrol does not tell which MIG instance a job has: install the prolog, set map_dir")
        by_minor = {place.minor: place.uuid for place in places if place.minor is not None}
        for job in jobs.values():
            for minor in job.minors:
                if minor in by_minor:
                    yield Use(by_minor[minor], self._claim(job))
                else:
                    self._troubles.append(f"job {job.number} has /dev/nvidia{minor}, which no source here knows")

    def _by_file(self, folder: Path, now: datetime, places: Sequence[Place]) -> Iterator[Use]:
        """Yield what the prolog's files say, completed by what `scontrol` says or last said of their jobs."""
        try:
            jobs = self._asked(now)
        except SourceError as error:
            self._troubles.append(str(error))
            jobs = self._asked_before(now)
        entries, troubles = slurm_map.read(folder)
        self._troubles += troubles
        by_index = {place.index: place.uuid for place in places}
        for entry in entries:
            uuid = entry.uuid if entry.index is None else by_index.get(entry.index)
            if uuid is None:
                self._troubles.append(f"{entry.file}: no GPU with this index is known here")
                continue
            for job in entry.jobs:
                yield Use(uuid, self._claim(_completed(job, jobs.get(job.number))), entry.instance)

    def _claim(self, job: Job) -> Claim:
        return claim_of(job, self._settings.rules, self._settings.default_tier)

    def _asked(self, now: datetime) -> Mapping[str, Job]:
        if self._scontrol is None:
            return {}
        jobs, troubles = self._scontrol.answer(now)
        if self._folder is None:  # else it does not matter which GPUs it cannot tell
            self._troubles += troubles
        return jobs

    def _asked_before(self, now: datetime) -> Mapping[str, Job]:
        before = self._scontrol.known(now) if self._scontrol else None
        return before[0] if before else {}


def _completed(job: Job, listed: Job | None) -> Job:
    """Return *job* with what the controller says where the prolog said nothing."""
    if listed is None:
        return job
    return job._replace(
        user=job.user or listed.user,
        account=job.account or listed.account,
        partition=job.partition or listed.partition,
        qos=job.qos or listed.qos,
    )
