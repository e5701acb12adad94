"""
What nvidia-smi prints as text: ``-q``, ``--query-gpu=… --format=csv`` and ``-L``, alone or many in one file.

Sessions of nvidia_gpu_exporter's capture script name the state before each command (``# idle :: query (-q)``, then
``# load :: …``): all that is printed in one state is one snapshot, and what is printed later there is fresher. Without
such headings a new snapshot begins where a GPU comes again, as it does with ``-l``. Help texts, process tables,
``dmon`` and the summary table, whose watts are rounded and whose GPUs have no UUID, are passed over.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from collectors.captures import smi_log, smi_rows
from collectors.captures.quantities import gpu_uuid, words
from collectors.captures.values import Capture, CaptureError, Format, Gpu, MigInstance, Snapshot, completed

_HEADING = re.compile(r"# (\w+) :: ")
_NO_STATE = "capabilities"
_LISTED = re.compile(r"GPU (\d{1,9}): (.+) \(UUID: (\S+)\)\s*$", re.ASCII)
_LISTED_MIG = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-\S+)\)\s*$")


class Reading(NamedTuple):
    """One GPU as one command printed it."""

    gpu: Gpu
    taken_at: str | None
    driver: str | None


def read(text: str) -> Capture:
    """Return the snapshots of *text*; `CaptureError` if nothing in it describes a GPU."""
    kept, _, rest = text.rpartition("\n")  # nvidia-smi ends every line: one without an end was cut short
    chunks = list(_chunks(kept.split("\n")))
    readings = [(chunk.state, reading) for chunk in chunks for reading in _readings(chunk)]
    listed = [gpu for chunk in chunks if chunk.kind == "list" for gpu in _listed(chunk.lines)]
    snapshots = _snapshots(readings) or ([Snapshot(name="1", gpus=tuple(listed))] if listed else [])
    if not snapshots:
        raise CaptureError(
            "holds no GPU: save `nvidia-smi -q -x`, `nvidia-smi -q`, the page of a GPU exporter, or "
            "`nvidia-smi --query-gpu=uuid,name,power.draw,enforced.power.limit --format=csv` with its header"
        )
    return Capture(
        format=Format.TEXT,
        driver=next((reading.driver for _, reading in reversed(readings) if reading.driver), None),
        snapshots=tuple(
            replace(snapshot, gpus=tuple(completed(gpu, listed) for gpu in snapshot.gpus)) for snapshot in snapshots
        ),
        notes=("truncated: the last line, which has no end, is left out",) if rest.strip() else (),
        is_cut=bool(rest.strip()),
    )


@dataclass
class _Chunk:
    """Lines of one command's output, and the state the machine was said to be in."""

    state: str = ""
    kind: Literal["log", "rows", "list", "other"] = "other"
    lines: list[str] = field(default_factory=list)

    def next_at(self, line: str) -> "_Chunk | None":
        """Return the chunk that begins with *line*, None if it belongs to this one."""
        if heading := _HEADING.match(line):
            return _Chunk("" if heading[1] == _NO_STATE else heading[1])
        if smi_log.begins(line) or (self.kind != "log" and smi_log.begins_gpu(line)):
            return _Chunk(self.state, "log")
        if smi_rows.columns_of(line):
            return _Chunk(self.state, "rows")
        if self.kind != "list" and _LISTED.match(line):
            return _Chunk(self.state, "list")
        return None


def _chunks(lines: Iterable[str]) -> Iterator[_Chunk]:
    chunk = _Chunk()
    for line in lines:
        if (following := chunk.next_at(line)) is not None:
            yield chunk
            chunk = following
        chunk.lines.append(line)
    yield chunk


def _readings(chunk: _Chunk) -> Iterator[Reading]:
    if chunk.kind == "log":
        log = smi_log.parse(chunk.lines)
        yield from (Reading(gpu, log.taken_at, log.driver) for gpu in log.gpus)
    elif chunk.kind == "rows":
        yield from (Reading(row.gpu, row.taken_at, row.driver) for row in smi_rows.parse(chunk.lines))


def _snapshots(readings: Iterable[tuple[str, Reading]]) -> list[Snapshot]:
    """Return what was printed of each state, or between two readings of one GPU, put together."""
    snapshots: dict[str, Snapshot] = {}
    count = 0
    for state, reading in readings:
        current = snapshots.get(state or str(count))
        if not state and (current is None or any(gpu.is_same(reading.gpu) for gpu in current.gpus)):
            count += 1
            current = None
        name = state or str(count)
        snapshots[name] = _with(current or Snapshot(name=name, gpus=()), reading)
    return list(snapshots.values())


def _with(snapshot: Snapshot, reading: Reading) -> Snapshot:
    """Return *snapshot* with what *reading* knows of its GPU."""
    gpus = list(snapshot.gpus)
    for place, gpu in enumerate(gpus):
        if gpu.is_same(reading.gpu):
            gpus[place] = gpu.updated(reading.gpu)
            break
    else:
        gpus.append(reading.gpu)
    return replace(snapshot, gpus=tuple(gpus), taken_at=reading.taken_at or snapshot.taken_at)


def _listed(lines: Iterable[str]) -> Iterator[Gpu]:
    """Return the GPUs that ``nvidia-smi -L`` names with their MIG instances."""
    gpu: Gpu | None = None
    for line in lines:
        if match := _LISTED.match(line):
            if gpu is not None:
                yield gpu
            gpu = Gpu(index=int(match[1]), name=words(match[2]), uuid=gpu_uuid(match[3]))
        elif gpu is not None and (match := _LISTED_MIG.match(line)):
            instance = MigInstance(profile=match[1], uuid=match[2])
            gpu = gpu.updated(Gpu(mig=True, mig_instances=(*gpu.mig_instances, instance)))
    if gpu is not None:
        yield gpu
