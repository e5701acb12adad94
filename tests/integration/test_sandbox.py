"""The venue as a process: killed and restarted, settled to the cent over HTTP, stopped politely."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from doubles import venue

from bidding.markets import Market, MeterReading
from bidding.markets.sandbox import connect
from pipeline.clock import Clock
from pipeline.errors import ConfigError, VenueError
from pipeline.interval import Interval
from pipeline.messages.market import Offer

START = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
"""18:00 on Thursday 23 July 2026 in Los Angeles."""
BEFORE, AFTER = START - timedelta(minutes=2), START + timedelta(minutes=3)
INTERVALS = (START, START + venue.MINUTE)


async def market_at(tmp_path: Path, url: str, word: str) -> Market:
    return await connect(venue.settings_file(tmp_path, url), Clock.parse(word))


def history(reduced_kwh: str) -> tuple[MeterReading, ...]:
    """Return eleven days of 20 kWh a minute from 14:00 to 18:02 local, the event's two minutes at *reduced_kwh*."""
    spans = [(START - timedelta(days=back, hours=4), START - timedelta(days=back)) for back in range(18)]
    starts = [start + venue.MINUTE * minute for start, _ in spans for minute in range(242)]
    return tuple(
        MeterReading(
            interval=Interval(start, start + venue.MINUTE),
            energy_kwh=Decimal(reduced_kwh) if start in INTERVALS else Decimal(20),
        )
        for start in starts
    )


async def test_offers_and_awards_outlive_a_kill(tmp_path: Path) -> None:
    """Killed with -9 after accepting, restarted from the journal after gate closure: the offer is cleared, once."""
    journal = tmp_path / "venue.jsonl"
    before, after = venue.at(BEFORE.isoformat()), venue.at(AFTER.isoformat())
    offer = venue.offer("R", START)
    running = venue.launch(tmp_path, before, journal=journal)
    market = await market_at(tmp_path, running.url, before)
    (receipt,) = await market.submit(market.encode([offer]), [offer], 1)
    running.kill()
    await market.close()

    with venue.start(tmp_path, after, journal=journal) as url:
        market = await market_at(tmp_path, url, after)
        known, awards = await market.status([offer]), await market.awards("R")
        await market.close()
    with venue.start(tmp_path, after, journal=journal) as url:
        market = await market_at(tmp_path, url, after)
        awards_again = await market.awards("R")
        await market.close()

    assert known == {offer.offer_id: receipt}
    assert [(award.offer_id, award.quantity_mw) for award in awards] == [(offer.offer_id, Decimal("0.25"))]
    assert awards_again == awards


async def test_from_offer_to_statement_to_the_cent(tmp_path: Path) -> None:
    """
    Two minutes of 0.25 MW are 4.166667 kWh each; 20 kWh were expected and 17 metered, so 3 are delivered.

    Short are 1.166667 kWh. Seed 1 clears at 639.07 and 1001.57 $/MWh:
    0.003 × 639.07 = 1.91721 and 0.001166667 × 639.07 = 0.74558;
    0.003 × 1001.57 = 3.00471 and 0.001166667 × 1001.57 = 1.16850:
    1.92 − 0.75 + 3.00 − 1.17 = 3.00 $.
    """
    journal = tmp_path / "venue.jsonl"
    before, after = venue.at(BEFORE.isoformat()), venue.at(AFTER.isoformat())
    with venue.start(tmp_path, before, journal=journal, lose_replies=0.2) as url:
        market = await market_at(tmp_path, url, before)
        for start in INTERVALS:
            offer = venue.offer("R", start)
            await _submit_once(market, offer)
        await market.close()

    with venue.start(tmp_path, after, journal=journal, lose_replies=0.2) as url:
        market = await market_at(tmp_path, url, after)
        nothing_yet = await market.statement("R")
        await market.report_meter("R", "2026-07-23", history("17"))
        statement = await market.statement("R")
        awards, dispatches = await market.awards("R"), await market.dispatches("R")
        duplicates = _duplicates(url)
        await market.close()

    assert nothing_yet is None
    assert statement is not None
    assert [line.baseline_kwh for line in statement.lines] == [Decimal(20)] * 2
    assert [line.delivered_kwh for line in statement.lines] == [Decimal(3)] * 2
    assert [line.shortfall_kwh for line in statement.lines] == [Decimal("1.166667")] * 2
    assert [line.price_per_mwh for line in statement.lines] == [award.price_per_mwh for award in awards]
    assert [str(award.price_per_mwh) for award in awards] == ["639.07", "1001.57"]
    assert [(str(line.energy_amount), str(line.shortfall_amount)) for line in statement.lines] == [
        ("1.92", "-0.75"),
        ("3.00", "-1.17"),
    ]
    assert (statement.total, statement.issuer, statement.simulated) == (Decimal("3.00"), "sandbox", True)
    assert [dispatch.reduction_mw for dispatch in dispatches] == [Decimal("0.25")] * 2
    assert duplicates == 0


def _duplicates(url: str) -> int:
    found: int = httpx.get(f"{url}/v1/audit", trust_env=False).json()["duplicate_submissions"]
    return found


async def _submit_once(market: Market, offer: Offer) -> None:
    """Send, and where the outcome is unknown, ask."""
    try:
        await market.submit(market.encode([offer]), [offer], 1)
    except VenueError:
        assert await market.status([offer])


async def test_a_venue_on_another_clock_is_refused(tmp_path: Path) -> None:
    """Its gate would close at another time than ours."""
    with (
        venue.start(tmp_path, venue.at(BEFORE.isoformat())) as url,
        pytest.raises(ConfigError, match="give both the same clock word"),
    ):
        await market_at(tmp_path, url, venue.at(AFTER.isoformat()))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1:none"])
async def test_an_address_that_is_none_is_a_config_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"\[venue.sandbox\] url"):
        await market_at(tmp_path, url, "")


async def test_a_venue_that_does_not_run_is_one_line_that_says_so(tmp_path: Path) -> None:
    path = venue.settings_file(tmp_path, "http://127.0.0.1:9", tries=1)

    with pytest.raises(VenueError, match="is `firmwatt sandbox` running there"):
        await connect(path, Clock())


# --------------------------------------------------------------------------------------------------- HTTP


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        venue.start(tmp_path_factory.mktemp("http"), venue.at(BEFORE.isoformat())) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("request_line", "content", "status", "error"),
    [
        ("GET /v1/nothing", b"", 404, "no_such_request"),
        ("DELETE /v1/rules", b"", 405, "no_such_request"),
        ("GET /v1/offers/nobody", b"", 404, "unknown_offer"),
        ("GET /v1/meter/R/none", b"", 404, "unknown_batch"),
        ("GET /v1/awards", b"", 422, "malformed"),
        ("GET /v1/prices?count=0", b"", 422, "malformed"),
        ("GET /v1/prices?count=many", b"", 422, "malformed"),
        ("PUT /v1/offers/o", b"", 422, "malformed"),
        ("PUT /v1/offers/o", b"\xff\x00", 422, "malformed"),
        ("PUT /v1/offers/o", b'{"resource": "R"}', 422, "malformed"),
        ("PUT /v1/meter/R/b", b'{"readings": [{"start": "now"}]}', 422, "malformed"),
        ("POST /v1/faults", b'{"lose_replies": 2}', 422, "malformed"),
    ],
)
def test_what_cannot_be_understood_is_answered_with_an_error_and_changes_nothing(
    http: httpx.Client, request_line: str, content: bytes, status: int, error: str
) -> None:
    before = http.get("/v1/audit").json()

    answer = http.request(*request_line.split(), content=content)

    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert http.get("/v1/audit").json() == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"interval_start": "2026-07-24T01:00:00"}, "interval_start"),  # no offset: whose time?
        ({"interval_start": "0001-01-01T00:00:00+14:00"}, "interval_start"),
        ({"curve": []}, "curve"),
        ({"curve": [{"mw": "NaN", "price": "1"}]}, "curve.0.mw"),
        ({"curve": [{"mw": "0.1", "price": "1E+999999999"}]}, "curve.0.price"),
        ({"curve": [{"mw": "1E-999999999", "price": "1"}]}, "curve.0.mw"),
        ({"revision": 0}, "revision"),
        ({"resource": ""}, "resource"),
    ],
)
def test_an_offer_with_an_impossible_field_is_told_which(
    http: httpx.Client, changes: dict[str, object], field: str
) -> None:
    body = {
        "resource": "R",
        "product": "energy-dr",
        "interval_start": "2026-07-24T01:00:00Z",
        "interval_end": "2026-07-24T01:01:00Z",
        "curve": [{"mw": "0.1", "price": "50"}],
    }

    answer = http.put("/v1/offers/impossible", json=body | changes)

    assert (answer.status_code, answer.json()["error"]) == (422, "malformed")
    assert answer.json()["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize("reading", [("00:30", "1"), ("00:00", "-1")])
def test_meter_data_off_the_grid_or_negative_are_refused(http: httpx.Client, reading: tuple[str, str]) -> None:
    offset, kwh = reading
    row = {"start": f"2026-07-24T00:{offset}Z", "end": "2026-07-24T00:01:00Z", "kwh": kwh}

    answer = http.put("/v1/meter/R/refused", json={"readings": [row]})

    assert (answer.status_code, answer.json()["error"]) == (422, "rejected")
    assert http.get("/v1/meter/R/refused").status_code == 404


def test_faults_are_set_at_run_time(http: httpx.Client) -> None:
    set_to = http.post("/v1/faults", json={"late_replies": 0.5}).json()
    back = http.post("/v1/faults", json={"late_replies": 0}).json()

    assert (set_to["late_replies"], back["late_replies"]) == (0.5, 0)


def test_rules_say_holidays_and_rounding(http: httpx.Client) -> None:
    rules = http.get("/v1/rules").json()

    assert "2026-07-04" in rules["holidays"]
    assert any("half to even to the cent" in text for text in rules["rounding"])
    assert rules["simulated"] is True


# --------------------------------------------------------------------------------------------- the process


def failure(*options: str) -> tuple[int, str]:
    """Return the exit code and standard error of a venue that cannot start."""
    found = subprocess.run([*venue.COMMAND, *options], capture_output=True, text=True, timeout=30, check=False)
    return found.returncode, found.stderr


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--interval-s", "7"], 2, "interval_s must divide an hour"),
        (["--lose-replies", "1.5"], 2, "`float` <= 1.0"),
        (["--clock", "yesterday"], 2, "is not ORIGIN@STARTED@SPEED"),
        (["--config", "/nowhere.toml"], 2, "cannot read /nowhere.toml"),
        (["--journal", "/proc/nowhere/journal"], 4, "choose another --journal"),
    ],
)
def test_what_cannot_work_is_one_line_and_an_exit_code(options: list[str], code: int, text: str) -> None:
    returned, stderr = failure(*options)

    assert returned == code
    assert text in stderr
    assert stderr.count("\n") == 1


def test_a_port_in_use_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with venue.start(tmp_path) as url:
        code, stderr = failure("--port", url.rpartition(":")[2])

    assert code == 4
    assert "choose another --port" in stderr


def test_settings_come_from_the_file_and_options_go_before_them(tmp_path: Path) -> None:
    config = tmp_path / "firmwatt.toml"
    word = venue.at(BEFORE.isoformat())
    config.write_text(f"[clock]\nword = {word!r}\n[sandbox]\ninterval_s = 300\nnotice_s = 5\n", encoding="utf-8")
    running = venue.launch(tmp_path, config=config, notice_s=15)

    rules = httpx.get(f"{running.url}/v1/rules", trust_env=False).json()
    now = httpx.get(f"{running.url}/v1/clock", trust_env=False).json()["now"]

    assert running.stop() == 0
    assert (rules["interval_s"], rules["notice_s"]) == (300, 15)
    assert datetime.fromisoformat(now) - BEFORE < timedelta(seconds=1)
