"""The whole loop as processes, from GPU watts to a settled offer, small enough for every test run."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from e2e.running import demo, left_running, report_of, the_run

pytestmark = pytest.mark.e2e

VIEWS = ("capacity", "offers", "awards", "dispatches", "performance", "statements", "tokens_per_watt")
SMALL = ("--hosts", "24", "--minutes", "1", "--json")


def select(desk: Path, sql: str) -> "subprocess.CompletedProcess[str]":
    """Ask the desk from a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "deploy", "desk", sql, "--desk", str(desk), "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def await_condition(condition: Any, seconds: float, what: str) -> None:
    """Poll until *condition* holds; fail when it does not within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)


def test_the_loop_closes_while_replies_are_lost_and_a_worker_is_killed(tmp_path: Path) -> None:
    """
    The loop closes to the cent through lost replies and a dead worker, read by the desk all the while.

    A fifth of the venue's replies vanish after it has applied the request, and one of two Faust workers dies by -9
    in the middle of the event: no tick is lost, nothing is submitted twice. A second process reads every documented
    view without a lock error; afterwards report and SQL, two roads from Kafka, show the same figures.
    """
    asked = 0

    with demo(tmp_path, *SMALL, "--lose-replies", "0.2", "--kill-worker") as running:
        await_condition(lambda: list(tmp_path.glob("*/desk.duckdb")), 60, "the desk")
        desk = the_run(tmp_path) / "desk.duckdb"
        while running.poll() is None:
            for view in VIEWS:
                answer = select(desk, f"SELECT count(*) AS n FROM {view}")
                assert answer.returncode == 0, (view, answer.stderr)
                asked += 1
        report = report_of(running)

    assert asked >= len(VIEWS), "the desk was read during the run"
    assert report["lost"] == 0
    assert report["ticks_produced"] > 24 * 60
    assert report["venue_audit"]["replies_lost"] >= 1, "the seed makes it so"
    assert report["venue_audit"]["duplicate_submissions"] == 0
    assert report["statements_agree"] is True
    assert report["settlement_usd"] == report["venue_statement_usd"]
    assert report["machine"]["worker_killed"] is True
    assert report["hosts_released"] == report["hosts_commanded"] > 0, (
        "in stages, by themselves, before they are stopped"
    )
    assert 0 < report["delivered_kw"] <= report["awarded_kw"] <= report["offered_kw"]
    assert left_running(tmp_path) == []

    (line,) = json.loads(select(desk, "SELECT sum(delivered_kw) AS kw FROM performance").stdout)
    (capacity,) = json.loads(select(desk, "SELECT max(hosts) AS hosts FROM capacity").stdout)
    folder = the_run(tmp_path)
    assert line["kw"] == pytest.approx(report["delivered_kw"], abs=0.06)
    assert capacity["hosts"] == report["hosts"]
    assert "Simulated." in (folder / "report.html").read_text()
    assert json.loads((folder / "report.json").read_text()) == report
    assert (tmp_path / "latest").resolve() == folder


def test_two_demos_beside_each_other_replay_both_real_traces(tmp_path: Path, shared_data: Path) -> None:
    """Real demand drives the inference pools, and a second demo does not disturb the first."""
    azure = shared_data / "data/azure_llm_2023/AzureLLMInferenceTrace_conv.csv"
    servegen = shared_data / "data/servegen_alibaba/m-large_10min.csv"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    with (
        demo(tmp_path / "a", *SMALL, "--trace", str(azure)) as first,
        demo(tmp_path / "b", *SMALL, "--trace", str(servegen)) as second,
    ):
        reports = report_of(first), report_of(second)

    assert "Azure" in reports[0]["description"]
    assert "ServeGen" in reports[1]["description"]
    for report in reports:
        assert report["lost"] == 0
        assert report["statements_agree"] is True
        assert "SIMULATED" in report["description"]


@pytest.mark.parametrize("moment", ["broker/", "fleet.log", "bid.log"])
def test_ctrl_c_at_any_moment_leaves_nothing_running(tmp_path: Path, moment: str) -> None:
    """Interrupted while the broker starts, while the fleet starts, and while bidding: exit 130 and no process left."""
    with demo(tmp_path, *SMALL) as running:
        await_condition(lambda: list(tmp_path.glob(f"*/{moment}")), 90, moment)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "interrupted" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert left_running(tmp_path) == []
    assert list(tmp_path.glob("*/report.*")) == [], "no half-written report"


@pytest.mark.parametrize("stage", ["bidding;", "hosts release in stages"])
def test_a_broker_killed_in_the_middle_is_one_line_and_nothing_stays(tmp_path: Path, stage: str) -> None:
    """While bidding and while the report is read back: the demo says what happened and stops what it started."""
    with demo(tmp_path, *SMALL) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if stage in line:
                break
        (broker,) = (p for p in psutil.Process(running.pid).children(recursive=True) if "java" in p.name())
        broker.kill()
        _, told = running.communicate(timeout=150)

    assert running.returncode in {4, 5}
    last = told.splitlines()[-1]
    assert last.startswith("firmwatt demo:")
    assert "Traceback" not in told
    assert left_running(tmp_path) == []
    assert list(tmp_path.glob("*/report.*")) == [], "no half-written report"


def test_a_history_too_short_for_the_baseline_is_one_line(tmp_path: Path) -> None:
    """Two days of history are no ten: nothing is offered, and the demo says why."""
    with demo(tmp_path, *SMALL, "--history-days", "2") as running:
        _, told = running.communicate(timeout=120)

    assert running.returncode == 3
    assert "history" in told.splitlines()[-1]
    assert left_running(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "told", "code"),
    [
        (("--venue", "ercto"), "firmwatt demo: no 'ercto' in bidding.markets; have ercot, miso, sandbox", 2),
        (("--hosts", "0"), "firmwatt demo: --hosts must be between 1 and 2000, got 0", 2),
        (("--trace", "nowhere.csv"), "firmwatt demo: --trace nowhere.csv: no such file", 2),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_starts(
    tmp_path: Path, options: tuple[str, ...], told: str, code: int
) -> None:
    """No broker is started for a typing error."""
    with demo(tmp_path, *options) as running:
        _, err = running.communicate(timeout=60)

    assert (err.strip(), running.returncode) == (told, code)
    assert list(tmp_path.iterdir()) == []
