"""The plug-ins that a settings file names, each with its own table: how collector and actuator come by theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.errors import ConfigError
from pipeline.settings import check_tables, load, names_in, placed


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
