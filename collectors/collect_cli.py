"""`firmwatt collect`: what runs on every GPU host. It measures watts and tokens and needs no rights."""

import argparse
import sys
from datetime import timedelta
from pathlib import Path

EPILOG = "`firmwatt collect COMMAND --help` tells more."


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(prog="firmwatt collect", description=__doc__, epilog=EPILOG)
    commands = grammar.add_subparsers(dest="command", required=True, metavar="COMMAND")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the settings of all parts (TOML)"
    )
    configured.add_argument("--host", default="", metavar="NAME", help="this host's name, in place of the settings'")
    spanned = argparse.ArgumentParser(add_help=False)
    spanned.add_argument("--seconds", type=float, default=60.0, metavar="N", help="for how long; 60 by default")

    def add(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[*parents])

    add("run", "publish a tick every second until SIGTERM; keep them on disk while Kafka is away", configured)
    add("once", "print one tick as JSON; needs no Kafka", configured)
    add("check", "try everything the settings name, say what is wrong and what to do", configured)
    listing = add("list", "show the GPUs of this host, and the sources, mappings and engines there are")
    listing.add_argument("--config", type=Path, metavar="FILE", help="ask these sources, in place of NVML")
    listing.add_argument("--host", default="", help=argparse.SUPPRESS)
    listing.add_argument("--json", action="store_true", help="one JSON object")
    add("release", "let a running collector drop NVML, for driver, reset and MIG work", configured, spanned)
    add("resume", "let it measure again", configured)
    add("fast", "let it measure ten times a second for a while", configured, spanned)
    commands.add_parser("import", help="read a capture of nvidia-smi or of an exporter", add_help=False)
    return grammar


def main(argv: list[str]) -> int:
    """Run one subcommand and return its exit code."""
    if argv[:1] == ["import"]:
        from collectors import import_cli

        return import_cli.main(argv[1:])
    arguments = parser().parse_args(argv)
    if arguments.command == "run":
        from collectors import collect_run

        return collect_run.main(arguments.config, arguments.host)
    if arguments.command == "list":
        from collectors import inventory

        return inventory.show(arguments.config, as_json=arguments.json)
    if arguments.command == "check":
        from collectors import check

        return check.main(arguments.config, arguments.host)
    if arguments.command == "once":
        return _once(arguments.config, arguments.host)
    return _ask(arguments)


def _once(config: Path, host: str) -> int:
    import asyncio
    import logging
    import secrets

    import msgspec

    from collectors import SourceError
    from collectors.build import collector
    from collectors.runner import let_go
    from pipeline.messages.telemetry import HostTick

    logging.disable()  # what is wrong is the error below
    measuring = collector(config, host)

    async def measure() -> HostTick | None:
        tick = await measuring.tick(secrets.token_hex(8), 1)
        await let_go(measuring.close())
        return tick

    tick = asyncio.run(measure())
    if tick is None:
        troubles = [f"{feed.name}: {feed.trouble}" for feed in measuring.feeds if feed.trouble]
        raise SourceError("; ".join(troubles) or "no source has measured anything")
    sys.stdout.write(msgspec.json.encode(tick).decode() + "\n")
    return 0


def _ask(arguments: argparse.Namespace) -> int:
    from collectors import control, settings
    from pipeline.errors import EnvironmentProblem
    from pipeline.settings import load

    section = load(arguments.config, "collector", settings.Collector)
    path = settings.socket_path(section, settings.host_name(arguments.host, section.host))
    span = timedelta(seconds=getattr(arguments, "seconds", 1.0))
    answer = control.ask(path, control.Request(arguments.command, span.total_seconds()))
    if answer.refused:
        raise EnvironmentProblem(answer.refused)
    return 0
