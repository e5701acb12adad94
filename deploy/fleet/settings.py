"""Settings of the simulated fleet: ``[fleet]``."""

from typing import Annotated

import msgspec

from pipeline.settings import Positive, Section


class FleetSettings(Section, frozen=True, kw_only=True):
    """``[fleet]``: how many hosts, doing what, on whose command."""

    hosts: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 200
    gpus_per_host: Annotated[int, msgspec.Meta(ge=4, le=16, multiple_of=4)] = 8
    """A multiple of four: one engine of the interactive pool spans four GPUs."""
    seed: int = 7
    """Same seed, same fleet: layout, days, noise."""
    trace: str = ""
    """A real demand trace to replay (`deploy.fleet.traces`); empty: the synthetic daily curve."""
    keyring: str = ""
    """File of the dispatchers' public keys; empty: every command is refused."""
    summary: str = ""
    """Where to write what was produced when the process stops; empty: nowhere."""
    patience_s: Positive = 15.0
    """Kafka is given up when a tick is not acknowledged for this long, seconds of the machine."""
