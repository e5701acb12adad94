"""`firmwatt pipeline rebuild --check`: that nothing was compared is not that nothing differs."""

from pathlib import Path
from typing import Any

import pytest
from doubles.archived import interval, put

from pipeline import rebuild_cli, rebuild_sources, storage
from pipeline.rebuild import Spans
from pipeline.topics import SITE_INTERVALS

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
