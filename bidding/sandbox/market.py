"""What the venue sells and how it runs its market: frozen with the journal, since other figures are another market."""

from datetime import datetime
from decimal import Decimal

from bidding.sandbox.rules import Family, Rules, Trading
from bidding.sandbox.wire import Share, Wire
from pipeline.interval import floor


class Market(Wire):
    """All products, the default one first. Everything but the rules themselves is simulated."""

    products: tuple[Rules, ...]
    cancel_after_s: int = 5
    """What is taken back late is taken back so long after it was accepted, or halfway to its gate if that is sooner."""
    call_share: Share = 0.0
    """Share of meter intervals at whose start a contingency begins."""
    call_s: int = 1800
    """How long a contingency lasts."""
    mileage_price: Decimal = Decimal("0.50")
    """Per MW of award and unit of mileage."""

    @property
    def default(self) -> Rules:
        """The product that is meant where none is named."""
        return self.products[0]

    @property
    def names(self) -> tuple[str, ...]:
        """All products' names."""
        return tuple(rules.product for rules in self.products)

    @property
    def meter_s(self) -> int:
        """The grid of meter readings: the shortest market interval."""
        return min(rules.interval_s for rules in self.products)

    def rules(self, product: str) -> Rules | None:
        """Return the rules of *product*, None where it is not sold."""
        return next((rules for rules in self.products if rules.product == product), None)

    def session(self, product: str) -> tuple[Rules, ...]:
        """Return the products that clear together with *product*: the same intervals, the same market and gate."""
        own = self.rules(product)
        if own is None:
            return ()
        return tuple(rules for rules in self.products if _session(rules) == _session(own))

    @property
    def co_clears(self) -> bool:
        """Whether any two products clear together, which takes a linear program."""
        return any(len(self.session(name)) > 1 for name in self.names)

    def is_energy(self, product: str) -> bool:
        """Tell whether *product* is settled on metered energy."""
        rules = self.rules(product)
        return rules is not None and rules.family is Family.ENERGY

    def on_meter_grid(self, start: datetime, end: datetime) -> bool:
        """Tell whether [*start*, *end*) is one meter interval."""
        grid = min(self.products, key=lambda rules: rules.interval_s)
        return grid.aligned(start, end)

    def meter_floor(self, instant: datetime) -> datetime:
        """Return the start of the meter interval that *instant* lies in."""
        return floor(instant, min(rules.interval for rules in self.products))


def _session(rules: Rules) -> tuple[object, ...]:
    trading = rules.trading if rules.trading is not Trading.SEASON else rules.product
    return (rules.interval_s, trading, rules.closing)
