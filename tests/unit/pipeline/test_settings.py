"""One TOML file, refused with a reason before anything connects."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import Kafka, Site, load


def write(folder: Path, text: str) -> Path:
    path = folder / "firmwatt.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_absent_section_means_its_defaults(tmp_path: Path) -> None:
    """Nothing has to be written down that nobody changes."""
    assert load(write(tmp_path, ""), "kafka", Kafka).bootstrap == "127.0.0.1:9092"


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    """`intervall_s` is not silently ignored."""
    path = write(tmp_path, "[site]\nintervall_s = 60\n")

    with pytest.raises(ConfigError, match=r"section \[site\].*intervall_s"):
        load(path, "site", Site)


def test_a_value_out_of_bounds_is_named(tmp_path: Path) -> None:
    """An interval of no seconds cannot be settled."""
    path = write(tmp_path, "[site]\ninterval_s = 0\n")

    with pytest.raises(ConfigError, match="interval_s"):
        load(path, "site", Site)


def test_a_file_that_is_no_toml_or_not_there_is_one_line(tmp_path: Path) -> None:
    """Both tell which file."""
    with pytest.raises(ConfigError, match="is not TOML"):
        load(write(tmp_path, "[site"), "site", Site)
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "absent.toml", "site", Site)
