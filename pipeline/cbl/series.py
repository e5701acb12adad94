"""
The real series of the data folder as loads, with what had to be assumed of them. Shell: it reads files.

| series | what it is | how it becomes kW |
|---|---|---|
| `llm_demand` | token demand of one language model in production, 14 days | simulated: see `spread_kw`, `packed_kw` |
| `buildings` | 8 university buildings, 3 years | metered kWh of an hour |
| `demand` | 12 regions of EIA-930, 3 years | metered MW; a system's load, not a site's |

A reading that its source calls missing, imputed or half is a gap here, never a number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.calendar import Calendar
from pipeline.cbl import holidays
from pipeline.cbl.request import LOADS
from pipeline.errors import ConfigError

HOUR = timedelta(hours=1)
SIMULATED = "simulated load from real demand"


@dataclass(frozen=True, kw_only=True)
class Series:
    """Loads that came from one source."""

    name: str
    title: str
    loads: pl.DataFrame
    """`LOADS`."""
    grid: timedelta
    calendar: Calendar
    notes: tuple[str, ...]
    """What was assumed and what was left out, each a sentence."""
    simulated: bool = False
    temperatures: pl.DataFrame | None = None


#: Watts of an H100 80GB HBM3 that does nothing (`nvidia_smi_captures`).
IDLE_W = 70.0
ENGINE_MODEL, ENGINE_TASK = "meta-llama/Llama-3.1-70B-Instruct", "lm-arena-chat"


@dataclass(frozen=True)
class Engine:
    """What one inference server draws, its GPUs alone, by the output tokens it gives a second."""

    idle_w: float
    tokens_per_s: NDArray[np.float64]
    """Rising."""
    watts: NDArray[np.float64]


def engine(folder: Path) -> Engine:
    """Return the measured curve of Llama 3.1 70B on four H100 at batch limits from 8 to 1,024 (`mlenergy_v3`)."""
    runs = (
        _csv(folder / "mlenergy_v3" / "benchmark_runs_flat.csv")
        .filter(pl.col("model_id") == ENGINE_MODEL, pl.col("task") == ENGINE_TASK)
        .select(
            pl.col("output_throughput_tokens_per_sec", "avg_power_watts").cast(pl.Float64),
            pl.col("num_gpus").cast(pl.Int64),
        )
        .sort("output_throughput_tokens_per_sec")
    )
    idle_w = IDLE_W * int(runs["num_gpus"].to_list()[0])
    return Engine(
        idle_w, runs["output_throughput_tokens_per_sec"].to_numpy().copy(), runs["avg_power_watts"].to_numpy().copy()
    )


def engines_for(tokens_per_s: NDArray[np.float64], one: Engine) -> int:
    """Return how many engines serve the highest demand there is, each at its highest measured rate."""
    return max(1, int(np.ceil(np.nanmax(tokens_per_s) / one.tokens_per_s[-1])))


def spread_kw(tokens_per_s: NDArray[np.float64], one: Engine) -> NDArray[np.float64]:
    """
    Return the fleet's draw where each engine takes an equal share of the demand.

    Between no demand, where it draws its idle power, and the lowest measured rate, a straight line.
    """
    count = engines_for(tokens_per_s, one)
    curve = np.interp(tokens_per_s / count, [0.0, *one.tokens_per_s], [one.idle_w, *one.watts])
    return np.asarray(count * curve / 1000, np.float64)


def packed_kw(tokens_per_s: NDArray[np.float64], one: Engine) -> NDArray[np.float64]:
    """
    Return the fleet's draw where engines are filled to their highest rate one after the other, and the rest idles.

    Idle power of all, and for each token a second the same dynamic power: that of a full engine.
    """
    full = tokens_per_s / one.tokens_per_s[-1]
    watts = engines_for(tokens_per_s, one) * one.idle_w + full * (one.watts[-1] - one.idle_w)
    return np.asarray(watts / 1000, np.float64)


#: Not published. A Monday, so that the 14 days hold two whole weeks, in a zone whose clocks do not change.
FIRST_DAY = date(2025, 3, 3)
LLM_ZONE = "Asia/Shanghai"
FLEETS: dict[str, Callable[[NDArray[np.float64], Engine], NDArray[np.float64]]] = {
    "spread": spread_kw,
    "packed": packed_kw,
}


def llm_demand(folder: Path, first_day: date = FIRST_DAY) -> Series:
    """
    Return four simulated loads: tokens, or requests of mean length, by engines that share or are filled in turn.

    The token figures cover the clients of which lengths are known, the requests all of them.
    """
    windows = _csv(folder / "servegen_alibaba" / "m-large_10min.csv").cast(pl.Float64).sort("t_s")
    held = windows.filter(pl.col("rate_rps") > 0)
    per_request = held.select(pl.col("output_tokens_per_s").sum() / pl.col("rate_rps_with_token_data").sum()).item()
    one = engine(folder)
    calendar = holidays.find("none").calendar(LLM_ZONE)
    midnight = datetime.combine(first_day, time(), calendar.zone).astimezone(UTC)
    demands = {
        "tokens": held["output_tokens_per_s"].to_numpy(),
        "requests": held["rate_rps"].to_numpy() * per_request,
    }
    starts = held.select(
        start=pl.lit(midnight).cast(LOADS["start"]) + pl.duration(seconds=pl.col("t_s").cast(pl.Int64))
    )
    loads = pl.concat(
        starts.with_columns(resource=pl.lit(f"{of}, {fleet}"), load_kw=pl.Series(draw(demanded, one)))
        for of, demanded in demands.items()
        for fleet, draw in FLEETS.items()
    )
    covered = held.select(pl.col("rate_rps_with_token_data").sum() / pl.col("rate_rps").sum()).item()
    return Series(
        name="llm",
        title="Demand of a language model in production (Alibaba ServeGen, m-large), 10 minutes, 14 days",
        loads=loads.select(LOADS.names()),
        grid=timedelta(minutes=10),
        calendar=calendar,
        simulated=True,
        notes=(
            f"{SIMULATED.capitalize()}: requests and tokens a second were recorded; no meter was read.",
            *_fleet_notes(one),
            (
                f"Tokens cover {covered:.0%} of requests, since lengths of some of the busiest clients were not "
                f"published; requests are all of them, each taken as {per_request:,.0f} output tokens."
            ),
            (
                f"Neither the first day nor the zone is published: {first_day:%A %Y-%m-%d}, local midnight in "
                f"{LLM_ZONE}, no holidays, is assumed."
            ),
            f"{len(windows) - len(held)} of {len(windows):,} windows hold no request: holes of the record, gaps.",
        ),
    )


def _fleet_notes(one: Engine) -> tuple[str, ...]:
    (low, high), (low_w, high_w) = one.tokens_per_s[[0, -1]], one.watts[[0, -1]]
    return (
        (
            f"Power is that of the GPUs alone, by the measured curve of {ENGINE_MODEL} on four H100 ({low_w:,.0f} W at "
            f"{low:,.0f} output tokens/s to {high_w:,.0f} W at {high:,.0f}), and {IDLE_W:g} W for a GPU that idles. It "
            "is not the model that was served; hosts and cooling, which are left out, would lower every relative error."
        ),
        (
            "Spread: all engines share the demand evenly. Packed: they are filled one after the other, and the rest "
            "idles. Real fleets lie between the two, or beside them."
        ),
    )


def buildings(folder: Path) -> Series:
    """Return the 8 buildings; zeros, and the half hour that each year begins with, are gaps."""
    read = _csv(folder / "cambridge_buildings" / "hourly_kwh_8buildings_2016-2018.csv.gz")
    names = [name for name in read.columns if name.startswith("b")]
    hourly = read.with_columns(
        pl.col(*names, "outdoor_temp_c").cast(pl.Float64), start=_utc(pl.col("datetime"))
    ).with_columns(_half=pl.col("start").dt.strftime("%m-%d %H") == "01-01 00")
    long = hourly.unpivot(names, index=["start", "_half"], variable_name="resource", value_name="load_kw")
    metered = ~pl.col("_half") & (pl.col("load_kw") > 0)
    loads = long.with_columns(load_kw=pl.when(metered).then("load_kw"))
    zeros = len(long.filter(pl.col("load_kw") <= 0))
    return Series(
        name="buildings",
        title="8 university buildings (Cambridge), hourly, 2016 to 2018",
        loads=loads.select(LOADS.names()),
        grid=HOUR,
        calendar=holidays.find("gb-england").calendar("Europe/London"),
        temperatures=hourly.select("start", celsius="outdoor_temp_c").filter(pl.col("celsius").is_finite()),
        notes=(
            (
                f"{zeros:,} readings of zero are missing ones that the source had replaced, and gaps here, as is the "
                "first hour of each year, of which half was counted."
            ),
            "An hour of which the source lost one half-hour cannot be told from a low one, and stays in.",
            "Holidays are England's bank holidays; the university's own closed days are not among them.",
        ),
    )


#: The zone whose clock a market's local days follow.
MARKETS = {
    "PJM": "America/New_York",
    "ERCO": "America/Chicago",
    "CISO": "America/Los_Angeles",
    "NYIS": "America/New_York",
}


def demand(folder: Path) -> tuple[Series, ...]:
    """Return the regions, a series for each market; an hour that is not as it was reported is a gap."""
    path = folder / "eia930_demand" / "subregion_hourly_2020-2022.csv.gz"
    hours = _csv(path).select(
        resource="region",
        start=_utc(pl.col("datetime_utc")) - HOUR,
        load_kw=pl.when(pl.col("quality") == "OKAY").then(pl.col("raw_mw").cast(pl.Float64, strict=False)) * 1000,
    )
    return tuple(
        _market(name, zone, hours.filter(pl.col("resource").str.starts_with(f"{name}-")))
        for name, zone in MARKETS.items()
    )


def _market(name: str, zone: str, hours: pl.DataFrame) -> Series:
    gaps = hours["load_kw"].null_count()
    return Series(
        name=f"demand-{name.lower()}",
        title=f"{hours['resource'].n_unique()} regions of {name} (EIA-930), hourly, 2020 to 2022",
        loads=hours.select(LOADS.names()),
        grid=HOUR,
        calendar=holidays.find("us-nerc").calendar(zone),
        notes=(
            "The load of a system, smoother than any site's.",
            (
                f"{name}: {gaps:,} of {len(hours):,} hours were missing or screened out by the source, whose imputed "
                "values are not used: gaps."
            ),
            "Stamps of hours that end were moved to their start.",
        ),
    )


def _utc(text: pl.Expr) -> pl.Expr:
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us").dt.replace_time_zone("UTC")


def _csv(path: Path) -> pl.DataFrame:
    """Return a file's cells as text; an empty one is null."""
    try:
        return pl.read_csv(path, infer_schema=False)
    except FileNotFoundError as error:
        raise ConfigError(f"no file {path}; set FIRMWATT_SHARED to the folder that holds data/") from error
