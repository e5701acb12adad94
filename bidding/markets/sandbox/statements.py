"""The sandbox's statements, read: energy against a baseline, reserves and regulation by what stood ready. Pure."""

from decimal import Decimal

from bidding.markets.sandbox.wire import Timed, Utc
from pipeline.messages.market import Document, Statement, StatementLine


class WireLine(Timed):
    """One award's energy and money; the baseline's days and ratio are not read."""

    award_id: str
    baseline_kwh: Decimal
    metered_kwh: Decimal
    awarded_kwh: Decimal
    delivered_kwh: Decimal
    shortfall_kwh: Decimal
    price: Decimal
    energy_amount: Decimal
    shortfall_amount: Decimal
    total: Decimal

    def ours(self) -> StatementLine:
        """Return it as a statement line of our vocabulary."""
        return StatementLine(
            interval=self.interval,
            price_per_mwh=self.price,
            **self.model_dump(exclude={"interval_start", "interval_end", "price"}),
        )


class WireCapacityLine(Timed):
    """One award of a reserve or of regulation; its score and mileage are not read."""

    award_id: str
    price: Decimal
    reference_kwh: Decimal
    awarded_kwh: Decimal
    delivered_kwh: Decimal
    shortfall_kwh: Decimal
    capacity_amount: Decimal
    mileage_amount: Decimal
    shortfall_amount: Decimal
    total: Decimal

    def ours(self) -> StatementLine:
        """
        Return it as a statement line: what stood ready and what it moved count as its energy amount.

        The baseline is the metered load before the call, and what was metered is what that leaves after delivery.
        """
        return StatementLine(
            award_id=self.award_id,
            interval=self.interval,
            baseline_kwh=self.reference_kwh,
            metered_kwh=self.reference_kwh - self.delivered_kwh,
            awarded_kwh=self.awarded_kwh,
            delivered_kwh=self.delivered_kwh,
            shortfall_kwh=self.shortfall_kwh,
            price_per_mwh=self.price,
            energy_amount=self.capacity_amount + self.mileage_amount,
            shortfall_amount=self.shortfall_amount,
            total=self.total,
        )


class WirePending(Document):
    """An award that is not settled yet, and why."""

    award_id: str
    reason: str


class WireStatement(Document):
    """The venue's dollars so far."""

    statement_id: str
    resource: str
    currency: str
    lines: tuple[WireLine, ...]
    capacity_lines: tuple[WireCapacityLine, ...] = ()
    pending: tuple[WirePending, ...] = ()
    total: Decimal
    issued_at: Utc
    simulated: bool

    def ours(self, issuer: str) -> Statement:
        """Return it as a statement of our vocabulary, issued by *issuer*."""
        return Statement(
            issuer=issuer,
            lines=(*(line.ours() for line in self.lines), *(line.ours() for line in self.capacity_lines)),
            **self.model_dump(exclude={"lines", "capacity_lines", "pending"}),
        )
