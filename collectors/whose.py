"""
Whose GPU is whose, for an actuator: the collector's mappings, asked in lanes of their own.

A mapping that falls silent is believed for three of its periods. After that its GPUs are nobody's: none of them is
touched, and what an economic lease holds of them goes back, since nobody knows any more whom a cap would hit.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from collectors import Place
from collectors.claims import merged
from collectors.feeds import HELD_PERIODS, Feed, answers
from collectors.mappings import Claim, Mapper

WAIT_S = 0.5
"""How long claims are waited for where none are known, seconds of the machine."""


class Whose:
    """The claims on this host's GPUs."""

    def __init__(self, mappings: Mapping[str, Mapper], places: Callable[[], tuple[Place, ...]]) -> None:
        """Ask *mappings*, the first named first; *places* tells where the GPUs sit, as far as that is known."""
        self._places = places
        self._began_at: datetime | None = None
        self.feeds = [
            Feed(name, self._asking(mapping), timedelta(seconds=mapping.period_s)) for name, mapping in mappings.items()
        ]

    def ask(self, now: datetime) -> None:
        """Ask what is due, and wait for nobody."""
        self._began_at = self._began_at or now
        for feed in self.feeds:
            feed.ask(now)

    async def know(self, now: datetime) -> None:
        """Ask what is due, and wait a little for those of whom nothing is known: at first, or after a long sleep."""
        self.ask(now)
        if unknown := [feed for feed in self.feeds if feed.take(now) is None]:
            await answers(unknown, WAIT_S, now, every=True)

    def has_heard(self, now: datetime) -> bool:
        """Tell whether every mapping has answered, or has had three of its periods to: nobody's then is nobody's."""
        began_at = self._began_at or now
        return all(feed.answered_at is not None or now - began_at > HELD_PERIODS * feed.period for feed in self.feeds)

    def claims(self, now: datetime) -> Mapping[str, Claim]:
        """Return the claims that hold at *now*, by GPU UUID."""
        return merged([claims for feed in self.feeds if (claims := feed.take(now)) is not None], self._places())

    def _asking(self, mapping: Mapper) -> Callable[[datetime], Mapping[str, Claim]]:
        return lambda now: mapping.claims(now, self._places())


def jobs(claims: Mapping[str, Claim]) -> Mapping[str, Claim]:
    """Return the jobs in *claims* by name; of one job's claims the most protected."""
    found: dict[str, Claim] = {}
    for claim in sorted(claims.values(), key=lambda claim: claim.tier, reverse=True):
        if claim.job is not None:
            found[claim.job] = claim
    return found


def claim_on(subject: str, claims: Mapping[str, Claim]) -> Claim | None:
    """Return the claim on a GPU or a job, None if there is none."""
    return claims.get(subject) or jobs(claims).get(subject)


def gpus_of(names: Sequence[str], claims: Mapping[str, Claim]) -> list[str]:
    """Return the UUIDs of the GPUs of the jobs *names*."""
    return [uuid for uuid, claim in claims.items() if claim.job in names]
