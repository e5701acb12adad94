"""A capture as others read it: one JSON document, or a table for people."""

from collections.abc import Sequence

import msgspec

from collectors.captures.values import Capture, Format, Gpu, Snapshot, Totals


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the file and its sums."""

    name: str
    taken_at: str | None
    totals: Totals


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints: the GPUs of one snapshot, and which others there are."""

    gpus: tuple[Gpu, ...]
    totals: Totals
    driver: str | None
    format: Format
    snapshot: str
    taken_at: str | None
    snapshots: tuple[Moment, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, capture: Capture, snapshot: Snapshot) -> "Report":
        """Return the report on *snapshot* of *capture*."""
        return cls(
            gpus=snapshot.gpus,
            totals=Totals.of(snapshot.gpus),
            driver=capture.driver,
            format=capture.format,
            snapshot=snapshot.name,
            taken_at=snapshot.taken_at,
            snapshots=tuple(
                Moment(name=each.name, taken_at=each.taken_at, totals=Totals.of(each.gpus))
                for each in capture.snapshots
            ),
            notes=notes(capture, snapshot),
        )


def notes(capture: Capture, snapshot: Snapshot) -> tuple[str, ...]:
    """Return what a reader of *snapshot* should know."""
    others = [each.name for each in capture.snapshots if each is not snapshot]
    choice = (
        f"shown is snapshot {snapshot.name}, one of {len(others) + 1}; --snapshot shows another" if others else None
    )
    modules = sum(gpu.power_w is None and gpu.module_w is not None for gpu in snapshot.gpus)
    scope = f"GPUs with a draw of their module alone: {modules}; it is in module_w and in no sum" if modules else None
    return (*capture.notes, *filter(None, (choice, scope)))


def as_json(capture: Capture, snapshot: Snapshot) -> str:
    """Return the report as one line of JSON; what is not known is null."""
    return msgspec.json.encode(Report.of(capture, snapshot)).decode()


def as_table(snapshot: Snapshot) -> str:
    """Return the GPUs and their sums, one a line; what is not known is a dash."""
    rows = [("gpu", "name", "power W", "limit W", "energy kWh", "MIG"), *(_row(gpu) for gpu in snapshot.gpus)]
    totals = Totals.of(snapshot.gpus)
    figures = (totals.power_w, totals.limit_w, totals.energy_j)
    rows.append((f"{totals.gpus} GPUs", _gaps(totals), *_figures(*figures), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _row(gpu: Gpu) -> tuple[str, ...]:
    mig = {True: f"on, {len(gpu.mig_instances)}", False: "off", None: "-"}[gpu.mig]
    identity = gpu.uuid or gpu.pci_bus_id or "-"
    return (identity, gpu.name or "-", *_figures(gpu.power_w, gpu.limit_w, gpu.energy_j), mig)


def _figures(power_w: float | None, limit_w: float | None, energy_j: float | None) -> tuple[str, str, str]:
    energy_kwh = None if energy_j is None else energy_j / 3.6e6
    return (
        "-" if power_w is None else f"{power_w:.2f}",
        "-" if limit_w is None else f"{limit_w:.2f}",
        "-" if energy_kwh is None else f"{energy_kwh:.3f}",
    )


def _gaps(totals: Totals) -> str:
    return f"power of {totals.gpus_without_power} not known" if totals.gpus_without_power else ""


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line, words to the left and figures to the right."""
    cells = (
        cell.rjust(width) if column in (2, 3, 4) else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()
