"""
``nvidia-smi -q -x``: XML, one `<gpu>` for each board, schemas 10 to 13; with ``-l`` one document after the other.

Nothing is fetched and nothing expanded: nvidia-smi's files name a DTD that is not there, and use no entities. Names
that are not known here are passed over, so a driver of tomorrow is read as far as it still says the same.
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from collectors.captures.quantities import whole, words
from collectors.captures.smi_fields import gpu_of_log
from collectors.captures.values import Capture, CaptureError, Format, Gpu, MigInstance, Snapshot

ROOT = "nvidia_smi_log"

DEPTH = 32
"""Elements within elements; nvidia-smi nests six."""

_BULKY = frozenset({"supported_clocks", "processes", "accounted_processes"})
_DOCUMENT = re.compile(r"(?=<\?xml\s)")
_BEGIN = re.compile(r"<\?xml\s|<!DOCTYPE\s+nvidia_smi_log|<nvidia_smi_log")


def begins_at(text: str) -> int | None:
    """Return where the XML of *text* begins: at the front, or below a shell's prompt; None where there is none."""
    match = _BEGIN.search(text)
    if match is not None:
        return match.start()
    return 0 if text.lstrip().startswith("<") else None


def read(text: str) -> Capture:
    """Return the GPUs of *text*; of a file that was truncated those that are whole. `CaptureError` if none is."""
    documents = [_document(part.lstrip()) for part in _DOCUMENT.split(text) if part.strip()]
    held = [document for document in documents if document.gpus]
    trouble = next((document.trouble for document in reversed(documents) if document.trouble), None)
    if not held:
        raise CaptureError(f"holds no whole GPU: {trouble}" if trouble else "holds no GPU: nvidia-smi saw none")
    return Capture(
        format=Format.XML,
        driver=words(held[-1].head.get("driver_version")),
        snapshots=tuple(document.snapshot(str(number)) for number, document in enumerate(held, start=1)),
        notes=tuple(filter(None, (trouble and f"{trouble}; only whole GPUs are shown", _missing(held[-1])))),
        is_cut=trouble is not None,
    )


@dataclass
class _Document:
    """One log as far as it was read."""

    gpus: list[Gpu] = field(default_factory=list)
    head: dict[str, str | None] = field(default_factory=dict)
    """What stands before the GPUs."""
    trouble: str | None = None

    def snapshot(self, name: str) -> Snapshot:
        return Snapshot(name=name, gpus=tuple(self.gpus), taken_at=words(self.head.get("timestamp")))


def _document(text: str) -> _Document:
    """Return what *text* says until it ends or stops being XML."""
    document = _Document()
    parser = expat.ParserCreate("utf-8")  # the text is already decoded: what it declares itself to be no longer holds
    handlers = _Handlers(document)
    parser.buffer_text = True
    parser.StartElementHandler = handlers.start
    parser.EndElementHandler = handlers.end
    parser.CharacterDataHandler = handlers.tree.data
    parser.EntityDeclHandler = _refuse_entities
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        reason = "truncated" if error.code in _CUT else expat.ErrorString(error.code)
        document.trouble = f"{reason} in line {error.lineno}"
    return document


_CUT = frozenset(
    expat.errors.codes[text]
    for text in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)


class _Handlers:
    """What expat calls: builds one `<gpu>` at a time and keeps only what it says."""

    def __init__(self, document: _Document) -> None:
        self.tree = TreeBuilder()
        self._document = document
        self._open: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open and tag != ROOT:
            raise CaptureError(f"is XML of another kind: its root is <{tag[:40]}>, not <{ROOT}> of `nvidia-smi -q -x`")
        if len(self._open) == DEPTH:
            raise CaptureError(f"nests elements more than {DEPTH} deep, which nvidia-smi never does")
        self._open.append(tag)
        self.tree.start(tag, attributes)

    def end(self, tag: str) -> None:
        element = self.tree.end(tag)
        self._open.pop()
        if tag in _BULKY:
            element.clear()
        if self._open != [ROOT]:
            return
        if tag == "gpu":
            self._document.gpus.append(_gpu(element))
        else:
            self._document.head.setdefault(tag, element.text)
        element.clear()


def _refuse_entities(*_declaration: object) -> NoReturn:
    raise CaptureError("declares XML entities, which nvidia-smi never does: refused")


def _gpu(element: Element) -> Gpu:
    fields: dict[str, str | None] = {}
    for child in element:
        fields.setdefault(child.tag, child.text)
        for leaf in child:
            fields.setdefault(f"{child.tag}.{leaf.tag}", leaf.text)
    instances = tuple(
        MigInstance(
            uuid=words(instance.findtext("uuid")),
            gpu_instance=whole(instance.findtext("gpu_instance_id")),
            compute_instance=whole(instance.findtext("compute_instance_id")),
        )
        for instance in element.iterfind("mig_devices/mig_device")
    )
    return gpu_of_log(fields, instances, element.get("id"))


def _missing(document: _Document) -> str | None:
    """Return a note if the log knows of more GPUs than it describes."""
    attached = whole(document.head.get("attached_gpus"))
    if attached is None or attached == len(document.gpus):
        return None
    return f"{attached} GPUs were attached, {len(document.gpus)} are in the file"
