"""
Which GPU works for whom: a static file, by UUID and never by index. A GPU nobody has claimed is T0.

    ["GPU-8d3fb1a0-…"]
    job = "llama-70b-pretrain"
    tenant = "research"
    tier = "T3"
    workload = "training"
    served_model = "llama-70b"
"""

from pathlib import Path

from collectors.settings import read_document
from pipeline.messages.telemetry import Tier, Workload
from pipeline.settings import Section


class Claim(Section, frozen=True, kw_only=True):
    """Who uses one GPU, and how long that may wait."""

    job: str | None = None
    tenant: str | None = None
    """For operators who read the file; it does not leave the host."""
    tier: Tier = Tier.T0
    workload: Workload = Workload.UNKNOWN
    served_model: str | None = None
    """The language model being served or trained."""


UNCLAIMED = Claim()


def load(path: str) -> dict[str, Claim]:
    """Return the claims in the TOML or JSON file at *path* by GPU UUID, none for an empty path; or `ConfigError`."""
    return read_document(Path(path), dict[str, Claim]) if path else {}
