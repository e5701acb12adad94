"""Questions about the market: what is sold, what was bought, at which prices, and what is instructed."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bidding.sandbox.answers import Awards, ClockReading, Dispatches, Prices, Setpoints
from bidding.sandbox.exchange import Exchange, absent, answer, counted, instant, queried
from bidding.sandbox.following import regulation_rules
from bidding.sandbox.reserves import HOUR
from bidding.sandbox.rules import Products, Rules

MAX_PRICES = 1500
MAX_SPAN = timedelta(hours=25)


class MarketApi:
    """Endpoints that change nothing."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._venue = exchange.venue

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("/v1/rules", self.rules),
            Route("/v1/products", self.products),
            Route("/v1/clock", self.clock),
            Route("/v1/awards", self.awards),
            Route("/v1/dispatches", self.dispatches),
            Route("/v1/prices", self.prices),
            Route("/v1/regulation", self.regulation),
        ]

    async def rules(self, request: Request) -> Response:
        """``GET /v1/rules``: of the default product."""
        found = self._venue.published_rules(self._venue.market.default, self._exchange.clock.now())
        return await self._exchange.query(request, answer(found))

    async def products(self, request: Request) -> Response:
        """``GET /v1/products``."""
        now = self._exchange.clock.now()
        found = tuple(self._venue.published_rules(rules, now) for rules in self._venue.market.products)
        return await self._exchange.query(request, answer(Products(products=found)))

    async def clock(self, request: Request) -> Response:
        """``GET /v1/clock``."""
        return await self._exchange.query(request, answer(ClockReading(now=self._exchange.clock.now())))

    async def awards(self, request: Request) -> Response:
        """``GET /v1/awards``."""
        now = self._exchange.clock.now()
        found = self._venue.awards(queried(request, "resource"), now)
        decided = {rules.product: rules.decided_until(now) for rules in self._venue.market.products}
        until = self._venue.market.default.decided_until(now)
        document = Awards(awards=found, cleared_until=until, decided_until=decided)
        return await self._exchange.query(request, answer(document))

    async def dispatches(self, request: Request) -> Response:
        """``GET /v1/dispatches``."""
        found = self._venue.dispatches(queried(request, "resource"), self._exchange.clock.now())
        return await self._exchange.query(request, answer(Dispatches(dispatches=found)))

    async def prices(self, request: Request) -> Response:
        """``GET /v1/prices``."""
        count = counted(request, "count", 60, MAX_PRICES)
        rules = self._named(request.query_params.get("product") or self._venue.market.default.product)
        found = self._venue.prices(rules.product, count, self._exchange.clock.now())
        return await self._exchange.query(request, answer(Prices(prices=found)))

    async def regulation(self, request: Request) -> Response:
        """``GET /v1/regulation``: the signal of the last hour, or since an instant not more than 25 hours ago."""
        now = self._exchange.clock.now()
        resource, product = queried(request, "resource"), queried(request, "product")
        rules = regulation_rules(self._venue.market, product)
        if rules is None:
            raise absent("no_signal", f"{product} follows no signal here")
        text = request.query_params.get("since")
        since = max(instant("since", text), now - MAX_SPAN) if text else now - HOUR
        found = self._venue.setpoints(resource, rules, since, now)
        document = Setpoints(resource=resource, product=product, signal_s=rules.signal_s or 4, setpoints=found)
        return await self._exchange.query(request, answer(document))

    def _named(self, product: str) -> Rules:
        rules = self._venue.market.rules(product)
        if rules is None:
            raise absent("unknown_product", f"{product} is not sold; there are {', '.join(self._venue.market.names)}")
        return rules
