"""
After the gate: less will be there than MISO bought, told as a real-time offer override.

Overrides hold for the hour that runs, from now on (MUI 3.3.0: `effectiveOfferOverrides`, `checkHour`). Type I has one
figure, its target demand reduction, which bounds energy and reserves alike; of type II the upper limits are lowered,
which is what less energy means. For less of one reserve beside energy they have no word.
"""

from decimal import ROUND_FLOOR, Decimal
from http import HTTPStatus
from typing import Any

from bidding.markets import Shortfall
from bidding.markets.miso.cells import ENERGY, MW_STEP, PRODUCTS
from bidding.markets.miso.client import Session
from bidding.markets.miso.codec import Codec
from bidding.markets.miso.day import hour_of
from bidding.markets.miso.settings import Resource
from bidding.markets.miso.strict import line, write
from pipeline.clock import Clock
from pipeline.errors import RejectedError, UnknownOutcomeError, VenueError

REASON = "StatusChange"
"""Of MISO's list (`RTOverrideReason`) the nearest: what we can reduce has changed. The words go along as text."""


class Overrides:
    """What is told after the gate."""

    def __init__(self, session: Session, words: Codec, clock: Clock) -> None:
        self._session = session
        self._codec = words
        self._clock = clock

    async def notify(self, shortfall: Shortfall) -> None:
        """Tell MISO; raise as `bidding.markets.Market.notify` says, `VenueError` until the hour runs: tell it again."""
        resource = self._codec.resources.get(shortfall.resource)
        if resource is None:
            raise RejectedError(f"resource {line(shortfall.resource)} is not in [venue.miso]")
        if resource.type == "drr2" and PRODUCTS.get(shortfall.product) != ENERGY:
            raise RejectedError(
                f"MISO's overrides have no word for less {line(shortfall.product)} of a DRR type II: tell its operator"
            )
        now, start = self._clock.now(), shortfall.interval.start.isoformat()
        if now < shortfall.interval.start:
            raise VenueError(
                f"nothing was sent: MISO's overrides hold for the running hour only, that from {start} waits"
            )
        if now >= shortfall.interval.end:
            raise RejectedError(f"MISO's overrides hold for the running hour only, that from {start} is over")
        day, hour = hour_of(shortfall.interval)
        url = self._session.path(
            "markets", "real-time", str(day), "offer", "overrides", "participants", "{participant}"
        )
        answer = await self._session.post(url, write(document(shortfall, resource, str(day), hour)))
        if answer.refused:
            raise RejectedError(f"MISO refused the override: {answer.told(self._session.largest)}")
        if answer.status != HTTPStatus.OK:
            raise UnknownOutcomeError(f"MISO may not have heard of it: {answer.told(self._session.largest)}")
        try:
            errors = answer.said(self._session.largest).errors
        except VenueError as error:
            raise UnknownOutcomeError(f"MISO's answer was not understood: {error}") from error
        if errors:
            raise RejectedError(f"MISO refused the override: {errors[0].text}")


def document(shortfall: Shortfall, resource: Resource, day: str, hour: int) -> dict[str, Any]:
    """Return the MultiVariantRTOfferOverrides of *shortfall*, its MW rounded down to MISO's step. Pure."""
    mw = max(shortfall.available_mw, Decimal(0)).quantize(MW_STEP, rounding=ROUND_FLOOR)
    words = line(shortfall.reason)
    if resource.type == "drr1":
        offer_type = "drr1ScheduleOfferOverrides"
        told: dict[str, Any] = {
            "drr1OfferOverrides": {
                "targetDemandReductionMW": mw,
                "drr1OfferOverrideReason": REASON,
                "drr1OfferOverrideReasonText": words,
            }
        }
    else:
        offer_type = "drr2ScheduleOfferOverrides"
        limits = {"minMW": Decimal("0.0"), "maxMW": mw}
        told = {
            "unitLimitOverrides": {
                "economicLimits": limits,
                "emergencyLimits": limits,
                "regulationLimits": limits,
                "unitLimitOverrideReason": REASON,
                "unitLimitOverrideText": words,
            }
        }
    offers = [{"offerType": offer_type, "effectiveOfferOverrides": [{"checkHour": hour, **told}]}]
    return {"day": day, "resources": [{"pnodeName": resource.name, "offers": offers}]}
