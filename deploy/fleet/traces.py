"""
Real demand, replayed: which file it is shows in its header.

    Azure LLM inference trace   TIMESTAMP,ContextTokens,GeneratedTokens     one row a request
    ServeGen series             t_s,rate_rps,…                              one row a 600 s window

A trace is laid on POSIX time modulo its own length, so that every process and every back-filled day reads the same
value at the same instant. The Azure trace of 2023 is one hour and knows no daily shape; ServeGen's 14 days do not
publish their weekday. Both are scaled to their own 99th percentile: a share of the fleet's peak, not tokens.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from deploy.fleet.demand import Demand, Synthetic
from deploy.fleet.variation import DAY_S, Floats
from pipeline.errors import ConfigError

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
SERVEGEN_COLUMNS = ("t_s", "rate_rps")
#: Requests are summed over this long; the length of an answer, below which arrivals say nothing about load.
AZURE_BIN_S = 10.0
#: Full load is this quantile of the trace; the few bins above it are cut.
PEAK_QUANTILE = 0.99
#: A trace needs a peak and something that is not the peak.
MIN_BINS = 2
#: Longest trace that is laid out in memory, bins.
MAX_BINS = 1_000_000
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Replay:
    """A periodic series of utilisation, straight lines between the middles of its bins."""

    share: Floats
    """0 to 1 per bin."""
    bin_s: float
    source: str
    holes: int = 0
    """Bins in which the record is missing and the last value was held."""

    @property
    def length_s(self) -> float:
        """After this long it starts again."""
        return len(self.share) * self.bin_s

    def utilisation(self, at: Floats) -> Floats:
        """Return the trace's demand at the POSIX seconds *at*, modulo its length."""
        wrapped = np.concatenate((self.share[-1:], self.share, self.share[:1]))
        return np.interp(np.mod(at, self.length_s) / self.bin_s, np.arange(len(wrapped)) - 0.5, wrapped)

    def describe(self) -> str:
        """Return the sentence shown with every figure of this fleet."""
        held = f"; {self.holes} windows missing in the record, last value held" if self.holes else ""
        return f"SIMULATED fleet; inference demand replayed from {self.source}, repeated every {self._span()}{held}"

    def _span(self) -> str:
        if self.length_s >= DAY_S:
            return f"{self.length_s / DAY_S:g} days"
        minutes, seconds = divmod(round(self.length_s), 60)
        return f"{minutes} min {seconds} s"


def demand(trace: str, zone: ZoneInfo) -> Demand:
    """Return the demand replayed from the file *trace*, or the synthetic one where none is named."""
    return load(Path(trace)) if trace else Synthetic(zone)


def load(path: Path) -> Replay:
    """Return the trace in *path*, plain or gzip; `ConfigError` names the file and what is wrong with it."""
    rows = csv.DictReader(io.StringIO(_text(path)))
    columns = tuple(rows.fieldnames or ())
    if not columns:
        raise ConfigError(f"trace {path} is empty")
    try:
        if set(AZURE_COLUMNS) <= set(columns):
            return _azure(rows)
        if set(SERVEGEN_COLUMNS) <= set(columns) and "client_id" not in columns:
            return _servegen(rows)
    except (ValueError, TypeError, csv.Error) as error:  # a cell that is no number, a row that ends early
        raise ConfigError(f"trace {path}, line {rows.line_num}: {error}") from error
    raise ConfigError(
        f"trace {path}: header {','.join(columns)[:80]!r} is neither an Azure LLM trace ({','.join(AZURE_COLUMNS)}) "
        f"nor a ServeGen series ({','.join(SERVEGEN_COLUMNS)},…)"
    )


def _text(path: Path) -> str:
    """Return the file's text, unpacked if it is gzip."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:  # the last two, and BadGzipFile, an OSError: broken gzip
        raise ConfigError(f"cannot read trace {path}: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"trace {path} is not text: {error}") from error


def _azure(rows: Iterator[dict[str, str]]) -> Replay:
    """
    Return generated tokens per second by bins of arrival; the last bin is dropped, it is not full.

    Stamps have no zone and need none: only their distance counts.
    """
    requests = [(datetime.fromisoformat(row["TIMESTAMP"]), float(row["GeneratedTokens"])) for row in rows]
    begin = min((arrival for arrival, _ in requests), default=None)
    bins = [int((arrival - begin).total_seconds() // AZURE_BIN_S) for arrival, _ in requests if begin is not None]
    if max(bins, default=0) > MAX_BINS:
        raise ValueError(f"spans more than {MAX_BINS} bins of {AZURE_BIN_S:g} s")
    tokens = np.bincount(np.array(bins, dtype=np.int64), weights=[generated for _, generated in requests])
    return Replay(
        _normalised(tokens[:-1].astype(np.float64)), AZURE_BIN_S, "the real Azure LLM inference trace (CC-BY-4.0)"
    )


def _servegen(rows: Iterator[dict[str, str]]) -> Replay:
    """
    Return the request rate by window. An all-zero window is a hole in the record: the last value is held.

    The request rate and not the token series, because the latter covers a share of the requests that changes.
    """
    windows = sorted((float(row["t_s"]), float(row["rate_rps"])) for row in rows)
    starts = np.array([start for start, _ in windows])
    rates = np.array([rate for _, rate in windows])
    if len(windows) < MIN_BINS or not (starts[1] > starts[0]):
        raise ValueError(f"needs at least {MIN_BINS} windows of growing t_s")
    width_s = float(starts[1] - starts[0])
    if not np.allclose(np.diff(starts), width_s):
        raise ValueError(f"windows are not all {width_s:g} s apart")
    holes = rates == 0.0
    return Replay(
        _normalised(_held(rates, holes)),
        width_s,
        "a real ServeGen series of Alibaba Cloud Model Studio (Apache-2.0)",
        int(holes.sum()),
    )


def _held(rates: Floats, holes: npt.NDArray[np.bool_]) -> Floats:
    """Return *rates* with each hole at the last value before it; the first ones take the first value there is."""
    known = np.flatnonzero(~holes)
    if not known.size:
        return rates
    return rates[known[np.clip(np.searchsorted(known, np.arange(len(rates)), side="right") - 1, 0, None)]]


def _normalised(series: Floats) -> Floats:
    """Return *series* over its 99th percentile, cut to 0 … 1; a series without demand is an error."""
    if len(series) < MIN_BINS or not np.all(np.isfinite(series)) or np.any(series < 0.0):
        raise ValueError(f"needs at least {MIN_BINS} full bins of finite, non-negative demand")
    peak = float(np.quantile(series, PEAK_QUANTILE))
    if peak <= 0.0:
        raise ValueError("holds no demand")
    return np.asarray(np.clip(series / peak, 0.0, 1.0))
