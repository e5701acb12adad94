"""Whatever bytes come: a `VenueError` of one line within 100 ms. The long form: `tests/long/fuzz_decoders.py ercot`."""

import base64
import gzip
import random

import pytest
from doubles.ercot.offers import hour, offer
from doubles.fuzz.ercot import SEEDS, TARGETS
from doubles.fuzz.judge import judge

from bidding.markets.ercot.decode import decode
from bidding.markets.ercot.encode import encode
from bidding.markets.ercot.reply import read_reply
from bidding.markets.ercot.xml import gunzip, parse
from pipeline.errors import VenueError

RUNS = 400
NASTY = [
    b"\x00",
    b"\xff\xfe",
    b"<",
    b">",
    b"&",
    b"]]>",
    b"<!--",
    b"-->",
    b"<?x?>",
    b"9" * 400,
    b"-",
    b"NaN",
    b"1e9",
    b"",
]


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Return *seed* with a few places cut, doubled, swapped or overwritten."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        upto = min(len(data), at + chance.randint(0, 40))
        kind = chance.randrange(4)
        if kind == 0:
            data[at:upto] = chance.choice(NASTY)
        elif kind == 1:
            data[at:at] = data[at:upto]
        elif kind == 2 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        else:
            data[at:upto] = bytes(chance.randrange(256) for _ in range(upto - at))
    return bytes(data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_mutated_documents_are_read_or_refused_in_one_line(name: str) -> None:
    chance = random.Random(f"ercot {name}")

    for number in range(RUNS):
        judge(TARGETS[name], mutated(SEEDS[name][number % len(SEEDS[name])], chance))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_the_fuzzer_begins_with_is_read(name: str) -> None:
    """Seeds that are refused at the door would fuzz the door only."""
    read = 0
    for seed in SEEDS[name]:
        try:
            TARGETS[name](seed)
        except VenueError:
            continue
        read += 1

    assert read > 0


LAUGHS = b"<!DOCTYPE l [" + b"".join(
    b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"lol") for n in range(10)
)

BOMBS = {
    "billion laughs": LAUGHS + b"]><BidSet>&l9;</BidSet>",
    "another's file": b'<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]><BidSet>&x;</BidSet>',
    "a document type elsewhere": b'<!DOCTYPE b SYSTEM "http://127.0.0.1:1/b.dtd"><BidSet/>',
    "depth": b"<a>" * 300_000,
    "width": b"<a/>" * 1_000_000,
    "attributes": b"<a " + b" ".join(b'b%d="1"' % n for n in range(100_000)) + b"/>",
    "namespaces": b"<a " + b" ".join(b'xmlns:b%d="u%d"' % (n, n) for n in range(50_000)) + b"/>",
    "length": b"<a>" + b" " * 9_000_000 + b"</a>",
    "a number of a million digits": b'<BidSet xmlns="http://www.ercot.com/schema/2007-06/nodal/ews"><tradingDate>'
    + b"9" * 1_000_000
    + b"</tradingDate></BidSet>",
    "utf-16": '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
    "nothing": b"",
    "a brace in a namespace, found by fuzzing": b'<n:R xmlns:n="http://x/sche}a/ews"><b xmlns="htal/ews"/></n:R>',
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_are_refused_in_no_time(name: str) -> None:
    def read(data: bytes) -> None:
        with pytest.raises(VenueError):
            decode(data)
        with pytest.raises(VenueError):
            read_reply(parse(data))
        raise VenueError("as expected")

    judge(read, BOMBS[name])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("billion laughs", "document type is refused unread"),
        ("another's file", "document type is refused unread"),
        ("a document type elsewhere", "document type is refused unread"),
        ("width", "tags is refused unread"),
        ("length", "bytes is refused unread"),
        ("depth", "tags is refused unread"),
    ],
)
def test_a_bomb_is_not_even_parsed(name: str, reason: str) -> None:
    with pytest.raises(VenueError, match=reason):
        parse(BOMBS[name])


def test_a_zip_bomb_is_refused_before_it_is_large() -> None:
    bomb = base64.b64encode(gzip.compress(b"\0" * 200_000_000, mtime=0)).decode()

    def read(data: bytes) -> None:
        gunzip(data.decode())

    with pytest.raises(VenueError, match="unpacks to more than"):
        gunzip(bomb)
    judge(read, bomb.encode())


def test_a_compressed_payload_is_read_like_any_other() -> None:
    document = encode([offer("ecrs", hour(17))])
    packed = base64.b64encode(gzip.compress(document)).decode()
    answer = f"""<m:ResponseMessage xmlns:m="http://www.ercot.com/schema/2007-06/nodal/ews/message"><m:Reply>
        <m:ReplyCode>OK</m:ReplyCode></m:Reply><m:Payload><m:Compressed>{packed}</m:Compressed></m:Payload>
        </m:ResponseMessage>"""

    reply = read_reply(parse(answer.encode()))

    assert reply.payload is not None
    assert reply.payload.findtext("{*}tradingDate") == "2026-07-25"
