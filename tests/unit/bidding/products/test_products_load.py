"""A file with a mistake in it: one line that names file, product and key."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.products import Gate, Shape
from bidding.products.load import catalogue, load, read, venues
from pipeline.errors import ConfigError, UnknownPluginError

ACME = """\
venue = "acme"
timezone = "America/Chicago"
currency = "USD"

[sources.manual]
text = "Acme manual 11, section 2"
verified = true
date = 2026-01-01

[sources.gk]
text = "general knowledge"
verified = false
date = 2026-01-01

[[product]]
name = "spin"
family = "spinning"
trading = "day_ahead"
title = "spinning reserve"
interval_s = 3600
block_mw = 0.1
min_mw = 0.5
max_steps = 3
shape = "single"
price_tick = 0.01
price_floor = -10
price_cap = 1000
closes = { days_before = 1, at = 10:00:00 }
horizon_s = 86400
baseline_method = ""
shortfall_factor = 1
[product.cited]
interval_s = "manual"
block_mw = "manual"
min_mw = "manual"
max_steps = "manual"
shape = "manual"
price_tick = "manual"
price_floor = "manual"
price_cap = "gk"
closes = "manual"
horizon_s = "gk"
baseline_method = "gk"
shortfall_factor = "gk"
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    path = tmp_path / "acme.toml"
    path.write_text(ACME, encoding="utf-8")
    return path


def test_a_file_is_read_as_it_is_written(acme: Path) -> None:
    rules = load("acme", folder=acme.parent)["spin"]
    assert (rules.block_mw, rules.min_mw, rules.price_floor) == (Decimal("0.1"), Decimal("0.5"), Decimal(-10))
    assert rules.shape is Shape.SINGLE
    assert isinstance(rules.closes, Gate)
    assert rules.cited["price_cap"] == "general knowledge (2026-01-01, unverified)"
    assert rules.cited["min_mw"] == "Acme manual 11, section 2 (2026-01-01)"
    assert rules.unverified == ("baseline_method", "horizon_s", "price_cap", "shortfall_factor")
    assert rules.sources == ("Acme manual 11, section 2 (2026-01-01)", "general knowledge (2026-01-01, unverified)")
    assert not rules.simulated


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min_mw = 0.5", "min_mw = -0.5", "product spin: min_mw: -0.5 is negative"),
        ("min_mw = 0.5", "min_kw = 0.5", "product spin: unknown key 'min_kw'; did you mean 'min_mw'?"),
        ("min_mw = 0.5", "min_mw = 0.55", "product spin: min_mw 0.55 is no multiple of block_mw 0.1"),
        ("min_mw = 0.5", 'min_mw = "0.5"', "product spin: min_mw: '0.5' is text; write the number without quotes"),
        ("min_mw = 0.5", "min_mw = true", "product spin: min_mw: True is no number"),
        ("max_steps = 3", "max_steps = 0", "product spin: max_steps: has to be above 0"),
        ("max_steps = 3", "max_steps = 2.5", "product spin: max_steps = 2.5: input should be a valid integer"),
        ("price_cap = 1000", "price_cap = inf", "product spin: price_cap: Infinity is no figure"),
        ("price_cap = 1000", "price_cap = -11", "product spin: price_floor -10 is above price_cap -11"),
        ('shape = "single"', 'shape = "flat"', "product spin: shape = 'flat': input should be 'rising', 'falling' or"),
        ('family = "spinning"', 'family = "spining"', "product spin: family = 'spining': input should be 'energy'"),
        ('family = "spinning"\n', "", "product spin: family is missing"),
        ('name = "spin"\n', "", "[[product]]: name is missing"),
        ("at = 10:00:00 }", "at = 10:00:00, of = 1 }", "product spin: closes.of = "),
        ("days_before = 1, ", "", "product spin: closes: days_before and at go together"),
        ("days_before = 1, at = 10:00:00", 'before_s = 60, zone = "UTC"', "product spin: closes: zone is at's clock"),
        ("days_before = 1, at = 10:00:00", "before_s = -60", "product spin: closes: lies after the interval"),
        ("at = 10:00:00 }", 'at = 10:00:00, zone = "EPT" }', "product spin: closes: no time zone 'EPT'"),
        ('baseline_method = ""', 'baseline_method = "caiso-10-in-1"', "did you mean 'caiso-10-in-10'?"),
        ('price_cap = "gk"\n', "", "product spin: price_cap has no source; cite one in [product.cited], or leave it"),
        ('price_cap = "gk"', 'price_cap = "gkk"', "product spin: cited.price_cap: no [sources.gkk]"),
        ('price_cap = "gk"', 'price_cap = "gk"\nmax_mw = "gk"', "product spin: cited.max_mw: there is no such figure"),
        (
            "horizon_s = 86400",
            'horizon_s = 86400\nunknown = ["min_mw"]',
            "product spin: min_mw is given, and listed as",
        ),
        ("horizon_s = 86400", 'horizon_s = 86400\nunknown = ["cap"]', "product spin: unknown: unknown key 'cap'"),
        ('text = "general knowledge"\n', "", "[sources.gk]: text: field required"),
        ("verified = false", 'verified = "no"', "[sources.gk]: verified: input should be a valid boolean"),
        ("[sources.gk]", "[sources.gk]\nurl = 1", "[sources.gk]: unknown key 'url'"),
        ('venue = "acme"', 'venue = "acne"', "venue is 'acne'; it has to be the file's name, 'acme'"),
        ('timezone = "America/Chicago"', 'timezone = "Chicago"', "timezone: no time zone 'Chicago'; write it as in"),
        ('currency = "USD"\n', "", "currency is missing"),
        ('currency = "USD"\n', 'currency = "USD"\nnotes = "x"\n', "unknown key 'notes'"),
        (
            "[[product]]",
            '[sources.more]\ntext = "x"\nverified = true\ndate = 2026-01-01\n[[product]]',
            "[sources.more] is",
        ),
        ("max_steps = 3", "max_steps = ", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(acme: Path, old: str, new: str, message: str) -> None:
    assert ACME.count(old) == 1
    acme.write_text(ACME.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read(acme)
    text = str(caught.value)
    assert text.startswith(f"{acme}")
    assert message in text
    assert "\n" not in text


def two_versions(until: str, since: str) -> str:
    """Return the file with the product twice: to *until*, and from *since*."""
    head, product = ACME.split("[[product]]")
    old = product.replace("interval_s = 3600", f"until = {until}\ninterval_s = 3600")
    new = product.replace("interval_s = 3600", f"since = {since}\ninterval_s = 3600").replace("= 1000", "= 2000")
    old, new = (
        text.replace("[product.cited]", f'[product.cited]\n{key} = "gk"')
        for text, key in ((old, "until"), (new, "since"))
    )
    return f"{head}[[product]]{old}[[product]]{new}"


def test_two_versions_stand_side_by_side_and_the_day_decides(acme: Path) -> None:
    acme.write_text(two_versions("2026-06-01", "2026-06-01"), encoding="utf-8")
    caps = [load("acme", day, folder=acme.parent)["spin"].price_cap for day in (date(2026, 5, 31), date(2026, 6, 1))]
    assert caps == [1000, 2000]


def test_between_two_versions_the_product_is_not_bought(acme: Path) -> None:
    acme.write_text(two_versions("2026-06-01", "2026-07-01"), encoding="utf-8")
    assert not load("acme", date(2026, 6, 30), folder=acme.parent)


def test_two_versions_on_one_day_are_refused(acme: Path) -> None:
    acme.write_text(two_versions("2026-06-02", "2026-06-01"), encoding="utf-8")
    with pytest.raises(ConfigError, match="product spin: two versions hold on 2026-06-01; set since and until"):
        read(acme)


def test_a_version_that_never_holds_is_refused(acme: Path) -> None:
    text = ACME.replace("interval_s = 3600", "since = 2026-06-01\nuntil = 2026-06-01\ninterval_s = 3600")
    acme.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="product spin: since and until are the same day, so that it never holds"):
        read(acme)


def test_a_date_needs_a_source_like_any_figure(acme: Path) -> None:
    acme.write_text(ACME.replace("interval_s = 3600", "since = 2026-01-01\ninterval_s = 3600"), encoding="utf-8")
    with pytest.raises(ConfigError, match="product spin: since has no source"):
        read(acme)


def test_a_product_with_too_little_known_is_listed_and_not_offered(acme: Path) -> None:
    text = ACME.replace("price_cap = 1000\n", 'unknown = ["price_cap"]\n').replace('price_cap = "gk"\n', "")
    acme.write_text(text, encoding="utf-8")
    assert load("acme", folder=acme.parent) == {}
    product = catalogue("acme", folder=acme.parent)["spin"]
    assert product.missing == ("price_cap",)
    assert "price_cap" in product.unverified
    with pytest.raises(ConfigError, match=r"no price_cap; confirm them in \[products.acme.spin\]"):
        product.rules()


def test_a_product_may_count_days_by_another_clock_than_its_venue(acme: Path) -> None:
    acme.write_text(ACME.replace('name = "spin"', 'name = "spin"\ntimezone = "Etc/GMT+5"'), encoding="utf-8")
    assert load("acme", folder=acme.parent)["spin"].timezone == "Etc/GMT+5"


def test_an_unknown_venue_says_which_there_are(acme: Path) -> None:
    assert venues(acme.parent) == ("acme",)
    with pytest.raises(UnknownPluginError, match=r"no 'ercto' in bidding\.products; have acme"):
        load("ercto", folder=acme.parent)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read .*acme.toml: Is a directory"):
        read(tmp_path / "acme.toml")


VALUES = (
    "true",
    "-1",
    "0",
    "1e99",
    "1e-99",
    "nan",
    '""',
    '"x"',
    "[]",
    "[1]",
    "{}",
    "{ a = 1 }",
    "2026-01-01",
    "10:00:00",
)
LINES = tuple(number for number, line in enumerate(ACME.splitlines()) if " = " in line)


@given(st.sampled_from(LINES), st.sampled_from(VALUES))
@settings(max_examples=300)
def test_whatever_stands_where_a_value_should_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, number: int, value: str
) -> None:
    written = ACME.splitlines()
    written[number] = f"{written[number].partition(' = ')[0]} = {value}"
    path = tmp_path_factory.getbasetemp() / "any" / "acme.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(written), encoding="utf-8")
    try:
        assert len(load("acme", folder=path.parent)) == 1
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also be read


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[sources.gk]\n", "[sources]\nmore = 1\n[sources.gk]\n", "[sources.more]: write it as a table"),
        ("[product.cited]", "cited = 1\n[product.cite]", "unknown key 'cite'"),
        ("[[product]]", "[product]", "write each source as [sources.KEY] and each product as [[product]]"),
        ("horizon_s = 86400", "horizon_s = 86400\nunknown = 1", "unknown: write it as a list of figures"),
        (ACME, 'venue = "acme"\ntimezone = "UTC"\nproduct = 1', "write each source as [sources.KEY] and each product"),
        (ACME, 'venue = "acme"\ntimezone = "UTC"\nproduct = [1]', "write each product as [[product]]"),
    ],
)
def test_a_table_of_the_wrong_shape_is_refused(acme: Path, old: str, new: str, message: str) -> None:
    acme.write_text(ACME.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read(acme)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
