"""`firmwatt collect list`: the GPUs of this host as they are now, and what could be configured."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from collectors import Place, Reading, Source, SourceError
from pipeline import plugins
from pipeline.clock import Clock
from pipeline.messages.telemetry import GpuSample

FAMILIES = {"sources": "collectors.sources", "mappings": "collectors.mappings", "engines": "collectors.engines"}


def show(config: Path | None, *, as_json: bool) -> int:
    """Print every GPU with its figures, then the plug-ins; a source that does not answer is said, not fatal."""
    sources = _sources(config)
    readings: dict[str, Reading] = {}
    troubles: list[str] = []
    for name, source in sources.items():
        try:
            readings[name] = source.read(Clock().now())
        except SourceError as error:
            troubles.append(f"{name}: {error}")
        finally:
            source.close()
    rows = [row(name, gpu, reading.places) for name, reading in readings.items() for gpu in reading.gpus]
    meters = [
        {"source": name, "meter": meter.meter, "covers": str(meter.covers), "power_w": meter.power_w}
        for name, reading in readings.items()
        for meter in reading.meters
    ]
    have = {family: plugins.available(package) for family, package in FAMILIES.items()}
    if as_json:
        document = {"gpus": rows, "meters": meters, "troubles": troubles, "available": have}
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    else:
        sys.stdout.write(text(rows, meters, troubles, have))
    return 0


def row(source: str, gpu: GpuSample, places: tuple[Place, ...]) -> dict[str, Any]:
    """Return one GPU as a row. Pure."""
    place = next((place for place in places if place.uuid == gpu.uuid), None)
    return {
        "index": place.index if place else None,
        "uuid": gpu.uuid,
        "model": gpu.model,
        "power_w": gpu.power_w,
        "limit_w": gpu.enforced_w,
        "temperature_c": gpu.temperature_c,
        "mig": list(gpu.mig),
        "source": source,
        "quality": [str(mark) for mark in gpu.quality],
    }


def text(
    gpus: list[dict[str, Any]], meters: list[dict[str, Any]], troubles: list[str], have: Mapping[str, list[str]]
) -> str:
    """Return the listing for people. Pure."""
    lines = [_line(gpu) for gpu in gpus] or ["no GPU"]
    lines += [f"meter {meter['meter']} ({meter['covers']}): {_w(meter['power_w'])}" for meter in meters]
    lines += [f"no answer: {trouble}" for trouble in troubles]
    lines += ["", *(f"{family:<9} {', '.join(names)}" for family, names in have.items())]
    return "\n".join(lines) + "\n"


def _line(gpu: dict[str, Any]) -> str:
    index = "-" if gpu["index"] is None else gpu["index"]
    mig = f", {len(gpu['mig'])} MIG instances" if gpu["mig"] else ""
    marks = f" [{', '.join(gpu['quality'])}]" if gpu["quality"] else ""
    return f"{index:>2}  {gpu['uuid']}  {gpu['model']}  {_w(gpu['power_w'])} of {_w(gpu['limit_w'])}{mig}{marks}"


def _w(power_w: float | None) -> str:
    return "unknown" if power_w is None else f"{power_w:.0f} W"


def _sources(config: Path | None) -> Mapping[str, Source]:
    if config is not None:
        from collectors.build import collector

        return collector(config).sources
    nvml = plugins.load("collectors.sources", "nvml")
    return {"nvml": nvml.connect(nvml.Settings())}
