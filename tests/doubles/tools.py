"""Programs that check what firmwatt is deployed with; without one its tests skip, or fail where that is asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REMEDIES = {
    "helm": "deploy/tools.sh builds it",
    "promtool": "deploy/tools.sh fetches it",
    "hadolint": "`make setup` installs it",
    "kubernetes-validate": "`make setup` installs it",
    "systemd-analyze": "install systemd",
    "systemd-sysusers": "install systemd",
    "systemd-tmpfiles": "install systemd",
}


def tool(name: str) -> str:
    """Return the path of *name*; skip the test where it is absent, fail it with ``FIRMWATT_TOOLS=required``."""
    beside = Path(sys.executable).parent  # where `make setup` and deploy/tools.sh put them
    found = shutil.which(name, path=os.pathsep.join([str(beside), os.environ.get("PATH", os.defpath)]))
    if found is None:
        absent = f"no {name}: {REMEDIES[name]}"
        if os.environ.get("FIRMWATT_TOOLS") == "required":
            pytest.fail(absent)
        pytest.skip(absent)
    return found


def run(name: str, *arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a tool and return what it said, whatever its exit code."""
    command = [tool(name), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, timeout=300)
