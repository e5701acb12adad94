"""Commands that must not be obeyed change nothing; `tests/long/attack_commands.py` sends a hundred thousand."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from doubles.actuated import Actuated
from doubles.command_attack import CODEC, KINDS, LONGEST_LINE, A, Attack, B, Forge, Signer, attack, leaks, meaning
from doubles.commands import HOST, KEY, KEY_ID, KEY_ID_2, NOON, PUBLIC, PUBLIC_2, STRANGER, cap, lease, signed
from doubles.nvml_host import fresh
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import admit as admission_module
from collectors.admit import Keyring, Refusal, RefusalCode, admit
from collectors.bounds import Bounds
from collectors.listen import Ears
from pipeline.messages.control import LeaseCommand, PoolAdmission, PoolCap, PoolClock, SignedCommand
from pipeline.messages.telemetry import Tier

BOUNDS = Bounds()
NOT_OF_A_COMMAND = {RefusalCode.NOT_RECORDED, RefusalCode.STOPPING, RefusalCode.TOO_MANY}
"""Refusals for what the host does, or has taken on already."""
RING = Keyring({KEY_ID: PUBLIC, KEY_ID_2: PUBLIC_2})


def verdict(message: SignedCommand, highest_seq: int = 0) -> LeaseCommand | Refusal:
    """Return what a host with both keys says at noon."""
    return admit(message, HOST, highest_seq, RING, NOON, BOUNDS)


async def test_three_thousand_hostile_commands_change_nothing_and_all_good_ones_pass() -> None:
    """Over every state, every keyring and some restarts; each is refused once, for its own reason, and said so."""
    toll = await attack(3000, seed=1)

    assert toll.failures == []
    assert (toll.n, toll.limits_changed, toll.legit_refused) == (3000, 0, 0)
    assert set(toll.by_kind) == set(KINDS)
    assert set(toll.refused) == set(RefusalCode) - NOT_OF_A_COMMAND
    assert sum(toll.refused.values()) == 3000
    assert toll.legit_passed > 80
    assert toll.rotations > 12
    assert toll.restarts > 0
    assert toll.longest_line <= LONGEST_LINE


BROKEN_CHECKS = {
    "replayed": (RefusalCode.REPLAYED, ("replayed", "reordered", "seq twice")),
    "expired": (RefusalCode.EXPIRED, ("expired", "expired this instant")),
    "bounds": (RefusalCode.OUT_OF_BOUNDS, ("caps too low", "caps too high")),
    "latch": (RefusalCode.LATCHED, ("economic while latched", "a release while latched", "replayed")),
    "protection": (RefusalCode.PROTECTED_TIER, ("T0 capped", "T1 or T2 paused")),
    "host": (RefusalCode.WRONG_HOST, ("wrong host", "host twice")),
}


@pytest.mark.parametrize("check", list(BROKEN_CHECKS))
async def test_a_host_that_leaves_a_check_out_is_found_out(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the harness would say of a broken one."""
    code, kinds = BROKEN_CHECKS[check]
    objections = admission_module._objections

    def fewer(*words: Any, **more: Any) -> Iterator[tuple[bool, RefusalCode, str]]:
        return (one for one in objections(*words, **more) if one[1] is not code)

    monkeypatch.setattr(admission_module, "_objections", fewer)

    toll = await attack(2000, 1, kinds, most_failures=1)

    assert toll.failures


@pytest.mark.parametrize("kind", ["flipped payload", "stranger", "swapped payloads", "signed other bytes"])
async def test_a_host_that_verifies_no_signature_is_found_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keyring, "verifies", lambda *_: True)

    toll = await attack(200, 1, (kind,), most_failures=1)

    assert toll.failures


async def test_a_host_that_forgets_its_sequence_over_a_restart_is_found_out(tmp_path: Path) -> None:
    """The journal is gone: the next start obeys what was obeyed before."""
    one = Attack(tmp_path, 1, ("replayed",))
    await one.run(60)
    one.host.journal.unlink(missing_ok=True)
    one.host.restart()
    await one._start()

    await one._suffer(forged(one, "replayed"))

    assert any("changes" in failure for failure in one.toll.failures)


def forged(one: Attack, kind: str) -> Any:
    """Return a record of *kind* as an attack would send it next."""
    one._tell_forge()
    return one.forge.make(kind)


@pytest.mark.parametrize("kind", ["stranger", "swapped payloads", "flipped signature", "key not in the ring"])
@pytest.mark.parametrize("echo", ["signature", "payload"])
async def test_a_reason_that_repeats_what_was_signed_is_found_out(
    echo: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirteen bytes of it in hex are enough."""
    opened = admission_module.opened

    def talkative(signed: SignedCommand, keyring: Keyring) -> LeaseCommand | Refusal:
        answer = opened(signed, keyring)
        if isinstance(answer, LeaseCommand):
            return answer
        return Refusal(f"no: {getattr(signed, echo)[7:20].hex()}", answer.code)

    monkeypatch.setattr(admission_module, "opened", talkative)

    toll = await attack(200, 1, (kind,), most_failures=3)

    assert any("in its reason" in failure for failure in toll.failures)
    assert any("in its answer" in failure for failure in toll.failures)


def test_key_material_is_recognised_in_every_spelling() -> None:
    message = signed(lease(1, cap(400)))

    for text in (
        KEY.private_bytes_raw().hex(),
        repr(PUBLIC)[10:30],
        message.signature.hex().upper()[3:20],
        repr(message.signature),
        message.payload.decode()[100:140],
    ):
        assert leaks(f"refused: {text}", [message]), text
    assert leaks("refused: bad_signature: the signature is not dispatch's over this payload", [message]) is None


# ---- what holds for every command ----

EDITS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), st.binary(max_size=12)), min_size=1, max_size=4)
GOOD = CODEC.encode(signed(lease(1, cap(400))))


@settings(max_examples=300)
@given(edits=EDITS)
def test_any_edit_of_a_record_is_refused_or_means_the_same(edits: list[tuple[int, int, bytes]]) -> None:
    record = bytearray(GOOD)
    for at, width, put in edits:
        start = at % (len(record) + 1)
        record[start : start + width] = put

    said = meaning(bytes(record))

    if said is not None and said != meaning(GOOD):
        assert isinstance(verdict(CODEC.decode(bytes(record))), Refusal)


def places(kind: type[Any], **values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return up to three levels, each for another tier and model."""
    one = st.builds(kind, **values)
    return st.lists(one, max_size=3, unique_by=lambda it: (it.tier, getattr(it, "gpu_model", ""))).map(tuple)


HIGHEST_SEQ = int((NOON + timedelta(days=1)).timestamp() * 1e6)
"""Dispatch counts the clock's microseconds, and may be a day ahead."""
HELD_BACK, MODELS = st.sampled_from([Tier.T1, Tier.T2, Tier.T3]), st.text(max_size=9)


@st.composite
def in_bounds(draw: st.DrawFn) -> LeaseCommand:
    """Return any command that a host at noon must obey."""
    second = st.integers(0, 3_600_000).map(lambda ms: timedelta(milliseconds=ms))
    length = draw(st.integers(1, 900_000).map(lambda ms: timedelta(milliseconds=ms)))
    begins = draw(st.one_of(second, st.integers(1, 1000).map(lambda share: timedelta(0) - length * share / 1001)))
    issued = draw(st.integers(-86_400_000, 5000).map(lambda ms: timedelta(milliseconds=ms)))
    kind = draw(st.sampled_from(["economic", "safety"]))
    return LeaseCommand(
        command_id=draw(st.text(max_size=20)),
        host=HOST,
        seq=draw(st.integers(1, HIGHEST_SEQ)),
        kind=kind,  # type: ignore[arg-type]
        award_id=draw(st.text(min_size=0 if kind == "safety" else 1, max_size=9)),
        dispatch_id=draw(st.text(max_size=9)),
        issued_at=NOON + issued,
        not_before=NOON + begins,
        expires_at=NOON + begins + length,
        caps=draw(places(PoolCap, tier=HELD_BACK, gpu_model=MODELS, cap_w=st.floats(50, 3000))),
        clocks=draw(places(PoolClock, tier=HELD_BACK, gpu_model=MODELS, max_mhz=st.floats(1e-3, 1e9))),
        pauses=draw(st.sampled_from([(), (Tier.T3,)])),
        admissions=draw(places(PoolAdmission, tier=HELD_BACK, share=st.floats(0, 1))),
        release_s=draw(st.floats(0, 900)),
    )


@settings(max_examples=200)
@given(command=in_bounds(), signer=st.sampled_from([A, B]))
def test_any_command_in_bounds_signed_by_either_key_is_obeyed(command: LeaseCommand, signer: Signer) -> None:
    """While keys are rotated both are in the file; the command travels as JSON and comes out the same."""
    assert verdict(CODEC.decode(CODEC.encode(signer.sign(command)))) == command


@given(command=in_bounds(), signer=st.sampled_from([A, B]), above=st.integers(0, 9))
def test_whatever_is_not_above_the_highest_sequence_is_refused(
    command: LeaseCommand, signer: Signer, above: int
) -> None:
    answer = verdict(signer.sign(command), highest_seq=command.seq + above)

    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.REPLAYED


NAMES = ["type", "host", "key_id", "payload", "signature", "seq", "caps", "kind", "tier", "cap_w", "issued_at"]
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=20,
)


@given(document=DOCUMENTS)
def test_no_document_under_our_own_key_is_obeyed_or_crashes(document: object) -> None:
    payload = msgspec.json.encode(document) if not _has_huge(document) else repr(document).encode()

    answer = verdict(A.over(payload))

    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.MALFORMED
    assert len(answer.reason) < 200


def _has_huge(document: object) -> bool:
    try:
        msgspec.json.encode(document)
    except (OverflowError, ValueError):
        return True
    return False


@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_no_kind_of_hostile_record_is_a_good_command(seed: int, kind: str) -> None:
    """Judged without a host around it, at the first command a host hears."""
    forge = Forge(Random(seed), (A, B))

    hostile = forge.make(kind)

    said = meaning(hostile.record) if hostile is not None else None
    if said is not None:
        assert isinstance(verdict(said.message), Refusal)


# ---- what was found by it ----


@pytest.fixture
def ears(tmp_path: Path) -> Ears:
    """Return those of a host with two GPUs."""
    return Ears(Actuated(fresh(gpus=2), tmp_path).actuator, {})


@pytest.mark.parametrize("depth", [10, 1000, 100_000])
async def test_nesting_without_end_is_refused(ears: Ears, depth: int) -> None:
    """Nobody has to hold a key for it; a thousand deep it raises what is no ValueError."""
    nested = b'{"x":' + b"[" * depth + b"]" * depth + b"}"

    for record in (nested, CODEC.encode(A.over(nested))):
        await ears.hear(record, is_history=False)

    assert ears.actuator.refused == {RefusalCode.MALFORMED: 2}


@pytest.mark.parametrize("seq", [2**63, 2**64, 10**4000, -1, -(10**4000)])
def test_a_sequence_that_no_column_holds_is_refused(seq: int) -> None:
    """It would be the last command that a host obeys, and its number would fill a log line."""
    payload = msgspec.json.encode(lease(1, cap(400))).replace(b'"seq":1', b'"seq":' + f"{seq}".encode())

    answer = verdict(A.over(payload))

    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.MALFORMED
    assert len(answer.reason) < 100


async def test_a_flood_does_not_hold_up_the_pulse(ears: Ears) -> None:
    """A fetch of three thousand records: who looks at leases has its turn in between, record by record."""
    flood, turns = Flood(CODEC.encode(signed(lease(1, cap(400)), key=STRANGER))), 0

    listening = asyncio.create_task(ears.listen(flood))
    while ears.actuator.refused.total() < flood.count and not listening.done():
        await asyncio.sleep(0)
        turns += 1
    listening.cancel()

    assert turns >= flood.count


class Flood:
    """A reader that finds the same record thousands of times in one fetch, and then nothing more."""

    count = 3000

    def __init__(self, value: bytes) -> None:
        self.key, self.value, self.offset = HOST.encode(), value, 1
        self.fetches = 0

    async def getmany(self, timeout_ms: int) -> dict[int, list["Flood"]]:
        self.fetches += 1
        if self.fetches > 1:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        return {0: [self] * self.count}

    def assignment(self) -> set[int]:
        return set()
