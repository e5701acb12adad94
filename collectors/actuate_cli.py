"""`firmwatt actuate`: hold power back under signed leases on this host, and let go by itself when they end."""

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(prog="firmwatt actuate", description=__doc__)
    grammar.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings of all parts (TOML)")
    grammar.add_argument("--host", default="", metavar="NAME", help="this host's name, in place of the settings'")
    grammar.add_argument("--dry-run", action="store_true", help="say what would be done; touch and acknowledge nothing")
    grammar.add_argument(
        "--check", action="store_true", help="try everything the settings name, say what to do; change nothing"
    )
    return grammar


def main(argv: list[str]) -> int:
    """Run until SIGTERM, then put everything back in stages; safety caps stay."""
    from collectors import process

    arguments = parser().parse_args(argv)
    if not arguments.check:
        process.wait_to_end()  # from the first moment on: there may be limits to put back

    from collectors import build_actuator, listen, settings
    from collectors.actuator_metrics import Page
    from pipeline.settings import Kafka, load

    section = load(arguments.config, "actuator", settings.Actuator)
    actuator = build_actuator.actuator(arguments.config, arguments.host, dry_run=arguments.dry_run)
    kafka = load(arguments.config, "kafka", Kafka)
    if arguments.check:
        from collectors import actuate_check

        return actuate_check.main(actuator, Path(section.journal), kafka)
    line = listen.Line(actuator, kafka, mute=arguments.dry_run)
    shows = section.metrics and not arguments.dry_run
    page = Page(Path(section.metrics), actuator).write if shows else lambda _: None
    process.run(lambda stop: listen.run(actuator, line, section.period_ms / 1000, stop, page), section.log)
    return 0
