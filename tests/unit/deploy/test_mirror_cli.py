"""`firmwatt broker mirror` before anything runs: one line for everything that is wrong."""

import socket
from pathlib import Path

import pytest

from deploy.broker import mirror
from deploy.broker.state import State
from deploy.cli import main


def config(folder: Path, target: str) -> str:
    file = folder / "firmwatt.toml"
    file.write_text(
        f'[mirror.target]\nname = "portfolio"\nbootstrap = "{target}"\n'
        '[[mirror.source]]\nname = "north"\nbootstrap = "127.0.0.1:9"\n'
    )
    return str(file)


def test_without_settings_it_says_which_are_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broker", "mirror", "start", "--data", str(tmp_path)]) == 2
    assert "[[mirror.source]]" in capsys.readouterr().err


def test_a_portfolio_that_does_not_answer_is_named_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # held, and refused: nobody listens
        target = f"127.0.0.1:{nobody.getsockname()[1]}"

        code = main(["broker", "mirror", "start", "--config", config(tmp_path, target), "--data", str(tmp_path / "m")])

    told = capsys.readouterr().err
    assert (code, told.count("\n")) == (5, 1)
    assert f"no Kafka at {target}" in told
    assert mirror.find(tmp_path / "m") == (State.STOPPED, None)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param(["--heap", "64m"], "heap of 64 MB is too small", id="heap"),
        pytest.param(["--data", "a:b"], "colon", id="folder"),
    ],
)
def test_what_java_could_not_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["broker", "mirror", "start", "--config", config(tmp_path, "127.0.0.1:8"), *words]) == 2
    assert reason in capsys.readouterr().err


def test_status_and_stop_of_nothing_are_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3 is what an init script answers for a service that is not running."""
    assert main(["broker", "mirror", "status", "--data", str(tmp_path)]) == 3
    assert main(["broker", "mirror", "stop", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no mirror is running\n" * 2
