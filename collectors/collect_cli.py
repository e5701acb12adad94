"""`firmwatt collect`: publish this host's watts and tokens, once a second."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collectors.runner import Collector


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(prog="firmwatt collect", description=__doc__)
    grammar.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings of all parts (TOML)")
    grammar.add_argument("--host", default="", metavar="NAME", help="this host's name, in place of the settings'")
    grammar.add_argument("--once", action="store_true", help="print one tick as JSON; needs no Kafka")
    return grammar


def main(argv: list[str]) -> int:
    """Run until SIGTERM; with ``--once`` print one tick."""
    arguments = parser().parse_args(argv)
    collector = build(arguments.config, arguments.host)
    if arguments.once:
        import msgspec

        print(msgspec.json.encode(asyncio.run(collector.tick())).decode())  # noqa: T201 - what --once is for
        return 0

    from collectors import process, publish
    from pipeline.settings import Kafka, load

    kafka = load(arguments.config, "kafka", Kafka)
    process.run(lambda stop: publish.run(collector, kafka.bootstrap, stop))
    return 0


def build(config: Path, host: str) -> "Collector":
    """Return the collector that the settings in *config* describe; nothing is measured yet."""
    import secrets

    from collectors import mapping, settings
    from collectors.runner import Collector, Identity
    from collectors.tokens import TokenFolder
    from pipeline import plugins
    from pipeline.settings import ClockSection, Site, load

    section = load(config, "collector", settings.Collector)
    return Collector(
        identity=Identity(
            host=settings.host_name(host, section.host),
            site=load(config, "site", Site).name,
            boot=secrets.token_hex(8),
            simulated=section.simulated,
        ),
        source=plugins.load("collectors.sources", section.source).connect(),
        claims=mapping.load(section.mapping),
        folder=TokenFolder(section.tokens),
        clock=load(config, "clock", ClockSection).clock(),
    )
