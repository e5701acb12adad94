"""
Published measurements that the simulated GPUs follow: values only, each with its source and licence.

A serving engine draws what the tokens it makes cost; a power cap below that draw costs throughput. Between measured
points the line is straight. Nothing here was measured by firmwatt.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: H100 SXM power limits, and the draw of one that holds no work: `nvidia-smi` captures of real H100 hosts (driver
#: 590.48.01) published with utkuozdemir/nvidia_gpu_exporter, MIT.
GPU_MODEL = "NVIDIA H100 80GB HBM3"
MIN_LIMIT_W, MAX_LIMIT_W, IDLE_W = 200.0, 700.0, 70.0

#: What a node draws beyond its GPUs, for eight of them: a constant, and a part that follows the GPUs (fans, power
#: supplies, CPUs that feed them). Level: 8 × H100 node at 8.4 kW with 5.6 kW of GPU limits (Latif et al., IEEE Access
#: 13, 2025). Slope: IPMI server power against GPU power of the Seren cluster, at the 10th percentile 1512 W with
#: 8 × 61.8 W and at the 90th 4851 W with 8 × 395.1 W: 0.25 W per GPU watt (AcmeTrace, Hu et al., NSDI 2024, CC-BY-4.0).
NODE_FIXED_W, NODE_W_PER_GPU_W, NODE_GPUS = 1400.0, 0.25, 8


@dataclass(frozen=True)
class ServingCurve:
    """Steady states of one serving engine, by batch size: what the engine draws and what it generates."""

    gpus: int
    batch: tuple[int, ...]
    engine_w: tuple[float, ...]
    tokens_per_s: tuple[float, ...]

    @property
    def peak_tokens_per_s(self) -> float:
        """Tokens per second of the whole engine at its largest batch."""
        return self.tokens_per_s[-1]

    def gpu_w(self, utilisation: Floats) -> Floats:
        """Return the draw of one GPU when the engine generates *utilisation* (0 to 1) of its peak; idle at 0."""
        tokens_per_s = np.asarray(utilisation) * self.peak_tokens_per_s
        engine_w = np.interp(tokens_per_s, (0.0, *self.tokens_per_s), (IDLE_W * self.gpus, *self.engine_w))
        return np.asarray(engine_w / self.gpus)


# The three tables: The ML.ENERGY Benchmark V3 Dataset, H100, vLLM, task lm-arena-chat: avg_power_watts (GPUs of the
# engine, steady state) and output_throughput_tokens_per_sec by avg_batch_size, rounded to watts and tokens. Apache-2.0.
# Batches past the last column add latency and hardly a token; these engines do not run there.

#: meta-llama/Llama-3.1-70B-Instruct on 4 GPUs.
LLAMA_70B = ServingCurve(
    gpus=4,
    batch=(8, 16, 32, 64, 96, 128, 192, 256),
    engine_w=(1765, 1804, 1794, 2002, 2102, 2184, 2293, 2354),
    tokens_per_s=(470, 863, 1487, 2511, 3244, 3876, 4461, 4915),
)
#: meta-llama/Llama-3.1-8B-Instruct on 1 GPU.
LLAMA_8B = ServingCurve(
    gpus=1,
    batch=(8, 16, 32, 64, 96, 128, 192),
    engine_w=(486, 513, 560, 610, 644, 669, 688),
    tokens_per_s=(1070, 1954, 3391, 5147, 6260, 7037, 8223),
)
#: Qwen/Qwen3-30B-A3B-Instruct-2507 on 2 GPUs.
QWEN_30B_A3B = ServingCurve(
    gpus=2,
    batch=(8, 16, 32, 64, 96, 128, 192, 256),
    engine_w=(684, 759, 833, 895, 892, 900, 930, 955),
    tokens_per_s=(831, 1253, 2026, 3290, 3814, 4546, 5975, 7154),
)

#: Mean draw of a busy training GPU, 0.89 of its limit: the largest-batch BERT jobs of the Zeus sweeps draw 266 W of
#: 300 W on an A40 (0.89) and 227 W of 250 W on a V100 (0.91; Zeus, NSDI '23, Apache-2.0).
TRAINING_W = 623.0
#: Tokens per second and GPU of training Llama 3.1 8B on H100, FSDP with torch.compile: pytorch/torchtitan,
#: docs/performance.md, table 1 (BSD-3-Clause). They measured under a 500 W limit, so this is low for one of 700 W.
TRAINING_TOKENS_PER_S = 6667.0


@dataclass(frozen=True)
class ThroughputCurve:
    """What a binding power cap leaves of the throughput, by the share of the uncapped draw that is still drawn."""

    power_share: tuple[float, ...]
    throughput_share: tuple[float, ...]

    def at(self, power_share: Floats) -> Floats:
        """Return the throughput share, 1 where nothing is taken away."""
        return np.interp(power_share, self.power_share, self.throughput_share)


#: A40 of 300 W training BERT on SQuAD, batch 16, caps 100 to 275 W in steps of 25 W: average_power ÷ 265.7 W uncapped
#: and the inverse ratio of time_per_epoch (Zeus, summary_power_a40.csv, Apache-2.0). The origin is assumed:
#: a GPU held at its idle draw, 0.11 of a training GPU's, gets nothing done.
TRAINING_UNDER_CAP = ThroughputCurve(
    power_share=(0.110, 0.403, 0.462, 0.547, 0.628, 0.707, 0.793, 0.874, 0.944, 1.0),
    throughput_share=(0.0, 0.246, 0.405, 0.596, 0.766, 0.908, 0.943, 0.973, 0.981, 1.0),
)
#: RTX PRO 6000 of 600 W, vLLM, 27 B dense, 32 streams (MMBT): caps 500, 450, 400, 350, 300 W against 573 W uncapped
#: gave −3, 0, −4.5, −13, −25 % tokens per second; the first two are within each other's noise and averaged.
#: Below 300 W nothing is published: a straight line to nothing at the idle draw, 0.12 of the uncapped.
SERVING_UNDER_CAP = ThroughputCurve(
    power_share=(0.12, 0.524, 0.611, 0.698, 0.785, 0.873, 1.0),
    throughput_share=(0.0, 0.75, 0.87, 0.955, 0.985, 0.985, 1.0),
)

# How fast a GPU follows a new limit, first order, seconds of the machine: GridPilot E2 (V100, 200 Hz telemetry, data
# CC-BY-4.0) saw the draw under a lowered cap after two sensor updates, about 50 ms, and settled after 0.25 s; a raised
# cap took 0.25 to 0.35 s in two steps. With these constants 280 → 200 W is within 1 W after 0.18 s, and 90 % of the
# way back takes 0.28 s.
LOWER_TAU_S, RAISE_TAU_S = 0.040, 0.120
#: `nvmlDeviceGetPowerUsage` and field 185 are a 1 s average on these GPUs (nvml.h).
AVERAGE_TAU_S = 1.0
#: A regulated GPU stays a little below its cap: 147 W at 150 W for the V100 of the Zeus sweep, 2 %. Here the
#: regulator's ripple takes away 0.8 % in the mean, 0.01 times the mean of |N(0, 1)|.
RIPPLE = 0.01


def node_overhead_w(gpus: int) -> float:
    """Return the constant part of a node with *gpus* GPUs, watts."""
    return NODE_FIXED_W * gpus / NODE_GPUS
