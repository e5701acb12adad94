"""Logs for machines."""

import json
import logging
from datetime import UTC, datetime

from collectors.process import Changes, JsonLines


def line(message: str, *arguments: object, **fields: object) -> dict[str, object]:
    """Return what one log call writes."""
    record = logging.getLogger("collectors.test").makeRecord(
        "collectors.test", logging.WARNING, __file__, 1, message, arguments, None, extra=fields
    )
    record.created = datetime(2026, 7, 23, 12, tzinfo=UTC).timestamp()
    document: dict[str, object] = json.loads(JsonLines().format(record))
    return document


def test_a_line_is_one_object_with_the_fields_that_came_with_it() -> None:
    assert line("%d ticks dropped", 3, dropped=3, spool="/var/lib/x") == {
        "at": "2026-07-23T12:00:00.000+00:00",
        "level": "warning",
        "from": "collectors.test",
        "event": "3 ticks dropped",
        "dropped": 3,
        "spool": "/var/lib/x",
    }


def test_a_field_of_any_type_can_be_written() -> None:
    assert line("x", error=ValueError("no"))["error"] == "no"


def test_trouble_is_said_once_and_its_end_once() -> None:
    said: list[str] = []
    log = logging.getLogger("collectors.test.changes")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(Collecting(said))
    changes = Changes(log)

    for trouble in (None, "unplugged", "unplugged", "unplugged", None, None):
        changes.note("nvml", trouble)

    assert said == ["nvml: unplugged", "nvml: well again"]


class Collecting(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.said.append(record.getMessage())
