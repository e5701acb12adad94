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
from pipeline.cbl import methods

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SLOW_S = 900
MEMORY_MB = 4096


def commands() -> list[str]:
    """Return the commands of the README's first console block, comments removed."""
    block = re.search(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    return [line.removeprefix("$ ").split("#")[0].strip() for line in block[1].splitlines()]


def desk_question() -> str:
    """Return the SQL that the README asks the desk."""
    question = re.search(r'firmwatt desk "(.*?)"', README.read_text())
    assert question is not None
    return question[1]


def test_the_readme_opens_with_two_commands() -> None:
    """Nothing else has to be typed."""
    assert commands() == ["make demo", "make test"]


@pytest.mark.e2e
def test_both_commands_work_in_a_fresh_clone(tmp_path: Path) -> None:
    """
    A newcomer's clone, home and caches: the demo as it is typed, the tests a part of themselves.

    Afterwards the README's question to the desk has an answer.
    """
    clone, home = tmp_path / "clone", tmp_path / "home"
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: nothing to clone")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    home.mkdir()
    own = (
        "XDG_",
        "VIRTUAL_ENV",
        "FIRMWATT_",
        "PYTHON",
        "MAKE",
        "MFLAGS",
        "ARGS",
    )  # of whoever runs this, `make` included
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}

    def typed(*words: str) -> str:
        done = subprocess.run(
            words,
            check=False,
            cwd=clone,
            env=kept | {"HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=SLOW_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    typed("make", "demo")
    report = json.loads((clone / "runs/latest/report.json").read_text())

    assert report["lost"] == 0
    assert report["statements_agree"] is True
    assert report["hosts"] == (201 if shutil.which("cc") else 200)
    assert report["machine"]["peak_memory_mb"] <= MEMORY_MB
    assert (clone / "runs/latest/report.html").is_file()
    assert "True" in typed(".venv/bin/firmwatt", "desk", desk_question()), "what it shows is marked as simulated"
    assert "passed" in typed("make", "test", "ARGS=tests/unit/pipeline/test_units.py")


def test_every_command_and_plugin_is_mentioned_somewhere() -> None:
    """What cannot be found in a README does not exist for its users."""
    pages = "\n".join(path.read_text() for path in ROOT.glob("**/README.md") if ".venv" not in path.parts)

    for name in PARTS:
        assert f"firmwatt {name}" in pages, name
    families = ("sources", "engines", "mappings", "levers", "admission")
    for package in ("bidding.markets", *(f"collectors.{family}" for family in families)):
        for name in plugins.available(package):
            assert name in pages, f"{package}.{name}"
    for name in methods.names():
        assert f"`{name}`" in pages, name


def test_every_package_has_a_page() -> None:
    """One README in every package, and the links of the first page lead somewhere."""
    for package in ("pipeline", "collectors", "bidding", "deploy"):
        assert (ROOT / package / "README.md").is_file()
    for link in re.findall(r"\]\(([^)#]+\.md)\)", README.read_text()):
        assert (ROOT / link).is_file(), link
