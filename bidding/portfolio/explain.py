"""
Why an offer is what it is, in words and numbers, from the plan and its problem alone. Pure.

Read aloud: short plain sentences, one thought each. The same numbers stand in `figures`, for whoever computes with
them.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np

from bidding.portfolio.grid import Grid
from bidding.portfolio.levels import least_price, standing_cost
from bidding.portfolio.limits import TOLERANCE, bounds, broken, unbearable
from bidding.portfolio.model import Bound, Plan, Planned, PlannedStep, Problem, Step, is_energy, is_up
from bidding.portfolio.planning import planned_step
from bidding.portfolio.value import money, outcomes, states, tail_weights, worth
from pipeline.interval import Interval
from pipeline.messages.market import Document


class Explanation(Document):
    """Why one offer of a plan is what it is."""

    product: str
    interval: Interval
    lines: tuple[str, ...]
    figures: dict[str, str | float | None]
    """Money in the product's currency, power in MW, prices per MWh or MW and hour, shares 0 to 1."""


class Explainer:
    """A plan and what its explanations share."""

    def __init__(self, plan: Plan, problem: Problem) -> None:
        self.plan, self.problem = plan, problem
        self.grid = Grid(problem)
        self.bounds = bounds(plan.offers, self.grid)
        thresholds, shares = states(step.confidence for offer in plan.offers for step in offer.steps)
        self.thresholds = thresholds
        chance = (self.grid.forecast.probability[:, None] * shares[None, :]).ravel()
        self.tail = tail_weights(outcomes(plan.offers, self.grid, thresholds).ravel(), chance, problem.tail)

    def of(self, offer: Planned) -> Explanation:
        """Return why *offer* is what it is."""
        figures: dict[str, str | float | None] = {
            "quantity_mw": float(offer.quantity_mw),
            "strategy": self.plan.strategy,
        }
        lines = [
            *self._what(offer),
            *self._price(offer, figures),
            *self._value(offer, figures),
            *self._alternative(offer, figures),
            *self._limit(offer, figures),
            *self._unsold(offer, figures),
            *(f"Assumed: {text}." for text in self.problem.flexibility.assumptions),
            *(f"Note: {note.detail}." for note in self.plan.notes if note.loud),
        ]
        return Explanation(product=offer.product, interval=offer.interval, lines=tuple(lines), figures=figures)

    def _what(self, offer: Planned) -> Iterator[str]:
        verb = "take on" if is_up(self.problem.products[offer.product]) else "let go"
        yield (
            f"We offer to {verb} {offer.quantity_mw} MW as {offer.product} from {self._clock(offer.interval.start)} "
            f"to {self._clock(offer.interval.end)}."
        )
        for step in offer.steps:
            unit = self._unit(offer)
            yield (
                f"{step.quantity_mw} MW of {step.tier.value} power at {step.price_per_mwh} {unit}. It is taken with "
                f"{self._taken(offer, step):.0%} probability."
            )
            yield (
                f"A MWh of it costs {plain(step.cost_per_mwh)}: {step.tokens_per_mwh:,.0f} tokens forgone or late, "
                f"worth {plain(step.token_cost_per_mwh)}, credits {plain(step.service_credit_per_mwh)}, restarts "
                f"{plain(step.restart_cost_per_mwh)}. The power is there with {step.confidence:.0%} confidence."
            )

    def _price(self, offer: Planned, figures: dict[str, str | float | None]) -> Iterator[str]:
        p, t = self._at(offer)
        f = self.grid.forecast
        real = ~f.lost
        chance = (
            f.probability[real] / f.probability[real].sum() if f.probability[real].sum() > 0 else f.probability[real]
        )
        prices = f.clearing[p, t, real]
        mean = float(chance @ prices)
        mw = float(offer.quantity_mw)
        taken = sum(self._taken(offer, step) * float(step.quantity_mw) for step in offer.steps) / mw
        figures |= {
            "expected_price": round(mean, 2),
            "lowest_price": round(float(prices.min()), 2),
            "highest_price": round(float(prices.max()), 2),
            "acceptance": round(taken, 4),
        }
        yield (
            f"The expected price is {mean:.2f} {self._unit(offer)}, between {prices.min():.2f} and {prices.max():.2f} "
            f"in {int(real.sum())} scenarios."
        )
        if not is_energy(self.problem.products[offer.product]):
            share = float(f.probability @ f.called[p, t])
            figures["called"] = round(share, 4)
            yield f"On average {share:.1%} of its energy is called."

    def _value(self, offer: Planned, figures: dict[str, str | float | None]) -> Iterator[str]:
        own = worth((offer,), self.problem, self.grid)
        tail = float(outcomes((offer,), self.grid, self.thresholds).ravel() @ self.tail)
        currency = self.problem.products[offer.product].currency
        figures |= {
            "expected_value": float(money(own.expected)),
            "tail_value": float(money(tail)),
            "expected_tokens": round(own.tokens, 1),
            "expected_penalty": float(money(own.penalty)),
            "plan_expected_value": float(self.plan.expected_value),
            "plan_cvar": float(self.plan.cvar),
        }
        yield (
            f"It is worth {money(own.expected)} {currency} on average, of {self.plan.expected_value} for the plan. "
            f"That is {money(own.revenue)} earned, {money(own.cost)} of cost and {money(own.penalty)} of penalties."
        )
        worst = 1 - self.problem.tail
        yield (
            f"In the plan's worst {worst:.0%} of outcomes it brings {money(tail)} {currency}, "
            f"of {self.plan.cvar} for the whole plan."
        )

    def _alternative(self, offer: Planned, figures: dict[str, str | float | None]) -> Iterator[str]:
        """Say what the same power would earn in the best other product at its least price, and why it is not there."""
        others = [moved for name in self.grid.products if (moved := self._instead(offer, name)) is not None]
        if not others:
            figures["alternative"] = None
            yield "No other product could use this power in this interval."
            return
        values = [worth((moved,), self.problem, self.grid).expected for moved in others]
        at = int(np.argmax(values))
        moved, value = others[at], values[at]
        tail = float(outcomes((moved,), self.grid, self.thresholds).ravel() @ self.tail)
        figures |= {
            "alternative": moved.product,
            "alternative_value": float(money(value)),
            "alternative_tail_value": float(money(tail)),
        }
        currency = self.problem.products[offer.product].currency
        yield (
            f"The best other product is {moved.product}: there the same power would be worth {money(value)} {currency} "
            f"on average, and {money(tail)} in the plan's worst outcomes."
        )
        rest = [one for one in self.plan.offers if one != offer and one.product != moved.product]
        beside = [one for one in self.plan.offers if one.product == moved.product]
        over = broken([*rest, *beside, moved], self.grid)
        figures["alternative_breaks"] = over[0].name if over else None
        if over:
            yield f"It cannot be sold there: {said(over[0])} would be needed."
        elif value > worth((offer,), self.problem, self.grid).expected and self.problem.risk_weight > 0:
            yield "Its worst outcomes count for more than its average, so it is not sold there."

    def _instead(self, offer: Planned, name: str) -> Planned | None:
        """Return *offer* as one of product *name*, None where that does not go."""
        rules = self.problem.products[name]
        p, t = self.grid.products.index(name), self._at(offer)[1]
        same_way = is_up(rules) == is_up(self.problem.products[offer.product])
        if name == offer.product or not same_way or not self.grid.forecast.known[p, t] or unbearable(self.grid, p):
            return None
        steps: list[PlannedStep] = []
        for step in offer.steps:
            own = next((s for s in self.grid.room.steps[t] if s is not None and _same(s, step)), None)
            if own is None:
                return None
            price = least_price(rules, standing_cost(self.grid, p, t, own), self.problem.margin)
            if price is None:
                return None
            steps.append(planned_step(own, step.quantity_mw, price))
        return Planned(product=name, interval=offer.interval, steps=tuple(steps))

    def _limit(self, offer: Planned, figures: dict[str, str | float | None]) -> Iterator[str]:
        here = {offer.interval.start.isoformat(), self.problem.day(offer.interval).isoformat()}
        tight = [b for b in self.bounds if b.where in here and b.used > 0 and b.slack <= TOLERANCE + 0.001 * b.limit]
        figures["binding"] = ", ".join(bound.name for bound in tight) or None
        if not tight:
            yield "No limit holds it back: more would not be worth more."
        for bound in tight:
            yield f"It is held back by {said(bound)}."

    def _unsold(self, offer: Planned, figures: dict[str, str | float | None]) -> Iterator[str]:
        """Say what else the interval could let go, and why it is not sold."""
        t = self._at(offer)[1]
        sold = {
            (step.tier, step.confidence): sum(
                float(other.quantity_mw)
                for one in self.plan.offers
                if one.interval == offer.interval and not is_up(self.problem.products[one.product])
                for other in one.steps
                if (other.tier, other.confidence) == (step.tier, step.confidence)
            )
            for one in self.plan.offers
            for step in one.steps
        }
        left_mw = 0.0
        for j, step in enumerate(self.grid.room.steps[t][:-1]):
            if step is None:
                continue
            left = float(self.grid.room.mw[t, j]) - sold.get((step.tier, step.confidence), 0.0)
            if left > float(self.grid.block_mw) / 2:
                left_mw += left
                yield f"{left:.2f} MW of {step.tier.value} power stay unsold: {self._why_unsold(t, j)}."
        reserved = sum((o.reserved_mw for o in self.problem.obligations if o.interval == offer.interval), Decimal(0))
        for obligation in self.problem.obligations:
            if obligation.interval == offer.interval:
                yield f"{obligation.reserved_mw} MW are kept for {obligation.source}."
        figures |= {"unsold_mw": round(left_mw, 3), "reserved_mw": float(reserved)}

    def _why_unsold(self, t: int, j: int) -> str:
        """Return why step *j* is not sold further in interval *t*."""
        best = max(
            (float(self._mean(p, t, j)) for p in range(len(self.grid.products)) if not self.grid.up[p]), default=0
        )
        step = self.grid.room.steps[t][j]
        cost = step.cost_per_mwh if step else Decimal(0)
        if best <= TOLERANCE:
            return f"at a cost of {plain(cost)} per MWh no product is expected to pay for it"
        day = self.problem.day(self.grid.intervals[t]).isoformat()
        start = self.grid.intervals[t].start.isoformat()
        tight = [b for b in self.bounds if b.where in {day, start} and b.limit >= 0 and b.slack <= 0.01 * b.limit]
        tight = [bound for bound in tight if not bound.name.startswith("firm power")]
        if tight:
            return f"{said(tight[0])} is used up"
        if self.problem.risk_weight > 0:
            return f"it would add at most {best:.2f} per MW on average, less than its risk counts"
        return f"it would add {best:.2f} per MW on average; a minimum, a whole block or a better interval has priority"

    def _mean(self, p: int, t: int, j: int) -> float:
        """Return what a MW of step *j* is worth in product *p* at its least price."""
        step = self.grid.room.steps[t][j]
        if step is None or not self.grid.forecast.known[p, t] or unbearable(self.grid, p):
            return 0.0
        rules = self.grid.rules[p]
        price = least_price(rules, standing_cost(self.grid, p, t, step), self.problem.margin)
        if price is None:
            return 0.0
        one = planned_step(step, Decimal(1), price)
        moved = Planned(product=self.grid.products[p], interval=self.grid.intervals[t], steps=(one,))
        return worth((moved,), self.problem, self.grid).expected

    def _taken(self, offer: Planned, step: PlannedStep) -> float:
        p, t = self._at(offer)
        f = self.grid.forecast
        taken = (f.clearing[p, t] >= float(step.price_per_mwh) - 1e-9) & ~f.lost
        return float(f.probability @ taken)

    def _at(self, offer: Planned) -> tuple[int, int]:
        return self.grid.products.index(offer.product), self.grid.intervals.index(offer.interval)

    def _unit(self, offer: Planned) -> str:
        rules = self.problem.products[offer.product]
        return f"{rules.currency}/{rules.per if rules.per != 'MWh' or is_energy(rules) else 'MW-h'}"

    def _clock(self, instant: datetime) -> str:
        return f"{instant.astimezone(ZoneInfo(self.problem.timezone)):%H:%M on %d %b %Y %Z}"


def _same(step: Step, planned: PlannedStep) -> bool:
    return (step.tier, step.confidence) == (planned.tier, planned.confidence)


def said(bound: Bound) -> str:
    """Return a limit in words: `firm power up to T3 at 95%: 10 of 10 MW`."""
    source = f" ({bound.source})" if bound.source else ""
    return f"{bound.name}: {bound.used:.4g} of {bound.limit:.4g} {bound.unit}{source}"


def plain(amount: Decimal) -> str:
    """Return money to the cent."""
    return f"{amount:.2f}"


def explain(plan: Plan, problem: Problem) -> tuple[Explanation, ...]:
    """Return why each offer of *plan* is what it is, in the plan's order."""
    explainer = Explainer(plan, problem)
    return tuple(explainer.of(offer) for offer in plan.offers)


def summary(plan: Plan, problem: Problem) -> tuple[str, ...]:
    """Return the plan as a whole in a few sentences, what it rests on and what went wrong first."""
    found = worth(plan.offers, problem)
    currency = next((rules.currency for rules in problem.products.values()), "")
    hours = len({offer.interval for offer in plan.offers})
    simulated = " Prices are simulated." if problem.prices.simulated else ""
    offered = f"{len(plan.offers)} offers in {hours} of {len(problem.prices.intervals)} intervals"
    value = f"They are worth {plan.expected_value} {currency} on average."
    worst = f"The worst {1 - problem.tail:.0%} of outcomes average {plan.cvar} {currency}."
    energy = f"{found.delivered_mwh:.1f} MWh are expected to be delivered, {found.shortfall_mwh:.2f} MWh to be missing"
    source = f"Prices: {problem.prices.source or 'no source given'}.{simulated}"
    return (
        *(f"{note.name}: {note.detail}." for note in plan.notes if note.loud),
        f"Strategy {plan.strategy} makes {offered}.",
        f"{value} {worst}",
        f"{energy}, {found.tokens:,.0f} tokens to be forgone or late.",
        f"Risk weighs {problem.risk_weight:.0%}. {source}",
        *(f"{note.name}: {note.detail}." for note in plan.notes if not note.loud),
    )


def worst_scenario(plan: Plan, problem: Problem) -> tuple[str, Decimal] | None:
    """Return the scenario in which the plan brings least, and what; None without scenarios."""
    if not plan.scenario_values:
        return None
    at = int(np.argmin([float(value) for value in plan.scenario_values]))
    return problem.prices.scenarios[at].name, plan.scenario_values[at]
