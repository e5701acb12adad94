"""The Slurm prolog and epilog, run by bash as slurmd runs them, and read by the mapping."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from doubles.commands import NOON

from collectors import Place
from collectors.mappings import slurm
from collectors.mappings.slurm import Rule, Settings
from pipeline.messages.telemetry import Tier

SCRIPTS = Path(__file__).parents[3] / "deploy" / "slurm"
UUIDS = ("GPU-11111111-aaaa-bbbb-cccc-000000000001", "GPU-22222222-aaaa-bbbb-cccc-000000000002")
MIG = "MIG-33333333-aaaa-bbbb-cccc-000000000003"

# What the driver shows of a GPU (a real H100's lines, shortened).
INFORMATION = """Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 18
GPU UUID: \t {uuid}
Video BIOS: \t 96.00.99.00.01
Bus Location: \t {bus}
Device Minor: \t {minor}
GPU Excluded:\t No
"""


@dataclass
class Node:
    """One compute node: the prolog's folder, and what the driver shows under /proc."""

    folder: Path
    proc: Path

    def has_gpu(self, bus: str, uuid: str, minor: int) -> None:
        """Let the driver show a GPU."""
        (self.proc / bus).mkdir(parents=True)
        (self.proc / bus / "information").write_text(INFORMATION.format(uuid=uuid, bus=bus, minor=minor))

    def begins(self, job: int, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the prolog of *job*."""
        return self._run("firmwatt-prolog.sh", SLURM_JOB_ID=str(job), **environment)

    def ends(self, job: int, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the epilog of *job*."""
        return self._run("firmwatt-epilog.sh", SLURM_JOB_ID=str(job), **environment)

    @property
    def files(self) -> dict[str, str]:
        """Every file a reader sees, by its name in the folder."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.folder)): path.read_text() for path in found}

    def _run(self, script: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        paths = {"FIRMWATT_MAP_DIR": str(self.folder), "FIRMWATT_NVIDIA_PROC": str(self.proc)}
        return subprocess.run(
            ["/bin/bash", str(SCRIPTS / script)], env=paths | environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return a node without GPUs, on which no job has run yet."""
    return Node(tmp_path / "map", tmp_path / "proc")


@pytest.mark.parametrize("script", ["firmwatt-prolog.sh", "firmwatt-epilog.sh"])
def test_slurmd_can_run_it(script: str) -> None:
    assert os.access(SCRIPTS / script, os.X_OK)


def test_uuids_of_slurm_25_11_name_the_files(node: Node) -> None:
    """CUDA_VISIBLE_DEVICES holds UUIDs while SLURM_JOB_GPUS stays numeric (slurm-operator#112)."""
    done = node.begins(7, CUDA_VISIBLE_DEVICES=",".join(UUIDS), SLURM_JOB_GPUS="0,1", SLURM_JOB_USER="alice")

    assert (done.returncode, done.stderr) == (0, "")
    assert node.files == {
        UUIDS[0]: "7\n",
        UUIDS[1]: "7\n",
        "jobs/7": "user=alice\naccount=\npartition=\nqos=\n",
    }


def test_numbers_of_earlier_releases_are_device_files_whose_uuid_the_driver_shows(node: Node) -> None:
    """In PCI order the GPU with minor 1 comes first, as on hosts where index and minor differ."""
    node.has_gpu("0000:01:00.0", UUIDS[0], minor=1)
    node.has_gpu("0000:02:00.0", UUIDS[1], minor=0)

    node.begins(7, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_GPUS="0")

    assert set(node.files) == {UUIDS[1], "jobs/7"}


def test_a_list_of_numbers_may_hold_ranges(node: Node) -> None:
    node.has_gpu("0000:01:00.0", UUIDS[0], minor=2)
    node.has_gpu("0000:02:00.0", UUIDS[1], minor=6)

    node.begins(7, SLURM_JOB_GPUS="1-2,6")

    assert set(node.files) == {"1", UUIDS[0], UUIDS[1], "jobs/7"}


def test_a_gpu_whose_uuid_is_not_known_is_named_by_its_number(node: Node) -> None:
    """The driver shows question marks until a GPU is opened for the first time."""
    node.has_gpu("0000:01:00.0", "GPU-????????-????-????-????-????????????", minor=0)

    node.begins(7, SLURM_JOB_GPUS="0")

    assert set(node.files) == {"0", "jobs/7"}


def test_a_mig_instance_is_named_by_its_uuid(node: Node) -> None:
    node.begins(7, CUDA_VISIBLE_DEVICES=MIG, SLURM_JOB_GPUS="3")

    assert node.files[MIG] == "7\n"


def test_jobs_without_gpus_leave_no_trace(node: Node) -> None:
    done = node.begins(7)

    assert (done.returncode, node.files) == (0, {})


def test_jobs_that_share_a_gpu_stand_below_each_other_and_leave_one_by_one(node: Node) -> None:
    node.begins(7, CUDA_VISIBLE_DEVICES=UUIDS[0])
    node.begins(77, CUDA_VISIBLE_DEVICES=UUIDS[0])
    together = node.files[UUIDS[0]]
    node.ends(7)
    one_left = node.files
    node.ends(77)

    assert together == "7\n77\n"
    assert one_left == {UUIDS[0]: "77\n", "jobs/77": "user=\naccount=\npartition=\nqos=\n"}
    assert node.files == {}


def test_a_job_requeued_onto_the_same_node_stands_there_once(node: Node) -> None:
    node.begins(7, CUDA_VISIBLE_DEVICES=UUIDS[0])
    node.begins(7, CUDA_VISIBLE_DEVICES=UUIDS[0])

    assert node.files[UUIDS[0]] == "7\n"


def test_the_epilog_needs_no_list_of_gpus(node: Node) -> None:
    node.begins(7, CUDA_VISIBLE_DEVICES=",".join(UUIDS))

    done = node.ends(7)

    assert (done.returncode, done.stderr, node.files) == (0, "", {})


def test_many_prologs_and_epilogs_at_once_lose_no_job(node: Node) -> None:
    """Jobs on MPS or shards share a GPU and may begin and end within the same second."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda job: node.begins(job, CUDA_VISIBLE_DEVICES=UUIDS[0]), range(100, 116)))
        begun = sorted(node.files[UUIDS[0]].split())
        list(pool.map(node.ends, range(100, 108)))

    assert begun == [str(job) for job in range(100, 116)]
    assert sorted(node.files[UUIDS[0]].split()) == [str(job) for job in range(108, 116)]


def test_nothing_half_written_is_left_beside(node: Node) -> None:
    node.begins(7, CUDA_VISIBLE_DEVICES=UUIDS[0])
    node.begins(8, CUDA_VISIBLE_DEVICES=UUIDS[0])
    node.ends(7)

    assert {path.name for path in node.folder.iterdir()} == {".lock", "jobs", UUIDS[0]}


@pytest.mark.parametrize("run", [Node.begins, Node.ends])
def test_neither_ever_fails_because_slurm_would_drain_the_node(tmp_path: Path, run: object) -> None:
    """The folder is a file."""
    (tmp_path / "map").write_text("in the way")
    node = Node(tmp_path / "map", tmp_path / "proc")

    done = (node.begins if run is Node.begins else node.ends)(7, CUDA_VISIBLE_DEVICES=UUIDS[0])

    assert done.returncode == 0
    assert (tmp_path / "map").read_text() == "in the way"


def test_a_prolog_that_cannot_write_says_so(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("in the way")

    done = Node(tmp_path / "map", tmp_path / "proc").begins(7, CUDA_VISIBLE_DEVICES=UUIDS[0])

    assert f"firmwatt-prolog: could not write to {tmp_path / 'map'}" in done.stderr


def test_the_mapping_reads_what_the_prolog_wrote(node: Node) -> None:
    node.begins(7, CUDA_VISIBLE_DEVICES=UUIDS[1], SLURM_JOB_ACCOUNT="lab", SLURM_JOB_PARTITION="batch")
    rules = (Rule(partition="batch", tier=Tier.T3),)
    mapping = slurm.connect(Settings(map_dir=str(node.folder), rules=rules))

    claims = mapping.claims(NOON, (Place(uuid=UUIDS[1], index=0, minor=1),))

    assert mapping.troubles == ()
    assert {uuid: (claim.job, claim.tenant, claim.tier) for uuid, claim in claims.items()} == {
        UUIDS[1]: ("7", "lab", Tier.T3)
    }
