"""The README's two commands, in a fresh clone with a fresh home folder."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.cli import PARTS
from pipeline import plugins

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SLOW_S = 900


def commands() -> list[str]:
    """Return the commands of the README's first console block, comments removed."""
    block = re.search(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    return [line.removeprefix("$ ").split("#")[0].strip() for line in block[1].splitlines()]


def test_the_readme_opens_with_two_commands() -> None:
    """Nothing else has to be typed."""
    assert commands() == ["make demo", "make test"]


@pytest.mark.e2e
def test_both_commands_work_in_a_fresh_clone(tmp_path: Path) -> None:
    """A newcomer's clone, home and caches; the demo small, the tests a part of themselves."""
    clone, home = tmp_path / "clone", tmp_path / "home"
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: nothing to clone")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "VIRTUAL_ENV", "FIRMWATT_", "PYTHON"))}
    environment = kept | {"HOME": str(home)}
    arguments = {"make demo": "--hosts 8 --minutes 1", "make test": "tests/unit/pipeline/test_units.py -q"}

    for command in commands():
        done = subprocess.run(
            [*command.split(), f"ARGS={arguments[command]}"],
            check=False, cwd=clone, env=environment, capture_output=True, text=True, timeout=SLOW_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    report = json.loads((clone / "runs/latest/report.json").read_text())
    assert report["lost"] == 0
    assert (clone / "runs/latest/report.html").is_file()


def test_every_command_and_plugin_is_mentioned_somewhere() -> None:
    """What cannot be found in a README does not exist for its users."""
    pages = "\n".join(path.read_text() for path in ROOT.glob("**/README.md") if ".venv" not in path.parts)

    for name in PARTS:
        assert f"firmwatt {name}" in pages, name
    for package in ("bidding.markets", "pipeline.baselines", "collectors.sources"):
        for name in plugins.available(package):
            assert name in pages, f"{package}.{name}"


def test_every_package_has_a_page() -> None:
    """One README in every package, and the links of the first page lead somewhere."""
    for package in ("pipeline", "collectors", "bidding", "deploy"):
        assert (ROOT / package / "README.md").is_file()
    for link in re.findall(r"\]\(([^)#]+\.md)\)", README.read_text()):
        assert (ROOT / link).is_file(), link
