"""
The sandbox venue as the process it is, for tests.

    with venue.start(tmp_path, venue.at("2026-07-24T00:58:00Z"), lose_replies=0.2) as url: ...
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from pipeline.clock import Clock, wall
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import Tier

MINUTE = timedelta(minutes=1)
READY_WITHIN_S = 30.0
STANDING_STILL = 1e-9
COMMAND = (sys.executable, "-c", "import sys; from deploy.cli import main; sys.exit(main())", "sandbox")


def at(instant: str, speed: float = STANDING_STILL) -> str:
    """Return the clock word of a clock that shows *instant* now and, unless told otherwise, stands still."""
    return str(Clock(datetime.fromisoformat(instant), wall(), speed))


@dataclass(frozen=True)
class Venue:
    """A running venue."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it as `kill -9` does and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop, as an operator does, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=15)


def launch(tmp_path: Path, clock_word: str = "", **flags: object) -> Venue:
    """Start a venue, wait for its `ready` line; the caller stops it. `lose_replies=0.2` is `--lose-replies 0.2`."""
    log = tmp_path / f"sandbox-{time.monotonic_ns()}.log"
    options = [text for name, given in flags.items() for text in (f"--{name.replace('_', '-')}", str(given))]
    clock = ("--clock", clock_word) if clock_word else ()
    with log.open("wb") as stderr:
        process = subprocess.Popen([*COMMAND, *clock, *options], stderr=stderr, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                return Venue(line.split()[1], process, log)
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise AssertionError(f"the sandbox did not get ready:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def start(tmp_path: Path, clock_word: str = "", **flags: object) -> Iterator[str]:
    """Yield the URL of a running venue; it is stopped at the end, and its exit code must be 0."""
    venue = launch(tmp_path, clock_word, **flags)
    try:
        yield venue.url
    except BaseException:
        venue.kill()
        raise
    assert venue.stop() == 0, venue.log.read_text(encoding="utf-8")


def settings_file(tmp_path: Path, url: str, **more: object) -> Path:
    """Write a settings file whose ``[venue.sandbox]`` leads to *url*; *more* are further keys of the section."""
    path = tmp_path / f"firmwatt-{time.monotonic_ns()}.toml"
    lines = [f"url = {url!r}", *(f"{key} = {given!r}" for key, given in more.items())]
    path.write_text("\n".join(["[venue.sandbox]", *lines, ""]), encoding="utf-8")
    return path


def offer(
    resource: str, start: datetime, *steps: tuple[str, str], revision: int = 1, length: timedelta = MINUTE
) -> Offer:
    """Return an offer of (MW, price per MWh) *steps* for the interval from *start*; two modest steps by default."""
    return Offer(
        offer_id=f"{resource}-{start:%Y%m%dT%H%M%S}-{revision}",
        resource=resource,
        site="site-1",
        venue="sandbox",
        product="energy-dr",
        interval=Interval(start, start + length),
        revision=revision,
        steps=tuple(
            OfferStep(
                quantity_mw=Decimal(mw),
                price_per_mwh=Decimal(price),
                tier=Tier.T3,
                tokens_forgone_per_mwh=Decimal(1_000_000),
                token_cost_per_mwh=Decimal(40),
                service_credit_per_mwh=Decimal(0),
                restart_cost_per_mwh=Decimal("2.5"),
            )
            for mw, price in steps or (("0.10", "52.10"), ("0.15", "340.00"))
        ),
        currency="USD",
        as_of=start - timedelta(minutes=5),
        baseline_method="caiso-10-in-10",
        baseline_kw=1234.5,
        firm_kw=287.25,
        confidence=0.95,
        simulated=True,
    )
