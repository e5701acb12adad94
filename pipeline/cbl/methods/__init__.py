"""
The methods: one file each, named as the method with `_` for `-`, holding `RULES: tuple[Rule, ...]`, oldest first.

A rule says where its numbers come from. `verified` is set where they were read in the rule's own words; `unverified`
names the parameters for which no source was found: they hold what is commonly said of the rule, or a choice of ours
where `notes` say so.
"""

from pipeline import plugins
from pipeline.cbl.rule import Rule
from pipeline.errors import UnknownPluginError

PACKAGE = "pipeline.cbl.methods"


def names() -> tuple[str, ...]:
    """Return the methods there are, as they are typed: `caiso-10-in-10`."""
    return tuple(name.replace("_", "-") for name in plugins.available(PACKAGE))


def load(name: str) -> tuple[Rule, ...]:
    """Return the versions of method *name*, with hyphens or underscores; an `UnknownPluginError` lists the names."""
    if name.replace("_", "-") not in (have := names()):
        raise UnknownPluginError(PACKAGE, name, list(have))
    rules: tuple[Rule, ...] = plugins.load(PACKAGE, name.replace("-", "_")).RULES
    return rules
