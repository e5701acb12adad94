"""``firmwatt sandbox``: read the settings, open the journal, serve."""

import argparse
import asyncio
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec

from bidding.sandbox.journal import Journal
from bidding.sandbox.serve import listen, serve
from bidding.sandbox.server import build
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.venue import Venue
from pipeline.clock import Clock
from pipeline.errors import ConfigError
from pipeline.settings import ClockSection, load


def _help(annotation: object) -> str:
    metas = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((meta.description for meta in metas if isinstance(meta, msgspec.Meta) and meta.description), "")


def parser() -> argparse.ArgumentParser:
    """Return the command line: one option for each setting."""
    arguments = argparse.ArgumentParser(prog="firmwatt sandbox", description="A stand-alone venue to trade against.")
    arguments.add_argument("--config", type=Path, metavar="FILE", help="settings; options go before them")
    arguments.add_argument("--clock", metavar="WORD", help="ORIGIN@STARTED@SPEED; default: [clock] word, or real time")
    hints = get_type_hints(SandboxSettings, include_extras=True)
    for field in msgspec.structs.fields(SandboxSettings):
        arguments.add_argument(
            f"--{field.name.replace('_', '-')}",
            metavar="VALUE",
            help=f"{_help(hints[field.name])} (default: {field.default})",
        )
    return arguments


def settings_from(options: argparse.Namespace) -> SandboxSettings:
    """Return the file's ``[sandbox]`` with the options given put over it; raise `ConfigError` for what cannot work."""
    kept = load(options.config, "sandbox", SandboxSettings) if options.config else SandboxSettings()
    given = {name: getattr(options, name) for name in kept.__struct_fields__ if getattr(options, name) is not None}
    try:
        return msgspec.convert(msgspec.structs.asdict(kept) | given, SandboxSettings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"firmwatt sandbox: {error}") from error


def clock_from(options: argparse.Namespace) -> Clock:
    """Return the clock of the command line, else of the file, else real time."""
    if options.clock is not None or not options.config:
        return Clock.parse(options.clock)
    return load(options.config, "clock", ClockSection).clock()


def main(argv: list[str]) -> int:
    """Serve until asked to stop."""
    options = parser().parse_args(argv)
    settings, clock = settings_from(options), clock_from(options)
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    with ExitStack() as resources:
        journal = resources.enter_context(Journal(Path(settings.journal))) if settings.journal else None
        venue = Venue(settings.market(), settings.faults(), journal)
        listener = resources.enter_context(listen(settings.port))
        asyncio.run(serve(build(venue, clock), listener))
    return 0
