"""
One dated version of a product as its file has it: figures, each with its source. Pure.

    figures {"min_mw": 0.1, …}   cited {"min_mw": "manual", …}   sources {"manual": …}   unknown ("price_cap", …)

A venue's product may lack what an offer needs, because nobody could find it. It is then listed and shown, and cannot be
offered (`Product.missing`) until the operator confirms the rest in the settings file.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from bidding.products import Family, Rules, Trading
from pipeline.errors import ConfigError
from pipeline.messages.market import Document

#: What says which product it is, not how it works; needs no source.
IDENTITY = ("venue", "product", "family", "trading", "title", "timezone", "currency")

#: Filled from the sources.
DERIVED = ("sources", "cited", "unverified", "simulated")

#: What a product may hold, and for each of them it has to say where it is from.
FIGURES = tuple(name for name in Rules.model_fields if name not in (*IDENTITY, *DERIVED))

#: Without these there is no offer.
NEEDED = tuple(name for name in FIGURES if Rules.model_fields[name].is_required())

#: What stands in for a needed figure when another says it better.
INSTEAD = {"gate_closure_s": "closes", "horizon_s": "opens"}


class Source(Document):
    """Where figures come from."""

    text: str
    verified: bool
    """Somebody read it there, in the venue's words or in words that quote them."""
    secondary: bool = False
    """It is not the venue's own document, but one that reports it."""
    date: date
    """The state it describes; of general knowledge, the day it was written down."""

    def __str__(self) -> str:
        kind = ", secondary" if self.secondary else ""
        return f"{self.text} ({self.date}{kind})" if self.verified else f"{self.text} ({self.date}{kind}, unverified)"


class Product(Document):
    """One version of a product. `figures` are of the types that `Rules` declares."""

    venue: str
    product: str
    family: Family
    trading: Trading
    title: str
    timezone: str
    currency: str
    figures: dict[str, Any]
    cited: dict[str, str]
    """By figure: the key of its source."""
    sources: dict[str, Source]
    unknown: tuple[str, ...] = ()
    """Figures that the venue has and nobody could find."""

    def holds(self, on: date | None) -> bool:
        """Tell whether this version is in force on day *on*; without a day, whether no later one follows it."""
        since, until = self.figures.get("since"), self.figures.get("until")
        if on is None:
            return until is None
        return (since is None or since <= on) and (until is None or on < until)

    @property
    def missing(self) -> tuple[str, ...]:
        """Figures without which no offer can be made."""
        return tuple(name for name in NEEDED if name not in self.figures and INSTEAD.get(name) not in self.figures)

    @property
    def unverified(self) -> tuple[str, ...]:
        """Figures that a person has to confirm before money depends on them; those nobody found are among them."""
        guessed = (name for name in self.figures if not self.sources[self.cited[name]].verified)
        return tuple(sorted({*guessed, *self.unknown}))

    def source(self, figure: str) -> Source:
        """Return where *figure* is from."""
        return self.sources[self.cited[figure]]

    def rules(self) -> Rules:
        """Return what an offer is checked against; raise `ConfigError` where too little is known to make one."""
        if self.missing:
            raise ConfigError(
                f"{self.venue} {self.product} cannot be offered: no {', '.join(self.missing)}; "
                f"confirm them in [products.{self.venue}.{self.product}]"
            )
        used = {self.cited[name] for name in self.figures}
        stand_in: Mapping[str, Any] = {name: 0 for name in INSTEAD if name not in self.figures}
        return Rules(
            **{name: getattr(self, name) for name in IDENTITY},
            **self.figures,
            **stand_in,
            sources=tuple(str(source) for key, source in self.sources.items() if key in used),
            cited={name: str(self.source(name)) for name in self.figures},
            unverified=self.unverified,
        )


def plain(figure: Any) -> str:
    """Return a figure as it is written in a file: `0.1`, `rising`, `10:00`."""
    return f"{figure.normalize():f}" if isinstance(figure, Decimal) else str(figure)
