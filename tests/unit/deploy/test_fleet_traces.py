"""Real and made-up demand, laid on the clock."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet import traces
from deploy.fleet.demand import Demand, Synthetic
from pipeline.errors import ConfigError

PACIFIC = ZoneInfo("America/Los_Angeles")
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
SERVEGEN = "t_s,rate_rps,active_clients\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def at(demand: Demand, *seconds: float) -> list[float]:
    return [round(float(share), 4) for share in demand.utilisation(np.array(seconds))]


def test_azure_requests_become_tokens_per_bin(tmp_path: Path) -> None:
    """
    200 tokens in the first ten seconds, 400 in the next; the third bin is cut off by the end of the record and dropped.

    The 99th percentile of (200, 400) is 398, so the middles of the bins are 200 / 398 and 1.
    """
    path = written(
        tmp_path,
        AZURE
        + "2023-11-16 18:00:00.0000000,9,100\n2023-11-16 18:00:05.0000000,9,100\n"
        + "2023-11-16 18:00:10.1234567,9,400\n2023-11-16 18:00:20.5,9,7\n",
    )

    replay = traces.load(path)

    assert replay.length_s == 20
    assert at(replay, 5, 15) == [0.5025, 1.0]


def test_a_trace_repeats_after_its_own_length(tmp_path: Path) -> None:
    """Three windows of 600 s: second 300 and 300 + 7 × 1800 read the same, and half way is half way."""
    replay = traces.load(written(tmp_path, SERVEGEN + "0,100,5\n600,100.0,5\n1200,0.5,5\n"))

    assert replay.length_s == 1800
    assert at(replay, 300, 300 + 7 * 1800) == [1.0, 1.0]
    assert at(replay, 1200) == [pytest.approx((1.0 + 0.5 / 100) / 2, abs=0.001)]


def test_a_hole_in_the_record_is_not_zero_demand(tmp_path: Path) -> None:
    """The window without clients is held at the value before, and the description says how many there are."""
    replay = traces.load(written(tmp_path, SERVEGEN + "0,100,5\n600,0,0\n1200,200,5\n"))

    assert at(replay, 300) == at(replay, 900) == [pytest.approx(100 / 198, abs=0.001)]
    assert replay.holes == 1
    assert "1 windows missing" in replay.describe()


def test_a_hole_at_the_start_takes_the_first_value_there_is(tmp_path: Path) -> None:
    """Nothing came before it."""
    replay = traces.load(written(tmp_path, SERVEGEN + "0,0,0\n600,80,5\n1200,80,5\n"))

    assert at(replay, 300, 900) == [1.0, 1.0]


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    """By its first bytes, whatever its name."""
    path = tmp_path / "trace.csv"
    path.write_bytes(gzip.compress((SERVEGEN + "0,100,5\n600,50,5\n").encode()))

    assert traces.load(path).length_s == 1200


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("when,what\n1,2\n", "neither an Azure LLM trace"),
        ("client_id,t_s,rate_rps\n0,0,1\n", "neither an Azure LLM trace"),
        (AZURE, "at least 2 full bins"),
        (AZURE + "2023-11-16 18:00:00,1,2\n", "at least 2 full bins"),
        (AZURE + "yesterday,1,2\n", "line 2"),
        (AZURE + "2023-11-16 18:00:00,1,many\n", "line 2"),
        (AZURE + "2023-11-16 18:00:00,1\n", "line 2"),
        (AZURE + "1823-11-16 18:00:00,1,5\n2023-11-16 18:00:00,1,5\n", "spans more than"),
        (SERVEGEN, "at least 2 windows"),
        (SERVEGEN + "0,100,5\n600,-1,5\n", "non-negative"),
        (SERVEGEN + "0,100,5\n600,nan,5\n", "finite"),
        (SERVEGEN + "0,100,5\n600,1,5\n1900,1,5\n", "600 s apart"),
        (SERVEGEN + "0,100,5\n0,1,5\n", "growing"),
        (SERVEGEN + "0,0,0\n600,0,0\n", "holds no demand"),
    ],
)
def test_a_bad_trace_is_one_line_that_names_it(tmp_path: Path, text: str, complaint: str) -> None:
    """File, place and reason."""
    path = written(tmp_path, text)

    with pytest.raises(ConfigError, match=complaint) as raised:
        traces.load(path)

    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unreadable_trace_is_a_config_error(tmp_path: Path) -> None:
    """A folder, a missing file, a cut gzip and bytes that are no text."""
    cut, binary = tmp_path / "cut.gz", tmp_path / "binary"
    cut.write_bytes(gzip.compress(b"t_s,rate_rps\n" * 100)[:-20])
    binary.write_bytes(b"t_s,\xff\xfe\n")

    for path in (tmp_path, tmp_path / "none.csv", cut, binary):
        with pytest.raises(ConfigError, match=path.name):
            traces.load(path)


def test_the_azure_trace_has_the_mean_counted_by_hand(shared_data: Path) -> None:
    """4 088 048 tokens in 350 full bins of 10 s; over the 99th percentile of 17 797.5 a bin, cut at 1: 0.6557."""
    replay = traces.load(shared_data / "data/azure_llm_2023/AzureLLMInferenceTrace_conv.csv")

    assert replay.length_s == 3500
    assert float(replay.share.mean()) == pytest.approx(0.65569, abs=1e-5)
    assert replay.describe() == (
        "SIMULATED fleet; inference demand replayed from the real Azure LLM inference trace (CC-BY-4.0), "
        "repeated every 58 min 20 s"
    )


def test_the_servegen_series_has_the_mean_counted_by_hand(shared_data: Path) -> None:
    """2016 windows, mean 195.84 requests/s; over the 99th percentile of 407.70 and cut at 1 that is 0.4788."""
    replay = traces.load(shared_data / "data/servegen_alibaba/m-large_10min.csv")

    assert replay.length_s == 14 * 86_400
    assert replay.holes == 0
    assert float(replay.share.mean()) == pytest.approx(0.47881, abs=1e-5)
    assert replay.describe().endswith(
        "a real ServeGen series of Alibaba Cloud Model Studio (Apache-2.0), repeated every 14 days"
    )


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=20))
def test_utilisation_is_a_share_at_every_instant(seconds: list[float]) -> None:
    """0 to 1, for the synthetic day and for a replay alike."""
    replay = traces.Replay(np.array([0.0, 1.0, 0.25]), 10.0, "a test")

    for demand in (Synthetic(PACIFIC), replay):
        shares = demand.utilisation(np.array(seconds))
        assert np.all((shares >= 0.0) & (shares <= 1.0))


def test_the_synthetic_day_follows_local_time_and_the_week() -> None:
    """Busiest at 15:00 in California, quietest at 3:00, and four fifths of it on a Saturday; clock changes included."""
    demand = Synthetic(PACIFIC)
    thursday, saturday = (datetime(2026, 7, day, 15, tzinfo=PACIFIC).timestamp() for day in (23, 25))
    night, winter = (
        datetime(2026, 7, 23, 3, tzinfo=PACIFIC).timestamp(),
        datetime(2026, 1, 22, 15, tzinfo=PACIFIC).timestamp(),
    )

    assert at(demand, thursday, winter, night, saturday) == [1.0, 1.0, 0.3, 0.8]


def test_both_clock_changes_are_followed() -> None:
    """2026-03-08 10:00 UTC is 3:00 in California, one minute before it was 1:59; 2026-11-01 09:00 UTC is 1:00 again."""
    from deploy.fleet.variation import local_s

    before, after, autumn = (
        datetime(2026, 3, 8, 9, 59, tzinfo=UTC).timestamp(),
        datetime(2026, 3, 8, 10, 0, tzinfo=UTC).timestamp(),
        datetime(2026, 11, 1, 9, 0, tzinfo=UTC).timestamp(),
    )

    minutes = local_s(np.array([before, after, autumn]), PACIFIC) % 86_400 / 60

    assert minutes.tolist() == [119, 180, 60]
