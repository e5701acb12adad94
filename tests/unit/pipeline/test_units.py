"""The road from measured floats to contractual decimals."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from pipeline.units import contract_mw

BLOCK = Decimal("0.1")


def test_a_megawatt_is_rounded_down_to_the_venues_block() -> None:
    """1 299.9 kW is twelve whole blocks of 0.1 MW, not thirteen."""
    assert contract_mw(1299.9, BLOCK) == Decimal("1.2")


def test_a_whole_number_of_blocks_stays_what_it_is() -> None:
    """1 300 kW is exactly thirteen blocks."""
    assert contract_mw(1300.0, BLOCK) == Decimal("1.3")


def test_negative_and_missing_power_is_nothing_to_sell() -> None:
    """Neither a load above the baseline nor a gap becomes megawatts."""
    assert contract_mw(-500.0, BLOCK) == 0
    assert contract_mw(float("nan"), BLOCK) == 0


@given(st.floats(min_value=0, max_value=1e7), st.sampled_from(["1", "0.1", "0.01", "0.001"]))
def test_what_is_promised_never_exceeds_what_was_measured(power_kw: float, block: str) -> None:
    """For every power and block: at most the power, and less than one block below it."""
    promised_kw = contract_mw(power_kw, Decimal(block)) * 1000
    assert promised_kw <= Decimal(repr(power_kw))
    assert Decimal(repr(power_kw)) - promised_kw < Decimal(block) * 1000
