"""`firmwatt pipeline plan`: partitions, workers, disk, network, memory and archive for a number of hosts."""

import argparse

import msgspec

from pipeline.errors import ConfigError
from pipeline.plan import Plan, plan
from pipeline.tables import columns


def main(argv: list[str]) -> int:
    """Print the plan."""
    parser = argparse.ArgumentParser(prog="firmwatt pipeline plan", description=__doc__)
    parser.add_argument("--hosts", type=int, required=True, help="that tick once a second")
    parser.add_argument("--gpus", type=int, default=8, help="of each host (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    try:
        found = plan(options.hosts, options.gpus)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    text = msgspec.json.encode(found).decode() if options.json else "\n".join(columns(*rows(found)))
    print(text)  # noqa: T201 - a command line talks
    return 0


def rows(found: Plan) -> list[tuple[str, str]]:
    """Return the plan as lines a person reads. Pure."""
    fewest_b, most_b = found.archive_ticks_b_per_day
    return [
        ("hosts × GPUs", f"{found.hosts:,} × {found.gpus}"),
        ("GPU samples a second", f"{found.samples_per_s:,}"),
        ("telemetry_partitions", f"{found.partitions}"),
        ("workers", f"{found.workers}, one of which may be missing"),
        ("cores of each worker", f"{found.cores_per_worker:g}"),
        ("memory of each worker", f"{found.memory_b_per_worker / 1e6:,.0f} MB"),
        ("from hosts to Kafka", f"{found.wire_b_per_s / 1e6:,.1f} MB/s"),
        ("for each GPU-hour", f"{found.wire_b_per_gpu_hour / 1e6:.2f} MB"),
        ("network of all brokers", f"{found.broker_network_b_per_s / 1e6:,.1f} MB/s"),
        ("disk of each of 3 brokers", f"{found.broker_disk_b / 1e12:,.2f} TB for two days of ticks"),
        ("rollup state", f"{found.state_b / 1e6:,.1f} MB"),
        ("archive, a day", f"{found.archive_b_per_day / 1e9:,.2f} GB"),
        ("with archive_telemetry", f"{fewest_b / 1e9:,.1f} to {most_b / 1e9:,.1f} GB more"),
    ]
