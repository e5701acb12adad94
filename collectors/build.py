"""A collector put together from its settings file. Nothing is measured, asked or opened yet."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from collectors import plugged, settings
from collectors.feeds import Feed
from collectors.runner import Collector, Identity
from collectors.scrape import EngineSection, Scraper
from collectors.tokens import TokenBoard
from pipeline.errors import ConfigError
from pipeline.settings import ClockSection, Site, load, load_each, placed


def collector(config: Path, host: str = "") -> Collector:
    """Return the collector that *config* describes; `ConfigError`, with file and line, for whatever cannot work."""
    plugged.check(config)
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
        sources=plugged.connected(config, "collector", "source", section.sources),
        mappings=plugged.connected(config, "collector", "mapping", section.mappings),
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


def _engine(config: Path, number: int, section: EngineSection) -> Feed[Any]:
    with placed(config, "engine", number):
        scraper = Scraper(section)
    return Feed(f"{section.kind} {section.url}", scraper.read, timedelta(seconds=section.period_s))
