"""The commands: topology, baseline, and what they say to wrong words."""

from asyncio import Future
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline import app, archive, baseline_cli, cli, storage
from pipeline.calendar import Calendar
from pipeline.errors import ConfigError, InsufficientDataError, UnknownPluginError
from pipeline.fence import Fence
from pipeline.market_topics import MARKET_TOPICS
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Kafka
from pipeline.topics import TOPICS

EVENT = ["--start", "2026-07-23T17:00:00-07:00", "--end", "2026-07-23T18:00:00-07:00"]


def load(archive_path: Path, *, simulated: bool) -> Path:
    """Load an archive of thirty days of 1 000 kW before and on the event's day, hour by hour."""
    start = Calendar("America/Los_Angeles").bounds(date(2026, 6, 23)).start
    starts = [start + timedelta(hours=hour) for hour in range(31 * 24)]
    frame = pl.DataFrame({"start": starts, "load_kw": [1000.0] * len(starts)})
    archive.backfill(storage.at(archive_path), "site-1", frame, timedelta(hours=1), start, simulated=simulated)
    return archive_path


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return load(tmp_path, simulated=True)


def test_the_topology_lists_every_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["topics"]) == 0

    shown = capsys.readouterr().out
    assert all(topic.name in shown and topic.type.__name__ in shown for topic in (*TOPICS, *MARKET_TOPICS))


def test_a_baseline_is_printed_with_the_days_behind_it(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline_cli.main(["--archive", str(history), *EVENT, "--event-day", "2026-07-22"]) == 0

    shown = capsys.readouterr().out
    assert "caiso_10_in_10 version 1; same-day adjustment 1.000000, applied 1.000000" in shown
    assert "2026-07-23T17:00:00-07:00        1000.000        1000.000" in shown
    assert "days used      2026-07-21, 2026-07-20, 2026-07-17" in shown
    assert "day not used   2026-07-22  event" in shown


@pytest.mark.parametrize("simulated", [True, False])
def test_a_baseline_says_whether_its_history_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, simulated: bool
) -> None:
    baseline_cli.main(["--archive", str(load(tmp_path, simulated=simulated)), *EVENT])

    assert ("simulated history" in capsys.readouterr().out.splitlines()) is simulated


def test_a_history_too_short_is_an_error_with_exit_code_3(history: Path) -> None:
    early = ["--start", "2026-06-24T17:00:00-07:00", "--end", "2026-06-24T18:00:00-07:00"]

    with pytest.raises(InsufficientDataError) as failure:
        baseline_cli.main(["--archive", str(history), *early])
    assert failure.value.exit_code == 3


@pytest.mark.parametrize(
    "words",
    [
        ["--start", "yesterday", "--end", "2026-07-23T18:00:00-07:00"],
        ["--start", "2026-07-23T17:00:00", "--end", "2026-07-23T18:00:00-07:00"],
        ["--start", "2026-07-23T18:00:00-07:00", "--end", "2026-07-23T17:00:00-07:00"],
        [*EVENT, "--timezone", "Mars/Olympus"],
        [*EVENT, "--archive", "/nowhere"],
    ],
)
def test_wrong_words_are_a_config_error(history: Path, words: list[str]) -> None:
    with pytest.raises(ConfigError):
        baseline_cli.main(["--archive", str(history), *words])


def test_an_unknown_method_is_answered_with_those_there_are(history: Path) -> None:
    with pytest.raises(UnknownPluginError, match="caiso_10_in_10"):
        baseline_cli.main(["--archive", str(history), *EVENT, "--method", "caiso_9_in_10"])


def test_the_faust_application_is_wired_without_connecting() -> None:
    """Four agents, of which two bring the sites together; one table; nothing listens at the address."""

    async def nowhere(topic: object, message: object) -> Future[object]:
        raise AssertionError(topic, message)

    built = app.build(
        Kafka(bootstrap="127.0.0.1:9,127.0.0.1:10"),
        Pipeline(group="wired"),
        nowhere,
        lambda: datetime.now(UTC),  # noqa: TID251 - never called
        fence=Fence(3600.0),
        passed_over=Counter(),
    )

    assert set(built.agents) == {"site", "interval", "portfolio-sites", "portfolio"}
    assert set(built.tables) == {"site-intervals"}
    assert [str(url) for url in built.conf.broker] == ["kafka://127.0.0.1:9", "kafka://127.0.0.1:10"]
