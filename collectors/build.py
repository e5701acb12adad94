"""A collector put together from its settings file. Nothing is measured, asked or opened yet."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from collectors import settings
from collectors.feeds import Feed
from collectors.runner import Collector, Identity
from collectors.scrape import EngineSection, Scraper
from collectors.tokens import TokenBoard
from pipeline import plugins
from pipeline.settings import ClockSection, Site, check_tables, load, load_each


def collector(config: Path, host: str = "") -> Collector:
    """Return the collector that *config* describes; `ConfigError`, with file and line, for whatever cannot work."""
    check_tables(config)
    section = load(config, "collector", settings.Collector)
    return Collector(
        identity=Identity(
            host=settings.host_name(host, section.host),
            site=load(config, "site", Site).name,
            simulated=section.simulated,
        ),
        clock=load(config, "clock", ClockSection).clock(),
        sources={name: _connected(config, "source", name) for name in section.sources},
        mappings={name: _connected(config, "mapping", name) for name in section.mappings},
        engines=[_engine(engine) for engine in load_each(config, "engine", EngineSection)],
        board=TokenBoard(section.tokens),
        period=timedelta(seconds=section.period_s),
        fast_period=timedelta(seconds=section.fast_period_s),
    )


def _connected(config: Path, family: str, name: str) -> Any:
    """Return plug-in *name* of ``collectors.{family}s``, connected with its table of the settings."""
    plugin = plugins.load(f"collectors.{family}s", name)
    return plugin.connect(load(config, f"{family}.{name}", plugin.Settings))


def _engine(section: EngineSection) -> Feed[Any]:
    return Feed(f"{section.kind} {section.url}", Scraper(section).read, timedelta(seconds=section.period_s))
