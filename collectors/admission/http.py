"""
A document of two numbers at one URL: what a sidecar or a gateway is to answer so that firmwatt can hold it back.

    GET  URL  →  200 {"limit": 64, "running": 40}     limit: requests taken at once, null for as many as come
                                                      running: requests being served now; may be left out
    PUT  URL  {"limit": 20}                           2xx: from now on; null: as many as come
                                                      400: this limit is none, with the reason in the body

A PUT holds until the next one, also for requests that are running: none of them is cut off, and no new one is let in
until there are fewer than the limit. Other keys in a reply are ignored. Where the URL is reachable by anybody else it
should ask for a bearer token, which is read from a file that only we can read.
"""

from typing import Annotated

import msgspec

from collectors.admission import Admitted
from collectors.admission._pages import Pages, Server

Count = Annotated[float, msgspec.Meta(ge=0)]


class Settings(Server, frozen=True, kw_only=True):
    """``options`` of an endpoint `via` http: `url` is that of the document."""


def connect(settings: Settings) -> "Http":
    """Return the endpoint; raise `ConfigError` for a bad URL or a token that cannot be read."""
    return Http(Pages(settings))


class _Document(msgspec.Struct):
    limit: Count | None
    """No default: a reply without it is not one of an engine without a limit."""
    running: Count | None = None


class Http:
    """One document."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def read(self) -> Admitted:
        """Return the document's two numbers."""
        found = self._pages.get(_Document)
        return Admitted(found.limit, found.running)

    def limit(self, requests: int | None) -> float | None:
        """Put a new limit; what is said to it is not read, the next `read` tells what holds."""
        self._pages.send("PUT", {"limit": requests})
        return requests

    def close(self) -> None:
        """Close the connection."""
        self._pages.close()
