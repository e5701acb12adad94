"""MISO's counterpart for the conformance suite: a mock process built from what MISO published."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from doubles.miso import offers as words
from doubles.miso import pki
from doubles.miso.openapi import SCHEDULE, Specification
from hypothesis import strategies as st

from bidding.markets.miso.codec import sent
from bidding.markets.miso.day import interval_of
from bidding.markets.miso.strict import read
from pipeline.interval import Interval
from pipeline.messages.market import Offer

RESOURCE = words.TYPE_2.name
"""DRR type II: it sells all products. Type I is there, too."""
PRODUCTS = ("energy-da", "energy-rt", "spin", "supplemental", "short-term-reserve", "reg")
NOW: datetime = words.NOW
CHEAP = (("2.0", "1.00"),)
"""Bought at any price of the mock's. There is no `TWO_STEPS`: MISO takes an hour whole or not at all."""
PARTICIPANT = "FIRMWATT"
READY_WITHIN_S = 60.0
SERVER = Path(__file__).parent.parent / "miso" / "server.py"
SHARED = Path(os.environ.get("FIRMWATT_SHARED") or Path(__file__).parents[4] / "shared")


def intervals(product: str) -> list[Interval]:
    """Return hours whose gates are open at `NOW`: tomorrow's evening, in real time today's."""
    day = words.TODAY if product == "energy-rt" else words.TOMORROW
    return [interval_of(day, hour) for hour in range(17, 23)]


def closed(product: str) -> Interval:
    """Return an hour whose gate is closed at `NOW`."""
    return interval_of(words.TODAY, 9 if product == "energy-rt" else 18)


@dataclass(frozen=True)
class Running:
    """A running mock."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)


def launch(folder: Path, clock_word: str, **faults: object) -> Running:
    """Start a mock, wait for its `ready` line; the caller stops it. `lose_replies=0.2` is `--lose-replies 0.2`."""
    if not (folder / "ca.pem").exists():
        pki.make(folder, PARTICIPANT)
    log = folder / f"miso-{time.monotonic_ns()}.log"
    options = [text for name, given in faults.items() for text in (f"--{name.replace('_', '-')}", _text(given))]
    resources = [text for one in words.RESOURCES for text in ("--resource", f"{one.name}={one.type}")]
    given = ["--folder", str(folder), "--shared", str(SHARED), "--clock", clock_word, "--participant", PARTICIPANT]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), *given, *resources, *options], stderr=stderr, stdin=subprocess.DEVNULL
        )
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                return Running(line.split()[1], process, log)
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise AssertionError(f"the mock did not get ready:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def start(folder: Path, clock_word: str, **faults: object) -> Iterator[str]:
    """Yield the URL of a running mock; at the end its exit code must be 0: all its answers were valid."""
    running = launch(folder, clock_word, **faults)
    try:
        yield running.url
    except BaseException:
        running.kill()
        raise
    assert running.stop() == 0, running.log.read_text(encoding="utf-8")


def section(url: str, folder: Path, **more: object) -> str:
    """Return the text of a settings file whose ``[venue.miso]`` leads to *url*; *more* are keys of the section."""
    if not (folder / "ca.pem").exists():
        pki.make(folder, PARTICIPANT)
    keys: dict[str, object] = {
        "url": url,
        "participant": PARTICIPANT,
        "certificate_file": str(folder / "client.pem"),
        "key_file": str(folder / "client.key"),
        "ca_file": str(folder / "ca.pem"),
        **more,
    }
    lines = ["[venue.miso]", *(f"{name} = {_toml(given)}" for name, given in keys.items())]
    for one in words.RESOURCES:
        lines += ["", "[[venue.miso.resource]]", f'name = "{one.name}"', f'type = "{one.type}"']
    return "\n".join([*lines, ""])


def offer(
    product: str, interval: Interval, *steps: tuple[str, str], revision: int = 1, resource: str = RESOURCE
) -> Offer:
    """Return a valid offer of (MW, price) *steps*."""
    return words.offer(product, interval, *steps, revision=revision, resource=resource)


def offers() -> st.SearchStrategy[tuple[Offer, ...]]:
    """Return all sets of offers that keep every rule and make one document."""
    return words.offers()


def validate(document: bytes, shared: Path) -> None:
    """Hold *document* against the published schema, and what is sent of it against the same schema, closed."""
    specification = _specification(shared)
    for content, is_closed in ((document, False), (sent(document), True)):
        value = read(content, len(content))
        wrong = specification.complaints(specification.named(SCHEDULE), value, closed=is_closed)
        assert not wrong, wrong[0]


@cache
def _specification(shared: Path) -> Specification:
    return Specification(shared)


def audit(url: str) -> dict[str, int]:
    """Return what the mock counted."""
    found: dict[str, int] = control(url, "audit")
    return found


def control(url: str, name: str, **given: object) -> Any:
    """Order something of the mock: `clock`, `faults`, `prices`, `disqualify`, `cancel`, `deploy`."""
    answer = httpx.post(f"{url}/control/{name}", json=given, verify=False, trust_env=False, timeout=30)
    answer.raise_for_status()
    return answer.json()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _toml(value: object) -> str:
    return repr(value).lower() if isinstance(value, bool) else repr(value)
