"""``[mirror]``: the clusters of a portfolio, and what of each site goes up to it."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from pipeline.settings import Kafka, Section
from pipeline.topics import ACKS, COMMANDS, CORRECTIONS, HOST_TICKS, SITE_CAPACITY, SITE_INTERVALS, Topic


class Profile(StrEnum):
    """How much of a site goes up."""

    FIGURES = "figures"
    """What the site's own pipeline has made of the ticks: some kilobytes a second, however many hosts."""
    TELEMETRY = "telemetry"
    """What the hosts say, for a portfolio that does the site's sums itself: grows with the hosts."""


#: What goes up. Never both: the portfolio's pipeline makes the figures of a site whose ticks it gets, and two makers of
#: one figure contradict each other. A site's partials, host records and market documents are its own business.
TOPICS: dict[Profile, tuple[Topic[Any], ...]] = {
    Profile.FIGURES: (SITE_CAPACITY, SITE_INTERVALS, CORRECTIONS, ACKS),
    Profile.TELEMETRY: (HOST_TICKS, ACKS),
}


class Cluster(Kafka, frozen=True, kw_only=True):
    """One Kafka cluster: how to reach it, as in ``[kafka]``, and what the mirror may make there."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    """Part of the names of the mirror's own topics and groups; for a site, best the site's name."""
    bootstrap: str
    replication: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Copies of each topic the mirror creates there; 3 on a real cluster."""


class Source(Cluster, frozen=True, kw_only=True):
    """``[[mirror.source]]``: one site."""

    profile: Profile = Profile.FIGURES
    commands: bool = False
    """Whether `topics.COMMANDS` of the portfolio come down to this site. Only this needs writing rights there."""


class Mirror(Section, frozen=True, kw_only=True):
    """``[mirror]``."""

    target: Cluster
    """``[mirror.target]``: the portfolio."""
    source: Annotated[tuple[Source, ...], msgspec.Meta(min_length=1)]
    tasks: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Connections a link, each with its share of the partitions."""
    compression: Literal["none", "gzip", "lz4", "zstd"] = "gzip"
    """Of what is written. `aiokafka` reads gzip as it is and needs the package `cramjam` for the last two."""
    flush_s: Annotated[float, msgspec.Meta(ge=1, le=600)] = 5.0
    """How often a link notes how far it has come: what a killed mirror sends again."""

    def __post_init__(self) -> None:
        """Refuse clusters that are the same one, and ticks that do not fit."""
        if problem := _problem(self):
            raise ValueError(problem)


def _problem(mirror: Mirror) -> str | None:
    clusters = (mirror.target, *mirror.source)
    for word in ("name", "bootstrap"):
        known, often = Counter(getattr(cluster, word) for cluster in clusters).most_common(1)[0]
        if often > 1:
            return f"two clusters have the {word} {known!r}: a cluster is mirrored once, and never to itself"
    for site in mirror.source:
        if site.profile is Profile.TELEMETRY and site.telemetry_partitions > mirror.target.telemetry_partitions:
            return (
                f"{site.name} has {site.telemetry_partitions} telemetry_partitions and {mirror.target.name} "
                f"{mirror.target.telemetry_partitions}: give the target at least as many, partitions are kept"
            )
    return None


@dataclass(frozen=True)
class Link:
    """One direction between two clusters, and the topics that go that way."""

    source: Cluster
    target: Cluster
    topics: tuple[Topic[Any], ...]

    @property
    def name(self) -> str:
        """As MirrorMaker writes it."""
        return f"{self.source.name}->{self.target.name}"


def upward(mirror: Mirror) -> tuple[Link, ...]:
    """Return the links from the sites to the portfolio."""
    return tuple(Link(site, mirror.target, TOPICS[site.profile]) for site in mirror.source)


def downward(mirror: Mirror) -> tuple[Link, ...]:
    """Return the links from the portfolio to the sites that take commands from it."""
    return tuple(Link(mirror.target, site, (COMMANDS,)) for site in mirror.source if site.commands)
