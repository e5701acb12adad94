"""`deploy.lock`: uv.lock names no place, and loses nothing else that an installation needs."""

from pathlib import Path

from deploy.lock import neutral

ROOT = Path(__file__).parents[3]

FROM_UV = """\
[[package]]
name = "a"
version = "1.0"
source = { registry = "https://registry.example/simple" }
wheels = [
    { url = "https://files.example/ab/cd/a-1.whl", hash = "sha256:00", size = 1, upload-time = "2026-01-01T00:00:00Z" },
]
"""

NEUTRAL = """\
[[package]]
name = "a"
version = "1.0"
source = { registry = "https://index.invalid/simple" }
wheels = [
    { url = "https://index.invalid/a-1.whl", hash = "sha256:00" },
]
"""


def test_addresses_sizes_and_times_go_and_all_else_stays() -> None:
    assert neutral(FROM_UV) == NEUTRAL


def test_a_neutral_lock_stays_as_it_is() -> None:
    assert neutral(NEUTRAL) == NEUTRAL


def test_the_lock_in_the_repository_is_neutral() -> None:
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")

    assert neutral(lock) == lock
    assert lock.count("://") == lock.count("://index.invalid/")
