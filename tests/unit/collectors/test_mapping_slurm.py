"""Slurm jobs on this host's GPUs: from a prolog's files, from a real `scontrol` process, and what they may wait."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.commands import NOON
from doubles.slurm import Scontrol, job

from collectors import Place, SourceError
from collectors.mappings import Claim, slurm
from collectors.mappings import _slurm_map as slurm_map
from collectors.mappings._slurm_jobs import Job
from collectors.mappings.slurm import Rule, Settings, Slurm, claim_of
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Tier, Workload
from pipeline.settings import load

# NVML counts in PCI order; on this host the driver numbered its device files the other way round.
SWAPPED = (Place(uuid="GPU-a", index=0, minor=1), Place(uuid="GPU-b", index=1, minor=0))
SPLIT = (Place(uuid="GPU-s", index=0, minor=0, mig=("MIG-1", "MIG-2")),)

PROD = Rule(partition="prod", tier=Tier.T0)
LOW = Rule(qos="low", tier=Tier.T3, workload=Workload.TRAINING, served_model="llama-70b")
RULES = (PROD, LOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a prolog's folder in which nothing is written yet."""
    (tmp_path / "map" / "jobs").mkdir(parents=True)
    return tmp_path / "map"


@pytest.fixture
def scontrol(tmp_path: Path) -> Scontrol:
    """Return a program that lists no jobs yet."""
    return Scontrol(tmp_path)


def of_files(folder: Path, default_tier: Tier = Tier.T2, scontrol: str = "") -> Slurm:
    """Return a mapping that reads *folder*."""
    settings = Settings(
        map_dir=str(folder), scontrol=scontrol, node="n1", rules=RULES if scontrol else (), default_tier=default_tier
    )
    return slurm.connect(settings)


def of_scontrol(scontrol: Scontrol, timeout_s: float = 10) -> Slurm:
    """Return a mapping that asks *scontrol* and nobody else."""
    return slurm.connect(
        Settings(
            scontrol=str(scontrol.path), node="n1", scontrol_timeout_s=timeout_s, rules=RULES, default_tier=Tier.T2
        )
    )


def test_files_are_named_by_uuid_or_by_index(folder: Path) -> None:
    """Index is NVML's, as dcgm-exporter writes it, and not the minor number."""
    (folder / "GPU-a").write_text("11\n")
    (folder / "1").write_text("12\n")

    assert of_files(folder).claims(NOON, SWAPPED) == {
        "GPU-a": Claim(job="11", tier=Tier.T2),
        "GPU-b": Claim(job="12", tier=Tier.T2),
    }


def test_a_mig_instance_is_named_by_its_uuid_or_by_index_and_instance(folder: Path) -> None:
    (folder / "MIG-1").write_text("11\n")
    by_uuid = of_files(folder).claims(NOON, SPLIT)
    (folder / "MIG-1").unlink()
    (folder / "0.7").write_text("11\n")

    assert by_uuid == of_files(folder).claims(NOON, SPLIT) == {"MIG-1": Claim(job="11", tier=Tier.T2)}


def test_of_several_jobs_on_a_gpu_the_most_protected_one_holds(folder: Path) -> None:
    (folder / "GPU-a").write_text("11\n12\n")
    (folder / "jobs" / "11").write_text("partition=batch\nqos=low\n")
    (folder / "jobs" / "12").write_text("partition=prod\naccount=web\n")
    mapping = slurm.connect(Settings(map_dir=str(folder), rules=RULES))

    assert mapping.claims(NOON, SWAPPED) == {"GPU-a": Claim(job="12", tenant="web", tier=Tier.T0)}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("0", b"", "empty"),
        ("0", b"4711\n48", "half-written"),
        ("0", b"4711", "half-written"),
        ("0", b"\x00\xff\xfe\n", "utf-8"),
        ("0", b"not a job\n", "not a job number: 'not a job'"),
        ("0", b"../../etc/passwd\n", "not a job number"),
        ("0", b"1\n" * 40_000, "larger than 65536 bytes"),
        ("readme.txt", b"4711\n", "name it after a GPU"),
        ("7", b"4711\n", "no GPU with this index"),
    ],
)
def test_a_file_that_says_nothing_sensible_is_named_and_the_others_stay(
    folder: Path, name: str, content: bytes, said: str
) -> None:
    (folder / name).write_bytes(content)
    (folder / "GPU-b").write_text("12\n")
    mapping = of_files(folder)

    claims = mapping.claims(NOON, SWAPPED)

    assert claims == {"GPU-b": Claim(job="12", tier=Tier.T2)}
    (trouble,) = mapping.troubles
    assert said in trouble
    assert str(folder / name) in trouble
    assert "\n" not in trouble


def test_a_file_mended_is_no_trouble_any_more(folder: Path) -> None:
    (folder / "GPU-a").write_text("")
    mapping = of_files(folder)
    mapping.claims(NOON, SWAPPED)
    (folder / "GPU-a").write_text("11\n")

    assert mapping.claims(NOON, SWAPPED) == {"GPU-a": Claim(job="11", tier=Tier.T2)}
    assert mapping.troubles == ()


def test_hidden_files_and_folders_are_nobodys(folder: Path) -> None:
    """What the prolog writes beside, its lock, and what it knows about jobs."""
    (folder / ".GPU-a.77").write_text("11")
    (folder / ".lock").touch()
    (folder / "jobs" / "11").write_text("user=alice\n")
    mapping = of_files(folder)

    assert (mapping.claims(NOON, SWAPPED), mapping.troubles) == ({}, ())


def test_a_missing_folder_is_an_error_that_says_what_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read .*nowhere.*does the Slurm prolog write there"):
        of_files(tmp_path / "nowhere").claims(NOON, SWAPPED)


def test_the_first_rule_that_fits_says_tier_workload_and_model() -> None:
    known = Job("1", user="alice", account="lab", partition="batch", qos="low")

    assert claim_of(known, RULES, Tier.T2) == Claim(
        job="1", tenant="lab", tier=Tier.T3, workload=Workload.TRAINING, served_model="llama-70b"
    )
    assert claim_of(known._replace(partition="prod"), RULES, Tier.T2).tier is Tier.T0
    assert claim_of(known._replace(qos="high"), RULES, Tier.T2).tier is Tier.T2


def test_every_condition_of_a_rule_must_hold() -> None:
    rule = Rule(partition="batch", qos="low", account="lab", user="alice", tier=Tier.T3)
    known = Job("1", user="alice", account="lab", partition="batch", qos="low")

    assert rule.fits(known) is True
    others = (
        known._replace(partition="other"),
        known._replace(qos="other"),
        known._replace(account="other"),
        known._replace(user="other"),
    )
    assert [rule.fits(other) for other in others] == [False] * 4


def test_the_tenant_is_the_account_else_the_user() -> None:
    assert claim_of(Job("1", user="alice"), (), Tier.T2).tenant == "alice"
    assert claim_of(Job("1"), (), Tier.T2).tenant is None


def test_a_job_of_which_a_rule_asks_what_is_not_known_is_t0() -> None:
    """It may be one of production's. A condition known not to hold decides without the others."""
    assert claim_of(Job("1"), RULES, Tier.T3).tier is Tier.T0
    assert claim_of(Job("1", partition="batch"), RULES, Tier.T3).tier is Tier.T0
    assert claim_of(Job("1", partition="batch"), (Rule(partition="x", qos="y", tier=Tier.T0),), Tier.T3).tier is Tier.T3
    assert claim_of(Job("1"), (), Tier.T3).tier is Tier.T3


def test_scontrol_counts_by_device_file_and_not_by_index(scontrol: Scontrol) -> None:
    """IDX 0 is /dev/nvidia0, which NVML has second (jobstats#34)."""
    scontrol.answers(job(7, "n[0-1]", "gpu:h100:1(IDX:1)", "gpu:h100:1(IDX:0)", qos="low"))

    claims = of_scontrol(scontrol).claims(NOON, SWAPPED)

    assert claims == {
        "GPU-b": Claim(job="7", tenant="physics", tier=Tier.T3, workload=Workload.TRAINING, served_model="llama-70b")
    }


def test_a_device_file_that_no_source_tells_of_claims_nothing(scontrol: Scontrol) -> None:
    """An index would be a guess: without a minor number the GPU stays T0."""
    scontrol.answers(job(7, "n1", "gpu:h100:1(IDX:0)"))
    mapping = of_scontrol(scontrol)

    assert mapping.claims(NOON, (Place(uuid="GPU-a", index=0),)) == {}
    assert mapping.troubles == ("job 7 has /dev/nvidia0, which no source here knows",)


def test_numbers_of_mig_instances_are_not_taken_for_gpus(scontrol: Scontrol) -> None:
    scontrol.answers(job(7, "n1", "gpu:1g.10gb:1(IDX:0)"))

    with pytest.raises(SourceError, match=r"which MIG instance .* install the prolog"):
        of_scontrol(scontrol).claims(NOON, SPLIT)


def test_scontrol_says_who_the_jobs_in_the_files_are(folder: Path, scontrol: Scontrol) -> None:
    """The file says which GPU, whatever Slurm's numbers say."""
    (folder / "GPU-a").write_text("7\n")
    scontrol.answers(job(7, "n1", "gpu:h100:1(IDX:0)", qos="low"))

    claims = of_files(folder, scontrol=str(scontrol.path)).claims(NOON, SWAPPED)

    assert {uuid: (claim.job, claim.tenant, claim.tier) for uuid, claim in claims.items()} == {
        "GPU-a": ("7", "physics", Tier.T3)
    }


def test_what_the_prolog_wrote_about_a_job_holds_before_what_scontrol_says(folder: Path, scontrol: Scontrol) -> None:
    (folder / "GPU-a").write_text("7\n")
    (folder / "jobs" / "7").write_text("user=bob\naccount=web\npartition=prod\nqos=\n")
    scontrol.answers(job(7, "n1", "gpu:h100:1(IDX:0)", qos="low"))

    (claim,) = of_files(folder, scontrol=str(scontrol.path)).claims(NOON, SWAPPED).values()

    assert (claim.tenant, claim.tier) == ("web", Tier.T0)


def test_a_job_that_scontrol_does_not_list_yet_is_t0(folder: Path, scontrol: Scontrol) -> None:
    (folder / "GPU-a").write_text("8\n")
    scontrol.answers(job(7, "n1", "gpu:h100:1(IDX:0)"))

    assert of_files(folder, scontrol=str(scontrol.path)).claims(NOON, SWAPPED) == {"GPU-a": Claim(job="8")}


def test_while_scontrol_fails_the_files_still_count_and_jobs_are_known_for_three_periods(
    folder: Path, scontrol: Scontrol
) -> None:
    """Asked at noon, then every 30 s: what it said holds until 12:01:30, exclusively."""
    (folder / "GPU-a").write_text("7\n")
    scontrol.answers(job(7, "n1", "gpu:h100:1(IDX:0)", qos="low"))
    mapping = of_files(folder, scontrol=str(scontrol.path))
    mapping.claims(NOON, SWAPPED)
    scontrol.fails("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")

    tiers = [mapping.claims(NOON + timedelta(seconds=s), SWAPPED)["GPU-a"].tier for s in (30, 89, 90)]

    assert tiers == [Tier.T3, Tier.T3, Tier.T0]
    assert "Unable to contact slurm controller" in mapping.troubles[0]


def test_scontrol_is_run_once_a_period_also_while_it_fails(scontrol: Scontrol) -> None:
    scontrol.fails("no")
    mapping = of_scontrol(scontrol)

    for second in (0, 1, 29, 30, 59):
        with pytest.raises(SourceError, match="failed: no"):
            mapping.claims(NOON + timedelta(seconds=second), SWAPPED)

    assert scontrol.calls == 2


def test_a_scontrol_that_hangs_is_given_up(scontrol: Scontrol) -> None:
    scontrol.hangs()
    started = time.monotonic()

    with pytest.raises(SourceError, match=r"did not answer within 0\.2 s"):
        of_scontrol(scontrol, timeout_s=0.2).claims(NOON, SWAPPED)

    assert time.monotonic() - started < 10


def test_a_scontrol_that_prints_something_else_is_an_error(scontrol: Scontrol) -> None:
    """Slurm before 21.08, or built without its JSON plug-in."""
    scontrol.says("JobId=7 JobName=train\n")

    with pytest.raises(SourceError, match="no list of jobs"):
        of_scontrol(scontrol).claims(NOON, SWAPPED)


def test_the_jobs_of_a_cluster_too_large_to_hold_are_refused(scontrol: Scontrol) -> None:
    scontrol.says('{"jobs": [' + " " * (24 << 20) + "]}")

    with pytest.raises(SourceError, match="more than 24 MB: use the prolog and map_dir instead"):
        of_scontrol(scontrol).claims(NOON, SWAPPED)


def test_a_scontrol_that_is_not_there_is_an_error_that_says_what_to_write(tmp_path: Path) -> None:
    mapping = slurm.connect(Settings(scontrol=str(tmp_path / "scontrol")))

    with pytest.raises(SourceError, match=r"cannot run .*scontrol: No such file or directory; write its full path"):
        mapping.claims(NOON, SWAPPED)


def test_it_is_asked_as_often_as_its_source_is_worth(folder: Path, scontrol: Scontrol) -> None:
    assert (of_files(folder).period_s, of_scontrol(scontrol).period_s) == (5, 30)


def test_settings_that_tell_no_way_to_learn_of_jobs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"map_dir .* scontrol"):
        slurm.connect(Settings())


def test_rules_are_written_as_tables(tmp_path: Path) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_text(
        "[mapping.slurm]\n"
        'map_dir = "/run/firmwatt/gpus"\n'
        "[[mapping.slurm.rules]]\n"
        'partition = "batch"\n'
        'tier = "T2"\n'
        'workload = "training"\n'
    )

    settings = load(path, "mapping.slurm", Settings)

    assert settings.rules == (Rule(partition="batch", tier=Tier.T2, workload=Workload.TRAINING),)


def test_a_rule_without_a_tier_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_text('[mapping.slurm]\nscontrol = "scontrol"\n[[mapping.slurm.rules]]\npartition = "batch"\n')

    with pytest.raises(ConfigError, match=r"line 3.*tier"):
        load(path, "mapping.slurm", Settings)


def test_a_job_whose_own_file_is_garbage_is_known_by_number_only(folder: Path) -> None:
    (folder / "GPU-a").write_text("7\n")
    (folder / "jobs" / "7").write_bytes(b"partition=\xff\n")

    entries, troubles = slurm_map.read(folder)

    assert entries[0].jobs == (Job("7"),)
    assert "jobs/7" in troubles[0]
