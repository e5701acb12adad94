"""
Energy and reserves cleared together: one linear program an interval.

    minimise    Σ price × MW bought + Σ shortage price × MW not found
    of energy   Σ bought + short                             = demand        its dual: the price of energy
    of spin     Σ bought + short − spin used as non-spin     = requirement   …of spin
    of non-spin Σ bought + short + spin used as non-spin     = requirement   …of non-spin
    a bidder    energy + spin + non-spin + reg-up + …        ≤ capacity
    its ramp    reserves due within τ                        ≤ ramp × τ      for every response time τ
    a step      bought                                       ≤ MW offered

A price is what the last MW wanted cost (the left-hand derivative where the two sides differ), so it holds the profit
that its supplier forgoes elsewhere: nobody would rather have sold the same power in another product. What is
not found for less than a product's price cap stays unmet, at that cap.

HiGHS is imported when it is first needed. It has one thread and gets its bids sorted: the same bids in any order give
the same awards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING

from bidding.sandbox.rules import Family, Rules
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from highspy import Highs

KW_PER_MW = 1000
NUDGE_KW = 1e-3
"""Demand is lowered by this much to read prices: far above the solver's tolerance, far below a block."""
DEARER = 1e-3
"""An offer at the price cap is bought before demand goes short at it."""
S_PER_MIN = 60
NANO = 10**9


@dataclass(frozen=True)
class Bid:
    """One step of one bidder in one product."""

    bidder: str
    product: str
    mw: Decimal
    price: Decimal


@dataclass(frozen=True)
class Limits:
    """What bounds a bidder over its products; none: nothing does."""

    capacity_mw: Decimal | None = None
    """Of all that can be let go together; regulation down lets nothing go."""
    ramp_mw_per_min: Decimal | None = None

    def most_mw(self, rules: Rules) -> Decimal | None:
        """Return the most that can be sold of one product alone, None where nothing bounds it."""
        bounds = []
        if self.capacity_mw is not None and rules.family is not Family.REGULATION_DOWN:
            bounds.append(self.capacity_mw)
        response_s = rules.response_s or 0
        if self.ramp_mw_per_min is not None and rules.family is not Family.ENERGY and response_s >= S_PER_MIN:
            bounds.append(self.ramp_mw_per_min * Decimal(response_s) / S_PER_MIN)
        return min(bounds, default=None)


@dataclass(frozen=True)
class CoClearing:
    """Who was bought, in which product, at which price."""

    prices: dict[str, Decimal | None]
    """By product; None where nothing was wanted or found."""
    bought_kw: dict[tuple[str, str], Fraction]
    """By bidder and product, to the nanowatt; only those bought from."""
    short_kw: dict[str, Fraction]
    """By product: what was wanted and not found."""

    def award_mw(self, bidder: str, product: str, block_mw: Decimal) -> Decimal:
        """Return what *bidder* is awarded of *product*, rounded down to whole blocks."""
        bought_mw = self.bought_kw.get((bidder, product), Fraction(0)) / KW_PER_MW
        return block_mw * (bought_mw // Fraction(block_mw))


def solver() -> ModuleType:
    """Return HiGHS; raise `ConfigError` where it is not installed."""
    try:
        import highspy
    except ImportError as error:
        raise ConfigError(
            "products that clear together need HiGHS: install firmwatt[portfolio], or sell one"
        ) from error
    return highspy


@dataclass
class _Program:
    """The linear program as it grows: columns, then rows over them."""

    cost: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    rows: list[tuple[float, float, dict[int, float]]] = field(default_factory=list)

    def column(self, cost: float, upper: float) -> int:
        self.cost.append(cost)
        self.upper.append(upper)
        return len(self.cost) - 1

    def row(self, lower: float, upper: float, columns: Mapping[int, float]) -> int:
        self.rows.append((lower, upper, dict(columns)))
        return len(self.rows) - 1


def co_clear(
    session: Sequence[Rules], bids: Sequence[Bid], limits: Mapping[str, Limits], demand_mw: Mapping[str, Decimal]
) -> CoClearing:
    """Buy *demand_mw* of each product of *session* from *bids* at the least cost; pure and repeatable."""
    program = _Program()
    useful_products = _useful(session, demand_mw)
    useful = [bid for bid in bids if bid.mw > 0 and bid.product in useful_products]
    useful.sort(key=lambda bid: (bid.product, bid.price, bid.bidder, bid.mw))
    total_kw = float(sum(demand_mw.values())) * KW_PER_MW
    columns = [program.column(float(bid.price), min(float(bid.mw) * KW_PER_MW, total_kw)) for bid in useful]
    balance = _balances(program, session, useful, columns, demand_mw)
    _limit(program, session, useful, columns, limits)

    quantities, duals, short = _solved(program, balance, demand_mw)
    bought: dict[tuple[str, str], Fraction] = {}
    for bid, column in zip(useful, columns, strict=True):
        if nano_kw := round(quantities[column] * NANO):
            key = bid.bidder, bid.product
            bought[key] = bought.get(key, Fraction(0)) + Fraction(nano_kw, NANO)
    sold = {product for _, product in bought}
    prices = {
        rules.product: _price(duals[rules.product], rules) if rules.product in sold else None for rules in session
    }
    return CoClearing(prices, bought, short)


def _useful(session: Sequence[Rules], demand_mw: Mapping[str, Decimal]) -> set[str]:
    """Return the products that are wanted, or that can stand in for one."""
    wanted = {rules.product for rules in session if demand_mw.get(rules.product, 0) > 0}
    if any(rules.family is Family.NON_SPINNING for rules in session if rules.product in wanted):
        wanted |= {rules.product for rules in session if rules.family is Family.SPINNING}
    return wanted


def _balances(
    program: _Program,
    session: Sequence[Rules],
    bids: Sequence[Bid],
    columns: Sequence[int],
    demand_mw: Mapping[str, Decimal],
) -> dict[str, tuple[int, int]]:
    """Add a row for each product, supply equals demand, and return its number and that of its shortage's column."""
    terms: dict[str, dict[int, float]] = {rules.product: {} for rules in session}
    for bid, column in zip(bids, columns, strict=True):
        terms[bid.product][column] = 1.0
    for better in (rules for rules in session if rules.family is Family.SPINNING):
        for other in (rules for rules in session if rules.family is Family.NON_SPINNING):
            moved = program.column(0.0, float(demand_mw.get(other.product, 0)) * KW_PER_MW)
            terms[better.product][moved], terms[other.product][moved] = -1.0, 1.0
    balance = {}
    for rules in session:
        kw = float(demand_mw.get(rules.product, 0)) * KW_PER_MW
        short = program.column(float(rules.price_cap) + DEARER, kw)
        terms[rules.product][short] = 1.0
        balance[rules.product] = program.row(kw, kw, terms[rules.product]), short
    return balance


def _limit(
    program: _Program,
    session: Sequence[Rules],
    bids: Sequence[Bid],
    columns: Sequence[int],
    limits: Mapping[str, Limits],
) -> None:
    """Add what bounds each bidder over its products."""
    by_product = {rules.product: rules for rules in session}
    own: dict[str, list[tuple[Rules, int]]] = {}
    for bid, column in zip(bids, columns, strict=True):
        own.setdefault(bid.bidder, []).append((by_product[bid.product], column))
    for bidder, sold in sorted(own.items()):
        limit = limits.get(bidder, Limits())
        up = [(rules, column) for rules, column in sold if rules.family is not Family.REGULATION_DOWN]
        down = [(rules, column) for rules, column in sold if rules.family is Family.REGULATION_DOWN]
        if limit.capacity_mw is not None:
            program.row(0.0, _bounded_kw(limit.capacity_mw), {column: 1.0 for _, column in up})
        if limit.ramp_mw_per_min is not None:
            for direction in (up, down):
                _limit_ramp(program, direction, limit.ramp_mw_per_min)


def _limit_ramp(program: _Program, sold: Sequence[tuple[Rules, int]], ramp_mw_per_min: Decimal) -> None:
    """Bound by the ramp what is due within each response time; faster than a minute is proven by test, not by ramp."""
    ramped = [(rules.response_s or 0, column) for rules, column in sold if rules.family is not Family.ENERGY]
    for response_s in sorted({response_s for response_s, _ in ramped if response_s >= S_PER_MIN}):
        due = {column: 1.0 for within_s, column in ramped if S_PER_MIN <= within_s <= response_s}
        program.row(0.0, _bounded_kw(ramp_mw_per_min * Decimal(response_s) / S_PER_MIN), due)


def _bounded_kw(mw: Decimal) -> float:
    """Return *mw* in kW, no larger than a solver can tell from the rest: nobody sells a terawatt here."""
    return min(float(mw) * KW_PER_MW, 1e9)


def _solved(
    program: _Program, balance: Mapping[str, tuple[int, int]], demand_mw: Mapping[str, Decimal]
) -> tuple[list[float], dict[str, float], dict[str, Fraction]]:
    """Return quantities, the products' duals, and what of them was not found."""
    highs = _loaded(program)
    highs.run()
    quantities = list(highs.getSolution().col_value)
    short = {product: Fraction(round(quantities[column] * NANO), NANO) for product, (_, column) in balance.items()}

    wanted = {product: row for product, (row, _) in balance.items() if demand_mw.get(product, 0) > 0}
    for number, (product, row) in enumerate(sorted(wanted.items())):
        kw = float(demand_mw[product]) * KW_PER_MW - NUDGE_KW * (1 + number / 100)
        highs.changeRowBounds(row, kw, kw)
    highs.run()
    duals = list(highs.getSolution().row_dual)
    return quantities, {product: duals[row] for product, (row, _) in balance.items()}, short


def _loaded(program: _Program) -> "Highs":
    highs: Highs = solver().Highs()
    highs.silent()
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("solver", "simplex")
    highs.setOptionValue("presolve", "off")
    for cost, upper in zip(program.cost, program.upper, strict=True):
        highs.addCol(cost, 0.0, upper, 0, [], [])
    for lower, upper, columns in program.rows:
        highs.addRow(lower, upper, len(columns), list(columns), list(columns.values()))
    return highs


def _price(dual: float, rules: Rules) -> Decimal:
    """Return *dual* as a price: at least to the cent, finer where the product's own prices are; never above its cap."""
    exponent = rules.price_tick.normalize().as_tuple().exponent
    decimals = max(2, -exponent) if isinstance(exponent, int) else 2
    price = Decimal(repr(dual)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)
    return min(price, rules.price_cap)
