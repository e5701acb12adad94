"""Why workers ended, told by whoever is started next."""

from pathlib import Path

import pytest

from pipeline import ends
from pipeline.errors import (
    BrokerGoneError,
    ConfigError,
    EnvironmentProblem,
    FirmwattError,
    NotAllowedError,
    StuckError,
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StuckError("rollup", "x"), "rollup_stuck"),
        (StuckError("faust", "x"), "faust_stuck"),
        (NotAllowedError("x"), "not_allowed"),
        (BrokerGoneError("x"), "kafka_gone"),
        (EnvironmentProblem("x"), "machine"),
        (ConfigError("x"), "failed"),
    ],
)
def test_every_end_has_one_of_the_reasons(error: FirmwattError, reason: str) -> None:
    assert ends.reason(error) == reason
    assert reason in ends.REASONS


def test_ends_add_up_over_several_lives(tmp_path: Path) -> None:
    file = tmp_path / "scratch" / "ends-worker-1.json"

    for _ in range(2):
        ends.note(file, StuckError("faust", "x"))
    ends.note(file, BrokerGoneError("x"))

    known = ends.read(file)
    assert (known["faust_stuck"], known["kafka_gone"], known["machine"]) == (2, 1, 0)


def test_a_file_that_is_none_or_torn_is_no_history(tmp_path: Path) -> None:
    file = tmp_path / "ends.json"
    assert set(ends.read(file).values()) == {0}

    file.write_text('{"faust_stuck": 2')
    assert set(ends.read(file).values()) == {0}

    ends.note(file, StuckError("faust", "x"))
    assert ends.read(file)["faust_stuck"] == 1


def test_a_folder_that_cannot_be_made_hides_nothing_from_the_operator(tmp_path: Path) -> None:
    """The worker is about to say what is wrong; that it could not be counted is no reason to say something else."""
    (tmp_path / "file").write_text("")

    ends.note(tmp_path / "file" / "ends.json", EnvironmentProblem("disk full"))
