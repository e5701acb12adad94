"""What a rule says when it is broken, and how the rules of a folder are found. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import TypeVar

from bidding.products import Rules
from pipeline import plugins

C = TypeVar("C")


@dataclass(frozen=True)
class Refusal:
    """A rule that is broken, and how."""

    rule: str
    detail: str
    """What is wrong, by how much, what to do; one line that can be read aloud."""
    source: str = ""
    """Where the rule stands: the product's citation, a settings key, a docket."""
    offer_id: str = ""
    """Empty where it is about a document or a portfolio."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}" + (f" (by {self.source})" if self.source else "")


@dataclass(frozen=True)
class Breach:
    """One way in which a rule is broken, before the rule's name is added."""

    detail: str
    source: str
    offer_id: str = ""


Rule = Callable[[C], Iterator[Breach]]
"""A rule: what it looks at → what is wrong with it. Its name is the function's, its reason the first docstring line."""


def found(package: str) -> tuple[Callable[..., Iterator[Breach]], ...]:
    """Return the rules in *package*: every public function that one of its files defines, in the order written."""
    modules = [plugins.load(package, name) for name in plugins.available(package)]
    return tuple(
        function
        for module in modules
        for name, function in vars(module).items()
        if isinstance(function, FunctionType) and function.__module__ == module.__name__ and not name.startswith("_")
    )


def apply(rules: Iterable[Rule[C]], case: C) -> tuple[Refusal, ...]:
    """Return everything that *rules* find wrong with *case*."""
    return tuple(
        Refusal(rule.__name__, breach.detail, breach.source, breach.offer_id) for rule in rules for breach in rule(case)
    )


def cited(rules: Rules, figure: str) -> str:
    """Return where *figure* of a product stands, and whether that was checked."""
    source = rules.cited.get(figure) or _listed(rules, figure) or f"not cited, see the products of {rules.venue}"
    doubt = " (unverified)" if figure in rules.unverified and "unverified" not in source else ""
    return f"{rules.venue}/{rules.product} {figure}: {source}{doubt}"


def _listed(rules: Rules, figure: str) -> str:
    """Return the source that begins with the figures it is for, or the only one there is."""
    heads = ((source, source.partition(":")[0].split(",")) for source in rules.sources)
    named = (source for source, figures in heads if figure in map(str.strip, figures))
    return next(named, rules.sources[0] if len(rules.sources) == 1 else "")
