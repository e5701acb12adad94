"""Which GPU works for whom: the static file."""

import os
from pathlib import Path

import pytest
from doubles.commands import NOON

from collectors import SourceError
from collectors.mappings import UNCLAIMED, Claim, static
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Tier, Workload

TOML = """
["GPU-1"]
job = "chat"
tenant = "acme"
tier = "T1"
workload = "inference"
served_model = "llama-8b"
"""
CHAT = Claim(job="chat", tenant="acme", tier=Tier.T1, workload=Workload.INFERENCE, served_model="llama-8b")


def test_claims_are_read_from_toml_and_from_json(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(TOML)
    (tmp_path / "map.json").write_text(
        '{"GPU-1": {"job": "chat", "tenant": "acme", "tier": "T1",'
        ' "workload": "inference", "served_model": "llama-8b"}}'
    )

    assert static.load(str(tmp_path / "map.toml")) == {"GPU-1": CHAT}
    assert static.load(str(tmp_path / "map.json")) == {"GPU-1": CHAT}


def test_a_gpu_nobody_has_claimed_is_protected() -> None:
    assert static.load("") == {}
    assert UNCLAIMED.tier is Tier.T0


@pytest.mark.parametrize(
    ("content", "said"),
    [('["GPU-1"]\ntier = "T9"\n', "T9"), ('["GPU-1"]\nteir = "T3"\n', "teir"), ("tier = \n", "map.toml")],
)
def test_a_claim_that_makes_no_sense_is_said_with_its_file(tmp_path: Path, content: str, said: str) -> None:
    """A misspelt tier must not silently become the default."""
    (tmp_path / "map.toml").write_text(content)

    with pytest.raises(ConfigError, match=said):
        static.load(str(tmp_path / "map.toml"))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        static.load(str(tmp_path / "none.toml"))


def test_the_mapping_says_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(TOML)

    mapping = static.connect(static.Settings(file=str(tmp_path / "map.toml"), period_s=7))

    assert mapping.claims(NOON, ()) == {"GPU-1": CHAT}
    assert (mapping.period_s, mapping.troubles) == (7, ())


def test_without_a_file_it_claims_nothing() -> None:
    assert static.connect(static.Settings()).claims(NOON, ()) == {}


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """Same length, renamed into place within the same tick of the file system's clock: still another file."""
    path = tmp_path / "map.toml"
    path.write_text(TOML)
    mapping = static.connect(static.Settings(file=str(path)))
    mapping.claims(NOON, ())
    beside = tmp_path / "beside"
    beside.write_text(TOML.replace("T1", "T3"))
    os.utime(beside, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    beside.rename(path)

    assert mapping.claims(NOON, ())["GPU-1"].tier is Tier.T3


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(TOML)
    mapping = static.connect(static.Settings(file=str(path)))

    assert mapping.claims(NOON, ()) is mapping.claims(NOON, ())


def test_a_file_spoilt_while_running_is_an_error_until_it_is_mended(tmp_path: Path) -> None:
    """A typing mistake must not turn every GPU into nobody's, nor into what it was an hour ago."""
    path = tmp_path / "map.toml"
    path.write_text(TOML)
    mapping = static.connect(static.Settings(file=str(path)))
    mapping.claims(NOON, ())

    path.write_text(TOML.replace("T1", "T9"))
    for _ in range(2):
        with pytest.raises(SourceError, match="T9"):
            mapping.claims(NOON, ())
    path.write_text(TOML)

    assert mapping.claims(NOON, ()) == {"GPU-1": CHAT}


def test_a_file_taken_away_while_running_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(TOML)
    mapping = static.connect(static.Settings(file=str(path)))
    mapping.claims(NOON, ())
    path.unlink()

    with pytest.raises(SourceError, match="cannot read"):
        mapping.claims(NOON, ())
