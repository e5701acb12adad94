"""A resource's statement: energy by its baseline, reserves and regulation by what they did, and what is still open."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

from bidding.sandbox.answers import Award, CapacityLine, Pending, Score, Statement, StatementLine
from bidding.sandbox.baseline import Meter, Missing
from bidding.sandbox.market import Market
from bidding.sandbox.reserves import capacity_line, hour_of
from bidding.sandbox.settlement import energy_lines

Scores = Mapping[tuple[str, str, datetime], Score]
"""By resource, product and hour."""


def statement(
    resource: str, awards: Sequence[Award], meter: Meter, scores: Scores, market: Market, *, seed: int, now: datetime
) -> Statement:
    """Settle every one of the *awards* of *resource* that is over and reported; list the others with the reason."""
    energy = list(_energy([award for award in awards if market.is_energy(award.product)], meter, market, now))
    others = [award for award in awards if not market.is_energy(award.product)]
    capacity = list(_capacity(others, meter, scores, market, seed=seed, now=now))
    lines = tuple(line for line in energy if isinstance(line, StatementLine))
    capacity_lines = tuple(line for line in capacity if isinstance(line, CapacityLine))
    totals = (*(line.total for line in lines), *(line.total for line in capacity_lines))
    return Statement(
        statement_id=_statement_id(resource, (*lines, *capacity_lines)),
        resource=resource,
        currency=market.default.currency,
        lines=lines,
        capacity_lines=capacity_lines,
        pending=tuple(line for line in (*energy, *capacity) if isinstance(line, Pending)),
        total=sum(totals, Decimal("0.00")),
        issued_at=now,
    )


def _energy(awards: Sequence[Award], meter: Meter, market: Market, now: datetime) -> Iterator[StatementLine | Pending]:
    for rules in market.products:
        own = [award for award in awards if award.product == rules.product]
        yield from energy_lines(own, awards, meter, rules, market=market, now=now)


def _capacity(
    awards: Sequence[Award], meter: Meter, scores: Scores, market: Market, *, seed: int, now: datetime
) -> Iterator[CapacityLine | Pending]:
    for award in sorted(awards, key=lambda award: (award.product, award.interval_start)):
        score = scores.get((award.resource, award.product, hour_of(award)))
        over = now >= award.interval_end
        line = capacity_line(award, meter, score, market, seed) if over else Missing("the interval is not over")
        if isinstance(line, Missing):
            yield Pending(award_id=award.award_id, interval_start=award.interval_start, reason=line.reason)
        else:
            yield line


def _statement_id(resource: str, lines: tuple[StatementLine | CapacityLine, ...]) -> str:
    """Name a statement by what it says: the same lines are the same statement."""
    digest = sha256("\n".join(line.model_dump_json() for line in lines).encode())
    return f"S-{resource}-{digest.hexdigest()[:12]}"
