"""The image: linted, no user to be root with, nothing left to install or compile with, every package pinned."""

import importlib.metadata
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from doubles.tools import run

from collectors.collect_cli import parser

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "deploy" / "Dockerfile"
IGNORED = ROOT / "deploy" / "Dockerfile.dockerignore"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Every instruction of the recipe, on one line.
LINES = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", RECIPE.read_text(encoding="utf-8"))).splitlines()
BUILD, FINAL = [
    [line for line in stage.splitlines() if line]
    for stage in re.split(r"(?m)^(?=FROM )", "\n".join(LINES))[1:]
]  # fmt: skip


def said(stage: list[str], instruction: str) -> list[str]:
    """Return what follows each *instruction* of a stage."""
    return [line.partition(" ")[2] for line in stage if line.startswith(f"{instruction} ")]


def exported(*options: str) -> str:
    """Return what uv makes of the lock, as the recipe does it; no address is asked."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "export",
        "--quiet",
        "--frozen",
        "--offline",
        "--no-config",
        "--no-emit-project",
    ]
    return subprocess.run([*command, *options], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def names(requirements: str) -> set[str]:
    """Return the packages that a list of requirements pins."""
    return set(re.findall(r"(?m)^([a-z0-9.-]+)==", requirements))


def needed(package: str) -> set[str]:
    """Return *package* and all that it needs here."""
    wanted = {package}
    for requirement in importlib.metadata.requires(package) or []:
        name, _, condition = requirement.partition(";")
        if not condition:
            wanted |= needed(re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0].lower())
    return wanted


def test_hadolint_finds_nothing() -> None:
    told = run("hadolint", RECIPE)

    assert told.returncode == 0, told.stdout


def test_it_runs_as_a_user_without_rights_and_measures_unless_told_otherwise() -> None:
    assert said(FINAL, "USER") == ["10001:10001"]
    assert said(FINAL, "ENTRYPOINT") == ['["firmwatt"]']
    words = tomllib.loads(f"words = {said(FINAL, 'CMD')[0]}")["words"]
    assert parser().parse_args(words[1:]).config == Path("/etc/firmwatt/firmwatt.toml")


def test_nothing_is_left_to_install_or_compile_with() -> None:
    """The second stage begins anew, takes one folder from the first and removes the base's pip."""
    assert said(FINAL, "COPY") == ["--from=build /opt/firmwatt /opt/firmwatt"]
    assert "pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip" in " ".join(said(FINAL, "RUN"))
    assert "apt-get" not in " ".join(LINES)


def test_every_package_is_checked_against_its_hash() -> None:
    installs = [part for line in said(BUILD, "RUN") for part in line.split("&&") if " install " in part]

    assert len(installs) == 4
    for words in map(shlex.split, installs):
        assert "--require-hashes" in words or {"--no-index", "--no-deps"} <= set(words)
        assert "--only-binary=:all:" in words or "--no-index" in words


def test_it_names_no_host() -> None:
    assert not re.findall(r"https?://|\b[\w-]+\.(?:io|org|com|dev)/", " ".join(LINES))


def test_what_is_copied_is_sent_to_the_builder() -> None:
    allowed = {line[1:] for line in IGNORED.read_text(encoding="utf-8").splitlines() if line.startswith("!")}

    copied = {source for line in said(BUILD, "COPY") for source in line.split()[:-1]}

    assert {source.partition("/")[0] for source in copied} == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied


def test_its_python_is_one_that_firmwatt_runs_on() -> None:
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=").split(".")

    version = re.match(r"PYTHON=(\d+)\.(\d+)-slim", said(LINES, "ARG")[0])

    assert version is not None
    assert [int(part) for part in version.groups()] >= [int(part) for part in lowest]


def test_all_that_builds_the_wheel_is_in_the_list() -> None:
    """Hatchling and what it needs are picked out of the lock by name."""
    picked = re.search(r"/\^\(([^)]*)\)==/", " ".join(LINES))
    assert picked is not None

    wanted = needed("hatchling")

    assert wanted == set(picked[1].split("|"))
    assert wanted <= names(exported("--only-group", "dev"))


def test_a_host_gets_nothing_heavy() -> None:
    extras = next(line for line in said(BUILD, "ARG") if line.startswith("EXTRAS="))
    chosen = shlex.split(extras)[0].removeprefix("EXTRAS=").split()
    assert set(chosen) <= set(PROJECT["project"]["optional-dependencies"])

    got = names(exported("--no-dev", *(f"--extra={extra}" for extra in chosen)))

    assert {"aiokafka", "msgspec", "nvidia-ml-py", "cryptography", "grpcio"} <= got
    assert not got & {"faust-streaming", "polars", "duckdb", "pydantic", "httpx", "numpy", "pytest"}
