"""Settings as TOML text. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec


def render(document: Mapping[str, Mapping[str, Any]]) -> str:
    """Return *document*, tables of plain values, as TOML; a JSON string, number or boolean is a TOML one too."""
    lines = []
    for section, settings in document.items():
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items()), ""]
    return "\n".join(lines)


def given(section: msgspec.Struct) -> dict[str, Any]:
    """Return what *section*, all of whose keys have defaults, says differently from them."""
    defaults = msgspec.structs.asdict(type(section)())
    return {name: value for name, value in msgspec.structs.asdict(section).items() if value != defaults[name]}


def table(name: str, section: msgspec.Struct) -> str:
    """Return *section* as the TOML table *name*."""
    return render({name: given(section)})
