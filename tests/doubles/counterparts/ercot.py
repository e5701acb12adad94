"""ERCOT's counterpart for the suite that every venue passes."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

from doubles.ercot import certificates
from doubles.ercot import offers as made
from hypothesis import strategies as st
from lxml import etree

from bidding.markets.ercot import hours
from bidding.markets.ercot.names import ENERGY
from bidding.products import Shape
from bidding.products.load import load
from pipeline.interval import Interval
from pipeline.messages.market import Offer

ROOT = Path(__file__).parent.parent.parent.parent
SERVER = ROOT / "tests" / "doubles" / "ercot" / "server.py"
READY_WITHIN_S = 60.0

VENUE = "ercot"
RESOURCE = made.RESOURCE
PRODUCTS = ("reg-down", "energy-rt", "reg-up", "rrs-pfr", "rrs-ffr", "rrs-ufr", "ecrs", "non-spin")
"""Regulation down first: it has awards, which energy has not by EWS, and an ERCOT key of its own."""
CHEAP = (("1.0", "0.00"),)
"""Bought at any price. There is no `TWO_STEPS`: ERCOT takes an hour whole or not at all."""
NOW = datetime(2026, 7, 24, 5, 0, tzinfo=UTC)
"""Midnight in Texas: tomorrow's Day-Ahead Market closes in ten hours."""
TODAY, TOMORROW = date(2026, 7, 24), date(2026, 7, 25)

_controls: dict[str, str] = {}
"""By the market's URL: where tests give orders."""


def intervals(product: str) -> list[Interval]:
    """Return hours whose gate is open at `NOW`: reserves are sold for tomorrow, energy from 02:00 on."""
    return list(hours.hours(TODAY)[2:8]) if product == ENERGY else list(hours.hours(TOMORROW)[:6])


def closed(product: str) -> Interval:
    """Return an hour that is too late at `NOW`: energy closes an hour before it, reserves the day before."""
    return hours.hours(TODAY)[0] if product == ENERGY else hours.hours(TODAY)[20]


@contextmanager
def start(folder: Path, clock_word: str, **faults: object) -> Iterator[str]:
    """Yield the URL of a running market; it is stopped at the end, and its exit code must be 0."""
    shared = os.environ.get("FIRMWATT_SHARED") or str(ROOT.parent / "shared")
    home = folder / f"market-{time.monotonic_ns()}"
    home.mkdir(parents=True)
    log = home / "stderr.log"
    options = [text for name, given in faults.items() for text in (f"--{name.replace('_', '-')}", str(given))]
    command = [sys.executable, str(SERVER), "--folder", str(home), "--shared", shared, "--clock", clock_word, *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdin=subprocess.DEVNULL)
    try:
        url, control = _ready(process, log)
        _controls[url] = control
        (folder / f"home-{url.rpartition(':')[2].partition('/')[0]}").write_text(str(home))
        yield url
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.terminate()
    assert process.wait(timeout=15) == 0, log.read_text(encoding="utf-8")


def section(url: str, folder: Path, /, **more: object) -> str:
    """Return the settings of a client of the market at *url*, whose keys and certificates lie in its folder."""
    home = home_of(url, folder)
    given: dict[str, object] = {
        "url": url,
        "qse": certificates.QSE,
        "user": certificates.USER,
        "certificate_file": str(home / "qse.pem"),
        "key_file": str(home / "qse.key"),
        "ca_file": str(home / "ca.pem"),
        "reply_signer": certificates.ERCOT_NAME,
        "pause_s": 0.02,
    }
    return "\n".join(["[venue.ercot]", *(f"{key} = {json.dumps(value)}" for key, value in (given | more).items()), ""])


def home_of(url: str, folder: Path) -> Path:
    """Return where the market at *url* keeps its certificates and its request log."""
    return Path((folder / f"home-{url.rpartition(':')[2].partition('/')[0]}").read_text(encoding="utf-8"))


def offer(
    product: str, interval: Interval, *steps: tuple[str, str], revision: int = 1, resource: str = RESOURCE
) -> Offer:
    """Return a valid offer of (MW, price) *steps*, two modest ones by default."""
    return _listed(made.offer(product, interval, *steps, revision=revision, resource=resource))


def offers() -> st.SearchStrategy[tuple[Offer, ...]]:
    """Return sets of offers that keep every rule and make one document."""
    return made.sets().map(lambda offers: tuple(map(_listed, offers)))


@cache
def _energy_shape() -> Shape:
    return load(VENUE)[ENERGY].shape


def _listed(offer: Offer) -> Offer:
    """Return *offer* in the order that the product's data asks for."""
    return made.as_listed(offer, _energy_shape()) if offer.product == ENERGY else offer


def validate(document: bytes, shared: Path) -> None:
    """Raise `AssertionError` where *document* is not valid by ERCOT's published schema."""
    schema = made.schema(shared, "ErcotTransactions")
    assert schema.validate(etree.fromstring(document)), schema.error_log


def audit(url: str) -> dict[str, int]:
    """Return what the market counted."""
    told: dict[str, int] = _ask(url, "/audit", None)
    return told


def order(url: str, path: str, **given: object) -> None:
    """Change the market at *url*: `/faults`, `/clock`, `/cancel`."""
    _ask(url, path, given)


def _ask(url: str, path: str, given: dict[str, object] | None) -> dict[str, int]:
    data = None if given is None else json.dumps(given).encode()
    with urllib.request.urlopen(_controls[url] + path, data=data, timeout=30) as answer:
        told: dict[str, int] = json.load(answer)
    return told


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                _, url, control = line.split()
                return url, control
        time.sleep(0.02)
    raise AssertionError(f"the market did not get ready:\n{log.read_text(encoding='utf-8')}")
