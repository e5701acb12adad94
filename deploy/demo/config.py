"""The settings of one run: a TOML file that every process reads. Text out of values; only `write` touches disk."""

import base64
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy import toml
from deploy.demo import realhost
from deploy.demo.plan import GATE_CLOSURE, INTERVAL, NOTICE, ORIGIN, Options
from deploy.fleet.settings import FleetSettings
from pipeline import files
from pipeline.clock import Clock
from pipeline.settings import Kafka

SITE = "demo-site"
RESOURCE = "demo-resource"
KEY_ID = "demo-1"
RECOVER_S = 5
"""Of the clock: with two steps from HALTED the gate is open before the evidence for an offer is complete."""


@dataclass
class Layout:
    """Where everything of a run is, and what is known of it so far."""

    folder: Path
    kafka: Kafka
    options: Options
    clock: Clock | None = None
    venue_url: str | None = None
    first_interval: datetime = ORIGIN

    @property
    def path(self) -> Path:
        """The settings file."""
        return self.folder / "firmwatt.toml"

    @property
    def archive(self) -> Path:
        """The Parquet archive."""
        return self.folder / "archive"

    @property
    def desk(self) -> Path:
        """What market desks open."""
        return self.folder / "desk.duckdb"

    @property
    def key(self) -> Path:
        """The dispatcher's private key."""
        return self.folder / "dispatch.key"

    @property
    def keyring(self) -> Path:
        """The public keys that hosts obey."""
        return self.folder / "keyring.toml"

    @property
    def mapping(self) -> Path:
        """Whose GPU is whose on the real host."""
        return self.folder / "mapping.toml"

    def write(self) -> None:
        """Put what is known now on disk, whole or not at all."""
        files.replace(self.path, toml.render(sections(self)).encode())


def fleet_settings(layout: Layout) -> FleetSettings:
    """Return the fleet's section."""
    options = layout.options
    return FleetSettings(
        hosts=options.hosts,
        seed=options.seed,
        trace=str(options.trace.absolute()) if options.trace else "",
        keyring=str(layout.keyring),
        summary=str(layout.folder / "fleet.json"),
    )


def sections(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return every section of the settings file. Pure."""
    fleet, options = fleet_settings(layout), layout.options
    return {
        "kafka": toml.given(layout.kafka),
        "clock": {"word": str(layout.clock) if layout.clock else ""},
        "site": {"name": SITE, "interval_s": int(INTERVAL.total_seconds())},
        "pipeline": {
            "archive": str(layout.archive),
            "desk": str(layout.desk),
            "session_timeout_s": 4.0,
            "data": str(layout.folder / "faust"),
        },
        "fleet": {name: getattr(fleet, name) for name in ("hosts", "seed", "trace", "keyring", "summary")},
        "collector": {
            "host": realhost.HOST,
            "spool": str(layout.folder / "collector"),
            "listen": "",
            "simulated": True,
        },
        "mapping.static": {"file": str(layout.mapping)},
        "actuator": {
            "host": realhost.HOST,
            "keyring": str(layout.keyring),
            "journal": str(layout.folder / "actuator.journal"),
            "simulated": True,
        },
        # A market cut to the size of the fleet, so that a small demo has something to sell.
        "sandbox": {
            "seed": options.seed,
            "journal": str(layout.folder / "venue.journal"),
            "lose_replies": options.lose_replies,
            "fault_queries": options.lose_replies > 0,
            "interval_s": int(INTERVAL.total_seconds()),
            "gate_closure_s": int(GATE_CLOSURE.total_seconds()),
            "notice_s": int(NOTICE.total_seconds()),
            "block_mw": "0.001",
            "min_mw": "0.005",
        },
        "bidding": {
            "resource": RESOURCE,
            "journal": str(layout.folder / "bidding.journal"),
            "archive": str(layout.archive),
            "summary": str(layout.folder / "bidding.json"),
            "key_file": str(layout.key),
            "key_id": KEY_ID,
            "first_interval_start": layout.first_interval.isoformat(),
            "intervals": options.minutes,
            "stop_after_settlement": True,
        },
        "bidding.quality": {"recover_s": RECOVER_S},
        "venue.sandbox": {"url": layout.venue_url or ""},
    }


def keyring(public_key: bytes) -> str:
    """Return the file of public keys that hosts read. Pure."""
    return f'{KEY_ID} = "{base64.b64encode(public_key).decode()}"\n'
