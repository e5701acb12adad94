"""The grown market as a process: all products over HTTP, another venue's rules, and everything after `kill -9`."""

import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from doubles import venue

START = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
"""18:00 on Thursday 23 July 2026 in Los Angeles."""
BEFORE, GATE, AFTER = START - timedelta(minutes=2), START - timedelta(seconds=20), START + timedelta(hours=2)
PRODUCT_FILES = Path(__file__).parents[2] / "bidding/products"


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=10)


def offer(product: str, mw: str = "0.10", start: datetime = START, **changes: object) -> dict[str, Any]:
    """Return an offer of *mw* for nothing over a minute."""
    return {
        "resource": "R",
        "product": product,
        "interval_start": start.isoformat(),
        "interval_end": (start + venue.MINUTE).isoformat(),
        "curve": [{"mw": mw, "price": "0"}],
        **changes,
    }


def asked(http: httpx.Client) -> dict[str, Any]:
    """Return all that can be asked about R."""
    paths = ("awards", "dispatches", "notices", "statements")
    return {path: http.get(f"/v1/{path}", params={"resource": "R"}).json() for path in paths} | {
        "receipts": [http.get(f"/v1/offers/{name}").json() for name in ("spin", "energy", "gone", "back")],
        "documents": http.get("/v1/documents/d-1").json(),
        "shortfall": http.get("/v1/shortfalls/s-1").json(),
        "audit": http.get("/v1/audit").json(),
    }


def test_everything_outlives_a_kill_at_any_step(tmp_path: Path) -> None:
    """Killed with -9 after every request: the last venue knows what one that was never killed knows."""
    requests: list[tuple[str, str, str, dict[str, Any] | None]] = [
        (BEFORE.isoformat(), "PUT", "/v1/offers/spin", offer("spin", "0.30", capacity_mw="0.30")),
        (BEFORE.isoformat(), "PUT", "/v1/offers/energy", offer("energy-dr", capacity_mw="0.30")),
        (BEFORE.isoformat(), "PUT", "/v1/documents/d-1", {"offers": [offer("fast", offer_id="fast")]}),
        (BEFORE.isoformat(), "PUT", "/v1/offers/gone", offer("contingency")),
        (BEFORE.isoformat(), "DELETE", "/v1/offers/gone", None),
        (BEFORE.isoformat(), "PUT", "/v1/offers/back", offer("non-spin")),
        (BEFORE.isoformat(), "POST", "/v1/cancel", {"offer_id": "back", "reason": "validation"}),
        (GATE.isoformat(), "PUT", "/v1/shortfalls/s-1", {**offer("energy-dr"), "available_mw": "0.05"}),
    ]

    def run(name: str, *, killing: bool) -> dict[str, Any]:
        journal = tmp_path / name
        running: venue.Venue | None = None
        for number, (at, method, path, body) in enumerate(requests):
            if running is None or at != requests[number - 1][0]:
                running = restarted(tmp_path, running, at, journal)
            with client(running.url) as http:
                answer = http.request(method, path, json=body, headers={"firmwatt-epoch": "3"})
                assert answer.status_code == 200, answer.text
            if killing:
                running.kill()
                running = None
        running = restarted(tmp_path, running, AFTER.isoformat(), journal)
        with client(running.url) as http:
            found = asked(http)
        assert running.stop() == 0
        return found

    killed, whole = run("killed.jsonl", killing=True), run("whole.jsonl", killing=False)

    for found in (killed, whole):
        found["statements"].pop("issued_at")  # of a clock that has moved on a little
    assert _times_apart(killed) == _times_apart(whole)
    awards = {award["product"]: Decimal(award["mw"]) for award in whole["awards"]["awards"]}
    assert sorted(awards) == ["energy-dr", "fast", "spin"]
    assert sum(awards.values()) == Decimal("0.30")  # all that R has, of 0.50 offered
    assert [notice["offer_id"] for notice in whole["notices"]["notices"]] == ["back"]
    assert whole["audit"]["highest_epoch"] == 3


def restarted(tmp_path: Path, running: venue.Venue | None, at: str, journal: Path) -> venue.Venue:
    if running is not None:
        assert running.stop() == 0
    return venue.launch(tmp_path, venue.at(at), journal=journal, products="all")


def _times_apart(found: dict[str, Any]) -> dict[str, Any]:
    """Return *found* without the instants at which requests happened to arrive, a little after the clock word's."""
    return found | {
        "notices": [{key: each[key] for key in each if key != "issued_at"} for each in found["notices"]["notices"]],
        "awards": found["awards"]["awards"],
    }


def test_a_document_whose_answer_is_lost_can_be_asked_for(tmp_path: Path) -> None:
    with (
        venue.start(tmp_path, venue.at(BEFORE.isoformat()), products="all", lose_replies=1) as url,
        client(url) as http,
    ):
        for method, path, body in (
            ("PUT", "/v1/documents/d-1", {"offers": [offer("spin", offer_id="o-1")]}),
            ("DELETE", "/v1/offers/o-1", None),
        ):
            with pytest.raises(httpx.RemoteProtocolError):
                http.request(method, path, json=body)

        assert http.get("/v1/documents/d-1").json()["results"][0]["outcome"] == "accepted"
        assert http.get("/v1/offers/o-1").json()["status"] == "withdrawn"
        assert http.get("/v1/audit").json()["replies_lost"] == 2


def test_a_stale_sender_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    """The second has been heard, if only with a question: the first may not send any more."""
    with venue.start(tmp_path, venue.at(BEFORE.isoformat()), products="all") as url, client(url) as http:
        first, second = {"firmwatt-epoch": "1"}, {"firmwatt-epoch": "2"}
        taken = http.put("/v1/offers/o-1", json=offer("spin"), headers=first)
        http.get("/v1/offers/o-1", headers=second)

        refused = [
            http.put("/v1/offers/o-2", json=offer("fast"), headers=first),
            http.delete("/v1/offers/o-1", headers=first),
            http.put("/v1/documents/d", json={"offers": [offer("fast", offer_id="o-2")]}, headers=first),
            http.put("/v1/meter/R/b", json={"readings": []}, headers=first),
            http.put("/v1/shortfalls/s", json={**offer("spin"), "available_mw": "0"}, headers=first),
        ]

        assert taken.status_code == 200
        assert [(each.status_code, each.json()["error"]) for each in refused] == [(409, "fenced")] * 5
        assert http.get("/v1/offers/o-2").status_code == 404
        assert http.get("/v1/offers/o-1").json()["status"] == "accepted"
        assert http.get("/v1/audit").json()["stale_epochs"] == 5
        assert http.put("/v1/offers/o-2", json=offer("fast"), headers=second).status_code == 200


def test_a_receipt_names_the_document_it_is_for(tmp_path: Path) -> None:
    """Byte for byte, as `sha256sum` of what was sent says."""
    sent = b'{"offers": [%s]}' % httpx.Request("PUT", "http://x", json=offer("spin", offer_id="o-1")).content
    digest = subprocess.run(["sha256sum"], input=sent, capture_output=True, check=True).stdout.split()[0].decode()

    with venue.start(tmp_path, venue.at(BEFORE.isoformat()), products="all") as url, client(url) as http:
        told = http.put("/v1/documents/d-1", content=sent).json()

        assert told["sha256"] == told["results"][0]["receipt"]["sha256"] == digest
        assert http.get("/v1/offers/o-1").json()["sha256"] == digest


def test_it_can_be_run_by_another_venue_s_rules(tmp_path: Path) -> None:
    """ERCOT's: non-spin by the hour, in tenths of a MW, until 10:00 of the day before; nothing from 06:55 to 07:05."""
    hour = datetime(2026, 7, 25, 17, tzinfo=UTC)
    body = offer("non-spin", "1.05", hour) | {"interval_end": (hour + timedelta(hours=1)).isoformat()}
    good = body | {"curve": [{"mw": "1.0", "price": "5"}]}
    answers = []
    for at in ("2026-07-24T11:54:00+00:00", "2026-07-24T12:00:00+00:00", "2026-07-24T15:00:00+00:00"):
        rules = PRODUCT_FILES / "ercot.toml"
        with venue.start(tmp_path, venue.at(at), rules_of=rules) as url, client(url) as http:
            answers += [http.put(f"/v1/offers/{number}", json=each) for number, each in enumerate((body, good))]
            published = http.get("/v1/products").json()["products"]

    assert [each.status_code for each in answers] == [422, 200, 409, 409, 409, 409]
    assert answers[0].json()["reasons"] == ["MW must be multiples of 0.1"]
    assert [each.json()["error"] for each in answers[2:]] == ["paused"] * 2 + ["gate_closed"] * 2
    assert all(each["simulated"] and each["venue"] == "sandbox" for each in published)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--products", "gold"], "[sandbox] products: 'gold' is not known; there are all, energy-dr, spin"),
        (["--rules-of", "/nowhere.toml"], "cannot read /nowhere.toml"),
        (["--signal-s", "3"], "signal_s must be 2 or 4"),
        (["--cancel-share", "2"], "cancel_share"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(options: list[str], text: str) -> None:
    found = subprocess.run([*venue.COMMAND, *options], capture_output=True, text=True, timeout=30, check=False)

    assert found.returncode == 2
    assert text in found.stderr
    assert found.stderr.count("\n") == 1


def test_regulation_is_followed_scored_and_paid(tmp_path: Path) -> None:
    """An hour of reg-up bought minute by minute, followed to the watt: its score is 1, and every minute is paid."""
    journal = tmp_path / "venue.jsonl"
    first = START.replace(hour=1)
    with (
        venue.start(tmp_path, venue.at(BEFORE.isoformat()), products="all", journal=journal) as url,
        client(url) as http,
    ):
        offers = [offer("reg-up", start=first + venue.MINUTE * each, offer_id=f"o-{each}") for each in range(65)]
        assert http.put("/v1/documents/d-1", json={"offers": offers}).status_code == 200

    with (
        venue.start(tmp_path, venue.at(AFTER.isoformat()), products="all", journal=journal) as url,
        client(url) as http,
    ):
        query = {"resource": "R", "product": "reg-up", "since": (first - venue.MINUTE).isoformat()}
        points = {
            datetime.fromisoformat(each["at"]): each["mw"]
            for each in http.get("/v1/regulation", params=query).json()["setpoints"]
        }
        done = [points[max(at for at in points if at <= first + timedelta(seconds=10 * each))] for each in range(390)]
        path = f"/v1/regulation/R/reg-up/{first:%FT%TZ}"
        score = http.put(path, json={"mw": done}).json()
        again = http.get(path).json()
        statement = http.get("/v1/statements", params={"resource": "R"}).json()

    assert (round(score["score"], 6), again) == (1.0, score)
    assert len(statement["capacity_lines"]) == 60
    assert len(statement["pending"]) == 5
    assert all(line["score"] == "1.000000" for line in statement["capacity_lines"])
    assert sum(float(line["mileage_amount"]) for line in statement["capacity_lines"]) > 0


def test_a_venue_told_to_lose_replies_stops_politely_all_the_same(tmp_path: Path) -> None:
    with venue.start(tmp_path, venue.at(BEFORE.isoformat()), products="all") as url, client(url) as http:
        http.post("/v1/faults", json={"lose_replies": 1, "cancel_share": 1})
        with suppress(httpx.RemoteProtocolError):
            http.put("/v1/offers/o-1", json=offer("spin"))
