"""
Token counters that jobs push: text files in a folder, by the convention of node_exporter's textfile collector.

A job (or its launcher) writes ``NAME.prom`` beside the others and renames it into place, as often as it likes:

    firmwatt_job_tokens_total{job="chat-8b"} 1.8e+07
    firmwatt_job_tokens_total{job="chat-8b",kind="prompt"} 5.1e+07

That is the only metric read. Without `kind` it counts generated tokens of inference, consumed tokens of training;
series of one job are added up, ranks and engines alike. A file not rewritten for `STALE_AFTER_S` counts for nothing:
where nobody counts the tokens are unknown, not zero.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

METRIC = "firmwatt_job_tokens_total"
STALE_AFTER_S = 60.0

_OURS = re.compile(rf"\s*{METRIC}(?![\w:])")
_SAMPLE = re.compile(rf"{METRIC}\{{([^}}]*)\}}\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*(\w+)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")


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


def parse(text: str) -> list[tuple[str, str, float]]:
    """Return (job, kind, count) of every sample of the metric in *text*; raise `ValueError` if one is malformed."""
    return [_sample(line.strip()) for line in text.splitlines() if _OURS.match(line)]


def add_up(samples: Iterable[tuple[str, str, float]]) -> dict[str, Tokens]:
    """Return the counters of each job, its series added up; a kind nobody counts stays None."""
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for job, kind, count in samples:
        totals[job, kind] += count
    return {job: Tokens(totals.get((job, "")), totals.get((job, "prompt"))) for job, _ in totals}


class TokenFolder:
    """The text files of one folder, and what was counted last."""

    def __init__(self, path: str) -> None:
        """Take the folder's path; an empty one is a folder in which nobody counts."""
        self._path = Path(path) if path else None
        self._last: dict[str, Tokens] = {}

    def read(self, now_s: float) -> tuple[dict[str, Tokens], tuple[str, ...]]:
        """Return counters by job, and one line for every file that could not be read. *now_s* is Unix time."""
        samples: list[tuple[str, str, float]] = []
        problems: list[str] = []
        for file in sorted(self._path.glob("*.prom")) if self._path else []:
            try:
                if now_s - file.stat().st_mtime <= STALE_AFTER_S:
                    samples += parse(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                problems.append(f"{file.name}: {error}")
        counted = {job: tokens.after(self._last.get(job, Tokens())) for job, tokens in add_up(samples).items()}
        self._last |= counted
        return counted, tuple(problems)


def _sample(line: str) -> tuple[str, str, float]:
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a sample: {line!r}")
    labels = {name: _ESCAPED.sub(_unescaped, text) for name, text in _LABEL.findall(match[1])}
    if "job" not in labels:
        raise ValueError(f"no job label: {line!r}")
    count = _count(match[2])
    if not 0 <= count < math.inf:
        raise ValueError(f"not a count: {line!r}")
    return labels["job"], labels.get("kind", ""), count


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
