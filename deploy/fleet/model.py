"""
GPUs as arrays: draw, regulation, counters. Vectorised over the fleet, exact in time.

    limit   ────────┐                     ┌──────────     what software asked for
                    └─────────────────────┘
    ceiling ────────╮                     ╭──────────     first order, `LOWER_TAU_S` down, `RAISE_TAU_S` up
                    ╰─────────────────────╯
    draw    ~~~~~~~~╮                     ╭~~~~~~~~~~     min(target, ceiling): a cap above the target does nothing
                    ╰─────────────────────╯

Between two steps the target is constant and the ceiling an exponential, so the energy counter gets their integral in
closed form, whatever the step length. Workload noise runs on firmwatt's clock; what a GPU needs to follow a limit is
physics, hence machine time: `pace` clock seconds pass in each machine second.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy.fleet import curves
from deploy.fleet.jobs import POOLS
from deploy.fleet.plan import Plan
from deploy.fleet.variation import Floats, uniform
from pipeline.messages.telemetry import Workload

Indices = npt.NDArray[np.int64]

#: AR(1) noise, per GPU and common to an engine: share of the draw above idle, and time constant in clock seconds. The
#: 1 s means of ML.ENERGY V3's power traces (Apache-2.0) scatter by 2.6 % (Llama-3.1-70B on 4 GPUs, batch 256), 3.1 %
#: (Llama-3.1-8B, batch 128) and 6.6 % (Qwen3-30B-A3B on 2, batch 128), correlated over 1 s by 0.06, −0.03 and 0.54.
GPU_SIGMA, GPU_TAU_S = 0.025, 0.5
ENGINE_SIGMA, ENGINE_TAU_S = 0.025, 1.5
#: A synchronous training job exchanges gradients at the end of each iteration: its GPUs wait and draw less, together.
#: Assumed: every 2 to 6 s for 12 % of the time, down to 55 % of the draw above idle; the mean stays what it was.
DIP_PERIOD_S, DIP_TIME, DIP_DEPTH = (2.0, 6.0), 0.12, 0.45
#: A ceiling this close to its limit has arrived, watts.
ARRIVED_W = 0.01
_DIP_STREAM = 400


@dataclass(frozen=True)
class Settled:
    """What a step did to GPUs whose ceiling moved: watts at its end and the mean over it."""

    ceiling_w: Floats
    power_w: Floats
    mean_w: Floats


def settle(target_w: Floats, ceiling_w: Floats, limit_w: Floats, span_s: float, pace: float) -> Settled:
    """
    Let ceilings move towards their limits for *span_s* clock seconds; power is the lower of target and ceiling.

    The mean is the exact integral: the instant at which an exponential ceiling crosses a constant target is known.
    """
    lowering = ceiling_w >= limit_w
    tau_s = np.where(lowering, curves.LOWER_TAU_S, curves.RAISE_TAU_S) * pace
    gap_w, need_w = ceiling_w - limit_w, target_w - limit_w
    meets = np.where(lowering, need_w > 0.0, need_w < 0.0)  # else the target lies beyond the limit
    ratio = np.divide(gap_w, need_w, out=np.full_like(gap_w, np.inf), where=meets)
    crossing_s = np.clip(tau_s * np.log(np.maximum(ratio, 1.0)), 0.0, span_s)
    decay, at_crossing = np.exp(-span_s / tau_s), np.exp(-crossing_s / tau_s)
    before = limit_w * crossing_s + gap_w * tau_s * (1.0 - at_crossing)
    after = limit_w * (span_s - crossing_s) + gap_w * tau_s * (at_crossing - decay)
    energy_j = np.where(
        lowering,
        target_w * crossing_s + after,  # the target holds until the falling ceiling reaches it
        before + target_w * (span_s - crossing_s),  # the rising ceiling holds until it reaches the target
    )
    ceiling_w = limit_w + gap_w * decay
    return Settled(ceiling_w, np.minimum(target_w, ceiling_w), energy_j / span_s)


class FleetModel:
    """State of every GPU, as arrays in host order. Watts, joules, tokens; instants are POSIX seconds."""

    def __init__(self, plan: Plan, at: float, pace: float = 1.0) -> None:
        """Start at *at* with settled GPUs, nothing capped, counters at zero."""
        layout = plan.layout
        self.plan, self.at, self._pace = plan, at, pace
        self.gpus = layout.gpus
        self._engine = layout.engine_of_gpu()
        self._first = np.array([engine.first_gpu for engine in layout.engines])
        self._group = np.array([engine.group for engine in layout.engines])
        pool = layout.pool_of_gpu()
        training = np.array([POOLS[engine.pool].workload is Workload.TRAINING for engine in layout.engines])
        self._curves = [(curve, np.flatnonzero([POOLS[p].under_cap is curve for p in pool])) for curve in _CURVES]
        self._random = np.random.default_rng(plan.seed)
        self._gpu_noise = self._random.standard_normal(self.gpus)
        self._engine_noise = self._random.standard_normal(len(layout.engines))
        numbers = np.arange(len(layout.engines))
        low, high = DIP_PERIOD_S
        self._dip_period_s = low + uniform(plan.seed, _DIP_STREAM, numbers) * (high - low)
        self._dip_phase = uniform(plan.seed, _DIP_STREAM + 1, numbers)
        self._dips = np.where(training, DIP_DEPTH, 0.0)
        self.limit_w = np.full(self.gpus, curves.MAX_LIMIT_W)
        self._ceiling_w = self.limit_w.copy()
        self.energy_j, self.tokens = np.zeros(self.gpus), np.zeros(self.gpus)
        self.target_w, self._tokens_per_s = self._wanted(at)
        self.power_w = np.minimum(self.target_w, self.limit_w)
        self.average_w = self.power_w.copy()
        self.tokens_per_s = self._tokens_per_s.copy()

    def set_limit(self, gpus: Indices, limit_w: Floats) -> None:
        """Ask for power limits, clamped to what the device takes; the draw follows from the next step on."""
        self.limit_w[gpus] = np.clip(limit_w, curves.MIN_LIMIT_W, curves.MAX_LIMIT_W)

    def step(self, to: float) -> None:
        """Advance to *to*. Not later than the last step: nothing happens."""
        span_s = to - self.at
        if span_s <= 0.0:
            return
        self._shake(span_s)
        self.target_w, self._tokens_per_s = self._wanted(to)
        mean_w = self._regulate(span_s)
        self.energy_j += mean_w * span_s
        self.average_w += (mean_w - self.average_w) * -np.expm1(-span_s / (curves.AVERAGE_TAU_S * self._pace))
        self.tokens_per_s = self._tokens_per_s * self._throughput(mean_w)
        self.tokens += self.tokens_per_s * span_s
        self.at = to

    def capped(self) -> npt.NDArray[np.bool_]:
        """Tell which limits bind: the GPU would draw more (NVML's SW power cap reason)."""
        return np.asarray(self.target_w > self.limit_w)

    def _shake(self, span_s: float) -> None:
        """Advance the AR(1) noises by *span_s*, exact for any step length."""
        self._gpu_noise = self._aged(self._gpu_noise, np.exp(-span_s / GPU_TAU_S))
        self._engine_noise = self._aged(self._engine_noise, np.exp(-span_s / ENGINE_TAU_S))

    def _aged(self, noise: Floats, keep: float) -> Floats:
        """Return *noise* of which a share *keep* is left; its variance stays 1."""
        return np.asarray(keep * noise + np.sqrt(1.0 - keep * keep) * self._random.standard_normal(len(noise)))

    def _wanted(self, at: float) -> tuple[Floats, Floats]:
        """Return each GPU's uncapped draw and tokens per second at *at*."""
        expected = self.plan.expected(np.array([at]))
        base_w = expected.gpu_w[self._group, 0]
        above_w = (base_w - curves.IDLE_W) * self._iteration(at)
        noise = 1.0 + GPU_SIGMA * self._gpu_noise + ENGINE_SIGMA * self._engine_noise[self._engine]
        target_w = curves.IDLE_W + np.maximum(above_w[self._engine] * noise, 0.0)
        return target_w, expected.gpu_tokens_per_s[self._group, 0][self._engine]

    def _iteration(self, at: float) -> Floats:
        """Return the factor, 1 in the mean, by which an engine's draw swings within its iterations."""
        into = np.mod(at / self._dip_period_s + self._dip_phase, 1.0)
        busy = 1.0 / (1.0 - DIP_TIME * self._dips)
        return np.asarray(busy * np.where(into < DIP_TIME, 1.0 - self._dips, 1.0))

    def _regulate(self, span_s: float) -> Floats:
        """Move ceilings and draw, return the mean draw over the step. Most ceilings rest, and cost a minimum."""
        mean_w = np.minimum(self.target_w, self.limit_w)
        self.power_w = mean_w.copy()
        moving = np.flatnonzero(self._ceiling_w != self.limit_w)
        if moving.size:
            limit_w = self.limit_w[moving]
            settled = settle(self.target_w[moving], self._ceiling_w[moving], limit_w, span_s, self._pace)
            arrived = np.abs(settled.ceiling_w - limit_w) < ARRIVED_W
            self._ceiling_w[moving] = np.where(arrived, limit_w, settled.ceiling_w)
            mean_w[moving], self.power_w[moving] = settled.mean_w, settled.power_w
        ripple = np.where(self.capped(), 1.0 - curves.RIPPLE * np.abs(self._gpu_noise), 1.0)
        self.power_w *= ripple
        return np.asarray(mean_w * ripple)

    def _throughput(self, mean_w: Floats) -> Floats:
        """Return the throughput factor: a GPU's own curve, then the slowest GPU of its engine."""
        slow = mean_w < self.target_w
        if not slow.any():
            return np.ones(self.gpus)
        share = mean_w / self.target_w
        factor = np.ones(self.gpus)
        for curve, gpus in self._curves:
            factor[gpus] = curve.at(share[gpus])
        slowest: Floats = np.minimum.reduceat(factor, self._first)
        return np.asarray(slowest[self._engine])


_CURVES = (curves.SERVING_UNDER_CAP, curves.TRAINING_UNDER_CAP)
