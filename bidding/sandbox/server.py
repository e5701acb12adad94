"""The venue over HTTP. Applies first, then answers, late or not at all when told so."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bidding.sandbox.answers import Problem
from bidding.sandbox.api_market import MarketApi
from bidding.sandbox.api_offers import OfferApi
from bidding.sandbox.api_reports import ReportApi
from bidding.sandbox.exchange import UNAVAILABLE, Exchange, Refusal, answer
from bidding.sandbox.venue import Venue
from pipeline.clock import Clock
from pipeline.errors import EnvironmentProblem


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - what the handler is registered for
    return answer(error.problem, error.status)


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the same
    return answer(Problem(error="no_such_request", detail=error.detail), error.status_code)


async def _unavailable(_: Request, error: Exception) -> Response:
    return answer(Problem(error="unavailable", detail=f"nothing was applied: {error}"), UNAVAILABLE)


def build(venue: Venue, clock: Clock) -> Starlette:
    """Return the application; `hang_up` must be in the connection's state (see `bidding.sandbox.serve`)."""
    exchange = Exchange(venue, clock)
    app = Starlette(
        routes=[
            *OfferApi(exchange).routes(),
            *MarketApi(exchange).routes(),
            *ReportApi(exchange).routes(),
        ],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _not_found,
            EnvironmentProblem: _unavailable,
        },
    )
    app.router.redirect_slashes = False  # a name that ends with a slash is no other name's
    return app
