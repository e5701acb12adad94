"""What the sandbox answers with, receipts apart (see `wire`)."""

from decimal import Decimal

from bidding.sandbox.wire import Utc, Wire


class Award(Wire):
    """What was bought of one offer, at the uniform price."""

    award_id: str
    offer_id: str
    resource: str
    product: str
    interval_start: Utc
    interval_end: Utc
    mw: Decimal
    price: Decimal
    currency: str
    awarded_at: Utc


class Awards(Wire):
    """A resource's awards; intervals that start before `cleared_until` are decided."""

    awards: tuple[Award, ...]
    cleared_until: Utc
    """Of the default product."""
    decided_until: dict[str, Utc]
    """The same for each product."""


class Dispatch(Wire):
    """The instruction to reduce; for a reserve, its call."""

    dispatch_id: str
    award_id: str
    resource: str
    product: str
    interval_start: Utc
    interval_end: Utc
    reduction_mw: Decimal
    """The award, or what a notice of shortfall said would be there."""
    issued_at: Utc
    respond_by: Utc
    """In full from then on."""


class Notice(Wire):
    """An accepted offer taken back by the venue."""

    notice_id: str
    offer_id: str
    resource: str
    product: str
    interval_start: Utc
    interval_end: Utc
    reason: str
    issued_at: Utc


class Notices(Wire):
    """All of a resource so far, oldest first."""

    notices: tuple[Notice, ...]


class ShortfallStatus(Wire):
    """A notice of shortfall, taken."""

    shortfall_id: str
    sha256: str
    awarded_mw: Decimal
    available_mw: Decimal


class Setpoint(Wire):
    """What a regulating resource is to let go (reg-up) or draw in addition (reg-down) from `at` on."""

    at: Utc
    mw: Decimal
    share: float
    """Of the award, 0 to 1."""


class Setpoints(Wire):
    """The simulated signal so far, oldest first, one every `signal_s`."""

    resource: str
    product: str
    signal_s: int
    setpoints: tuple[Setpoint, ...]
    simulated: bool = True


class Score(Wire):
    """How well the signal of one hour was followed, each part from 0 to 1."""

    resource: str
    product: str
    hour: Utc
    accuracy: float
    delay: float
    precision: float
    score: float
    sha256: str
    """Of the report as it arrived."""


class Dispatches(Wire):
    """Instructions given so far."""

    dispatches: tuple[Dispatch, ...]


class Price(Wire):
    """One product's clearing in one interval; no price where nothing was bought."""

    product: str
    interval_start: Utc
    interval_end: Utc
    price: Decimal | None
    demand_mw: Decimal


class Prices(Wire):
    """Clearing prices, oldest first."""

    prices: tuple[Price, ...]


class MeterStatus(Wire):
    """What the venue holds of a batch."""

    resource: str
    batch_id: str
    readings: int
    sha256: str


class StatementLine(Wire):
    """One energy award's energy and money, and the baseline behind them."""

    award_id: str
    product: str = ""
    interval_start: Utc
    interval_end: Utc
    baseline_kwh: Decimal
    metered_kwh: Decimal
    awarded_kwh: Decimal
    delivered_kwh: Decimal
    shortfall_kwh: Decimal
    price: Decimal
    energy_amount: Decimal
    shortfall_amount: Decimal
    total: Decimal
    baseline_days: tuple[str, ...]
    adjustment_ratio: str
    """Six decimals, for readers; the statement is computed with the exact ratio."""


class CapacityLine(Wire):
    """One award of a reserve or of regulation: MW held ready, and what was made of it when called."""

    award_id: str
    product: str
    interval_start: Utc
    interval_end: Utc
    mw: Decimal
    price: Decimal
    called: bool
    reference_kwh: Decimal
    """Metered in the last interval before the call; zero where there was none."""
    awarded_kwh: Decimal
    """Of the called intervals that are judged; so the next two."""
    delivered_kwh: Decimal
    shortfall_kwh: Decimal
    score: str
    """Of the hour's regulation, six decimals; 1 for other products."""
    mileage: str
    """Σ|Δsignal| over the interval, six decimals; 0 for other products."""
    capacity_amount: Decimal
    mileage_amount: Decimal
    shortfall_amount: Decimal
    """Negative or zero."""
    total: Decimal


class Pending(Wire):
    """An award without a line, and why."""

    award_id: str
    interval_start: Utc
    reason: str


class Statement(Wire):
    """A resource's settlement so far."""

    statement_id: str
    resource: str
    currency: str
    lines: tuple[StatementLine, ...]
    """Energy."""
    capacity_lines: tuple[CapacityLine, ...] = ()
    """Reserves and regulation."""
    pending: tuple[Pending, ...]
    total: Decimal
    issued_at: Utc
    simulated: bool = True


class ClockReading(Wire):
    """What the venue's clock shows."""

    now: Utc


class Audit(Wire):
    """Counts since the journal began; queries since the process did."""

    submissions_applied: int
    duplicate_submissions: int
    accepted: int
    partial: int
    rejected: int
    conflicts: int
    after_gate: int
    before_gate: int
    in_pause: int
    stale_epochs: int
    """Requests refused because a newer sender had been heard."""
    stale_revisions: int
    """Also among `conflicts`."""
    withdrawn: int
    cancelled: int
    shortfalls: int
    documents: int
    highest_epoch: int
    meter_batches: int
    replies_lost: int
    replies_late: int
    query_replies_lost: int
    query_replies_late: int
    journal_entries: int


class Problem(Wire):
    """Any answer that is not 200."""

    error: str
    detail: str
    reasons: tuple[str, ...] = ()
