"""
What the fleet is expected to draw and to produce at an instant: no noise of its own, a function of time and seed.

History is this function over days past; the live model follows it and adds noise around it. So a baseline made of
back-filled days means something for the day that is streamed.
"""

from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from deploy.fleet import curves, jobs, traces
from deploy.fleet.demand import Demand
from deploy.fleet.jobs import POOLS, Group, Layout
from deploy.fleet.settings import FleetSettings
from deploy.fleet.variation import Floats, day_level, local_s, minute_level, uniform
from pipeline.calendar import Calendar
from pipeline.messages.telemetry import Workload
from pipeline.units import W_PER_KW

#: How far days differ: the whole site, and each pool on its own. Assumptions: a site's days differ by a few percent.
SITE_DAY_SIGMA, POOL_DAY_SIGMA = 0.020, 0.025
#: Slow noise of each pool within a day.
POOL_MINUTE_SIGMA = 0.010
#: Streams of `variation`: pools take their own number from each base.
_SITE_DAY, _POOL_DAY, _POOL_MINUTE, _TRAINING = 1, 100, 200, 300

#: A training job runs for hours, then stops for some minutes (a checkpoint, the next job's start) and ramps. Assumed.
RUN_S, STOP_S, RAMP_S = (6 * 3600.0, 14 * 3600.0), (300.0, 720.0), 45.0


@dataclass(frozen=True)
class Expected:
    """Per group (rows) and instant (columns)."""

    gpu_w: Floats
    """Draw of one GPU without a cap."""
    gpu_tokens_per_s: Floats
    """Tokens of one GPU without a cap."""


@dataclass(frozen=True)
class Plan:
    """Layout, users and calendar of one site."""

    layout: Layout
    demand: Demand
    zone: ZoneInfo
    seed: int

    def expected(self, at: Floats) -> Expected:
        """Return draw and tokens of every group at the POSIX seconds *at*."""
        if not self.layout.groups:
            return Expected(np.zeros((0, len(at))), np.zeros((0, len(at))))
        users, levels = self.demand.utilisation(at), self._levels(at)
        rows = [self._group(group, at, users) for group in self.layout.groups]
        factors = np.array([levels[group.pool] for group in self.layout.groups])
        base_w = np.array([gpu_w for gpu_w, _ in rows])
        gpu_w = curves.IDLE_W + (base_w - curves.IDLE_W) * factors
        return Expected(np.clip(gpu_w, curves.IDLE_W, curves.MAX_LIMIT_W), np.array([tokens for _, tokens in rows]))

    def site_kw(self, at: Floats) -> Floats:
        """Return the whole site's expected draw at *at*, node overhead included, nothing capped."""
        gpu_w = self._group_gpus @ self.expected(at).gpu_w
        fixed_w = self.layout.hosts * curves.node_overhead_w(self.layout.gpus_per_host)
        return np.asarray((fixed_w + gpu_w * (1.0 + curves.NODE_W_PER_GPU_W)) / W_PER_KW)

    @cached_property
    def _group_gpus(self) -> Floats:
        return np.array([float(group.gpus) for group in self.layout.groups])

    @cached_property
    def _cycles(self) -> Floats:
        """Run length, stop length and phase of each training job, seconds; columns by job number."""
        numbers = np.arange(max(group.number for group in self.layout.groups) + 1)
        run, stop, phase = (uniform(self.seed, _TRAINING + part, numbers) for part in range(3))
        run_s = RUN_S[0] + run * (RUN_S[1] - RUN_S[0])
        stop_s = STOP_S[0] + stop * (STOP_S[1] - STOP_S[0])
        return np.array([run_s, stop_s, phase * (run_s + stop_s)])

    def _levels(self, at: Floats) -> Floats:
        """Return the factor on each pool's draw above idle: its day, and slow noise."""
        local, pools = local_s(at, self.zone), np.arange(len(POOLS))[:, None]
        site_day = day_level(self.seed, _SITE_DAY, local, SITE_DAY_SIGMA)
        pool_days = day_level(self.seed, _POOL_DAY + pools, local, POOL_DAY_SIGMA)
        return site_day * pool_days * minute_level(self.seed, _POOL_MINUTE + pools, at, POOL_MINUTE_SIGMA)

    def _group(self, group: Group, at: Floats, users: Floats) -> tuple[Floats, Floats]:
        """Return draw and tokens per GPU of *group* before the day's level."""
        pool = POOLS[group.pool]
        if pool.serving is not None:
            utilisation = np.clip((pool.standing + (1.0 - pool.standing) * users) * group.level, 0.0, 1.0)
            peak = pool.serving.peak_tokens_per_s / pool.serving.gpus
            return pool.serving.gpu_w(utilisation), utilisation * peak
        if pool.workload is Workload.TRAINING:
            busy = self._busy(group.number, at)
            return curves.IDLE_W + (curves.TRAINING_W - curves.IDLE_W) * busy, curves.TRAINING_TOKENS_PER_S * busy
        return np.full(len(at), curves.IDLE_W), np.zeros(len(at))

    def _busy(self, number: int, at: Floats) -> Floats:
        r"""
        Return how much of a training job runs at *at*.

            1      ______________________
                  /                      \
            0  __/ ramp      run          \__ stop
        """
        run_s, stop_s, phase_s = self._cycles[:, number]
        into = np.mod(at + phase_s, run_s + stop_s)
        return np.asarray(np.clip(np.minimum(into, run_s - into) / RAMP_S, 0.0, 1.0))


def plan(settings: FleetSettings, timezone: str) -> Plan:
    """Return the plan of the fleet in *settings* at a site in *timezone*; `ConfigError` on a bad trace or zone."""
    zone = Calendar(timezone).zone
    layout = jobs.lay_out(settings.hosts, settings.gpus_per_host)
    return Plan(layout, traces.demand(settings.trace, zone), zone, settings.seed)
