"""Plug-ins without a registry: the file name is the plug-in name."""

import importlib
import pkgutil
from types import ModuleType

from pipeline.errors import UnknownPluginError


def available(package: str) -> list[str]:
    """Return the names of the plug-ins in *package*, sorted; nothing of them is imported."""
    path = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """Import plug-in *name* of *package*; raise `UnknownPluginError` that lists what there is."""
    if name not in (have := available(package)):
        raise UnknownPluginError(package, name, have)
    return importlib.import_module(f"{package}.{name}")
