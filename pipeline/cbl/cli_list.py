"""`firmwatt baseline list`: the methods, their versions, whose they are, what of them is verified, and who says so."""

import argparse
import json
import textwrap
from collections.abc import Iterator

import msgspec

from pipeline.cbl import methods
from pipeline.cbl.rule import Rule, parameters_of
from pipeline.tables import columns

WIDTH = 110


def main(argv: list[str]) -> int:
    """Print every version of every method."""
    parser = argparse.ArgumentParser(
        prog="firmwatt baseline list",
        description=f"{__doc__.split(': ')[1].capitalize()} Their parameters are what `--set NAME=VALUE` takes.",
    )
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="only these, with their parameters and notes")
    parser.add_argument("--json", action="store_true", help="a list of objects, parameters included")
    options = parser.parse_args(argv)
    rules = [rule for name in options.methods or methods.names() for rule in methods.load(name)]
    if options.json:
        print(json.dumps([as_object(rule) for rule in rules], indent=2))  # noqa: T201 - a command line talks
    else:
        print("\n".join(described(rules) if options.methods else listed(rules)))  # noqa: T201 - as above
    return 0


def as_object(rule: Rule) -> dict[str, object]:
    """Return a rule as JSON has it; dates as text, `parameters` by name with their kind as `type`."""
    found: dict[str, object] = msgspec.to_builtins(rule)
    found.pop("changed")
    return found


def state(rule: Rule) -> str:
    """Return in a few words what of *rule* was read in the rule itself."""
    if rule.venue is None:
        return "our own"
    if not rule.verified:
        return "unverified"
    return f"verified but {', '.join(rule.unverified)}" if rule.unverified else "verified"


def listed(rules: list[Rule]) -> Iterator[str]:
    """Return a table with a line a version."""
    heads = ("method", "version", "venue", "from", "numbers", "title")
    rows = [
        (rule.method, rule.version, rule.venue or "none", rule.valid_from or "not known", state(rule), rule.title)
        for rule in rules
    ]
    yield from columns(heads, *rows)
    yield from ("", "`firmwatt baseline list METHOD` has citation, notes and parameters; --json all of them")


def described(rules: list[Rule]) -> Iterator[str]:
    """Return everything that is known of each of *rules*."""
    for rule in rules:
        ends = f"from {rule.valid_from or 'not known'} to {rule.valid_to or 'now'}"
        yield f"{rule.method} version {rule.version} ({rule.venue or 'our own'}), {ends}: {rule.title}"
        yield from _wrapped("numbers", state(rule))
        yield from _wrapped("citation", rule.citation)
        yield from _wrapped("notes", rule.notes)
        for name, value in parameters_of(rule.parameters).items():
            yield f"  {name} = {value}{'  (unverified)' if name in rule.unverified else ''}"
        yield ""


def _wrapped(head: str, told: str) -> list[str]:
    return textwrap.wrap(told, WIDTH, initial_indent=f"  {head:<9} ", subsequent_indent=" " * 12) if told else []
