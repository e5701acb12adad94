"""The bidding process with a portfolio strategy: energy in one minute, a reserve in the next, both settled."""

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from doubles.bidding_rig import MINUTE, WITHIN_S, rig

from pipeline.interval import Interval
from pipeline.settings import Kafka, table

pytestmark = pytest.mark.broker

HEADER = "scenario,probability,product,interval_start,price_per_mwh,called,activation_per_mwh"


async def test_each_minute_goes_where_it_earns_most_and_all_of_it_is_settled(kafka: Kafka, tmp_path: Path) -> None:
    """Energy at 400 against 10 for standing ready, then the other way round; a third of the replies are lost."""
    more = f'strategy = "simple"\nproducts = ["energy-dr", "spin"]\nforecast = "{tmp_path}/prices.csv"'
    async with rig(
        kafka,
        tmp_path,
        "mixed",
        more=more,
        lead=timedelta(seconds=240),
        products="energy-dr,spin",
        lose_replies=0.3,
        seed=3,
    ) as running:
        start = table(running.config, "bidding")["first_interval_start"]
        first = Interval.containing(datetime.fromisoformat(start), MINUTE)
        prices = {("energy-dr", first): 400, ("spin", first): 10}
        prices |= {("energy-dr", first.next()): 10, ("spin", first.next()): 400}
        rows = [f"only,1,{name},{interval.start.isoformat()},{price},," for (name, interval), price in prices.items()]
        (tmp_path / "prices.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")

        process = await running.start()
        code = await asyncio.wait_for(process.wait(), 2 * WITHIN_S)
        audit = running.audit()

        assert code == 0, running.log
        _, listed = await running.desk("offers")
        products = [line.split()[1] for line in listed.splitlines() if line.startswith("2026-")]
        assert products == ["energy-dr", "spin"], listed + running.log
        assert (audit["submissions_applied"], audit["duplicate_submissions"]) == (2, 0)
        assert running.summary["differences"] == [], running.log
        assert all(state in {"settled", "not_awarded"} for state in _states(listed)), listed
        assert json.dumps(running.summary["simulated"]) == "true"
        offer_id = listed.splitlines()[0].split()[-2]
        _, said = await running.desk("explain", offer_id)
        assert "as energy-dr" in said
        assert "expected price" in said.lower()


def _states(listed: str) -> list[str]:
    return [line.split()[2] for line in listed.splitlines() if line.startswith("2026-")]
