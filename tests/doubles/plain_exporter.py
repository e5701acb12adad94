"""
The reference to beat: a scrape loop as one would write it first, in plain Python.

    python plain_exporter.py SECONDS PERIOD_S ENGINE_URL

Every period it asks NVML one call a figure and renders all as Prometheus text; every second it fetches the engine's
page and parses all of it: what dcgm-exporter does for GPUs and a scraper for engines, in one process. It stores and
sends nothing.
"""

import sys
import time
import urllib.request

import pynvml
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

PAGE_PERIOD_S = 1.0

FIGURES = {
    "power": pynvml.nvmlDeviceGetPowerUsage,
    "energy": pynvml.nvmlDeviceGetTotalEnergyConsumption,
    "limit": pynvml.nvmlDeviceGetEnforcedPowerLimit,
    "reasons": pynvml.nvmlDeviceGetCurrentClocksEventReasons,
    "temperature": lambda handle: pynvml.nvmlDeviceGetTemperature(handle, 0),
    "utilization": lambda handle: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    "sm_clock": lambda handle: pynvml.nvmlDeviceGetClockInfo(handle, 1),
}


def main(seconds: float, period_s: float, url: str) -> None:
    """Scrape every *period_s* for *seconds*."""
    pynvml.nvmlInit()
    gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    registry = CollectorRegistry()
    gauges = {name: Gauge(f"gpu_{name}", name, ["uuid"], registry=registry) for name in FIGURES}
    end = time.monotonic() + seconds
    due = page_due = time.monotonic()
    while due < end:
        for gpu in gpus:
            uuid = pynvml.nvmlDeviceGetUUID(gpu)
            for name, read in FIGURES.items():
                gauges[name].labels(uuid).set(read(gpu))
        generate_latest(registry)
        if due >= page_due:
            page_due += PAGE_PERIOD_S
            with urllib.request.urlopen(url, timeout=5) as page:
                list(text_string_to_metric_families(page.read().decode()))
        due += period_s
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
