"""
The desk: a DuckDB file of nothing but documented views over the archive's Parquet files.

Any number of processes open it read-only while the archive grows: nobody writes to it, files appear by rename and never
change. It holds no data and can be built again at any time.

Files of one generation of a schema have equal columns, so a view reads each generation by its first file's columns, the
schema file's, and opens of the others only those that a query's days and sites name. Asking DuckDB to match all files
by name (`union_by_name`) would open every one of them for every query.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipeline import archive, files
from pipeline.archive_places import FILING, NO_DAY, Place, parse
from pipeline.archive_schemas import SCHEMAS, generation
from pipeline.desk_view import View
from pipeline.desk_views import VIEWS
from pipeline.errors import EnvironmentProblem
from pipeline.storage import SCHEME, Storage

SOURCES_COMMENT = (
    "The archived messages as they lie in its files: redelivered ones, and those of files that are being merged, are "
    "there more than once. The views in main take each once. Filter by day and site to open few files."
)


def build(desk: Path, storage: Storage) -> None:
    """Write the file *desk* with its views over the archive in *storage*, replacing an older one in one step."""
    archive.prepare(storage)
    try:
        desk.parent.mkdir(parents=True, exist_ok=True)
        with files.draft(desk) as draft, connect(draft, storage) as connection:
            for statement in statements(storage):
                connection.execute(statement)
    except (OSError, duckdb.IOException) as error:
        raise EnvironmentProblem(f"cannot write {desk} ({error}); make room or fix the folder") from error


def connect(desk: Path, storage: Storage | None = None, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open *desk*; with a way to the object store where its views read from one, which is looked up unless given."""
    connection = duckdb.connect(str(desk), read_only=read_only)
    remote = storage.address("").startswith(SCHEME) if storage else _is_remote(connection)
    if remote:
        from pipeline.storage_s3 import filesystem

        connection.register_filesystem(filesystem())
    return connection


def _is_remote(connection: duckdb.DuckDBPyConnection) -> bool:
    found = connection.execute("SELECT count(*) FROM duckdb_views() WHERE contains(sql, ?)", [f"'{SCHEME}"]).fetchone()
    return bool(found and found[0])


def statements(storage: Storage) -> Iterator[str]:
    """Yield the SQL that makes the file."""
    yield "CREATE SCHEMA archive"
    for topic in SCHEMAS:
        source = f"archive.{source_name(topic)}"
        yield f"CREATE VIEW {source} AS {_source(topic, storage)}"
        yield f"COMMENT ON VIEW {source} IS {_text(f'{topic}: {SOURCES_COMMENT}')}"
    for view in VIEWS:
        yield from _view(view)


def _source(topic: str, storage: Storage) -> str:
    columns = "*" if FILING[topic].site else "* EXCLUDE (site)"
    return " UNION ALL BY NAME ".join(
        f"SELECT {columns} FROM read_parquet({_text(storage.address(f'{topic}/day=*/site=*/*-{one}.parquet'))}, "  # noqa: S608 - our own names, quoted
        "hive_partitioning = true, hive_types = {'day': DATE, 'site': VARCHAR})"
        for one in generations(topic, storage)
    )


def generations(topic: str, storage: Storage) -> list[str]:
    """Return the generations of the topic's files, the present one first: its columns come first."""
    found = [parse(name) for name in storage.names(Place(topic, NO_DAY, "").folder)]
    present = generation(SCHEMAS[topic])
    others = sorted({name.generation for name in found if name and name.is_schema} - {present})
    return [present, *others]


def source_name(topic: str) -> str:
    """Return the name of a topic's source view: `site.capacity.v1` is `site_capacity`."""
    return "_".join(topic.split(".")[:-1]).replace("-", "_")


def _view(view: View) -> Iterator[str]:
    yield f"CREATE VIEW {view.name} AS {view.sql}"
    yield f"COMMENT ON VIEW {view.name} IS {_text(view.comment)}"
    for column, comment in view.columns.items():
        yield f'COMMENT ON COLUMN {view.name}."{column}" IS {_text(comment)}'


def _text(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'"
