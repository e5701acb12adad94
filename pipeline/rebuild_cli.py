"""
`firmwatt pipeline rebuild`: build an archive and its desk anew, say what they hold, compare.

Messages are copied, figures as they were published: nothing is computed from ticks again, and nothing sent to Kafka.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import settings
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.archive_places import Place
    from pipeline.pipeline_settings import Pipeline
    from pipeline.rebuild import Held, Spans
    from pipeline.storage import Storage


def main(argv: list[str]) -> int:
    """Build, print what was built, and compare if asked to; 1 where the archive in use holds something else."""
    options = _parser().parse_args(argv)
    from pipeline import desk, rebuild, rebuild_sources, storage
    from pipeline.pipeline_settings import Pipeline

    own = settings.load(options.config, "pipeline", Pipeline)
    kafka = settings.load(options.config, "kafka", settings.Kafka)
    if options.into.exists() and any(options.into.iterdir()):
        raise ConfigError(f"{options.into} is not empty; name a new folder with --into")
    used, built = storage.at(options.archive or own.archive), storage.at(options.into / "archive")
    spans = _build(options, own, kafka, used, built)
    desk.build(options.into / "desk.duckdb", built)
    held = rebuild_sources.held(built)
    print("\n".join(rebuild.table(held)))  # noqa: T201 - a command line talks
    return _compare(held, used, spans) if options.check else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firmwatt pipeline rebuild", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings file (TOML)")
    parser.add_argument("--from", dest="source", choices=("kafka", "archive"), required=True)
    parser.add_argument("--into", type=Path, required=True, help="new folder, for archive/ and desk.duckdb")
    parser.add_argument("--archive", help="the archive in use; default: the settings'")
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare with the archive in use; exit code 1 where it holds something else",
    )
    return parser


def _build(
    options: argparse.Namespace, own: "Pipeline", kafka: settings.Kafka, used: "Storage", built: "Storage"
) -> "Spans | None":
    """Fill *built*; return what of Kafka it was filled with."""
    from pipeline import rebuild_sources
    from pipeline.archive_schemas import ARCHIVED, TELEMETRY

    spans = None
    if options.source == "archive":
        rebuild_sources.from_archive(used, built)
    else:
        topics = (*ARCHIVED, *(TELEMETRY if own.archive_telemetry else ()))
        group = f"{own.group}-archive"
        copying = rebuild_sources.from_kafka(kafka, built, topics, group, archived_only=options.check)
        spans = asyncio.run(copying)
    rebuild_sources.finish(built)
    return spans


def _compare(held: "Mapping[Place, Held]", used: "Storage", spans: "Spans | None") -> int:
    from pipeline import rebuild, rebuild_sources

    found, gone = rebuild_sources.held(used, spans), rebuild_sources.expired(used)
    expected = {place: what for place, what in held.items() if place in found or place not in gone}
    differing = rebuild.differences(expected, found)
    for difference in differing:
        print(f"differs: {difference}", file=sys.stderr)  # noqa: T201 - as above
    if spans is not None and not any(begin < end for begin, end in spans.values()):
        print("nothing to compare: Kafka has none of what the archive's group has committed", file=sys.stderr)  # noqa: T201 - as above
        return 1
    if not differing:
        print(f"equal: all {len(found)} places")  # noqa: T201 - as above
    return 1 if differing else 0
