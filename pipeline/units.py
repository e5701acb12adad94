"""The factors between physical units, and the one road from measured floats to contractual decimals."""

from decimal import ROUND_DOWN, Decimal

W_PER_KW = 1000.0
KW_PER_MW = 1000
J_PER_KWH = 3.6e6


def contract_mw(power_kw: float, block_mw: Decimal) -> Decimal:
    """
    Round a measured *power_kw* down to whole blocks of *block_mw*.

    What is promised never exceeds what was measured: 1 299.9 kW at a block of 0.1 MW is 1.2 MW. Negative and
    missing (NaN) power is nothing to sell.
    """
    if not power_kw > 0:
        return Decimal(0).quantize(block_mw)
    blocks = (Decimal(repr(power_kw)) / KW_PER_MW / block_mw).to_integral_value(ROUND_DOWN)
    return blocks * block_mw
