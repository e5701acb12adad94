"""
An object store that speaks S3. The only place that knows `obstore` and `fsspec` (the extra ``s3``).

The bucket's address and credentials are those of every S3 program: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
``AWS_REGION``, ``AWS_ENDPOINT_URL`` for another service than Amazon's (with ``AWS_ALLOW_HTTP=true`` where it has no
TLS), or the machine's role. Polars reads the same variables by itself; DuckDB reads through `filesystem`, so that no
extension has to be fetched.

A PUT replaces an object whole, so nothing is renamed. What is appended to is replaced on condition that nobody else did
(If-Match, RFC 9110 §13.1.1); a store without conditional writes is refused at the first append.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.fsspec import FsspecStore
from obstore.store import S3Store

from pipeline.errors import EnvironmentProblem

SCHEME = "s3://"
#: So often another writer may come first before we say so.
APPEND_ATTEMPTS = 20


class Bucket:
    """A prefix in a bucket."""

    def __init__(self, location: str) -> None:
        self._location = location.rstrip("/")
        self._store = S3Store.from_url(self._location)

    def names(self, folder: str) -> list[str]:
        """Return the objects directly below *folder*."""
        with self._reached(folder):
            found = obstore.list_with_delimiter(self._store, folder or None)["objects"]
        return sorted(entry["path"].rpartition("/")[2] for entry in found)

    def folders(self, folder: str) -> list[str]:
        """Return the next parts of the names below *folder*."""
        with self._reached(folder):
            found = obstore.list_with_delimiter(self._store, folder or None)["common_prefixes"]
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found)

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        with self._reached(name):
            return bytes(obstore.get(self._store, name).bytes())

    def publish(self, name: str, content: bytes) -> None:
        """PUT."""
        with self._reached(name):
            obstore.put(self._store, name, content, use_multipart=False)

    def append(self, name: str, line: bytes) -> None:
        """Read, add and replace on condition that it is unchanged; again where somebody else was first."""
        for _ in range(APPEND_ATTEMPTS):
            try:
                with self._reached(name):
                    self._append(name, line)
            except (AlreadyExistsError, PreconditionError):
                continue
            return
        raise EnvironmentProblem(f"cannot append to {self._location}/{name}: others keep writing to it; start again")

    def _append(self, name: str, line: bytes) -> None:
        try:
            found = obstore.get(self._store, name)
        except (FileNotFoundError, NotFoundError):
            obstore.put(self._store, name, line, mode="create", use_multipart=False)
            return
        tag = found.meta["e_tag"]
        if tag is None:
            raise EnvironmentProblem(f"{self._location} has no conditional writes (no ETag); use another store")
        obstore.put(self._store, name, bytes(found.bytes()) + line, mode={"e_tag": tag}, use_multipart=False)

    def remove(self, name: str) -> None:
        """DELETE."""
        with self._reached(name):
            obstore.delete(self._store, name)

    def remove_folder(self, folder: str) -> None:
        """DELETE all objects below *folder*."""
        with self._reached(folder):
            for chunk in obstore.list(self._store, f"{folder}/"):
                obstore.delete(self._store, [entry["path"] for entry in chunk])

    def sweep(self, folder: str, machine_time: float) -> None:
        """Do nothing: an upload that was not finished is no object."""

    def address(self, pattern: str) -> str:
        """Return a URL."""
        return f"{self._location}/{pattern}"

    @contextmanager
    def _reached(self, name: str) -> Iterator[None]:
        """Turn what the store answers into an error that says what to do; absence and conflicts stay what they are."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except (FileNotFoundError, NotFoundError) as error:
            raise FileNotFoundError(f"{self._location}/{name}") from error
        except (BaseError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise EnvironmentProblem(
                f"cannot use {self._location}/{name} ({reason}); check the store and the AWS_ variables"
            ) from error


class _Filesystem(FsspecStore):
    """obstore's view of S3 for DuckDB, whose patterns come with their scheme."""

    cachable = False

    async def _glob(self, path: str, **options: Any) -> Any:
        return await super()._glob(path.removeprefix(SCHEME), **options)


def filesystem() -> Any:
    """Return what `duckdb.DuckDBPyConnection.register_filesystem` takes."""
    return _Filesystem("s3")
