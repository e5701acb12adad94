"""Which commands a host obeys."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from doubles.commands import HOST, KEY, KEY_ID, KEYRING, NOON, STRANGER, admission, cap, clock, lease, signed
from hypothesis import given
from hypothesis import strategies as st

from collectors.admit import Keyring, Refusal, RefusalCode, admit
from collectors.bounds import Bounds
from pipeline.errors import ConfigError
from pipeline.messages.control import LeaseCommand, SignedCommand
from pipeline.messages.telemetry import Tier

BOUNDS = Bounds()


def verdict(
    command: LeaseCommand | SignedCommand, highest_seq: int = 0, after_s: float = 0, *, is_latched: bool = False
) -> LeaseCommand | RefusalCode:
    """Return what a host says *after_s* seconds past noon: the lease, or why not."""
    message = command if isinstance(command, SignedCommand) else signed(command)
    now = NOON + timedelta(seconds=after_s)
    answer = admit(message, HOST, highest_seq, KEYRING, now, BOUNDS, is_latched=is_latched)
    return answer.code if isinstance(answer, Refusal) else answer


def ahead(hours: float) -> LeaseCommand:
    """Return a lease issued at noon that begins so much later."""
    command = lease(1, cap(400), begins=NOON + timedelta(hours=hours))
    return msgspec.structs.replace(command, issued_at=NOON)


def under_our_key(payload: bytes) -> SignedCommand:
    """Return any bytes as the dispatcher would have signed them."""
    return SignedCommand(host=HOST, key_id=KEY_ID, payload=payload, signature=KEY.sign(payload))


def test_a_signed_lease_for_this_host_is_obeyed() -> None:
    command = lease(1, cap(400))

    assert verdict(command) == command


def test_a_key_that_is_not_in_the_keyring_is_refused() -> None:
    assert verdict(signed(lease(1, cap(400)), key_id="other")) is RefusalCode.UNKNOWN_KEY


def test_a_strangers_signature_under_a_known_name_is_refused() -> None:
    assert verdict(signed(lease(1, cap(400)), key=STRANGER)) is RefusalCode.BAD_SIGNATURE


def test_what_is_signed_but_no_lease_is_refused() -> None:
    """The key is ours and the signature good, the bytes are `{}`."""
    assert verdict(under_our_key(b"{}")) is RefusalCode.MALFORMED


@pytest.mark.parametrize(
    ("command", "after_s", "code"),
    [
        (lease(1, cap(400), host="host-2"), 0, RefusalCode.WRONG_HOST),
        (lease(0, cap(400)), 0, RefusalCode.REPLAYED),
        (lease(1, cap(400), lasts_s=60), 60, RefusalCode.EXPIRED),
        (ahead(hours=2), 0, RefusalCode.TOO_FAR_AHEAD),
        (lease(1, cap(400), lasts_s=15 * 60 + 1), 0, RefusalCode.BAD_LENGTH),
        (lease(1, cap(400), begins=NOON + timedelta(seconds=4), lasts_s=0), 0, RefusalCode.BAD_LENGTH),
        (lease(1, cap(400), release_s=-1), 0, RefusalCode.BAD_LENGTH),
        (lease(1, cap(400), begins=NOON + timedelta(seconds=6)), 0, RefusalCode.FROM_THE_FUTURE),
        (lease(1, cap(400), award_id=""), 0, RefusalCode.NO_AWARD),
        (lease(1, cap(0)), 0, RefusalCode.BAD_LEVEL),
        (lease(1, cap(-400)), 0, RefusalCode.BAD_LEVEL),
        (lease(1, cap(400), cap(300)), 0, RefusalCode.BAD_LEVEL),
        (lease(1, clocks=(clock(0),)), 0, RefusalCode.BAD_LEVEL),
        (lease(1, admissions=(admission(1.5),)), 0, RefusalCode.BAD_LEVEL),
        (lease(1, admissions=(admission(-0.1),)), 0, RefusalCode.BAD_LEVEL),
        (lease(1, pauses=(Tier.T3, Tier.T3)), 0, RefusalCode.BAD_LEVEL),
        (lease(1, cap(49.9)), 0, RefusalCode.OUT_OF_BOUNDS),
        (lease(1, cap(3000.1)), 0, RefusalCode.OUT_OF_BOUNDS),
        (lease(1, cap(400, Tier.T0)), 0, RefusalCode.PROTECTED_TIER),
        (lease(1, clocks=(clock(900, Tier.T0),)), 0, RefusalCode.PROTECTED_TIER),
        (lease(1, admissions=(admission(0.5, Tier.T0),)), 0, RefusalCode.PROTECTED_TIER),
        (lease(1, pauses=(Tier.T1,)), 0, RefusalCode.PROTECTED_TIER),
    ],
)
def test_a_command_out_of_bounds_is_refused(command: LeaseCommand, after_s: float, code: RefusalCode) -> None:
    assert verdict(command, after_s=after_s) is code


def test_a_cap_outside_the_gpus_range_is_no_reason_to_refuse() -> None:
    """It is clamped when it is applied, where the range is known."""
    command = lease(1, cap(60.0), cap(2900.0, Tier.T2))

    assert verdict(command) == command


def test_a_sequence_that_leaps_would_lock_the_host_and_is_refused() -> None:
    """Dispatch counts microseconds; two days ahead of the clock nobody is by right."""
    day_us = 86_400_000_000
    noon_us = int(NOON.timestamp() * 1e6)

    assert verdict(lease(noon_us + day_us, cap(400))) == lease(noon_us + day_us, cap(400))
    assert verdict(lease(noon_us + 2 * day_us, cap(400))) is RefusalCode.OUT_OF_BOUNDS


def test_a_field_that_is_not_known_is_a_mistake_and_no_release() -> None:
    """A cap in the words of another version must not be taken for nothing asked."""
    document = msgspec.to_builtins(lease(1)) | {"fans": [{"tier": "T3", "speed": 0.5}]}

    assert verdict(under_our_key(msgspec.json.encode(document))) is RefusalCode.MALFORMED


def test_more_than_a_lease_needs_is_not_even_verified() -> None:
    assert verdict(under_our_key(b" " * 16_385)) is RefusalCode.MALFORMED


def test_only_so_many_leases_may_wait_and_a_release_is_none() -> None:
    """Sixteen hold or wait."""

    def answer(command: LeaseCommand) -> LeaseCommand | Refusal:
        return admit(signed(command), HOST, 0, KEYRING, NOON, BOUNDS, planned=16)

    refusal = answer(lease(1, cap(400)))
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.TOO_MANY
    assert answer(lease(1)) == lease(1)


def test_a_lease_sent_ahead_is_obeyed() -> None:
    """Half an hour before it begins; what counts for the clocks' agreement is when it was issued."""
    assert verdict(ahead(hours=0.5)) == ahead(hours=0.5)


def test_a_replay_is_refused_even_by_a_host_that_only_remembers_the_sequence() -> None:
    """After a restart nothing but the highest sequence is known; an overtaken command looks the same."""
    assert verdict(lease(7, cap(400)), highest_seq=7) is RefusalCode.REPLAYED
    assert verdict(lease(6, cap(400)), highest_seq=7) is RefusalCode.REPLAYED
    assert verdict(lease(8, cap(400)), highest_seq=7) == lease(8, cap(400))


def test_while_a_safety_cap_holds_only_a_safety_command_is_obeyed() -> None:
    release = lease(2, kind="safety")

    assert verdict(lease(2), is_latched=True) is RefusalCode.LATCHED
    assert verdict(release, is_latched=True) == release


def test_a_safety_command_needs_no_award() -> None:
    command = lease(1, cap(400), kind="safety", award_id="")

    assert verdict(command) == command


def test_a_refusal_shows_no_more_of_a_name_than_fits_a_line() -> None:
    """A key id of a megabyte would fill the log."""
    refusal = admit(signed(lease(1), key_id="k" * 1_000_000), HOST, 0, KEYRING, NOON, BOUNDS)

    assert isinstance(refusal, Refusal)
    assert len(refusal.reason) < 100


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), part=st.sampled_from(["payload", "signature"]))
def test_one_flipped_bit_anywhere_is_refused(place: int, bit: int, part: str) -> None:
    """No byte of payload or signature can change unseen."""
    message = signed(lease(1, cap(400)))
    parts = {"payload": bytearray(message.payload), "signature": bytearray(message.signature)}
    parts[part][place % len(parts[part])] ^= 1 << bit

    flipped = SignedCommand(
        host=HOST, key_id=KEY_ID, payload=bytes(parts["payload"]), signature=bytes(parts["signature"])
    )

    assert verdict(flipped) is RefusalCode.BAD_SIGNATURE


@given(payload=st.binary(max_size=200), signature=st.binary(max_size=80), key_id=st.text(max_size=9))
def test_garbage_is_refused_and_never_crashes(payload: bytes, signature: bytes, key_id: str) -> None:
    noise = SignedCommand(host=HOST, key_id=key_id, payload=payload, signature=signature)

    assert verdict(noise) in {RefusalCode.UNKNOWN_KEY, RefusalCode.BAD_SIGNATURE}


@given(payload=st.binary(max_size=200) | st.sampled_from([b'{"type":"lease.v1"}', b"[]", b"null"]))
def test_garbage_under_our_own_signature_never_crashes(payload: bytes) -> None:
    """A dispatcher with a bug holds the key, too."""
    assert verdict(under_our_key(payload)) is RefusalCode.MALFORMED


def test_a_keyring_is_read_from_toml_and_from_json(tmp_path: Path) -> None:
    """Base64 of the 32 raw bytes."""
    encoded = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    (tmp_path / "keys.toml").write_text(f'dispatch = "{encoded}"\n')
    (tmp_path / "keys.json").write_text(f'{{"dispatch": "{encoded}"}}')

    for name in ("keys.toml", "keys.json"):
        assert Keyring.load(tmp_path / name).verifies(signed(lease(1)))


@pytest.mark.parametrize("content", ['dispatch = "c2hvcnQ="\n', "dispatch = 5\n", "dispatch = \n", 'dispatch = "?"\n'])
def test_a_keyring_that_holds_no_keys_is_said_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.toml").write_text(content)

    with pytest.raises(ConfigError):
        Keyring.load(tmp_path / "keys.toml")
