"""Which sites belong to a portfolio whose settings do not say: those that spoke within the last hour."""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta

#: Clock time; a site that has been silent for longer is no longer missing, it is gone.
REMEMBERED = timedelta(hours=1)


class Heard(Collection[str]):
    """Sites by name, as known at *now*."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._last: dict[str, datetime] = {}

    def note(self, site: str, spoke_at: datetime) -> None:
        """Take down that *site* has spoken."""
        self._last[site] = max(spoke_at, self._last.get(site, spoke_at))

    def __contains__(self, site: object) -> bool:
        return site in self._last and self._now() - self._last[str(site)] <= REMEMBERED

    def __iter__(self) -> Iterator[str]:
        return (site for site in sorted(self._last) if site in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
