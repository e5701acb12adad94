"""RAPL against a powercap tree in a folder: which zones count, wraps, gaps, and what may not be read."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles import rapl_tree
from doubles.rapl_tree import RANGE_UJ, Tree
from hypothesis import given
from hypothesis import strategies as st

from collectors import SourceError
from collectors.sources.rapl import Count, Rapl, Settings, connect
from pipeline.messages.telemetry import Covers, Quality

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


def source(tree: Tree) -> Rapl:
    """Return the source that reads *tree*."""
    return connect(Settings(root=str(tree.root)))


def energies_j(rapl: Rapl, after_s: float = 0) -> dict[str, float | None]:
    """Return the energy of every meter, read some seconds after noon."""
    return {meter.meter: meter.energy_j for meter in rapl.read(NOON + timedelta(seconds=after_s)).meters}


def test_packages_are_cpu_their_dram_is_memory_and_the_cores_inside_are_left_out(tmp_path: Path) -> None:
    """5 000 000 µJ are 5 J. No power is made up: it is the counters' difference, if anything."""
    tree = rapl_tree.grow(tmp_path, packages=2, energy_uj=5_000_000)

    meters = source(tree).read(NOON).meters

    assert [(meter.meter, meter.covers, meter.energy_j, meter.power_w) for meter in meters] == [
        ("package-0", Covers.CPU, 5.0, None),
        ("package-0-dram", Covers.MEMORY, 5.0, None),
        ("package-1", Covers.CPU, 5.0, None),
        ("package-1-dram", Covers.MEMORY, 5.0, None),
    ]
    assert all(meter.read_at == NOON for meter in meters)


def test_the_whole_platform_and_the_second_view_of_a_package_are_left_out(tmp_path: Path) -> None:
    tree = rapl_tree.grow(tmp_path)
    tree.add("intel-rapl:1", "psys")
    tree.add("intel-rapl-mmio:0", "package-0")

    assert [meter.meter for meter in source(tree).read(NOON).meters] == ["package-0", "package-0-dram"]


def test_the_dies_of_a_package_are_meters_of_their_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.add("intel-rapl:0", "package-0-die-0")
    tree.add("intel-rapl:1", "package-0-die-1")
    tree.add("intel-rapl:1:0", "dram")

    names = [meter.meter for meter in source(tree).read(NOON).meters]

    assert names == ["package-0-die-0", "package-0-die-1", "package-0-die-1-dram"]


def test_a_wrapped_counter_is_not_negative_power(tmp_path: Path) -> None:
    """The range is 262 143.32885 J. From 262 000 J another 300 J lead past it, and the meter shows 262 300 J."""
    tree = rapl_tree.grow(tmp_path, energy_uj=0)
    tree.draw("intel-rapl:0", joules=262_000)
    rapl = source(tree)
    before = energies_j(rapl)["package-0"]

    tree.draw("intel-rapl:0", joules=300)

    assert before == pytest.approx(262_000)
    assert energies_j(rapl, after_s=1)["package-0"] == pytest.approx(262_300)


def test_a_released_source_still_knows_how_often_a_counter_has_wrapped(tmp_path: Path) -> None:
    tree = rapl_tree.grow(tmp_path, energy_uj=RANGE_UJ - 1)
    rapl = source(tree)
    energies_j(rapl)
    tree.draw("intel-rapl:0", joules=10)
    wrapped = energies_j(rapl, after_s=1)["package-0"]

    rapl.close()

    assert wrapped == pytest.approx(262_153.328849)
    assert energies_j(rapl, after_s=2)["package-0"] == wrapped


def test_a_zone_unseen_for_so_long_that_it_may_have_wrapped_twice_begins_anew(tmp_path: Path) -> None:
    """
    At 1000 W the package's range lasts 262 s and the memory's 65 s.

    After 100 s the package is sure; the memory is marked, without energy, so that nobody subtracts across the gap.
    """
    tree = rapl_tree.grow(tmp_path)
    rapl = source(tree)
    rapl.read(NOON)

    package, memory = rapl.read(NOON + timedelta(seconds=100)).meters
    _, memory_again = rapl.read(NOON + timedelta(seconds=101)).meters

    assert (package.energy_j, package.quality) == (1.0, ())
    assert (memory.energy_j, memory.quality) == (None, (Quality.LOST,))
    assert (memory_again.energy_j, memory_again.quality) == (1.0, ())


@given(st.lists(st.integers(min_value=0, max_value=RANGE_UJ - 1), min_size=1, max_size=50))
def test_no_energy_is_lost_or_made_by_wrapping(steps_uj: list[int]) -> None:
    """However a counter moves between readings, short of its range, the unwrapped sum is what was drawn."""
    drawn_uj, count = 0, Count(NOON, 0)
    for step_uj in steps_uj:
        drawn_uj += step_uj
        count = count.after(NOON, drawn_uj % RANGE_UJ)

    assert count.wraps * RANGE_UJ + count.raw_uj == drawn_uj


@pytest.mark.parametrize("root", ["nowhere", "empty"])
def test_a_host_without_rapl_is_an_error_that_says_what_to_load(tmp_path: Path, root: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(SourceError, match="load the kernel module intel_rapl_msr"):
        source(Tree(tmp_path / root)).read(NOON)


def test_zones_that_appear_later_are_found(tmp_path: Path) -> None:
    rapl = source(Tree(tmp_path / "powercap"))
    with pytest.raises(SourceError):
        rapl.read(NOON)

    rapl_tree.grow(tmp_path)

    assert energies_j(rapl)["package-0"] == 1.0


def test_one_zone_that_fails_does_not_silence_the_others(tmp_path: Path) -> None:
    tree = rapl_tree.grow(tmp_path, packages=2)
    tree.file("intel-rapl:0").write_text("n/a\n")

    reading = source(tree).read(NOON)

    assert [meter.meter for meter in reading.meters] == ["package-0-dram", "package-1", "package-1-dram"]
    assert reading.troubles == (f"{tree.file('intel-rapl:0')} holds no number",)


def test_counters_for_their_owner_alone_are_an_error_that_names_the_capability(tmp_path: Path) -> None:
    """As root the test needs a process without capabilities: to it, mode 0000 is what 0400 is to another user."""
    tree = rapl_tree.grow(tmp_path)
    for file in tree.root.glob("*/energy_uj"):
        file.chmod(0)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv (util-linux) to start a process without capabilities")

    program = (
        "import sys; from datetime import UTC, datetime; from collectors.sources.rapl import *\n"
        "try: connect(Settings(root=sys.argv[1])).read(datetime(2026, 7, 23, tzinfo=UTC))\n"
        "except SourceError as error: sys.exit(str(error))"
    )
    said = subprocess.run(
        [setpriv, "--bounding-set=-all", sys.executable, "-c", program, tree.root],
        capture_output=True,
        text=True,
        check=False,
    ).stderr

    assert said.endswith("give the collector CAP_DAC_READ_SEARCH\n")
    assert "intel-rapl:0/energy_uj is its owner's alone" in said
