"""`firmwatt actuate`: apply signed power leases on this host, and let go by itself when they end."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collectors.actuator import Actuator
    from collectors.settings import Actuator as Section


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(prog="firmwatt actuate", description=__doc__)
    grammar.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings of all parts (TOML)")
    grammar.add_argument("--host", default="", metavar="NAME", help="this host's name, in place of the settings'")
    grammar.add_argument("--dry-run", action="store_true", help="say what would be done; touch and acknowledge nothing")
    return grammar


def main(argv: list[str]) -> int:
    """Run until SIGTERM, then put every limit back."""
    from collectors import listen, process, settings
    from pipeline.settings import Kafka, load

    arguments = parser().parse_args(argv)
    section = load(arguments.config, "actuator", settings.Actuator)
    kafka = load(arguments.config, "kafka", Kafka)
    actuator = build(arguments.config, section, arguments.host, dry_run=arguments.dry_run)
    period_s, mute = section.period_ms / 1000, arguments.dry_run
    process.run(lambda stop: listen.run(actuator, kafka.bootstrap, period_s, stop, mute=mute))
    return 0


def build(config: Path, section: "Section", host: str, *, dry_run: bool) -> "Actuator":
    """Return the actuator that the settings describe; nothing is read from a GPU yet, nothing touched."""
    from collectors import settings
    from collectors.actuator import Actuator
    from collectors.dryrun import DryRun
    from collectors.hands import Hands
    from collectors.journal import Journal
    from collectors.lease import Bounds, Keyring
    from collectors.mappings import static
    from pipeline import plugins
    from pipeline.settings import ClockSection, load

    lever = plugins.load("collectors.levers", section.lever).connect()
    return Actuator(
        host=settings.host_name(host, section.host),
        hands=Hands(DryRun(lever) if dry_run else lever),
        journal=Journal(None if dry_run else Path(section.journal)),
        keyring=Keyring.load(Path(section.keyring)),
        claims=static.load(section.mapping),
        bounds=Bounds(
            max_lease=settings.seconds(section.max_lease_s),
            max_ahead=settings.seconds(section.max_ahead_s),
            release_stages=section.release_stages,
            release_stage=settings.seconds(section.release_stage_s),
        ),
        clock=load(config, "clock", ClockSection).clock(),
        settle_s=section.settle_ms / 1000,
        simulated=section.simulated,
    )
