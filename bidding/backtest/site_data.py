"""Reads what the simulated site is made from: demand, engines, GPU power. Shell."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bidding.backtest.prices import number_of
from bidding.backtest.site import DAY_HOURS, WINDOWS_AN_HOUR, Measured
from pipeline.cbl import series
from pipeline.errors import ConfigError

DEMAND = Path("servegen_alibaba") / "m-large_10min.csv"
POWER = Path("acme_gpu_power") / "cdfs.csv"
CLUSTER, METRIC = "kalos", "gpu_power_w"


def load(data: Path) -> Measured:
    """Return the figures of the data folder; raise `ConfigError` where a file is missing or a cell is no number."""
    engine = series.engine(data)
    return Measured(
        demand=demand(_column(data / DEMAND, "rate_rps", {})),
        engine_w=float(engine.watts[-1]),
        engine_tokens_per_s=float(engine.tokens_per_s[-1]),
        training_w=np.sort(_column(data / POWER, "value", {"cluster": CLUSTER, "metric": METRIC})),
    )


def demand(requests_per_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return whole days of windows as shares of the highest; a window without a request is a hole and refused."""
    windows = WINDOWS_AN_HOUR * DAY_HOURS
    if len(requests_per_s) % windows or not len(requests_per_s):
        raise ConfigError(f"{DEMAND}: {len(requests_per_s)} windows are no whole days of {windows}")
    if not (requests_per_s > 0).all():
        raise ConfigError(f"{DEMAND}: a window without a request is a hole of the record; use a whole one")
    return np.asarray(requests_per_s / requests_per_s.max(), np.float64).reshape(-1, windows)


def _column(path: Path, name: str, where: dict[str, str]) -> NDArray[np.float64]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = [
                float(number_of(row[name], f"{path.name} row {number}"))
                for number, row in enumerate(csv.DictReader(file), start=2)
                if all(row[key] == value for key, value in where.items())
            ]
    except FileNotFoundError as error:
        raise ConfigError(f"no file {path}; set FIRMWATT_SHARED to the folder that holds data/") from error
    return np.asarray(found, np.float64)
