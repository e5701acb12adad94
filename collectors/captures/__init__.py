"""
What operators already have, read back: ``nvidia-smi -q -x``, its text and CSV, whole sessions, exporters' pages.

A capture is a file of somebody else's: whatever is in it, the answer is a `Capture` or a one-line `CaptureError`. Each
format is a file here; all of them end in the same values, and a MIG GPU, a superchip's module or a page's many series
are one GPU, counted once.
"""

import codecs
from dataclasses import replace

from collectors import PLAUSIBLE_SHARE
from collectors.captures import exporter, session, smi_xml
from collectors.captures.values import Capture, CaptureError, Snapshot, believable

LIMIT_B = 64 * 2**20
"""Largest capture, bytes: 300 logs of ``nvidia-smi -q -x`` of 8 GPUs, or a day of their CSV at a row a second."""

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",  # what `>` of Windows PowerShell writes
    codecs.BOM_UTF16_BE: "utf-16",
}


def read(content: bytes) -> Capture:
    """Return what *content* says, implausible draws withheld and noted; `CaptureError` if no GPU is in it."""
    text = _decoded(content)
    if (begin := smi_xml.begins_at(text)) is not None:
        capture = smi_xml.read(text[begin:])
    elif exporter.recognises(text):
        capture = exporter.read(text)
    else:
        capture = session.read(text)
    return _withheld(capture)


def chosen(capture: Capture, wanted: str | None) -> Snapshot:
    """Return the snapshot called *wanted*, or with that number from 1; the newest if nothing is wanted."""
    if wanted is None:
        return capture.newest
    numbered = {str(number): snapshot for number, snapshot in enumerate(capture.snapshots, start=1)}
    named = {snapshot.name: snapshot for snapshot in capture.snapshots}
    if (snapshot := (numbered | named).get(wanted)) is None:
        have = list(named) if len(named) <= 8 else [*list(named)[:3], "…", list(named)[-1]]  # noqa: PLR2004 - one line
        raise CaptureError(f"has no snapshot {wanted!r}; have {', '.join(have)}")
    return snapshot


def _decoded(content: bytes) -> str:
    if len(content) > LIMIT_B:
        raise CaptureError(f"is larger than {LIMIT_B // 2**20} MB: save one query, or split it")
    if not content.strip():
        raise CaptureError("is empty")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    text = content.decode(encoding, errors="replace")
    if "\0" in text:
        raise CaptureError("is not text")
    return text


def _withheld(capture: Capture) -> Capture:
    """Return *capture* without draws that no such board can have."""
    snapshots = tuple(
        replace(snapshot, gpus=tuple(believable(gpu) for gpu in snapshot.gpus)) for snapshot in capture.snapshots
    )
    changed = sum(
        kept != gpu
        for believed, snapshot in zip(snapshots, capture.snapshots, strict=True)
        for kept, gpu in zip(believed.gpus, snapshot.gpus, strict=True)
    )
    if not changed:
        return capture
    note = f"implausible draws, above {PLAUSIBLE_SHARE} × the board's maximum limit, are left out: of {changed} GPUs"
    return replace(capture, snapshots=snapshots, notes=(*capture.notes, note))
