"""``[pipeline]``: where the worker keeps things and what its consumer groups are called."""

from pathlib import Path
from typing import Annotated

import msgspec

from pipeline.settings import Section


class Pipeline(Section, frozen=True, kw_only=True):
    """Paths are relative to the working directory unless absolute."""

    archive: str = "archive"
    """Folder of Parquet files, one subfolder a topic."""
    desk: str = "desk.duckdb"
    group: str = "firmwatt"
    """Prefix of the consumer groups, and the Faust application's id."""
    replication: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Of topics that have to be created; 3 on a real cluster."""
    session_timeout_s: Annotated[float, msgspec.Meta(ge=1)] = 6.0
    """A worker silent for this long is taken to be dead. Kafka's own lower bound is 6 s."""
    data: str = ".firmwatt/pipeline"
    """Faust's scratch folder; nothing in it must survive."""

    @property
    def archive_path(self) -> Path:
        """Where the Parquet files are."""
        return Path(self.archive)

    @property
    def desk_path(self) -> Path:
        """The file market desks open."""
        return Path(self.desk)


def membership(group: str, session_timeout_s: float) -> dict[str, str | int]:
    """Return aiokafka's options for a member of *group* that is noticed when it dies."""
    session_ms = round(session_timeout_s * 1000)
    return {"group_id": group, "session_timeout_ms": session_ms, "heartbeat_interval_ms": session_ms // 4}
