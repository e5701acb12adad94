"""
A collector, or an actuator, put together from its settings file. Nothing is measured, asked or opened yet.

What both need stands here once: the plug-ins that the settings name, each with its table.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from collectors import settings
from collectors.feeds import Feed
from collectors.runner import Collector, Identity
from collectors.scrape import EngineSection, Scraper
from collectors.tokens import TokenBoard
from pipeline import plugins
from pipeline.errors import ConfigError
from pipeline.settings import ClockSection, Site, check_tables, load, load_each, names_in, placed


def collector(config: Path, host: str = "") -> Collector:
    """Return the collector that *config* describes; `ConfigError`, with file and line, for whatever cannot work."""
    check(config)
    section = load(config, "collector", settings.Collector)
    engines = load_each(config, "engine", EngineSection)
    _refuse_twins(config, engines)
    return Collector(
        identity=Identity(
            host=settings.host_name(host, section.host),
            site=load(config, "site", Site).name,
            simulated=section.simulated,
        ),
        clock=load(config, "clock", ClockSection).clock(),
        sources=connected(config, "collector", "source", section.sources),
        mappings=connected(config, "collector", "mapping", section.mappings),
        engines=[_engine(config, number, engine) for number, engine in enumerate(engines)],
        board=TokenBoard(section.tokens),
        period=timedelta(seconds=section.period_s),
        fast_period=timedelta(seconds=section.fast_period_s),
    )


def _refuse_twins(config: Path, engines: Sequence[EngineSection]) -> None:
    """Raise `ConfigError` where one page is named twice: its tokens would be counted twice."""
    seen: set[str] = set()
    for number, engine in enumerate(engines):
        with placed(config, "engine", number):
            if engine.url in seen:
                raise ConfigError(f"{engine.url} is named twice")
        seen.add(engine.url)


def check(config: Path) -> None:
    """Raise `ConfigError`, with file and line, for a table that nobody reads and for plug-ins that do not exist."""
    check_tables(config)
    for family in ("source", "mapping", "lever"):
        package = f"collectors.{family}s"
        for name in names_in(config, family, plugins.available(package)):
            load(config, f"{family}.{name}", plugins.load(package, name).Settings)


def connected(config: Path, part: str, family: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the plug-ins *names* of a *family* that table *part* lists, each connected with its own table."""
    found: dict[str, Any] = {}
    for name in names:
        with placed(config, part, key=f"{family}s"):
            if name in found:
                raise ConfigError(f"{name!r} is named twice")
            plugin = plugins.load(f"collectors.{family}s", name)
        section = load(config, f"{family}.{name}", plugin.Settings)
        with placed(config, family, name):
            found[name] = plugin.connect(section)
    return found


def _engine(config: Path, number: int, section: EngineSection) -> Feed[Any]:
    with placed(config, "engine", number):
        scraper = Scraper(section)
    return Feed(f"{section.kind} {section.url}", scraper.read, timedelta(seconds=section.period_s))
