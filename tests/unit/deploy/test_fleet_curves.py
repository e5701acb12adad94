"""The published figures come out of the curves as they went in."""

import csv
from pathlib import Path

import numpy as np
import pytest

from deploy.fleet import curves
from deploy.fleet.curves import LLAMA_8B, LLAMA_70B, QWEN_30B_A3B, ServingCurve, ThroughputCurve


def throughput(curve: ThroughputCurve, power_share: float) -> float:
    return float(curve.at(np.array([power_share]))[0])


def gpu_w(curve: ServingCurve, utilisation: float) -> float:
    return float(curve.gpu_w(np.array([utilisation]))[0])


def test_an_engine_without_requests_idles() -> None:
    """70 W per H100."""
    assert gpu_w(LLAMA_70B, 0.0) == pytest.approx(70.0)


def test_a_measured_batch_draws_what_was_measured() -> None:
    """Llama-3.1-70B at batch 256: 2354 W on four GPUs are 588.5 W each. Batch 64: 2002 W at 2511 of 4915 tokens/s."""
    assert gpu_w(LLAMA_70B, 1.0) == pytest.approx(588.5)
    assert gpu_w(LLAMA_70B, 2511 / 4915) == pytest.approx(500.5)


def test_an_eighth_of_the_tokens_already_costs_seven_tenths_of_the_power() -> None:
    """Llama-3.1-8B, batch 8: 1070 of 8223 tokens/s draw 486 of 688 W. Power follows demand weakly."""
    assert gpu_w(LLAMA_8B, 1070 / 8223) == pytest.approx(486.0)


def test_a_cap_costs_training_what_zeus_measured() -> None:
    """A40 at a 200 W cap: 187.8 of 265.7 W drawn, 0.707, leave 0.908 of the throughput; at 125 W 0.405."""
    assert throughput(curves.TRAINING_UNDER_CAP, 187.8 / 265.7) == pytest.approx(0.908, abs=0.001)
    assert throughput(curves.TRAINING_UNDER_CAP, 122.7 / 265.7) == pytest.approx(0.405, abs=0.002)


def test_a_cap_costs_serving_what_mmbt_measured() -> None:
    """RTX PRO 6000: 350 of 573 W leave 87 % of the tokens, 300 W leave 75 %."""
    assert throughput(curves.SERVING_UNDER_CAP, 350 / 573) == pytest.approx(0.87, abs=0.001)
    assert throughput(curves.SERVING_UNDER_CAP, 300 / 573) == pytest.approx(0.75, abs=0.001)


@pytest.mark.parametrize("curve", [curves.TRAINING_UNDER_CAP, curves.SERVING_UNDER_CAP])
def test_more_power_never_means_less_throughput(curve: ThroughputCurve) -> None:
    """From nothing to all of it; full power is full throughput."""
    shares = curve.at(np.linspace(0.0, 1.0, 201))

    assert np.all(np.diff(shares) >= 0.0)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_eight_gpus_at_their_limit_make_the_published_node() -> None:
    """1.4 kW + 1.25 × 5.6 kW = 8.4 kW (Latif et al.)."""
    node_w = curves.node_overhead_w(8) + (1 + curves.NODE_W_PER_GPU_W) * 8 * curves.MAX_LIMIT_W

    assert node_w == pytest.approx(8400.0)


@pytest.mark.parametrize(
    ("model", "curve"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", LLAMA_70B),
        ("meta-llama/Llama-3.1-8B-Instruct", LLAMA_8B),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", QWEN_30B_A3B),
    ],
)
def test_the_tables_are_the_published_rows(shared_data: Path, model: str, curve: ServingCurve) -> None:
    """Every point is a row of ML.ENERGY V3, within half a watt and half a token per second, batch within 0.7."""
    with (shared_data / "data/mlenergy_v3/benchmark_runs_flat.csv").open(encoding="utf-8") as file:
        rows = [
            (
                float(row["avg_batch_size"]),
                float(row["avg_power_watts"]),
                float(row["output_throughput_tokens_per_sec"]),
            )
            for row in csv.DictReader(file)
            if (row["model_id"], row["task"], row["num_gpus"]) == (model, "lm-arena-chat", str(curve.gpus))
        ]

    for batch, watts, tokens in zip(curve.batch, curve.engine_w, curve.tokens_per_s, strict=True):
        assert any(abs(b - batch) < 0.7 and abs(w - watts) <= 0.5 and abs(t - tokens) <= 0.5 for b, w, t in rows), batch


def test_the_node_slope_is_that_of_a_real_cluster(shared_data: Path) -> None:
    """Seren, 8 A100 a node: a server adds 0.25 W per GPU watt between its 10th and 90th percentile, ± 0.05."""
    points: dict[str, list[tuple[float, float]]] = {"gpu_power_w": [], "gpu_server_power_w": []}
    with (shared_data / "data/acme_gpu_power/cdfs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["cluster"] == "seren" and row["metric"] in points:
                points[row["metric"]].append((float(row["cdf_percent"]), float(row["value"])))
    gpu_watts, server_watts = (np.array(points[name]) for name in points)
    gpu = np.interp([10.0, 90.0], gpu_watts[:, 0], gpu_watts[:, 1])
    server = np.interp([10.0, 90.0], server_watts[:, 0], server_watts[:, 1])
    overhead_w = server - 8 * gpu

    slope = (overhead_w[1] - overhead_w[0]) / (8 * (gpu[1] - gpu[0]))

    assert slope == pytest.approx(curves.NODE_W_PER_GPU_W, abs=0.05)
