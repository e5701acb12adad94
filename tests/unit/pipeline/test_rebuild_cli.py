"""`firmwatt pipeline rebuild --check`: that nothing was compared is not that nothing differs."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.archived import NOON, interval, put

from pipeline import rebuild_cli, rebuild_sources, storage
from pipeline.rebuild import Spans
from pipeline.store import interval_history
from pipeline.topics import SITE_INTERVALS

AFTER = NOON + timedelta(hours=1)
PLACE = (SITE_INTERVALS.name, 0)


def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spans: Spans) -> int:
    """Return the exit code where Kafka has *spans* of what is archived, three intervals of them if any."""
    archive = tmp_path / "archive"
    used = storage.at(archive)
    put(used, SITE_INTERVALS, *(interval(number) for number in range(3)))
    config = tmp_path / "firmwatt.toml"
    config.write_text(f'[pipeline]\narchive = "{archive}"\n')

    async def from_kafka(kafka: Any, built: storage.Storage, *_: Any, **__: Any) -> Spans:
        del kafka
        if any(begin < end for begin, end in spans.values()):
            put(built, SITE_INTERVALS, *(interval(number) for number in range(3)))
        return spans

    monkeypatch.setattr(rebuild_sources, "from_kafka", from_kafka)
    words = ["--config", str(config), "--from", "kafka", "--into", str(tmp_path / "new"), "--check"]
    return rebuild_cli.main(words)


def test_what_is_equal_is_told_and_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, monkeypatch, {PLACE: (0, 3)}) == 0
    assert "equal: all 1 places" in capsys.readouterr().out


@pytest.mark.parametrize("spans", [{}, {PLACE: (7, 7)}], ids=["nothing committed", "nothing kept"])
def test_nothing_to_compare_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spans: Spans
) -> None:
    """Whoever checks each night must hear that Kafka has forgotten everything, or that the group is another."""
    assert checked(tmp_path, monkeypatch, spans) == 1

    said = capsys.readouterr()
    assert "nothing to compare: Kafka has none of what the archive's group has committed" in said.err
    assert "equal" not in said.out


def test_figures_are_copied_as_they_were_published_and_the_help_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A minute of 99 kWh, which no tick accounts for, is 99 kWh in the archive built anew, and no difference."""
    put(storage.at(tmp_path / "archive"), SITE_INTERVALS, interval(0, energy_kwh=99.0))
    config = tmp_path / "firmwatt.toml"
    config.write_text(f'[pipeline]\narchive = "{tmp_path / "archive"}"\n')

    code = rebuild_cli.main(["--config", str(config), "--from", "archive", "--into", str(tmp_path / "new"), "--check"])

    assert code == 0
    (row,) = interval_history(tmp_path / "new" / "archive", "site-1", AFTER, timedelta(minutes=1)).rows(named=True)
    assert row["load_kw"] == pytest.approx(99.0 * 60)
    with pytest.raises(SystemExit):
        rebuild_cli.main(["--help"])
    assert "nothing is computed from ticks again" in " ".join(capsys.readouterr().out.split())
