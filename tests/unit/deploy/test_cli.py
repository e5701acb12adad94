"""The dispatcher: one line for every expected failure."""

import subprocess
import sys

import pytest

from deploy.cli import PARTS, main, usage


def test_every_part_is_listed_with_a_line_of_help() -> None:
    """What `firmwatt` prints is the whole surface."""
    assert all(f"  {name}" in usage() for name in PARTS)


def test_an_unknown_command_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line, and no traceback."""
    assert main(["trade"]) == 2

    told = capsys.readouterr().err
    assert told.startswith("firmwatt: no command 'trade'; have demo, broker,")
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_part_answers_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`firmwatt NAME --help` works for each of them."""
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])

    assert leaving.value.code == 0
    assert "usage: firmwatt" in capsys.readouterr().out


def test_a_gpu_host_loads_nothing_heavy() -> None:
    """Importing the collector's command pulls in none of the server side's libraries."""
    code = (
        "import sys, collectors.collect_cli, collectors.actuate_cli;"
        "print([m for m in ('polars','duckdb','faust','pydantic','httpx','numpy','bidding') if m in sys.modules])"
    )

    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert told.strip() == "[]"
