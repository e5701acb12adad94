"""Hot standby under load: the primary is killed or stopped, the standby goes on, nothing is sent twice."""

import socket
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from doubles import venue
from doubles.broken_bidder import no_fencing
from doubles.failover import fail_over_again_and_again

from bidding.markets.sandbox import wire


def test_six_failovers_leave_nothing_wrong(tmp_path: Path) -> None:
    """The long form is tests/long/failover.py."""
    toll = fail_over_again_and_again(tmp_path, rounds=6, seed=1)

    assert toll.kills >= 1, toll
    assert toll.stops >= 1, toll
    assert toll.verdict is not None
    assert toll.verdict.offers >= 6, toll
    assert toll.wrong == {}, toll


def test_without_a_fence_a_stale_primary_is_noticed(tmp_path: Path) -> None:
    """It goes on beside its successor, and the venue gets offers twice."""
    toll = fail_over_again_and_again(tmp_path, rounds=4, seed=1, build=no_fencing)

    assert toll.stops >= 1, toll
    assert "a stale primary went on" in toll.unexpected, toll


def test_a_request_whose_sender_is_fenced_off_while_its_body_is_under_way_has_no_effect(tmp_path: Path) -> None:
    """Its head came in epoch 1, then the venue heard of epoch 2, then its body came."""
    offer = venue.offer("R", datetime.fromisoformat("2026-07-24T01:00:00+00:00"))
    body = wire.encode(offer)
    head = (
        f"PUT /v1/offers/{offer.offer_id} HTTP/1.1\r\nhost: v\r\nfirmwatt-epoch: 1\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with venue.start(tmp_path, venue.at("2026-07-24T00:58:00Z")) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as stale:
            stale.sendall(head.encode())
            while httpx.get(f"{url}/v1/audit", trust_env=False).json()["highest_epoch"] < 1:
                pass
            httpx.get(f"{url}/v1/clock", headers={"firmwatt-epoch": "2"}, trust_env=False)
            stale.sendall(body)
            answer = stale.recv(65536)
        known = httpx.get(f"{url}/v1/offers/{offer.offer_id}", trust_env=False)

    assert b" 409 " in answer
    assert known.status_code == 404
