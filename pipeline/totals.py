"""
What the hosts of a partition moved in an interval, by pool and by host. Pure.

Sums of whole numbers: adding two totals, in any order and however often it was interrupted, gives the same figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from pipeline.counters import Ints
from pipeline.messages.telemetry import PoolInterval
from pipeline.pools import Pools
from pipeline.rows import NO_POOL, Cohort
from pipeline.units import J_PER_KWH

MJ_PER_KWH = 1000.0 * J_PER_KWH
US_PER_S = 1e6
MILLI = 1000.0

BY_POOL = ("energy_mj", "covered_us", "present_us", "tokens_milli", "counted")
BY_HOST = ("host_mj", "host_us", "span_us", "ticks", "missing", "simulated")


_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(dict[str, bytes])


def _none() -> Ints:
    return np.zeros(0, dtype=np.int64)


@dataclass(eq=False)
class Totals:
    """Columns by number of the pool and by number of the host; a column is as long as it had to be."""

    columns: dict[str, Ints] = field(default_factory=lambda: {name: _none() for name in (*BY_POOL, *BY_HOST)})

    def add(self, other: "Totals") -> None:
        """Add *other*."""
        for name, values in other.columns.items():
            self.columns[name] = _sum(self.columns[name], values)

    def host(self, name: str, hosts: int) -> Ints:
        """Return a column by host, as long as there are *hosts*."""
        return padded(self.columns[name], hosts)

    def pool(self, name: str, pools: int) -> Ints:
        """Return a column by pool, as long as there are *pools*."""
        return padded(self.columns[name], pools)

    def grouped(self, group_of: Ints, groups: int) -> "Totals":
        """Return the same by number of the group in place of the host's; *group_of* each host."""
        return Totals(
            {name: self.columns[name] for name in BY_POOL}
            | {name: _by(group_of[: len(self.columns[name])], self.columns[name], groups) for name in BY_HOST}
        )

    def packed(self) -> bytes:
        """Return them small, for what is kept and seldom looked at: a column of zeros takes nothing."""
        return _pack.encode({name: values.tobytes() for name, values in self.columns.items() if values.any()})

    @classmethod
    def unpacked(cls, packed: bytes) -> "Totals":
        """Return what was `packed`; raise msgspec's errors for bytes that are no such thing."""
        totals = cls()
        totals.columns |= {name: np.frombuffer(values, np.int64) for name, values in _unpack.decode(packed).items()}
        return totals


def _sum(one: Ints, other: Ints) -> Ints:
    if len(one) == len(other):
        return one + other
    longer = max(len(one), len(other))
    return padded(one, longer) + padded(other, longer)


def padded(values: Ints, length: int) -> Ints:
    """Return *values* cut to *length*, or with zeros up to it."""
    if len(values) >= length:
        return values[:length]
    return np.concatenate([values, np.zeros(length - len(values), dtype=np.int64)])


def summed(cohorts: Iterable[Cohort], interval: int, pools: Pools, hosts: int) -> Totals:
    """Return what all rows moved in *interval*."""
    whole = Totals()
    for cohort in cohorts:
        records = cohort.parts.get(interval)
        if records is not None and len(cohort):
            whole.add(_of_cohort(cohort, records[: len(cohort)], pools, hosts))
    return whole


def _of_cohort(cohort: Cohort, records: Any, pools: Pools, hosts: int) -> Totals:
    rows, count = cohort.used, len(pools)
    gpu_pool = rows["pool"].ravel()
    present = np.repeat(records["span_us"], cohort.gpus)
    columns = {
        "energy_mj": _by(gpu_pool, records["energy_mj"].ravel(), count),
        "covered_us": _by(gpu_pool, records["covered_us"].ravel(), count),
        "present_us": _by(gpu_pool, present, count),
    }
    columns |= dict(zip(("tokens_milli", "counted"), tokens(cohort, records, pools), strict=True))
    columns |= {name: _by(rows["host"], records[name], hosts) for name in BY_HOST}
    return Totals(columns)


def tokens(cohort: Cohort, records: Any, pools: Pools) -> tuple[Ints, Ints]:
    """Return the tokens of each pool (milli) and how many rows and jobs counted them."""
    count, job_pool = len(pools), cohort.used["job_pool"]
    one = job_pool != NO_POOL
    amounts = _by(job_pool[one], records["tokens_milli"][one], count)
    counted = _by(job_pool[one], records["counted"][one], count)
    for number, job in zip(*np.nonzero(~one & records["counted"]), strict=True):
        amount = int(records["tokens_milli"][number, job])
        own = _pools_of_job(cohort, int(number), int(job), pools)
        for place, pool in enumerate(own):  # equal parts, of which the first take what is left over
            amounts[pool] += amount // len(own) + (place < amount % len(own))
            counted[pool] += 1
    return amounts, counted


def _pools_of_job(cohort: Cohort, number: int, job: int, pools: Pools) -> Sequence[int]:
    return list(pools.of_jobs(cohort.layouts[number]))[job]


def _by(groups: Any, values: Any, count: int) -> Ints:
    """Return sums of whole numbers by group; exact, as no sum comes near 2^53."""
    return np.bincount(groups, weights=values, minlength=count).astype(np.int64)


def pool_intervals(totals: Totals, pools: Pools, site: str) -> tuple[PoolInterval, ...]:
    """Return the pools of *site* that were there or used anything, in a fixed order."""
    columns = {name: totals.pool(name, len(pools)) for name in BY_POOL}
    known = (columns["counted"] != 0) | (columns["tokens_milli"] != 0)  # a correction may take back what was counted
    there = np.flatnonzero(np.logical_or.reduce([columns[name] != 0 for name in BY_POOL]))
    mine = sorted((number for number in there.tolist() if pools.names[number].site == site), key=_order(pools))
    return tuple(
        PoolInterval(
            tier=pools.names[number].tier,
            workload=pools.names[number].workload,
            gpu_model=pools.names[number].gpu_model,
            served_model=pools.names[number].served_model,
            engine=pools.names[number].engine,
            gpu_energy_kwh=int(columns["energy_mj"][number]) / MJ_PER_KWH,
            tokens=int(columns["tokens_milli"][number]) / MILLI if known[number] else None,
            gpu_s=int(columns["present_us"][number]) / US_PER_S,
            covered_gpu_s=int(columns["covered_us"][number]) / US_PER_S,
        )
        for number in mine
    )


def _order(pools: Pools) -> Any:
    return lambda number: pools.names[number].order
