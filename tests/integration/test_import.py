"""`firmwatt collect import` as a process: what it prints, where, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[1] / "data" / "captures"

#: What the `firmwatt` command does with the part it has found.
PEAK = """
import atexit, re
from pathlib import Path
atexit.register(lambda: print(re.search("VmHWM.*", Path("/proc/self/status").read_text())[0]))
"""
COMMAND = """
import sys
from collectors.import_cli import main
from pipeline.errors import FirmwattError

try:
    code = main(sys.argv[1:])
except FirmwattError as error:
    print(error, file=sys.stderr)
    code = error.exit_code
sys.exit(code)
"""


def run(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Return how the command ended."""
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=60, env={**os.environ, **environment}
    )


def document(*arguments: str | Path, stdin: bytes = b"") -> Any:
    """Return what the command prints with ``--json``."""
    ended = run("--json", *arguments, stdin=stdin)
    assert ended.returncode == 0, ended.stderr.decode()
    return json.loads(ended.stdout)


def test_json_holds_one_object_for_each_gpu_and_the_sums() -> None:
    printed = document(SAMPLES / "three_boards.xml")

    first, second, third = printed["gpus"]
    assert first == {
        "uuid": "GPU-aaaaaaaa-0000-4000-8000-000000000001",
        "name": "NVIDIA H200",
        "power_w": 100.25,
        "limit_w": 700.0,
        "energy_j": None,
        "mig": False,
        "mig_instances": [],
        "instant_w": 100.25,
        "average_w": 99.0,
        "module_w": None,
        "requested_w": 700.0,
        "min_w": None,
        "max_w": 700.0,
        "index": None,
        "pci_bus_id": "00000000:1A:00.0",
    }
    assert (second["mig"], len(second["mig_instances"])) == (True, 2)
    assert (third["power_w"], third["limit_w"], third["mig"]) == (None, None, None)
    assert printed["totals"] == {
        "gpus": 3,
        "power_w": 310.75,
        "limit_w": 1200.0,
        "energy_j": None,
        "gpus_without_power": 1,
        "gpus_without_limit": 1,
        "gpus_without_energy": 3,
    }
    assert (printed["driver"], printed["format"], printed["snapshot"]) == ("580.1", "nvidia-smi-xml", "1")
    assert printed["notes"] == ["GPUs with a draw of their module alone: 1; it is in module_w and in no sum"]


def test_a_snapshot_is_asked_for_by_name_and_all_are_listed() -> None:
    newest, idle = document(SAMPLES / "session.txt"), document("--snapshot", "idle", SAMPLES / "session.txt")

    assert (newest["snapshot"], newest["totals"]["power_w"]) == ("load", 390.25)
    assert (idle["snapshot"], idle["totals"]["power_w"]) == ("idle", 102.25)
    assert [each["name"] for each in idle["snapshots"]] == ["idle", "load"]
    assert [each["totals"]["power_w"] for each in idle["snapshots"]] == [102.25, 390.25]


def test_a_pipe_is_read_like_a_file() -> None:
    page = SAMPLES / "dcgm_mig.prom"

    assert document("-", stdin=page.read_bytes()) == document(page)


def test_people_get_a_table_with_dashes_for_what_is_not_known() -> None:
    ended = run(SAMPLES / "dcgm_mig.prom")

    assert ended.returncode == 0
    assert ended.stdout.decode().splitlines() == [
        "gpu                                       name                   power W  limit W  energy kWh  MIG",
        "GPU-bbbbbbbb-0000-4000-8000-000000000001  NVIDIA H100 80GB HBM3   300.50   500.00       0.002  -",
        "GPU-bbbbbbbb-0000-4000-8000-000000000002  NVIDIA H100 80GB HBM3   200.25        -       0.001  on, 2",
        "GPU-bbbbbbbb-0000-4000-8000-000000000003  NVIDIA H100 80GB HBM3        -        -           -  -",
        "3 GPUs                                    power of 1 not known    500.75   500.00       0.003",
    ]


def test_a_terminal_that_cannot_write_a_name_does_not_stop_the_import(tmp_path: Path) -> None:
    log = tmp_path / "latin.xml"
    log.write_bytes("<nvidia_smi_log><gpu><product_name>Café</product_name></gpu></nvidia_smi_log>".encode("latin-1"))

    ended = run(log, PYTHONIOENCODING="ascii")

    assert ended.returncode == 0
    assert "Caf\N{REPLACEMENT CHARACTER}" in ended.stdout.decode()


def test_a_truncated_file_gives_its_whole_gpus_and_says_so_twice(tmp_path: Path) -> None:
    whole = (SAMPLES / "three_boards.xml").read_bytes()
    cut = tmp_path / "cut.xml"
    cut.write_bytes(whole[: whole.index(b"GH200")])

    ended = run("--json", cut)

    assert ended.returncode == 0
    printed = json.loads(ended.stdout)
    assert (printed["totals"]["gpus"], printed["totals"]["power_w"]) == (2, 310.75)
    assert printed["notes"][0] == "truncated in line 55; only whole GPUs are shown"
    assert f"{cut}: truncated in line 55; only whole GPUs are shown\n" in ended.stderr.decode()


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", 3, "{file} is empty\n"),
        (b"\0\1\2", 3, "{file} is not text\n"),
        (b"<nvidia_smi_log><gpu>", 3, "{file} holds no whole GPU: truncated in line 1\n"),
        (b"GPU 0: T4 (UUID: GPU-a)\n", 3, "{file} has no snapshot 'load'; have 1\n"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_a_code(tmp_path: Path, content: bytes, code: int, line: str) -> None:
    file = tmp_path / "capture"
    file.write_bytes(content)

    ended = run("--json", "--snapshot", "load", file)

    assert (ended.returncode, ended.stdout) == (code, b"")
    assert ended.stderr.decode() == line.format(file=file)


def test_a_folder_or_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    folder, absent = run(tmp_path), run(tmp_path / "absent")

    assert (folder.returncode, folder.stderr.decode()) == (2, f"cannot read {tmp_path}: Is a directory\n")
    assert (absent.returncode, absent.stderr.decode()) == (
        2,
        f"cannot read {tmp_path / 'absent'}: No such file or directory\n",
    )


def test_a_file_without_an_end_is_read_no_further_than_needed() -> None:
    ended = run("/dev/zero")

    assert (ended.returncode, ended.stderr.decode()) == (
        3,
        "/dev/zero is larger than 64 MB: save one query, or split it\n",
    )


def test_one_endless_line_does_not_eat_the_memory(tmp_path: Path) -> None:
    """The most that the process ever had resident, by its own account: `ru_maxrss` would count pytest's as well."""
    page = tmp_path / "endless.prom"
    page.write_bytes(b"nvidia_smi_count{" + b"a" * 8_000_000 + b'\nnvidia_smi_count{uuid="GPU-a"} 1\n')
    words = [sys.executable, "-c", PEAK + COMMAND, str(page)]

    done = subprocess.run(words, capture_output=True, text=True, check=True)

    peak_kb = int(done.stdout.rpartition("VmHWM:")[2].split()[0])
    assert 10_000 < peak_kb < 400 * 1024  # a backtracking expression takes 1,300 MB


def test_every_real_file_is_imported(shared_data: Path) -> None:
    folder = shared_data / "data" / "nvidia_smi_captures"
    files = sorted(path for path in folder.glob("*/*") if path.suffix in {".xml", ".metrics", ".txt"})

    printed = [document(file) for file in files]

    assert len(printed) == 15
    assert sum(each["totals"]["gpus"] for each in printed) == 22
    assert all(gpu["uuid"] and gpu["name"] and gpu["power_w"] > 0 for each in printed for gpu in each["gpus"])
