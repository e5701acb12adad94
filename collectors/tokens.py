"""
Token counters that jobs hand in, as text files or pushed.

The files lie in one folder, by the convention of node_exporter's textfile collector; what is pushed has the same text.

A job (or its launcher) writes ``NAME.prom`` beside the others and renames it into place, as often as it likes:

    firmwatt_job_tokens_total{job="chat-8b"} 1.8e+07
    firmwatt_job_tokens_total{job="chat-8b",kind="prompt"} 5.1e+07

That is the only metric read. Without `kind` it counts generated tokens of inference, consumed tokens of training;
series of one job are added up, ranks and engines alike. What is not handed in again for `STALE_AFTER_S` counts for
nothing: where nobody counts the tokens are unknown, not zero.

    rank 0     100   200 | 300   400         a series that joins brings all it ever counted, and opens a new epoch
    rank 1               |  70  (late)       one that is late while others count keeps what it counted
    job        100   200 | 370   470
"""

import math
import os
import re
import stat
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

METRIC = "firmwatt_job_tokens_total"
STALE_AFTER_S = 60.0

MAX_TEXTS = 256
"""Files, and as many pushed texts: a host runs a handful of jobs with a rank for each GPU."""
MAX_LENGTH = 1 << 20
"""Bytes of one file, characters of one pushed text."""

_OURS = re.compile(rf"\s*{METRIC}(?![\w:])")
_SAMPLE = re.compile(rf"{METRIC}\{{([^}}]*)\}}\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*(\w+)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")

#: Who handed it in, kind of tokens, and all labels.
Series: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Tokens:
    """One job's counters. `epoch` grows when a counter starts again."""

    tokens_total: float | None = None
    prompt_tokens_total: float | None = None
    epoch: int = 0

    def after(self, before: "Tokens") -> "Tokens":
        """Return these counters in their epoch: a lower count than *before* is a restart."""
        restarted = _lower(self.tokens_total, before.tokens_total) or _lower(
            self.prompt_tokens_total, before.prompt_tokens_total
        )
        return Tokens(self.tokens_total, self.prompt_tokens_total, before.epoch + restarted)


class Counted(NamedTuple):
    """One sample."""

    job: str
    kind: str
    tokens: float
    labels: tuple[tuple[str, str], ...] = ()
    """All of them, sorted: what tells its series from others."""


@dataclass(frozen=True)
class Job:
    """What is known of one job: its series and the epoch that they are in."""

    series: Mapping[Series, float] = field(default_factory=dict)
    epoch: int = 0

    def after(self, series: Mapping[Series, float]) -> "Job":
        """Return the job when *series* are handed in: one that is lower, or that joins, opens a new epoch."""
        if not self.series:
            return Job(series, self.epoch)
        if any(count < self.series.get(name, math.inf) for name, count in series.items()):
            return Job(series, self.epoch + 1)
        return Job({**self.series, **series}, self.epoch)

    @property
    def tokens(self) -> Tokens:
        """The series added up; a kind that nobody counts is None."""
        totals: dict[str, float] = defaultdict(float)
        for (_, kind, _), count in self.series.items():
            totals[kind] += count
        return Tokens(totals.get(""), totals.get("prompt"), self.epoch)


def parse(text: str) -> list[Counted]:
    """Return every sample of the metric in *text*; raise `ValueError` if one is malformed."""
    return [_sample(line.strip()) for line in text.splitlines() if _OURS.match(line)]


class TokenBoard:
    """What jobs have handed in: the text files of one folder, and texts that were pushed."""

    def __init__(self, folder: str = "") -> None:
        """Take the folder's path; an empty one is a folder in which nobody counts."""
        self._folder = Path(folder) if folder else None
        self._pushed: dict[str, tuple[float, list[Counted]]] = {}
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def push(self, name: str, text: str, now_s: float) -> None:
        """
        Put *text* in the place of what *name* pushed before; may be called by any thread. *now_s* is Unix time.

        Raise `ValueError` if it is malformed, empty or too long, or if too many names push already.
        """
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        samples = parse(text)
        if not samples:
            raise ValueError(f"no {METRIC} in it")
        with self._lock:
            self._pushed = {key: at for key, at in self._pushed.items() if _is_fresh(at[0], now_s)}
            if name not in self._pushed and len(self._pushed) >= MAX_TEXTS:
                raise ValueError(f"{MAX_TEXTS} names push already; push under one name for each process that lives")
            self._pushed[name] = now_s, samples

    def read(self, now_s: float) -> tuple[dict[str, Tokens], tuple[str, ...]]:
        """Return counters by job, and one line for every file that could not be read. *now_s* is Unix time."""
        problems: list[str] = []
        jobs: dict[str, dict[Series, float]] = defaultdict(lambda: defaultdict(float))
        for source, samples in (*self._files(now_s, problems), *self._texts(now_s)):
            for job, kind, tokens, labels in samples:
                jobs[job][source, kind, labels] += tokens
        self._jobs = {job: self._jobs.get(job, Job()).after(series) for job, series in jobs.items()}
        return {job: known.tokens for job, known in self._jobs.items()}, tuple(problems)

    def _files(self, now_s: float, problems: list[str]) -> Iterator[tuple[str, list[Counted]]]:
        """Yield the name and samples of each fresh file; add to *problems* what is wrong with the others."""
        try:
            files = sorted(self._folder.glob("*.prom")) if self._folder else []
        except OSError as error:
            problems.append(f"{self._folder}: {error.strerror}")
            return
        if len(files) > MAX_TEXTS:
            problems.append(f"{self._folder}: {len(files)} files; the first {MAX_TEXTS} are read")
        for file in files[:MAX_TEXTS]:
            try:
                samples = _read(file, now_s)
            except (OSError, ValueError) as error:
                problems.append(f"{file.name}: {error}")
            else:
                if samples is not None:
                    yield f"file {file.name}", samples

    def _texts(self, now_s: float) -> Iterator[tuple[str, list[Counted]]]:
        with self._lock:
            pushed = list(self._pushed.items())
        return ((f"push {name}", samples) for name, (at_s, samples) in pushed if _is_fresh(at_s, now_s))


def _read(file: Path, now_s: float) -> list[Counted] | None:
    """Return what stands in *file*, None if it is old; a tenant may have put anything there, a pipe included."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if not _is_fresh(status.st_mtime, now_s):
            return None
        text = opened.read(MAX_LENGTH + 1)
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} bytes")
    return parse(text.decode())


def _is_fresh(at_s: float, now_s: float) -> bool:
    return abs(now_s - at_s) <= STALE_AFTER_S


def _sample(line: str) -> Counted:
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a sample: {line!r}")
    labels = {name: _ESCAPED.sub(_unescaped, text) for name, text in _LABEL.findall(match[1])}
    if "job" not in labels:
        raise ValueError(f"no job label: {line!r}")
    count = _count(match[2])
    if not 0 <= count < math.inf:
        raise ValueError(f"not a count: {line!r}")
    return Counted(labels["job"], labels.get("kind", ""), count, tuple(sorted(labels.items())))


def _count(text: str) -> float:
    """Return the number in *text*, NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _lower(count: float | None, before: float | None) -> bool:
    return count is not None and before is not None and count < before
