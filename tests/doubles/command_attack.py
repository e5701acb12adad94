"""
Attack an actuator with commands it must not obey, and see that nothing of it moves.

    forge     ─▶ records of some fifty kinds: noise, damage, wrong types, wrong words under our own key, wrong keys
    host      nothing held · a lease in mid-hold · a safety cap      ×      keyring A · A and B · B · B and A
    between   commands under whichever keys are in the file, which must all be obeyed; restarts from the journal
    after each hostile record: no setter called, no limit, lease, level, sequence or byte of the journal changed; one
    more refusal, of the code that its kind deserves; nothing of keys, signatures and payloads in what is said of it
"""

import base64
import json
import logging
import re
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from doubles.actuated import Actuated
from doubles.commands import (
    H100,
    HOST,
    KEY,
    KEY_2,
    KEY_ID,
    KEY_ID_2,
    STRANGER,
    admission,
    cap,
    clock,
    keyring_text,
    lease,
    signed,
)
from doubles.nvml_host import fresh

from collectors.actuator import Actuator
from collectors.admit import LEAP, MAX_PAYLOAD, Refusal, RefusalCode
from collectors.listen import ANYBODYS, Ears
from collectors.process import JsonLines
from collectors.refusals import Refusals
from pipeline import files
from pipeline.codec import Codec, DecodeError
from pipeline.messages.control import AckStatus, CommandAck, LeaseCommand, SignedCommand
from pipeline.messages.telemetry import Tier
from pipeline.topics import COMMANDS

CODEC = Codec(COMMANDS)
MEGABYTE = 1 << 20
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of Ed25519's base point (RFC 8032, 5.1): adding it to the second half of a signature must not give another one."""
UTC_TEXT = "2026-07-23T12:00:00"
R = RefusalCode
replaced = msgspec.structs.replace


class Signer(NamedTuple):
    """A key and the name it goes by."""

    key_id: str
    key: Ed25519PrivateKey

    def sign(self, command: LeaseCommand) -> SignedCommand:
        """Return *command* as it travels."""
        return signed(command, self.key, self.key_id)

    def over(self, payload: bytes) -> SignedCommand:
        """Return any bytes, properly signed."""
        return SignedCommand(host=HOST, key_id=self.key_id, payload=payload, signature=self.key.sign(payload))


A, B = Signer(KEY_ID, KEY), Signer(KEY_ID_2, KEY_2)
RINGS: tuple[tuple[Signer, ...], ...] = ((A,), (A, B), (B,), (B, A))
"""The keyring file, in turn."""


class Hostile(NamedTuple):
    """A record that must not be obeyed."""

    kind: str
    record: bytes | None
    codes: frozenset[RefusalCode]
    """What it may be refused as; most kinds leave one."""
    carries: tuple[SignedCommand, ...]
    """What it was made of, and what it says itself: no signature and no payload of these may be said of it."""


@dataclass
class Forge:
    """Makes hostile records for a host as it is now."""

    random: Random
    ring: tuple[Signer, ...] = (A,)
    now: datetime = field(default_factory=lambda: lease(1).issued_at)
    highest_seq: int = 0
    is_latched: bool = False
    heard: list[bytes] = field(default_factory=list)
    """What was obeyed, as it travelled."""

    def make(self, kind: str) -> Hostile | None:
        """Return a record of *kind*, None where there is none now."""
        if kind in WORDS:
            code, change = WORDS[kind]
            return self._sealed(kind, self.signer.sign(change(self, self.command())), code)
        if kind in TEXTS:
            code, write = TEXTS[kind]
            return self._sealed(kind, self.signer.over(write(self, plain(self.command()))), code)
        codes, damage = DAMAGES[kind]
        base = self.signer.sign(self.command())
        try:
            record = damage(self, base)
        except LookupError:  # nothing to replay yet, no key left out of the ring
            return None
        said = meaning(record)
        return Hostile(kind, record, frozenset(codes), (base, *([] if said is None else [said.message])))

    def command(self) -> LeaseCommand:
        """Return a command that this host would obey, and that would be seen on it."""
        return lease(
            self.highest_seq + self.random.randint(1, 5),
            cap(self.random.randint(2100, 6900) / 10),
            begins=self.now,
            lasts_s=self.random.randint(60, 900),
            kind="safety" if self.is_latched or self.random.random() < 0.2 else "economic",
        )

    @property
    def signer(self) -> Signer:
        """One of those whom the host obeys."""
        return self.random.choice(self.ring)

    @property
    def left_out(self) -> Signer:
        """One whom it does not obey any more, or not yet; `LookupError` if there is none."""
        return [one for one in (A, B) if one not in self.ring][0]  # noqa: RUF015 - a StopIteration would be lost

    def bytes(self, most: int) -> bytes:
        """Return up to so many bytes of noise."""
        return self.random.randbytes(self.random.randint(0, most))

    def _sealed(self, kind: str, message: SignedCommand, code: RefusalCode) -> Hostile | None:
        if code is R.LATCHED and not self.is_latched:
            return None
        return Hostile(kind, CODEC.encode(message), frozenset({code}), (message,))


def plain(message: object) -> dict[str, Any]:
    """Return *message* as its JSON is."""
    document: dict[str, Any] = json.loads(msgspec.json.encode(message))
    return document


class Meaning(NamedTuple):
    """All of a record that matters to a host."""

    key_id: str
    payload: bytes
    signature: bytes

    @property
    def message(self) -> SignedCommand:
        """The shortest record that means it."""
        return SignedCommand(host=HOST, key_id=self.key_id, payload=self.payload, signature=self.signature)


def meaning(record: bytes | None) -> Meaning | None:
    """Return what a record means to a host, None where it is no signed command."""
    try:
        message = CODEC.decode(record)
    except (DecodeError, RecursionError):
        return None
    return Meaning(message.key_id, message.payload, message.signature)


# ---- under our own key, and wrong ----

Change = Callable[[Forge, LeaseCommand], LeaseCommand]


def _times(begins_s: float, ends_s: float, issued_s: float = 0.0) -> Change:
    def change(forge: Forge, command: LeaseCommand) -> LeaseCommand:
        issued, begins, ends = (forge.now + timedelta(seconds=one) for one in (issued_s, begins_s, ends_s))
        return replaced(command, issued_at=issued, not_before=begins, expires_at=ends)

    return change


def _changed(**choices: Sequence[object]) -> Change:
    def change(forge: Forge, command: LeaseCommand) -> LeaseCommand:
        return replaced(command, **{name: forge.random.choice(list(some)) for name, some in choices.items()})

    return change


def _reordered(forge: Forge, command: LeaseCommand) -> LeaseCommand:
    return replaced(command, seq=max(0, forge.highest_seq - forge.random.randint(0, 9)))


def _year(word: str) -> Change:
    def change(forge: Forge, command: LeaseCommand) -> LeaseCommand:
        del forge
        return replaced(command, **{word: datetime.fromisoformat("9999-12-31T23:59:59-14:00")})

    return change


def _nameless(_: Forge, command: LeaseCommand) -> LeaseCommand:
    return replaced(command, kind="economic", award_id="", command_id="i" * (MAX_PAYLOAD // 2))


def _far_ahead(forge: Forge, command: LeaseCommand) -> LeaseCommand:
    highest = round((forge.now + LEAP).timestamp() * 1e6)
    return replaced(command, seq=forge.random.choice([highest + 1000, 2**62, 2**63 - 1]))


WORDS: Mapping[str, tuple[RefusalCode, Change]] = {
    "wrong host": (
        R.WRONG_HOST,
        _changed(host=["host-2", "", "HOST-1", "host-1 ", "host-1\0", "höst-1", "\U000e0001" * 50]),
    ),
    "reordered": (R.REPLAYED, _reordered),
    "expired": (R.EXPIRED, _times(-61, -1, -61)),
    "expired this instant": (R.EXPIRED, _times(-60, 0, -60)),
    "issued in the future": (R.FROM_THE_FUTURE, _times(0, 60, 5.001)),
    "issued in year 9999": (R.FROM_THE_FUTURE, _year("issued_at")),
    "too far ahead": (R.TOO_FAR_AHEAD, _times(3600.001, 3660)),
    "begins in year 9999": (R.TOO_FAR_AHEAD, _year("not_before")),
    "ends in year 9999": (R.BAD_LENGTH, _year("expires_at")),
    "no length": (R.BAD_LENGTH, _times(60, 60)),
    "negative length": (R.BAD_LENGTH, _times(120, 60)),
    "too long": (R.BAD_LENGTH, _times(0, 900.001)),
    "absurd way back": (R.BAD_LENGTH, _changed(release_s=[-1.0, -1e308, 1e308, 900.001, -5e-324, 2.0**64])),
    "no award": (R.NO_AWARD, lambda _, command: replaced(command, award_id="", kind="economic")),
    "caps of nothing and less": (R.BAD_LEVEL, _changed(caps=[(cap(level),) for level in (0.0, -0.0, -1.0, -1e308)])),
    "clocks of nothing and less": (R.BAD_LEVEL, _changed(clocks=[(clock(0.0),), (clock(-1500.0),)])),
    "shares beyond one": (R.BAD_LEVEL, _changed(admissions=[(admission(share),) for share in (-0.001, 1.001, 1e308)])),
    "caps too low": (R.OUT_OF_BOUNDS, _changed(caps=[(cap(level),) for level in (49.999, 1.0, 5e-324)])),
    "caps too high": (R.OUT_OF_BOUNDS, _changed(caps=[(cap(level),) for level in (3000.001, 2.0**63, 2.0**64, 1e308)])),
    "one bad cap among many": (
        R.OUT_OF_BOUNDS,
        lambda _, command: replaced(command, caps=(*(cap(400, Tier.T3, f"{i}") for i in range(300)), cap(1))),
    ),
    "two levels for one pool": (
        R.BAD_LEVEL,
        _changed(
            caps=[(cap(400), cap(300)), (cap(400), cap(400))],
            clocks=[(), (clock(900), clock(901))],
            pauses=[(), (Tier.T3, Tier.T3)],
            admissions=[(), (admission(0.5), admission(0.4))],
        ),
    ),
    "T0 capped": (R.PROTECTED_TIER, _changed(caps=[(cap(400, Tier.T0),), (cap(400), cap(400, Tier.T0))])),
    "T0 slowed": (R.PROTECTED_TIER, _changed(clocks=[(clock(900, Tier.T0),)])),
    "T0 paused": (R.PROTECTED_TIER, _changed(pauses=[(Tier.T0,), (Tier.T3, Tier.T0)])),
    "T0 turned away": (R.PROTECTED_TIER, _changed(admissions=[(admission(0.5, Tier.T0),)])),
    "T1 or T2 paused": (R.PROTECTED_TIER, _changed(pauses=[(Tier.T1,), (Tier.T2,), (Tier.T3, Tier.T2)])),
    "economic while latched": (R.LATCHED, lambda _, command: replaced(command, kind="economic")),
    "a release while latched": (R.LATCHED, lambda _, command: replaced(command, kind="economic", caps=())),
    "a page of host": (R.WRONG_HOST, lambda _, command: replaced(command, host="h" * (MAX_PAYLOAD // 2))),
    "a page of id": (R.NO_AWARD, _nameless),
    "far ahead of all sequences": (R.OUT_OF_BOUNDS, _far_ahead),
    "a megabyte of host": (R.MALFORMED, lambda _, command: replaced(command, host="h" * MEGABYTE)),
    "a megabyte of id": (R.MALFORMED, lambda _, command: replaced(command, host="other", command_id="i" * MEGABYTE)),
}

# ---- under our own key, and no lease ----

Write = Callable[[Forge, dict[str, Any]], bytes]

WRONG_TYPES: Mapping[str, tuple[object, ...]] = {
    "type": (None, 1, "lease.v2", "", "LEASE.V1", "signed-command.v1", [], {}),
    "command_id": (None, 1, True, [], {}),
    "host": (None, 1, [HOST], {}),
    "seq": (None, "1", 1.5, True, [1], {}, -1, -(2**63), 2**63, 2**64, 10**400, -(10**4000)),
    "kind": (None, "Safety", "", 1, [], "safety "),
    "award_id": (None, 1, []),
    "dispatch_id": (None, 0, {}),
    "issued_at": (
        None,
        0,
        "",
        "now",
        UTC_TEXT,
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
    ),
    "not_before": (None, 1e308, [], UTC_TEXT, "2026-07-23T24:00:00Z", "2026-07-23T12:00:60Z"),
    "expires_at": (None, True, {}, UTC_TEXT, "2026-02-30T00:00:00Z", "2026-07-23"),
    "caps": (None, {}, "caps", 1, [None], [1], [[]], [{}], [{"tier": "T9", "gpu_model": H100, "cap_w": 400}]),
    "clocks": (None, "", [{"tier": "T3", "gpu_model": H100, "max_mhz": "900"}]),
    "pauses": (None, "T3", [1], ["T4"], [None], ["t3"], {"T3": 1}),
    "admissions": (None, [{"tier": "T3"}], [{"tier": "T3", "share": None}], 0.5),
    "release_s": (None, "20", [], True),
}


def _wrong_type(forge: Forge, document: dict[str, Any]) -> bytes:
    name = forge.random.choice(list(WRONG_TYPES))
    return json.dumps(document | {name: forge.random.choice(WRONG_TYPES[name])}).encode()


def _missing(forge: Forge, document: dict[str, Any]) -> bytes:
    optional = {"type", "clocks", "pauses", "admissions", "release_s"}  # msgspec asks for a tag in a union alone
    needed = [name for name in document if name not in optional]
    del document[forge.random.choice(needed)]
    return json.dumps(document).encode()


def _no_number(forge: Forge, document: dict[str, Any]) -> bytes:
    token = forge.random.choice(
        ["NaN", "Infinity", "-Infinity", "1e309", "-1e999", "0x190", "4_00", "400.", "+400", "١"]
    )
    name = forge.random.choice(['"release_s": ', '"cap_w": '])
    return re.sub(f"{name}[0-9.]+", f"{name}{token}", json.dumps(document)).encode()


def _twice(name: str, second: object) -> Write:
    def write(forge: Forge, document: dict[str, Any]) -> bytes:
        del forge
        return (json.dumps(document)[:-1] + f', "{name}": {json.dumps(second)}}}').encode()

    return write


def _nested(forge: Forge, text: str) -> bytes:
    depth = forge.random.choice([10, 999, 5_000, 50_000])
    opens, closes = forge.random.choice([("[", "]"), ('{"a":', "}")])
    return f'{{"x": {opens * depth}1{closes * depth}, {text}'.encode()


TEXTS: Mapping[str, tuple[RefusalCode, Write]] = {
    "signed noise": (R.MALFORMED, lambda forge, _: forge.bytes(300)),
    "signed wrong type": (R.MALFORMED, _wrong_type),
    "signed missing field": (R.MALFORMED, _missing),
    "signed unknown field": (
        R.MALFORMED,
        lambda forge, document: json.dumps(
            document | {forge.random.choice(["cap", "Caps", "", "floor_w"]): 1}
        ).encode(),
    ),
    "signed no number": (R.MALFORMED, _no_number),
    "signed other document": (
        R.MALFORMED,
        lambda forge, _: forge.random.choice(
            [b"", b"{}", b"[]", b"null", b'""', b"\xef\xbb\xbf{}", b"0", b'{"type":"lease.v1"}']
        ),
    ),
    "signed nesting": (R.MALFORMED, lambda forge, document: _nested(forge, json.dumps(document | {"seq": "x"})[1:])),
    "signed bad UTF-8": (
        R.MALFORMED,
        lambda forge, document: (
            json.dumps(document)
            .encode()
            .replace(b"award-1", forge.random.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80"]))
        ),
    ),
    "signed lone surrogate": (R.MALFORMED, lambda _, document: json.dumps(document | {"award_id": "\ud800"}).encode()),
    "signed cut short": (
        R.MALFORMED,
        lambda forge, document: (text := json.dumps(document).encode())[: forge.random.randrange(len(text))],
    ),
    "signed and more": (R.MALFORMED, lambda forge, document: json.dumps(document).encode() + b"}" + forge.bytes(9)),
    "signed unknown word": (R.MALFORMED, lambda _, document: json.dumps(document | {"kind": "k" * 100_000}).encode()),
    "seq twice": (
        R.REPLAYED,
        lambda forge, document: _twice("seq", forge.random.randint(0, forge.highest_seq))(forge, document),
    ),
    "host twice": (R.WRONG_HOST, _twice("host", "host-2")),
    "caps twice": (R.OUT_OF_BOUNDS, _twice("caps", [{"tier": "T3", "gpu_model": H100, "cap_w": 1}])),
}

# ---- damaged on the way, or by somebody without a key ----

Damage = Callable[[Forge, SignedCommand], bytes | None]
ANY = (R.MALFORMED, R.UNKNOWN_KEY, R.BAD_SIGNATURE)


def _until_different(damage: Callable[[Forge, bytes], bytes]) -> Damage:
    """Damage a record until it means something else; white space, say, is nothing to refuse."""

    def make(forge: Forge, base: SignedCommand) -> bytes:
        record = CODEC.encode(base)
        while meaning(damaged := damage(forge, record)) == meaning(record):
            pass
        return damaged

    return make


def _bits(forge: Forge, record: bytes) -> bytes:
    damaged = bytearray(record)
    for _ in range(forge.random.randint(1, 3)):
        damaged[forge.random.randrange(len(damaged))] ^= 1 << forge.random.randrange(8)
    return bytes(damaged)


def _splices(forge: Forge, record: bytes) -> bytes:
    damaged = bytearray(record)
    for _ in range(forge.random.randint(1, 4)):
        at, to = (forge.random.randrange(len(damaged) + 1) for _ in range(2))
        damaged[at : at + forge.random.randint(0, 8)] = forge.random.choice([forge.bytes(8), damaged[to : to + 8]])
    return bytes(damaged)


def _one_bit(octets: bytes, random: Random) -> bytes:
    at = random.randrange(len(octets))
    return octets[:at] + bytes([octets[at] ^ 1 << random.randrange(8)]) + octets[at + 1 :]


def _with(**changes: Callable[[Forge, SignedCommand], object]) -> Damage:
    def make(forge: Forge, base: SignedCommand) -> bytes:
        return CODEC.encode(replaced(base, **{name: change(forge, base) for name, change in changes.items()}))

    return make


def _document(change: Callable[[Forge, dict[str, Any]], object]) -> Damage:
    def make(forge: Forge, base: SignedCommand) -> bytes:
        document = plain(base)
        change(forge, document)
        return json.dumps(document).encode()

    return make


def _no_base64(forge: Forge, document: dict[str, Any]) -> None:
    name = forge.random.choice(["payload", "signature"])
    at = forge.random.randrange(len(document[name]) - 4)
    document[name] = (
        document[name][:at] + forge.random.choice(["!", "-_", " ", "é", "=", "\0"]) + document[name][at + 1 :]
    )


def _no_type(forge: Forge, document: dict[str, Any]) -> None:
    wrong: dict[str, Sequence[object]] = {
        "type": [None, 5, "lease.v1", "signed-command.v2", "t" * MEGABYTE, document["signature"], document["payload"]],
        "host": [None, 1, [], {}],
        "key_id": [None, 1, [], {}, True],
        "payload": [None, 1, [], {}, dict(document), list(range(9))],
        "signature": [None, 64, [], {}],
    }
    name = forge.random.choice(list(wrong))
    document[name] = forge.random.choice(wrong[name])


def _payload_twice(forge: Forge, base: SignedCommand) -> bytes:
    other = base64.b64encode(msgspec.json.encode(forge.command())).decode()
    return CODEC.encode(base)[:-1] + f',"payload":"{other}"}}'.encode()


def _added_order(_: Forge, base: SignedCommand) -> bytes:
    scalar = int.from_bytes(base.signature[32:], "little") + GROUP_ORDER
    return base.signature[:32] + scalar.to_bytes(32, "little")


DAMAGES: Mapping[str, tuple[tuple[RefusalCode, ...], Damage]] = {
    "noise": ((R.MALFORMED,), lambda forge, _: forge.bytes(300)),
    "no value": ((R.MALFORMED,), lambda *_: None),
    "cut short": (
        (R.MALFORMED,),
        lambda forge, base: (text := CODEC.encode(base))[: forge.random.randrange(len(text))],
    ),
    "and more": ((R.MALFORMED,), lambda forge, base: CODEC.encode(base) + b"{" + forge.bytes(20)),
    "flipped bits": (ANY, _until_different(_bits)),
    "spliced": (ANY, _until_different(_splices)),
    "flipped payload": ((R.BAD_SIGNATURE,), _with(payload=lambda forge, base: _one_bit(base.payload, forge.random))),
    "flipped signature": (
        (R.BAD_SIGNATURE,),
        _with(signature=lambda forge, base: _one_bit(base.signature, forge.random)),
    ),
    "other host signed for": (
        (R.BAD_SIGNATURE,),
        _with(payload=lambda _, base: base.payload.replace(b"host-1", b"host-2")),
    ),
    "other cap signed for": (
        (R.BAD_SIGNATURE,),
        _with(payload=lambda _, base: base.payload.replace(b'"cap_w":', b'"cap_w":1')),
    ),
    "no base64": ((R.MALFORMED,), _document(_no_base64)),
    "wrong type": ((R.MALFORMED,), _document(_no_type)),
    "missing field": ((R.MALFORMED,), _document(lambda forge, one: one.pop(forge.random.choice(list(one)[1:])))),
    "payload twice": ((R.BAD_SIGNATURE,), _payload_twice),
    "nesting": ((R.MALFORMED,), lambda forge, _: _nested(forge, '"type": "signed-command.v1"}')),
    "bad UTF-8": (
        (R.MALFORMED,),
        lambda forge, base: CODEC.encode(base).replace(
            b'"host":"', b'"host":"' + forge.random.choice([b"\xff", b"\xc3("])
        ),
    ),
    "a megabyte of key id": ((R.UNKNOWN_KEY,), _with(key_id=lambda *_: "k" * MEGABYTE)),
    "key id almost right": (
        (R.UNKNOWN_KEY,),
        _with(
            key_id=lambda forge, base: forge.random.choice(
                [
                    "",
                    " ",
                    base.key_id.upper(),
                    base.key_id + "\0",
                    base.key_id + " ",
                    "dispatсh",
                    "__class__",
                    "\n" * 9,
                    "\U000e0001" * 39,
                ]
            )
        ),
    ),
    "key in place of its id": (
        (R.UNKNOWN_KEY,),
        _with(
            key_id=lambda forge, base: forge.random.choice(
                [
                    base64.b64encode(base.signature).decode(),
                    base.payload.decode(),
                    KEY.private_bytes_raw().hex(),
                    base64.b64encode(KEY.private_bytes_raw()).decode(),
                ]
            )
        ),
    ),
    "stranger": ((R.BAD_SIGNATURE,), _with(signature=lambda _, base: STRANGER.sign(base.payload))),
    "stranger under own id": (
        (R.UNKNOWN_KEY,),
        _with(key_id=lambda *_: "stranger", signature=lambda _, base: STRANGER.sign(base.payload)),
    ),
    "key not in the ring": ((R.UNKNOWN_KEY,), lambda forge, _: CODEC.encode(forge.left_out.sign(forge.command()))),
    "other key's signature": (
        (R.BAD_SIGNATURE,),
        _with(signature=lambda _, base: (B if base.key_id == A.key_id else A).key.sign(base.payload)),
    ),
    "signed other bytes": (
        (R.BAD_SIGNATURE,),
        _with(signature=lambda forge, base: forge.signer.key.sign(base.payload + b" ")),
    ),
    "swapped payloads": ((R.BAD_SIGNATURE,), _with(payload=lambda forge, _: msgspec.json.encode(forge.command()))),
    "signature of wrong length": (
        (R.BAD_SIGNATURE,),
        _with(
            signature=lambda forge, base: forge.random.choice(
                [
                    b"",
                    base.signature[:63],
                    base.signature + b"\0",
                    base.signature * 2,
                    base.signature[:32],
                    bytes(64),
                    b"\1" + bytes(63),
                ]
            )
        ),
    ),
    "signature bent by the group's order": ((R.BAD_SIGNATURE,), _with(signature=_added_order)),
    "replayed": ((R.REPLAYED, R.UNKNOWN_KEY), lambda forge, _: forge.random.choice(forge.heard)),
    "replayed under another name": (
        (R.REPLAYED, R.UNKNOWN_KEY),
        lambda forge, _: CODEC.encode(replaced(CODEC.decode(forge.random.choice(forge.heard)), host="host-2")),
    ),
}

KINDS = (*WORDS, *TEXTS, *DAMAGES)
RARE = frozenset(kind for kind in KINDS if "megabyte" in kind or "nesting" in kind)
"""Big ones, made a tenth as often as the others."""

# ---- what may not be said ----

WINDOW, WORDY = 12, 32
"""
So many characters in a row are no coincidence: of a key or a signature in any spelling, of a payload in hex or base64;
and of a payload as it reads. Below that, an answer names the same fields and instants as what it answers.
"""
LONGEST_LINE = 400


def encoded(octets: bytes) -> str:
    """Return bytes as they may be spelt in a text."""
    standard, web = base64.b64encode(octets).decode(), base64.urlsafe_b64encode(octets).decode()
    return "\n".join((octets.hex(), octets.hex().upper(), standard, web))


def spelt(octets: bytes) -> str:
    """Return the same and bytes as Python shows them."""
    return f"{encoded(octets)}\n{repr(octets)[2:-1]}"


def windows(text: str, width: int = WINDOW) -> set[str]:
    """Return every *width* characters in a row."""
    return {text[at : at + width] for at in range(len(text) - width + 1)}


KEYS = frozenset[str]().union(
    *(
        windows(spelt(raw))
        for key in (KEY, KEY_2, STRANGER)
        for raw in (key.private_bytes_raw(), key.public_key().public_bytes_raw())
    )
)


def leaks(text: str, carried: Sequence[SignedCommand] = (), shown: Sequence[str] = ()) -> str | None:
    """Return what *text* tells of a key, or of what was *carried* other than what is *shown* on purpose."""
    for name in shown:
        text = text.replace(name, "")
    short, long = windows(text), windows(text, WORDY)
    if known := short & KEYS:
        return known.pop()
    for one in carried:
        told, plainly = spelt(one.signature[:200]) + "\n" + encoded(one.payload[:2000]), repr(one.payload[:2000])
        found = [window for window in short if window in told] + [window for window in long if window in plainly]
        if found:
            return found[0]
    return None


class Told(Refusals):
    """Refusals as a log shows them, by a clock of its own: a hundred records a second, whatever the machine does."""

    def __init__(self) -> None:
        super().__init__()
        self.at_s = 0.0
        self.last: Refusal | None = None

    def note(self, refusal: Refusal, now_s: float) -> None:
        """Note it, and flush now and then as the pulse does."""
        del now_s
        self.at_s += 0.01
        self.last = refusal
        super().note(refusal, self.at_s)
        if round(self.at_s * 100) % 25 == 0:
            self.flush(self.at_s)


class Lines(logging.Handler):
    """All log lines since they were taken last, as text and as JSON."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._json = JsonLines()
        self.new: list[str] = []
        self.refused: Counter[str] = Counter()
        """By code, as the log tells it: lines of their own and those in a number."""
        self.count, self.longest = 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        text = record.getMessage()
        self.new += [text, self._json.format(record)]
        self.count += 1
        self.longest = max(self.longest, *map(len, self.new[-2:]))
        if found := re.match(r"refused: (\w+): (?:(\d+) more$)?", text):
            self.refused[found[1]] += int(found[2] or 1)

    def take(self) -> list[str]:
        """Return the new ones."""
        new, self.new = self.new, []
        return new


@contextmanager
def listened() -> Iterator[Lines]:
    """Yield what the collectors' loggers say, and keep it from everybody else."""
    lines, log = Lines(), logging.getLogger("collectors")
    before = log.level, log.propagate
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield lines
    finally:
        log.removeHandler(lines)
        log.level, log.propagate = before
        log.setLevel(before[0])


# ---- the attack ----


@dataclass
class Toll:
    """What so many hostile records did."""

    n: int = 0
    seed: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    legit_passed: int = 0
    legit_refused: int = 0
    limits_changed: int = 0
    restarts: int = 0
    rotations: int = 0
    log_lines: int = 0
    longest_line: int = 0
    heard_us_p50: float = 0.0
    """From the record's bytes to its refusal, noted and answered."""
    heard_us_p99: float = 0.0
    rss_growth_mb: float = 0.0
    """From a fifth of the records on."""
    failures: list[str] = field(default_factory=list)


class Standing(NamedTuple):
    """All of a host that no hostile record may change."""

    sets_made: int
    limits_w: tuple[float, ...]
    highest_seq: int
    leases: object
    levels: object
    accepted: int
    journal: bytes


STATES = ("nothing", "held", "latched")
MOST_GROWTH_MB = 10.0
"""From a fifth of the records on, when all is there that is made once; what an allocator keeps of megabytes is some."""
EPISODE, LEGIT_EVERY = 120, 40
"""Hostile records in one state under one keyring, and to one good command."""


class Attack:
    """One host under attack."""

    def __init__(self, folder: Path, seed: int, kinds: Sequence[str] = KINDS, gpus: int = 4) -> None:
        self.random = Random(seed)
        self.host = Actuated(fresh(gpus=gpus), folder)
        self.forge = Forge(self.random)
        self.kinds = kinds
        self.weights = [1 if kind in RARE else 10 for kind in kinds]
        self.toll = Toll(seed=seed)
        self.told = Told()
        self.acks: list[CommandAck] = []
        self.us = array("d")
        self.cap_w = 0.0

    async def run(self, count: int, *, most_failures: int = 20) -> Toll:
        """Send *count* hostile records; give up after so many failures."""
        toll, memory = self.toll, psutil.Process().memory_info
        began = memory().rss
        with listened() as self.lines:
            await self._start()
            while toll.n < count and len(toll.failures) < most_failures:
                turn, phase = divmod(toll.rotations, len(RINGS))
                self._rotate(RINGS[phase])
                await self._enter(STATES[turn % len(STATES)])
                await self._episode(min(EPISODE, count - toll.n), most_failures)
                if toll.n <= count / 5:
                    began = memory().rss
            self.told.close()
            self._look_at_lines(None)
        told = {code: number for code, number in self.lines.refused.items() if number}
        if told != dict(toll.refused):
            toll.failures.append(f"the log tells of {told}")
        toll.rss_growth_mb = round((memory().rss - began) / 1e6, 1)
        if toll.rss_growth_mb > MOST_GROWTH_MB:
            toll.failures.append(f"memory has grown by {toll.rss_growth_mb} MB")
        toll.log_lines, toll.longest_line = self.lines.count, self.lines.longest
        ordered = sorted(self.us) or [0.0]
        toll.heard_us_p50, toll.heard_us_p99 = (round(ordered[int(len(ordered) * share)], 1) for share in (0.5, 0.99))
        return toll

    # -- what is sent

    async def _episode(self, count: int, most_failures: int) -> None:
        restart_at = self.random.randrange(3 * count)
        for number in range(count):
            if number == restart_at:
                await self._restart()
            if number % LEGIT_EVERY == LEGIT_EVERY // 2:
                await self._renew()
            self._tell_forge()
            drawn = self.random.choices(self.kinds, self.weights, k=20)
            hostile = next((made for kind in drawn if (made := self.forge.make(kind)) is not None), None)
            if hostile is None:  # of these few kinds there is none in this state
                return
            await self._suffer(hostile)
            if len(self.toll.failures) >= most_failures:
                return

    async def _suffer(self, hostile: Hostile) -> None:
        """Let one record arrive and look what has changed."""
        toll, before, counted = self.toll, self._standing(), self.host.actuator.refused.copy()
        self.acks.clear()
        self.told.last = None
        toll.n += 1
        toll.by_kind[hostile.kind] += 1
        began_s = time.perf_counter()
        try:
            await self.ears.hear(hostile.record, is_history=False)
        except Exception as error:  # noqa: BLE001 - whatever comes out would have ended the process
            self._fail(hostile, f"lets {error!r} out"[:200])
        self.us.append((time.perf_counter() - began_s) * 1e6)
        after, codes = self._standing(), self.host.actuator.refused - counted
        if after != before:
            changed = [name for name, old, new in zip(Standing._fields, before, after, strict=True) if old != new]
            toll.limits_changed += "limits_w" in changed or "sets_made" in changed
            self._fail(hostile, f"changes {', '.join(changed)}")
        toll.refused.update({str(code): number for code, number in codes.items()})
        if codes.total() != 1 or not codes.keys() <= hostile.codes:
            self._fail(hostile, f"is counted as {dict(codes)}")
        self._look_at_answer(hostile)
        self._look_at_lines(hostile)

    def _look_at_answer(self, hostile: Hostile) -> None:
        refusal = self.told.last
        if refusal is None:
            self._fail(hostile, "is not noted")
            return
        if leak := leaks(refusal.reason, hostile.carries, shown(refusal)):
            self._fail(hostile, f"has {leak!r} in its reason")
        must_answer = refusal.command is not None and refusal.code not in ANYBODYS
        if len(self.acks) > 1 or (must_answer and not self.acks):
            self._fail(hostile, f"is answered {len(self.acks)} times")
        for ack in self.acks:
            if ack.status is not AckStatus.REFUSED or not (ack.reason or "").startswith(refusal.code):
                self._fail(hostile, f"is answered {ack.status}: {ack.reason}")
            text = msgspec.json.encode(replaced(ack, issued_at=None)).decode()
            if leak := leaks(text, hostile.carries, shown(refusal)):
                self._fail(hostile, f"has {leak!r} in its answer")

    def _look_at_lines(self, hostile: Hostile | None) -> None:
        names = shown(self.told.last)
        for line in self.lines.take():
            if len(line) > LONGEST_LINE:
                self._fail(hostile, f"is told in {len(line)} characters: {line[:80]}…")
            if leak := leaks(line, hostile.carries if hostile else (), names):
                self._fail(hostile, f"has {leak!r} in the log: {line[:80]}")

    # -- what must pass

    async def _enter(self, state: str) -> None:
        """Bring the host into *state* by commands that it must obey."""
        if self.host.actuator.state.is_latched and state != "latched":
            await self._let_go("safety")
        self.state = state
        if state != "nothing":
            await self._renew()
        elif not self.host.actuator.is_idle:
            await self._let_go("economic")

    async def _renew(self) -> None:
        """Send a good command, as the state allows; where nothing is to be held, one that is released again."""
        cap_w = self.random.choice([w for w in range(250, 650, 10) if w != self.cap_w])
        self.cap_w = cap_w
        await self._legit(cap(cap_w), kind="safety" if self.state == "latched" else "economic", lasts_s=900)
        if self.host.limits_w[1:] != [cap_w] * (len(self.host.limits_w) - 1):
            self._fail(None, f"a good command for {cap_w:g} W leaves {self.host.limits_w}")
        await self.host.after(1)
        if self.state == "nothing":
            await self._let_go("economic")

    async def _let_go(self, kind: str) -> None:
        await self._legit(kind=kind)
        for _ in range(5):
            await self.host.after(10)
        self.cap_w = 0.0
        if not self.host.actuator.is_idle:
            self._fail(None, "a good release leaves something held")

    async def _legit(self, *caps: Any, **words: Any) -> None:
        actuator = self.host.actuator
        self._tell_forge()
        seq = self.forge.highest_seq + self.random.randint(1, 3)
        record = CODEC.encode(self.forge.signer.sign(lease(seq, *caps, begins=self.forge.now, **words)))
        accepted, refused = actuator.accepted, actuator.refused.total()
        await self.ears.hear(record, is_history=False)
        if (actuator.accepted, actuator.refused.total()) == (accepted + 1, refused):
            self.toll.legit_passed += 1
        else:
            self.toll.legit_refused += 1
            self._fail(None, f"a good command is refused: {self.told.last}")
        self.forge.heard = [*self.forge.heard[-49:], record]
        self._look_at_lines(None)

    # -- the host

    async def _start(self) -> None:
        actuator = self.host.actuator
        actuator.answers.post = self.acks.append
        self.ears = Ears(actuator, {}, self.told)
        await actuator.begin()

    async def _restart(self) -> None:
        limits_w, before = self.host.limits_w, self.host.actuator
        self.host.restart()
        _hand_threads_over(before, self.host.actuator)
        await self._start()
        self.toll.restarts += 1
        if self.host.limits_w != limits_w:
            self._fail(None, f"a restart turns {limits_w} into {self.host.limits_w}")

    def _rotate(self, ring: tuple[Signer, ...]) -> None:
        self.toll.rotations += 1
        self.forge.ring = ring
        keys = {one.key_id: one.key.public_key().public_bytes_raw() for one in ring}
        files.replace(self.host.folder / "keys.toml", keyring_text(keys).encode())

    def _tell_forge(self) -> None:
        state, forge = self.host.actuator.state, self.forge
        forge.now, forge.highest_seq, forge.is_latched = self.host.clock.now(), state.highest_seq, state.is_latched

    def _standing(self) -> Standing:
        actuator, host = self.host.actuator, self.host
        journal = host.journal.read_bytes() if host.journal.exists() else b""
        state = actuator.state
        return Standing(
            host.host.sets_made,
            tuple(host.limits_w),
            state.highest_seq,
            state.leases,
            state.levels,
            actuator.accepted,
            journal,
        )

    def _fail(self, hostile: Hostile | None, what: str) -> None:
        self.toll.failures.append(f"{hostile.kind if hostile else 'a host'} {what}")


def _hand_threads_over(before: Actuator, after: Actuator) -> None:
    """Let *after* use the threads of *before*: a process that is killed takes them with it, and this one lives on."""
    after.hands._lanes, after.hands._finders = before.hands._lanes, before.hands._finders
    for old, new in zip(before.whose.feeds, after.whose.feeds, strict=True):
        new._lane = old._lane


def shown(refusal: Refusal | None) -> tuple[str, ...]:
    """Return what a refusal of a signed command tells of it on purpose."""
    if refusal is None or refusal.command is None:
        return ()
    command = refusal.command
    return (command.command_id, command.command_id[:40], command.host[:40], command.expires_at.isoformat())


async def attack(count: int, seed: int, kinds: Sequence[str] = KINDS, *, most_failures: int = 20) -> Toll:
    """Return the toll of so many hostile records, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="firmwatt-attack-") as folder:
        return await Attack(Path(folder), seed, kinds).run(count, most_failures=most_failures)
