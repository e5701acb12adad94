"""
The desk: a DuckDB file of nothing but documented views over the archive's Parquet files.

Any number of processes open it read-only while the archive grows: nobody writes to it, files appear by rename and never
change. It holds no data and can be built again at any time.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipeline import archive, files
from pipeline.archive_schemas import SCHEMAS
from pipeline.desk_views import VIEWS, View
from pipeline.errors import EnvironmentProblem

SOURCES_COMMENT = "The archived messages as they came, redeliveries included; the views in main take each of them once."


def build(desk: Path, folder: Path) -> None:
    """Write the file *desk* with its views over the archive in *folder*, replacing an older one in one step."""
    archive.prepare(folder)
    try:
        desk.parent.mkdir(parents=True, exist_ok=True)
        with files.draft(desk) as draft, duckdb.connect(str(draft)) as connection:
            for statement in statements(folder.resolve()):
                connection.execute(statement)
    except (OSError, duckdb.IOException) as error:
        raise EnvironmentProblem(f"cannot write {desk} ({error}); make room or fix the folder") from error


def statements(folder: Path) -> Iterator[str]:
    """Yield the SQL that makes the file."""
    yield "CREATE SCHEMA archive"
    for topic in SCHEMAS:
        source = f"archive.{source_name(topic)}"
        files = _text(str(folder / topic / "*.parquet"))
        # By name: files of an earlier version lack columns that came later.
        yield f"CREATE VIEW {source} AS SELECT * FROM read_parquet({files}, union_by_name = true)"  # noqa: S608 - our own names, quoted
        yield f"COMMENT ON VIEW {source} IS {_text(f'{topic}: {SOURCES_COMMENT}')}"
    for view in VIEWS:
        yield from _view(view)


def source_name(topic: str) -> str:
    """Return the name of a topic's source view: `site.capacity.v1` is `site_capacity`."""
    return "_".join(topic.split(".")[:-1]).replace("-", "_")


def _view(view: View) -> Iterator[str]:
    yield f"CREATE VIEW {view.name} AS {view.sql}"
    yield f"COMMENT ON VIEW {view.name} IS {_text(view.comment)}"
    for column, comment in view.columns.items():
        yield f"COMMENT ON COLUMN {view.name}.{column} IS {_text(comment)}"


def _text(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'"
