"""Which GPU works for whom."""

from pathlib import Path

import pytest

from collectors import mapping
from collectors.mapping import UNCLAIMED, Claim
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

    assert mapping.load(str(tmp_path / "map.toml")) == {"GPU-1": CHAT}
    assert mapping.load(str(tmp_path / "map.json")) == {"GPU-1": CHAT}


def test_a_gpu_nobody_has_claimed_is_protected() -> None:
    assert mapping.load("") == {}
    assert UNCLAIMED.tier is Tier.T0


@pytest.mark.parametrize(
    ("content", "said"),
    [('["GPU-1"]\ntier = "T9"\n', "T9"), ('["GPU-1"]\nteir = "T3"\n', "teir"), ("tier = \n", "map.toml")],
)
def test_a_claim_that_makes_no_sense_is_said_with_its_file(tmp_path: Path, content: str, said: str) -> None:
    """A misspelt tier must not silently become the default."""
    (tmp_path / "map.toml").write_text(content)

    with pytest.raises(ConfigError, match=said):
        mapping.load(str(tmp_path / "map.toml"))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        mapping.load(str(tmp_path / "none.toml"))
