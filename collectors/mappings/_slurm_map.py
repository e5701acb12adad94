"""
The folder in which a Slurm prolog writes which job has which GPU, and its epilog takes it back (deploy/slurm).

The convention is that of dcgm-exporter's ``--hpc-job-mapping-dir``, a file for each GPU with one job number a line,
and more: files may be named by UUID, and `jobs` says who each job is.

    GPU-8d3fb1a0-…    4711              by UUID; a MIG instance by its own
    0                 4711              by NVML's index
    0.7               4711              GPU instance 7 of it
    jobs/4711         partition=batch   and account=, user=, qos=
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collectors import SourceError
from collectors.mappings._slurm_jobs import Job

JOBS = "jobs"
MAX_BYTES = 1 << 16
"""A larger file is none of a prolog's."""

_JOB = re.compile(r"[\w.+:-]{1,128}", re.ASCII)
_INDEX = re.compile(r"(\d+)(?:\.(\d+))?", re.ASCII)
_UUID = re.compile(r"(?:(?:GPU|MIG)-[\w-]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """One file: a GPU by its UUID or its index, or one GPU instance of it, and the jobs that have it."""

    file: Path
    uuid: str
    index: int | None
    instance: int | None
    jobs: tuple[Job, ...]


def read(folder: Path) -> tuple[list[Entry], list[str]]:
    """
    Return the GPUs' files of *folder* in the order of their names, and a line for each file that makes no sense.

    Raise `SourceError` if the folder cannot be read.
    """
    try:
        files = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and not file.is_dir())
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {error.strerror}; does the Slurm prolog write there?") from error
    entries: list[Entry] = []
    troubles: list[str] = []
    for file in files:
        try:
            numbers = job_numbers(_text(file))
            entries.append(_entry(file, tuple(_job(folder / JOBS / number, troubles) for number in numbers)))
        except FileNotFoundError:
            continue  # its job has just ended
        except (OSError, ValueError) as error:
            troubles.append(f"{file}: {error}")
    return entries, list(dict.fromkeys(troubles))


def job_numbers(text: str) -> list[str]:
    """Return the jobs in the *text* of a GPU's file; raise `ValueError` that says what is wrong with it. Pure."""
    if not text:
        raise ValueError("empty; remove the file when no job has the GPU")
    if not text.endswith("\n"):
        raise ValueError("half-written: write it beside, each line whole, and rename it into place")
    lines = text.splitlines()
    for line in lines:
        if not _JOB.fullmatch(line):
            raise ValueError(f"not a job number: {line[:40]!r}")
    return lines


def job(number: str, text: str) -> Job:
    """Return job *number* with what the *text* of its own file says; lines that mean nothing here are passed over."""
    facts = dict(_facts(text))
    return Job(
        number, facts.get("user", ""), facts.get("account", ""), facts.get("partition", ""), facts.get("qos", "")
    )


def _facts(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, _, fact = line.partition("=")
        yield key, fact


def _entry(file: Path, jobs: tuple[Job, ...]) -> Entry:
    if named := _INDEX.fullmatch(file.name):
        return Entry(file, "", int(named[1]), int(named[2]) if named[2] else None, jobs)
    if _UUID.fullmatch(file.name):
        return Entry(file, file.name, None, None, jobs)
    raise ValueError("name it after a GPU: its UUID, or its index and the GPU instance's id as in 0.7")


def _job(file: Path, troubles: list[str]) -> Job:
    """Return the job with what is told about it; without a prolog of ours that is its number."""
    try:
        return job(file.name, _text(file))
    except FileNotFoundError:
        return Job(file.name)
    except (OSError, ValueError) as error:
        troubles.append(f"{file}: {error}")
        return Job(file.name)


def _text(file: Path) -> str:
    """Return the text of *file*; raise `ValueError` for one that no prolog has written."""
    with file.open("rb") as opened:
        text = opened.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    return text.decode()
