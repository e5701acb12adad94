"""What the gate goes by, from the file: defaults, and mistakes that name their line."""

import base64
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.gate import APPROVERS, table

from bidding.gate.judge import ALONE_RULES, PORTFOLIO_RULES, RUN_RULES, SANITY_RULES
from bidding.gate.settings import Collars, Effect, Limits, Obligation, Quality, approver_keys
from bidding.products import Family
from bidding.rules import DOCUMENT_RULES, OFFER_RULES
from pipeline.errors import ConfigError
from pipeline.settings import load, load_each

TEXTS = {name: base64.b64encode(key).decode() for name, key in APPROVERS.items()}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "firmwatt.toml"
    path.write_text(text)
    return path


def test_an_empty_file_means_the_defaults_that_are_documented(tmp_path: Path) -> None:
    path = written(tmp_path, "")

    assert load(path, "bidding.limits", Limits) == Limits()
    assert load(path, "bidding.collars", Collars) == Collars()
    assert load(path, "bidding.quality", Quality) == Quality()
    assert load_each(path, "bidding.obligations", Obligation) == []
    assert (Limits().alone_mw, Limits().approvals) == (Decimal(10), 2)
    assert (Quality().reducing_lost, Quality().halted_lost) == (0.2, 0.5)


def test_limits_and_duties_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
[bidding.limits]
resource_mw = 12.5
worst_price = "offer"

[[bidding.obligations]]
name = "large load"
source = "PUCT Docket 59220, 23 Jul 2026 (secondary source RN-1)"
effect = "reduces"
mw = 525.5
families = ["energy", "emergency"]
begins = 2026-07-23T00:00:00-05:00
""",
    )

    limits, (duty,) = load(path, "bidding.limits", Limits), load_each(path, "bidding.obligations", Obligation)

    assert (limits.resource_mw, limits.worst_price) == (Decimal("12.5"), "offer")
    assert (duty.effect, duty.mw, duty.families) == (
        Effect.REDUCES,
        Decimal("525.5"),
        (Family.ENERGY, Family.EMERGENCY),
    )
    assert duty.begins == datetime(2026, 7, 23, 5, tzinfo=UTC)
    assert duty.cited.endswith("(secondary source RN-1) (unverified)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bidding.limits]\nresource_mv = 1", "did you mean 'resource_mw'?"),
        ("[bidding.limits]\nresource_mw = -1", "resource_mw must be a number from 0 up, got -1"),
        ("[bidding.limits]\nresource_mw = nan", "resource_mw must be a number from 0 up, got NaN"),
        ("[bidding.limits]\napprovals = 1", ">= 2"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"line [12]") as error:
        load(written(tmp_path, text), "bidding.limits", Limits)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('source = "s"\neffect = "bars"\nname = " "', "needs a name and a source"),
        ('name = "n"\neffect = "bars"', "missing required field `source`"),
        ('name = "n"\nsource = "s"\neffect = "reduces"', "reduces by either mw or share"),
        ('name = "n"\nsource = "s"\neffect = "reduces"\nmw = 1\nshare = 0.5', "reduces by either mw or share"),
        ('name = "n"\nsource = "s"\neffect = "bars"\nmw = 1', "bars all sale"),
        ('name = "n"\nsource = "s"\neffect = "reduces"\nmw = -1', "mw must be a number from 0 up"),
        ('name = "n"\nsource = "s"\neffect = "reduces"\nshare = 1.1', "<= 1.0"),
        (
            'name = "n"\nsource = "s"\neffect = "bars"\nbegins = 2026-07-23T00:00:00Z\nends = 2026-07-23T00:00:00Z',
            "must end after it begins",
        ),
        ('name = "n"\nsource = "s"\neffect = "bars"\nbegins = 2026-07-23T00:00:00', "timezone"),
    ],
)
def test_a_duty_that_says_too_little_or_too_much_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_each(written(tmp_path, f"[[bidding.obligations]]\n{text}"), "bidding.obligations", Obligation)
    assert said in str(error.value)


def test_thresholds_out_of_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must not be above"):
        load(written(tmp_path, "[bidding.quality]\nreducing_lost = 0.6"), "bidding.quality", Quality)


def test_approvers_have_a_key_each_and_nobody_has_another_ones() -> None:
    assert approver_keys(TEXTS) == APPROVERS
    with pytest.raises(ConfigError, match="d has another's key; two people need two keys"):
        approver_keys(TEXTS | {"d": TEXTS["a"]})
    with pytest.raises(ConfigError, match="d has 3 bytes, an Ed25519 public key has 32"):
        approver_keys({"d": "AAAA"})
    with pytest.raises(ConfigError, match="d is not base64"):
        approver_keys({"d": "?"})


def test_the_readme_lists_every_rule_once_and_no_other() -> None:
    rules = [*OFFER_RULES, *DOCUMENT_RULES, *PORTFOLIO_RULES, *RUN_RULES, *SANITY_RULES, *ALONE_RULES]
    names = [getattr(rule, "__name__", "") for rule in rules]

    assert len(set(names)) == len(names)
    assert sorted(table()) == sorted(names)
