"""
A process that uses a spool, under the recorder: ``python writer.py FOLDER MAX_BYTES SEED STEPS``.

It appends ticks, hands them out and retires some, closes and opens again, and ends without closing. Before and after it
says so in the file ``marks`` of the same folder, which is recorded with the rest: what the spool had promised when the
power went.
"""

import os
import random
import sys
from pathlib import Path

import msgspec

from collectors.spool import Spool


def content(number: int) -> bytes:
    """Return tick *number*, digits that no other tick has; now and then 48 large ones in a row, to fill the spool."""
    chance = random.Random(number)
    is_large = number % 192 >= 144
    digits = chance.randbytes(chance.randrange(8000, 12_000) if is_large else chance.randrange(50, 900)).hex()
    return msgspec.json.encode({"host": "h1", "number": number, "digits": digits})


def number_of(payload: bytes) -> int:
    """Return which tick *payload* is."""
    number: int = msgspec.json.decode(payload)["number"]
    return number


def main(folder: Path, max_bytes: int, seed: int, steps: int) -> None:
    """Use the spool for so many steps, then end as kill -9 would."""
    chance = random.Random(seed)
    marks = os.open(folder / "marks", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    spool = Spool.open(folder, max_bytes)
    retiring = chance.choice((0.0, 0.01, 0.1))
    for _ in range(steps):
        step = chance.random()
        if step < 0.97 - retiring:
            number = 1 if spool.last is None else number_of(spool.last) + 1
            spool.append(spool.next_seq, content(number))
            os.write(marks, b"appended %d %d\n" % (number, spool.dropped_total))
        elif step < 0.97:
            if batch := spool.pending(chance.choice((1, 5, 50))):
                os.write(marks, b"retired %d\n" % number_of(batch[-1].payload))
                spool.retire(batch)
        else:
            spool.close()
            spool = Spool.open(folder, max_bytes)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
