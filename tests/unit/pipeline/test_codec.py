"""Messages survive the wire; everything else is refused, never a crash."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import Codec, DecodeError
from pipeline.market_topics import AWARDS, MARKET_TOPICS
from pipeline.messages.telemetry import HostTick
from pipeline.topics import HOST_TICKS, TOPICS

TICK = (
    b'{"type":"host-tick.v1","host":"h1","site":"s","boot":"b","seq":1,"measured_at":"2026-07-23T00:00:00Z","gpus":['
    b'{"uuid":"GPU-1","model":"H100","power_w":412.5,"tier":"T3","workload":"training","quality":["stale"]}]}'
)
AWARD = (
    b'{"kind":"award.v1","award_id":"a","offer_id":"o","resource":"r","product":"energy-dr","interval":'
    b'{"start":"2026-07-23T00:00:00Z","end":"2026-07-23T00:01:00Z"},"quantity_mw":"0.250","price_per_mwh":"310.00",'
    b'"currency":"USD","awarded_at":"2026-07-22T23:59:40Z"}'
)


def test_a_tick_of_version_one_decodes_for_ever() -> None:
    """Golden bytes: changing the shape needs a new tag on a new topic."""
    tick = Codec(HOST_TICKS).decode(TICK)

    assert isinstance(tick, HostTick)
    assert tick.gpus[0].power_w == 412.5
    assert tick.gpus[0].energy_j is None, "absent is None, not zero"
    assert Codec(HOST_TICKS).decode(Codec(HOST_TICKS).encode(tick)) == tick


def test_an_award_of_version_one_keeps_its_decimals() -> None:
    """0.250 MW stays decimal, never float."""
    award = Codec(AWARDS).decode(AWARD)

    assert str(award.quantity_mw) == "0.250"
    assert Codec(AWARDS).encode(award) == AWARD


def test_a_naive_instant_is_refused() -> None:
    """A tick that does not say which noon it means is no tick."""
    with pytest.raises(DecodeError, match="measured_at"):
        Codec(HOST_TICKS).decode(TICK.replace(b"00:00:00Z", b"00:00:00"))


@given(st.binary(max_size=200))
def test_garbage_is_refused_on_every_topic(garbage: bytes) -> None:
    """No bytes crash a decoder with anything but `DecodeError`."""
    for topic in (*TOPICS, *MARKET_TOPICS):
        with pytest.raises(DecodeError):
            Codec(topic).decode(garbage)


def test_brackets_without_end_are_refused_like_garbage() -> None:
    """A parser that gives up on nesting raises what is no ValueError; it stops no worker either."""
    for topic in (*TOPICS, *MARKET_TOPICS):
        with pytest.raises(DecodeError):
            Codec(topic).decode(b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}")


def test_a_record_without_a_value_is_refused_like_garbage() -> None:
    """Anybody may write a null to a topic; it stops no worker."""
    with pytest.raises(DecodeError, match="without a value"):
        Codec(HOST_TICKS).decode(None)


def test_every_topic_has_a_name_of_its_own_and_a_version() -> None:
    """A changed shape is a new topic, so the version is part of the name."""
    names = [topic.name for topic in (*TOPICS, *MARKET_TOPICS)]

    assert len(set(names)) == len(names)
    assert all(name.endswith(".v1") for name in names)
    assert all(topic.type is bytes or msgspec.inspect.is_struct_type(topic.type) for topic in TOPICS)
