"""One TOML file, refused with a reason before anything connects."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import Kafka, Positive, Section, Site, check_tables, load, load_each


class Outlet(Section, frozen=True, kw_only=True):
    """A table within a table."""

    number: int
    timeout_s: Positive = 1.0


class Meter(Section, frozen=True, kw_only=True):
    """A part's settings with everything that settings are made of."""

    host: str
    period_s: Positive = 1.0
    limit_w: Positive | None = None
    phases: tuple[str, ...] = ()
    spare: Outlet | None = None
    outlets: tuple[Outlet, ...] = ()
    names: dict[str, str] | None = None


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


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[meter]\nhost = "a"\nhots = "b"\n', 3, "unknown key 'hots'; did you mean 'host'?"),
        ("# who\n\n[meter] # what\n\n# why\nhost = 3\n", 6, "Expected `str`, got `int`"),
        ('[meter]\nhost = "a"\n\n[meter.spare]\nnumber = 1\nnubmer = 2\n', 6, "unknown key 'nubmer'"),
        ('[meter]\nhost = "a"\nspare = {number = 1, extra = 2}\n', 3, "unknown key 'extra'"),
        ('[meter]\nhost = "a"\nspare.number = "x"\n', 3, "Expected `int`, got `str`"),
        (
            '[meter]\nhost = "a"\n[[meter.outlets]]\nnumber = 1\n[[meter.outlets]]\nnumber = 2\ncolour = "red"\n',
            7,
            "unknown key 'colour'",
        ),
        ('[meter]\nhost = "a"\nphases = [\n  "l1",\n  2,\n]\n', 3, "Expected `str`, got `int`"),
        ('[meter]\nhost = """\na\n[b]\n"""\nperiod_s = 0\n', 6, "Expected `float` > 0.0"),
        ('[kafka]\nbootstrap = "a"\n[meter]\nperiod_s = 2\n', 3, "missing required field `host`"),
        ('[kafka]\nbootstrap = "a"\n', 1, "missing required field `host`"),
        ('[meter]\r\nhost = "a"\r\nhots = "b"\r\n', 3, "unknown key 'hots'"),
        ('# one line \u2028 to TOML\n[meter]\nhots = "b"\n', 3, "unknown key 'hots'"),
        ('[meter]\nhost = "a"\n[meter.names]\na = "b"\nc = 3\n', 3, "Expected `str`, got `int`"),
        ("meter = 3\n", 1, "Expected `object`, got `int`"),
    ],
)
def test_an_error_names_the_line_on_which_what_is_wrong_begins(
    tmp_path: Path, text: str, line: int, reason: str
) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_bytes(text.encode())

    with pytest.raises(ConfigError) as caught:
        load(path, "meter", Meter)

    assert str(caught.value).startswith(f"{path}, line {line}, section [meter]: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("period_ms = 500", "it is given in another unit: period_s (seconds)"),
        ("limit_kw = 1", "it is given in another unit: limit_w (watts)"),
        ("period = 1", "did you mean 'period_s'?"),
        ("spare = {number = 1, timeout_min = 1}", "it is given in another unit: timeout_s (seconds)"),
        ("outlets = [{number = 1}, {numbers = 2}]", "did you mean 'number'?"),
    ],
)
def test_an_unknown_key_comes_with_what_was_probably_meant(tmp_path: Path, text: str, hint: str) -> None:
    path = write(tmp_path, f'[meter]\nhost = "a"\n{text}\n')

    with pytest.raises(ConfigError, match="unknown key") as caught:
        load(path, "meter", Meter)

    assert str(caught.value).endswith(f"; {hint}")


def test_a_key_like_no_other_comes_without_a_guess(tmp_path: Path) -> None:
    path = write(tmp_path, '[meter]\nhost = "a"\nzzz = 1\n')

    with pytest.raises(ConfigError, match=r"line 3, section \[meter\]: unknown key 'zzz'$"):
        load(path, "meter", Meter)


def test_a_dotted_section_is_a_table_in_a_table(tmp_path: Path) -> None:
    path = write(tmp_path, '[source.meter]\nhost = "a"\n[source.2]\nhost = "b"\n')

    assert load(path, "source.meter", Meter).host == "a"
    assert load(path, "source.2", Meter).host == "b"
    assert load(path, "source.none", Site) == Site()


def test_of_a_section_that_is_not_there_the_table_around_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, '[site]\n\n[source.meter]\nhost = "a"\n')

    with pytest.raises(ConfigError, match=r"line 3, section \[source.other\]: Object missing required field `host`"):
        load(path, "source.other", Meter)


@pytest.mark.parametrize("text", ["source = 3\n", "[[source]]\n", "source = []\n"])
def test_a_table_that_is_none_is_said_where_a_part_looks_inside(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)

    with pytest.raises(ConfigError, match=r"line 1: write \[source\] as one table"):
        load(path, "source.meter", Meter)


def test_each_entry_of_an_array_of_tables_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, '[[engine]]\nhost = "a"\n\n[[engine]]\nhost = "b"\n')

    assert [entry.host for entry in load_each(path, "engine", Meter)] == ["a", "b"]
    assert load_each(path, "meter", Meter) == []


def test_an_array_within_a_table_is_read_too(tmp_path: Path) -> None:
    path = write(tmp_path, '[[source.meter]]\nhost = "a"\n')

    assert [entry.host for entry in load_each(path, "source.meter", Meter)] == ["a"]


def test_a_wrong_entry_of_an_array_is_named_by_its_own_line(tmp_path: Path) -> None:
    path = write(tmp_path, '[[engine]]\nhost = "a"\n\n[[engine]]\nhost = "b"\nperiod_min = 1\n')

    with pytest.raises(ConfigError, match=r"line 6, section \[engine\]: unknown key 'period_min'; it is given"):
        load_each(path, "engine", Meter)


def test_one_table_where_an_array_is_meant_is_told_how_to_write_it(tmp_path: Path) -> None:
    path = write(tmp_path, '[site]\n[engine]\nhost = "a"\n')

    with pytest.raises(ConfigError, match=r"line 2: write \[\[engine\]\], one for each"):
        load_each(path, "engine", Meter)


def test_a_table_that_nobody_reads_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    check_tables(write(tmp_path, "[site]\n[source.snmp]\n[[engine]]\n"))

    with pytest.raises(
        ConfigError, match=r"line 3: no part of firmwatt reads \[colector\]; did you mean 'collector'\?"
    ):
        check_tables(write(tmp_path, "[site]\n\n[colector]\n"))


@pytest.mark.parametrize("text", [f"a = {'9' * 5_000}", f"a = {'[' * 5_000}", "a = 2026-13-01", "a = 1\na = 2"])
def test_whatever_is_no_toml_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not TOML: [^\n]+$"):
        check_tables(write(tmp_path, text))


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="is not TOML"):
        load(path, "site", Site)
