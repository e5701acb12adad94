"""Regulation as it is asked for and reported: set-points so far, and an hour's score. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from bidding.sandbox.answers import Award, Problem, Score, Setpoint
from bidding.sandbox.market import Market
from bidding.sandbox.regulation import share_at
from bidding.sandbox.reserves import HOUR, SCORED_AFTER, asked_mw, direction, setpoint_mw
from bidding.sandbox.rules import REGULATION, Rules
from bidding.sandbox.scoring import RESPONSES, SIGNALS, score
from bidding.sandbox.wire import ResponseBody, utc
from pipeline.interval import floor


def regulation_rules(market: Market, product: str) -> Rules | None:
    """Return the rules of *product* where it follows a signal."""
    rules = market.rules(product)
    return rules if rules is not None and rules.family in REGULATION else None


def setpoints(awards: Sequence[Award], rules: Rules, seed: int, since: datetime, now: datetime) -> Iterator[Setpoint]:
    """Yield what the signal asked of *awards* after *since*, up to *now*, oldest first."""
    step = timedelta(seconds=rules.signal_s or 4)
    for award in sorted(awards, key=lambda award: award.interval_start):
        at = max(award.interval_start, floor(since, step) + step)
        while at < award.interval_end and at <= now:
            share = share_at(seed, at, rules.signal_s or 4, direction(rules))
            yield Setpoint(at=at, mw=setpoint_mw(award, rules, seed, at), share=share)
            at += step


def scored(
    awards: Sequence[Award],
    rules: Rules,
    hour: datetime,
    body: ResponseBody,
    digest: str,
    *,
    seed: int,
    now: datetime,
) -> Score | Problem:
    """Return the score of an hour in which *awards* were held, or why there is none."""
    if hour != floor(hour, HOUR):
        return Problem(error="malformed", detail=f"{utc(hour)} is no full hour")
    if len(body.mw) != RESPONSES:
        return Problem(
            error="malformed", detail=f"{RESPONSES} figures are needed, every 10 s for 65 minutes, got {len(body.mw)}"
        )
    if now < hour + SCORED_AFTER:
        return Problem(error="too_early", detail=f"the hour is scored from {utc(hour + SCORED_AFTER)} on")
    held = [award for award in awards if hour <= award.interval_start < hour + HOUR]
    if not held:
        return Problem(error="no_award", detail=f"no {rules.product} was awarded in the hour from {utc(hour)} on")
    largest = float(max(award.mw for award in held))
    signal = [mw / largest for mw in asked_mw(awards, rules, seed, hour, SIGNALS)]
    found = score(signal, [float(mw) / largest for mw in body.mw])
    return Score(
        resource=held[0].resource,
        product=rules.product,
        hour=hour,
        accuracy=found.accuracy,
        delay=found.delay,
        precision=found.precision,
        score=found.score,
        sha256=digest,
    )
