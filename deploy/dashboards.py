"""
The Grafana dashboard of the pipeline's workers, described here; ``python -m deploy.dashboards`` writes its file.

Grafana's dashboard model, schema version 39 (Grafana 11): a panel has a place on a grid 24 wide, a unit and queries.
The data source is chosen when the dashboard is opened.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files

FILE = Path(__file__).with_name("dashboards") / "firmwatt-pipeline.json"
SCHEMA = 39
WIDTH, HEIGHT, PER_ROW = 8, 7, 3
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Query:
    """One line, or one for each set of labels, of a panel."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A graph."""

    title: str
    unit: str
    """Grafana's name of the unit."""
    queries: tuple[Query, ...]
    about: str
    warn: float | None = None
    """Drawn red above this."""


def rate(metric: str, by: str) -> str:
    """Return the rate of a counter, summed by *by*."""
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


PANELS: tuple[Panel, ...] = (
    Panel(
        "Load of the sites",
        "watt",
        (Query("max by (site) (firmwatt_site_load_watts)", "{{site}}"),),
        "What hosts draw by the newest figure of each site.",
    ),
    Panel(
        "Age of ticks behind the figure",
        "s",
        (
            Query('max by (site) (firmwatt_site_tick_age_seconds{quantile="0.99"})', "{{site}} p99"),
            Query('max by (site) (firmwatt_site_tick_age_seconds{quantile="0.5"})', "{{site}} p50"),
        ),
        "Beyond 5 s a host is stale and its relief leaves the offer.",
        warn=2.0,
    ),
    Panel(
        "Age of the figure",
        "s",
        (Query("time() - max by (site) (firmwatt_site_figure_timestamp_seconds)", "{{site}}"),),
        "A site publishes every second.",
        warn=10.0,
    ),
    Panel(
        "GPU samples",
        "ops",
        (
            Query(rate("firmwatt_pipeline_gpu_samples_total", "instance"), "{{instance}}"),
            Query("sum(rate(firmwatt_pipeline_ticks_total[$__rate_interval]))", "host ticks"),
        ),
        "Taken in by each worker, and host ticks of all.",
    ),
    Panel(
        "Lag",
        "short",
        (Query("sum by (group) (firmwatt_pipeline_lag_records)", "{{group}}"),),
        "Records that wait, of all partitions of a group.",
    ),
    Panel(
        "Standing still",
        "s",
        (
            Query("max by (group, topic) (firmwatt_pipeline_stalled_seconds)", "{{group}} {{topic}}"),
            Query(
                "time() - min by (instance) (firmwatt_pipeline_published_timestamp_seconds)", "{{instance}} published"
            ),
        ),
        "For how long records waited and none was taken in, and since when a worker published nothing.",
        warn=150.0,
    ),
    Panel(
        "Partitions",
        "short",
        (
            Query("count by (instance) (firmwatt_pipeline_partition_offset_records)", "{{instance}} holds"),
            Query("sum by (instance) (firmwatt_pipeline_partition_replaying)", "{{instance}} replays"),
            Query("max(firmwatt_pipeline_partitions_expected)", "expected"),
            Query("min by (site) (firmwatt_site_partitions)", "{{site}} in the figure"),
            Query("sum(firmwatt_pipeline_ready)", "workers ready"),
            Query("count(firmwatt_pipeline_info)", "workers"),
        ),
        "Who holds telemetry partitions, and how many are in each site's figure.",
    ),
    Panel(
        "Hosts",
        "short",
        (
            Query("sum by (site) (firmwatt_pipeline_hosts)", "{{site}}"),
            Query("sum by (site) (firmwatt_pipeline_hosts_stale)", "{{site}} stale"),
            Query("sum by (site) (firmwatt_pipeline_hosts_skewed)", "{{site}} clock off by 1 s"),
            Query("sum by (site) (firmwatt_pipeline_hosts_quarantined)", "{{site}} quarantined"),
        ),
        "Stale and quarantined hosts are not sold.",
    ),
    Panel(
        "Sites of the portfolio",
        "short",
        (
            Query("max by (portfolio) (firmwatt_portfolio_sites)", "{{portfolio}}: sites in it"),
            Query("max by (portfolio, site) (firmwatt_portfolio_sites_missing)", "{{portfolio}}: {{site}} is missing"),
            Query("time() - max by (portfolio) (firmwatt_portfolio_figure_timestamp_seconds)", "{{portfolio}}: age, s"),
        ),
        "A site that is missing adds nothing to the sum.",
    ),
    Panel(
        "Ticks out of the ordinary",
        "ops",
        (
            Query(rate("firmwatt_pipeline_irregular_ticks_total", "reason"), "{{reason}}"),
            Query(rate("firmwatt_pipeline_passed_over_total", "reason"), "agents: {{reason}}"),
            Query("sum(rate(firmwatt_pipeline_rereads_total[$__rate_interval]))", "rereads"),
        ),
        "Redelivered ticks change nothing, filled ones close a hole; the others are in no figure.",
    ),
    Panel(
        "Intervals",
        "ops",
        (
            Query(rate("firmwatt_pipeline_intervals_total", "length"), "closed, {{length}} s"),
            Query(rate("firmwatt_pipeline_corrections_total", "length"), "corrections, {{length}} s"),
            Query(rate("firmwatt_pipeline_interval_missing_ticks_total", "length"), "missing ticks, {{length}} s"),
            Query("sum(firmwatt_pipeline_open_intervals)", "open"),
        ),
        "A correction makes a new revision.",
    ),
    Panel(
        "State",
        "bytes",
        (Query("sum by (instance) (firmwatt_pipeline_state_bytes)", "{{instance}}"),),
        "What the next owner of the partitions begins with.",
    ),
    Panel(
        "Age of the state",
        "s",
        (Query("time() - min by (instance) (firmwatt_pipeline_state_saved_timestamp_seconds)", "{{instance}}"),),
        "Saved every 10 s while ticks come; what is younger is read again after a death.",
        warn=60.0,
    ),
    Panel(
        "Rebalances and ends",
        "short",
        (
            Query("sum by (group, change) (increase(firmwatt_pipeline_rebalances_total[15m]))", "{{group}} {{change}}"),
            Query("sum by (reason) (increase(firmwatt_pipeline_ends_total[15m]))", "ended: {{reason}}"),
            Query("sum(increase(firmwatt_pipeline_kafka_errors_total[15m]))", "errors of Kafka's client"),
        ),
        "In the last quarter of an hour.",
    ),
    Panel(
        "Archive",
        "Bps",
        (
            Query(rate("firmwatt_archive_bytes_total", "topic"), "{{topic}}"),
            Query("sum(rate(firmwatt_archive_rows_total[$__rate_interval]))", "rows/s"),
            Query("sum(rate(firmwatt_archive_files_total[$__rate_interval]))", "files/s"),
            Query("time() - max(firmwatt_archive_written_timestamp_seconds)", "s since the last file"),
        ),
        "What is published as Parquet.",
    ),
    Panel(
        "Archive's disk, free",
        "percentunit",
        (Query("min by (instance) (firmwatt_archive_free_bytes / firmwatt_archive_size_bytes)", "{{instance}}"),),
        "A full disk ends the worker; nothing is lost.",
    ),
    Panel(
        "Memory",
        "bytes",
        (Query("process_resident_memory_bytes and on (instance) firmwatt_pipeline_info", "{{instance}}"),),
        "Of each worker.",
    ),
    Panel(
        "Processors",
        "short",
        (
            Query(
                "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) firmwatt_pipeline_info",
                "{{instance}}",
            ),
        ),
        "Cores that each worker uses.",
    ),
    Panel(
        "Brokers",
        "short",
        (
            Query("sum(kafka_server_replicamanager_underreplicatedpartitions)", "under-replicated"),
            Query("sum(kafka_server_replicamanager_underminisrpartitioncount)", "take no writes"),
            Query("sum(kafka_controller_kafkacontroller_offlinepartitionscount)", "without leader"),
        ),
        "Partitions; as Strimzi's exporters tell of them.",
        warn=1.0,
    ),
)


def pipeline() -> dict[str, Any]:
    """Return the dashboard. Pure."""
    return {
        "uid": "firmwatt-pipeline",
        "title": "firmwatt: pipeline",
        "tags": ["firmwatt"],
        "schemaVersion": SCHEMA,
        "timezone": "utc",
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": "red", "value": panel.warn}] if panel.warn is not None else []
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": number % PER_ROW * WIDTH, "y": number // PER_ROW * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "line" if panel.warn is not None else "off"}},
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "expr": query.expression,
                "legendFormat": query.legend,
                "datasource": SOURCE,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def main() -> int:
    """Write the dashboard's file."""
    FILE.parent.mkdir(exist_ok=True)
    files.replace(FILE, f"{json.dumps(pipeline(), indent=2)}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
