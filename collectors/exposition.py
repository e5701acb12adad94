"""
Samples from a metrics page: Prometheus text format 0.0.4 or OpenMetrics 1.0, whichever the server chose to send.

prometheus_client needs 33 µs for a sample, and an engine's page holds thousands nobody asked for: only the lines of
wanted metrics reach the parser. Most of that time goes into labels, which are the same on the next page: in the classic
format a series' labels are parsed once and remembered.

A colon in a name may come as an underscore: prometheus_client's own OpenMetrics writes `vllm_x` for `vllm:x`, in
samples but not in their TYPE line (prometheus/client_python#1177), and so do gateways. Samples are returned under the
names they were wanted by.
"""

import functools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from prometheus_client import parser as classic
from prometheus_client.openmetrics import parser as openmetrics

from collectors import SourceError
from collectors.http import Page

SUFFIXES = ("", "_total", "_bucket", "_sum", "_count", "_created")
"""What the parts of one counter, histogram or summary add to its name (OpenMetrics 1.0, "Suffixes")."""

OPENMETRICS = "application/openmetrics-text"
END = b"# EOF"
"""The last line of every OpenMetrics page; without it the page was cut off."""

REMEMBERED = 4096
"""Series; one replica of an engine has fifty."""

SHOWN = 60
"""Characters of a malformed page or line that an error shows."""

_SAMPLE = re.compile(rb'([a-zA-Z_:][\w:]*\s*(\{.*\})?|\{\s*"[^"]*"\s*[,}].*)\s*[-+]?([\d.]|Inf|NaN).*')


class Sample(NamedTuple):
    """One line of the page."""

    name: str
    labels: Mapping[str, str]
    value: float


class _Lines(NamedTuple):
    """How the lines of wanted metrics are found, and which samples among them were asked for."""

    names: Mapping[str, str]
    """By the names that samples may have on the page."""
    samples: re.Pattern[bytes]
    families: re.Pattern[bytes]
    """The same and all their relatives, with the families' TYPE lines: OpenMetrics is checked by the family."""


def samples(page: Page, wanted: Collection[str]) -> list[Sample]:
    """
    Return the samples of the metrics *wanted*, in the page's order; those that are not a number are left out.

    A wanted name stands for the sample so called and for the parts of the family so called (`SUFFIXES`). Raise
    `SourceError` when the reply is no metrics page: an error's, a web page, JSON, cut off or garbled.
    """
    if page.status != HTTPStatus.OK:
        raise SourceError(f"the server answered {page.status}{_phrase(page.status)}")
    body = _unquoted(page.body)
    _check(body)
    lines = _lines(frozenset(wanted))
    try:
        found = _openmetrics(body, lines) if _is_openmetrics(page.content_type) else _classic(body, lines)
        return [
            Sample(lines.names[name], labels, value)
            for name, labels, value in found
            if name in lines.names and not math.isnan(value)
        ]
    except (ValueError, LookupError, TypeError) as error:  # UTF-8's and the parsers', which trip over garbage at times
        raise SourceError(f"a malformed metrics page: {_shown(str(error) or type(error).__name__)}") from error


def _classic(body: bytes, lines: _Lines) -> Iterator[Sample]:
    for line in lines.samples.findall(b"\n" + body):
        text = line.decode()
        end = text.rfind("}") + 1  # behind the labels are numbers only
        head, numbers = (text[:end], text[end:].split()) if end else (text.split()[0], text.split()[1:])
        if not 1 <= len(numbers) <= 2 or "_" in numbers[0]:  # noqa: PLR2004 - value and time stamp; `float` takes 1_000
            raise ValueError(f"not a sample: {text}")
        yield Sample(*_series(head), float(numbers[0]))


@functools.lru_cache(maxsize=REMEMBERED)
def _series(head: str) -> tuple[str, Mapping[str, str]]:
    """Return the name and labels of a series, as prometheus_client reads them."""
    (family,) = classic.text_string_to_metric_families(f"{head} 0\n")
    (sample,) = family.samples
    return sample.name, sample.labels


def _openmetrics(body: bytes, lines: _Lines) -> Iterator[Sample]:
    if not body.rstrip().endswith(b"\n" + END) and body.strip() != END:
        raise ValueError("it ends without # EOF")
    found = (start + name.replace(b":", b"_") + rest for start, name, rest in lines.families.findall(b"\n" + body))
    text = b"\n".join([*found, END, b""]).decode()
    for family in openmetrics.text_string_to_metric_families(text):  # type: ignore[no-untyped-call]  # it has none
        for sample in family.samples:
            if sample.value is not None:  # a native histogram has none
                yield Sample(sample.name, sample.labels or {}, float(sample.value))


@functools.lru_cache(maxsize=64)
def _lines(wanted: frozenset[str]) -> _Lines:
    stems = {name.removesuffix(suffix) for name in wanted for suffix in SUFFIXES}
    names = [name + suffix for name in wanted for suffix in SUFFIXES]
    return _Lines(
        names={name.replace(":", "_"): name for name in names} | {name: name for name in names},
        samples=re.compile(rb"\n(" + _any_part_of(wanted) + rb"[ \t{][^\n]*)"),
        families=re.compile(rb"\n((?:# TYPE )?)(" + _any_part_of(stems) + rb")([ {][^\n]*)"),
    )


def _any_part_of(names: Collection[str]) -> bytes:
    return _any_of(names) + rb"(?:" + b"|".join(suffix.encode() for suffix in SUFFIXES[1:]) + rb")?"


def _any_of(names: Collection[str]) -> bytes:
    """Return a pattern of one of *names*; what their prefixes share is tried once (halves the time on a big page)."""
    prefixes: dict[str, list[str]] = {}
    for name in sorted(names):
        prefix, colon, rest = name.rpartition(":")
        prefixes.setdefault(prefix + colon, []).append(rest)
    groups = (
        re.escape(prefix).replace(":", "[:_]") + "(?:" + "|".join(map(re.escape, rests)) + ")"
        for prefix, rests in sorted(prefixes.items())
    )
    return b"(?:" + "|".join(groups).encode() + b")"


def _is_openmetrics(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == OPENMETRICS


def _unquoted(body: bytes) -> bytes:
    """Return the page inside a JSON string, which llama.cpp's build 7010 made of it (ggml-org/llama.cpp#17384)."""
    if not body.startswith(b'"'):
        return body
    try:
        return msgspec.json.decode(body, type=str).encode()
    except ValueError:
        return body


def _check(body: bytes) -> None:
    """Raise `SourceError` if the first line is nothing that a metrics page begins with; an empty page is one."""
    first = body.lstrip()[:4096].partition(b"\n")[0].rstrip()
    if not first or first.startswith(b"#") or _SAMPLE.fullmatch(first):
        return
    start = _shown(first.decode(errors="replace"))
    if first.startswith(b"<"):
        raise SourceError(f"a web page and no metrics; check the path: {start}")
    if first.startswith((b"{", b"[", b'"')):
        raise SourceError(f"JSON and no metrics; check the path: {start}")
    raise SourceError(f"not a metrics page: {start}")


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _shown(text: str) -> str:
    """Return the beginning of *text* on one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
