"""
A powercap tree as the kernel shows it, in a folder of the test's own.

    tree = rapl_tree.grow(tmp_path, packages=2)
    tree.draw("package-0", joules=300)       # its counter moves on, and begins again at its range
"""

from dataclasses import dataclass
from pathlib import Path

RANGE_UJ = 262_143_328_850
"""A Xeon package's: 2³² - 1 units of 61 µJ."""
DRAM_RANGE_UJ = 65_712_999_613


@dataclass(frozen=True)
class Tree:
    """A tree in *root*."""

    root: Path

    def add(self, folder: str, name: str, energy_uj: int = 1_000_000, range_uj: int = RANGE_UJ) -> None:
        """Add the zone *folder*, as in ``intel-rapl:0:1``."""
        zone = self.root / folder
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{energy_uj}\n")
        (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")

    def draw(self, folder: str, joules: float) -> None:
        """Let the zone *folder* count *joules* more."""
        zone = self.root / folder
        counted_uj = int((zone / "energy_uj").read_text()) + round(joules * 1e6)
        range_uj = int((zone / "max_energy_range_uj").read_text())
        (zone / "energy_uj").write_text(f"{counted_uj % range_uj}\n")

    def file(self, folder: str, name: str = "energy_uj") -> Path:
        """Return a file of a zone."""
        return self.root / folder / name


def grow(folder: Path, packages: int = 1, energy_uj: int = 1_000_000) -> Tree:
    """Return a new tree in *folder*: a server's, each package with cores and memory."""
    tree = Tree(folder / "powercap")
    for package in range(packages):
        tree.add(f"intel-rapl:{package}", f"package-{package}", energy_uj)
        tree.add(f"intel-rapl:{package}:0", "core", energy_uj)
        tree.add(f"intel-rapl:{package}:1", "dram", energy_uj, DRAM_RANGE_UJ)
    return tree
