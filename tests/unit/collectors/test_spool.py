"""Ticks on disk: in order, over restarts, within their bound, whatever happens to the file."""

import random
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collectors.spool import IN_MEMORY, Spool, Tick
from collectors.spool_pack import PackError, pack, unpack
from pipeline import frames
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import HostTick

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
MB = 1_000_000
POWERED, REBOOTED = "kernel-1", "kernel-2"


def payload(seq: int, boot: str = "b") -> bytes:
    """Return a small tick whose content tells which one it is."""
    at = NOON + timedelta(seconds=seq)
    return msgspec.json.encode({"host": "h1", "boot": boot, "seq": seq, "measured_at": at, "energy_j": seq * 631.25})


def large(seq: int, size: int = 1500) -> bytes:
    """Return a tick of twice *size* that packs to little less than *size*: digits that no other tick has."""
    digits = random.Random(seq).randbytes(size).hex()
    return msgspec.json.encode({"host": "h1", "seq": seq, "measured_at": NOON + timedelta(seconds=seq), "d": digits})


def opened(folder: Path, kernel: str = POWERED, max_bytes: int = MB) -> Spool:
    """Return the spool in *folder*."""
    return Spool.open(folder / "spool", max_bytes, kernel)


def fill(spool: Spool, ticks: int, content: Callable[[int], bytes] = payload) -> None:
    """Append so many ticks."""
    for seq in range(spool.next_seq, spool.next_seq + ticks):
        spool.append(seq, content(seq))


def seqs(ticks: list[Tick]) -> list[int]:
    """Return the numbers inside *ticks*."""
    return [msgspec.json.decode(tick.payload)["seq"] for tick in ticks]


def waiting(spool: Spool) -> list[int]:
    """Return the numbers of all that is pending."""
    return seqs(spool.pending(100_000))


def killed(spool: Spool) -> None:
    """End *spool* as kill -9 does: nothing more is written, and the kernel closes the files."""
    assert spool._store
    copy = {file: file.read_bytes() for file in spool._folder.path.iterdir()}
    spool.close()
    for file, content in copy.items():
        file.write_bytes(content)


def test_a_tick_waits_until_it_is_retired_and_no_longer(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 3)

        first = spool.pending(2)
        spool.retire(first)

        assert seqs(first) == [1, 2]
        assert [tick.payload for tick in first] == [payload(1), payload(2)]
        assert waiting(spool) == [3]
        assert (spool.depth, spool.oldest_at) == (1, NOON + timedelta(seconds=3))


def test_the_oldest_come_first_and_come_again_until_they_are_retired(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 5)

        assert seqs(spool.pending(3)) == [1, 2, 3]
        assert seqs(spool.pending(3)) == [1, 2, 3]


def test_an_empty_spool_has_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        assert spool.pending(10) == []
        assert (spool.depth, spool.next_seq, spool.last, spool.oldest_at) == (0, 1, None, None)
        assert (spool.dropped_total, spool.unstored_total, spool.trouble) == (0, 0, None)


@pytest.mark.parametrize("end", [Spool.close, killed])
def test_the_stream_goes_on_after_a_restart(tmp_path: Path, end: Callable[[Spool], None]) -> None:
    first = opened(tmp_path)
    fill(first, 3)
    first.retire(first.pending(1))
    boot = first.boot
    end(first)

    with opened(tmp_path) as second:
        assert (second.boot, second.next_seq, second.last) == (boot, 4, payload(3))
        assert waiting(second)[-2:] == [2, 3]


def test_after_a_clean_stop_nothing_that_was_retired_comes_back(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 3)
        spool.retire(spool.pending(3))

    with opened(tmp_path) as spool:
        assert (spool.depth, waiting(spool), spool.last, spool.next_seq) == (0, [], payload(3), 4)


def test_after_a_kill_what_was_just_retired_may_come_back_and_nothing_is_missing(tmp_path: Path) -> None:
    """What is retired leaves the disk with the next append: no write of its own for it."""
    spool = opened(tmp_path)
    fill(spool, 3)
    spool.retire(spool.pending(3))
    killed(spool)

    with opened(tmp_path) as spool:
        assert waiting(spool) == [1, 2, 3]


def test_another_boot_of_the_machine_is_another_boot_of_the_stream(tmp_path: Path) -> None:
    """A loss of power may have taken numbered ticks with it; their numbers must not be given away again."""
    with opened(tmp_path) as spool:
        fill(spool, 2)
        before = spool.boot

    with opened(tmp_path, REBOOTED) as spool:
        assert spool.boot != before
        assert (spool.next_seq, spool.last) == (1, payload(2))
        fill(spool, 2, lambda seq: payload(seq, "b2"))
        assert waiting(spool) == [1, 2, 1, 2]  # the old backlog first


def test_a_stream_that_was_never_written_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 1)
    with opened(tmp_path, REBOOTED):
        pass

    with opened(tmp_path, REBOOTED) as spool:
        fill(spool, 1)
        assert waiting(spool) == [1, 1]


def test_a_tick_out_of_turn_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as spool, pytest.raises(ValueError, match="tick 2 is not the next one, 1"):
        spool.append(2, payload(2))


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 2)
        folder = tmp_path / "spool"

        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {"spool.db": 0o600, "spool.db-wal": 0o600, "lock": 0o600, "unbroken": 0o600}


def test_a_second_collector_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ConfigError, match=r"another collector \(process \d+\) uses the spool in"):
        opened(tmp_path)

    opened(tmp_path).close()


def test_a_bound_too_small_to_work_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give it 1 MB or more"):
        opened(tmp_path, max_bytes=999_999)


def test_a_full_spool_stays_within_its_bound_and_counts_what_it_gives_up(tmp_path: Path) -> None:
    """2 500 ticks of 1.5 kB do not fit a megabyte: the newer part stays whole, of the older every tenth."""
    largest = 0
    with opened(tmp_path) as spool:
        for seq in range(1, 2501):
            spool.append(seq, large(seq))
            largest = max(largest, spool.size_bytes)
        left = waiting(spool)

        assert largest <= MB
        assert len(left) == spool.depth
        assert spool.depth + spool.dropped_total == 2500
        thin = [seq for seq in left if seq + 1 not in left and seq != 2500]
        whole = left[len(thin) :]
        assert all(seq % 10 == 0 for seq in thin)
        assert whole == list(range(whole[0], 2501))
        assert 0.2 < len(thin) / len(whole) < 5
        dropped = spool.dropped_total
    with opened(tmp_path) as spool:
        assert (spool.dropped_total, waiting(spool)) == (dropped, left)


def test_thinning_keeps_the_first_and_the_last_tick_of_a_boot(tmp_path: Path) -> None:
    """They bound its energy. The first boot has ticks 1 to 105 of 1.5 kB; some 300 fit."""
    with opened(tmp_path) as spool:
        fill(spool, 105, large)

    with opened(tmp_path, REBOOTED) as spool:
        fill(spool, 400, large)
        left = waiting(spool)

    assert left[: left.index(105) + 1] == [1, *range(10, 101, 10), 105]
    assert left[left.index(105) + 1] == 1


def test_what_is_on_its_way_is_not_dropped(tmp_path: Path) -> None:
    """Else it would be counted as given up, and arrive."""
    with opened(tmp_path) as spool:
        fill(spool, 100, large)
        on_its_way = spool.pending(50)
        fill(spool, 500, large)

        assert waiting(spool)[:50] == seqs(on_its_way) == list(range(1, 51))


def test_an_acknowledged_backlog_makes_room_before_anything_is_dropped(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for _ in range(8):
            fill(spool, 100, large)
            spool.retire(spool.pending(100))

        assert (spool.dropped_total, spool.depth) == (0, 0)


def test_after_an_outage_the_disk_is_given_back(tmp_path: Path) -> None:
    """250 ticks of 1.5 kB; what is left of the file is a page a table, and its log."""
    with opened(tmp_path) as spool:
        fill(spool, 250, large)
        while batch := spool.pending(100):
            spool.retire(batch)
        fill(spool, 20)
        assert waiting(spool) == list(range(251, 271))

    assert (tmp_path / "spool" / "spool.db").stat().st_size < 20 * 4096


@pytest.mark.parametrize(
    "content",
    [b"not a database, but a long text" * 200, b"SQLite format 3\0" + b"\xff" * 8000],
    ids=["text", "rubbish"],
)
def test_a_file_that_is_no_spool_is_set_aside_and_a_new_one_begun(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "spool.db").write_bytes(content)

    with opened(tmp_path) as spool:
        fill(spool, 2)

        assert (waiting(spool), spool.trouble, spool.unstored_total) == ([1, 2], None, 0)
    assert (folder / "spool.bad").read_bytes() == content


@pytest.mark.parametrize(
    ("statement", "said"),
    [("PRAGMA user_version = 7", "its format is 7"), ("DROP TABLE boot", "no such table"), ("DELETE FROM state", "")],
)
def test_a_database_of_another_version_is_set_aside(
    tmp_path: Path, statement: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 2)
    with sqlite3.connect(tmp_path / "spool" / "spool.db") as db:
        db.execute(statement)
    db.close()

    with opened(tmp_path) as spool:
        assert (spool.next_seq, spool.depth) == (1, 0)
        fill(spool, 1)
        assert waiting(spool) == [1]
    assert said in caplog.text
    assert "spool.bad" in caplog.text


def test_a_page_that_went_bad_costs_the_ticks_on_it_and_no_others(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 30, large)
    damage(tmp_path, "UPDATE tick SET content = substr(content, 1, 40) WHERE position IN (7, 8)")

    with opened(tmp_path) as spool:
        assert waiting(spool) == [*range(1, 7), *range(9, 31)]
        assert waiting(spool) == [*range(1, 7), *range(9, 31)]
        assert (spool.dropped_total, spool.depth) == (2, 28)


def test_bad_ticks_alone_do_not_hold_up_the_others(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        fill(spool, 5)
    damage(tmp_path, "UPDATE tick SET content = x'00' WHERE position <= 3")

    with opened(tmp_path) as spool:
        assert seqs(spool.pending(2)) == [4, 5]
        assert (spool.dropped_total, spool.depth) == (3, 2)


def damage(folder: Path, statement: str) -> None:
    """Change the file behind the spool's back; positions are counted from the first tick."""
    with sqlite3.connect(folder / "spool" / "spool.db") as db:
        db.execute(statement)
    db.close()


@given(st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=600)), min_size=1, max_size=4))
@example([(0, b"\0" * 100)])
@example([(7 * 4096 + 10, b"J")])  # a pointer on a page of ticks: found on opening, or it costs those that come after
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_no_damage_to_the_file_stops_the_collector(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, bytes]]
) -> None:
    """Whatever is still handed out is what was put in, and what comes after the damage is all there."""
    folder = tmp_path_factory.mktemp("damaged")
    with opened(folder) as spool:
        fill(spool, 40, large)
    file = folder / "spool" / "spool.db"
    content = bytearray(file.read_bytes())
    for at, noise in damages:
        start = at % len(content)
        content[start : start + len(noise)] = noise[: len(content) - start]
    file.write_bytes(content)

    with opened(folder, REBOOTED) as spool:
        fill(spool, 5)
        left = spool.pending(1000)

        assert all(tick.payload in {payload(seq), large(seq)} for tick, seq in zip(left, seqs(left), strict=True))
        assert seqs(left)[-5:] == [1, 2, 3, 4, 5]


def test_a_folder_that_cannot_be_had_costs_the_disk_and_not_the_ticks(tmp_path: Path) -> None:
    """A file lies where the folder should be."""
    (tmp_path / "spool").write_text("in the way")

    with opened(tmp_path) as spool:
        fill(spool, 3)

        assert waiting(spool) == [1, 2, 3]
        assert (spool.depth, spool.unstored_total) == (3, 3)
        assert spool.trouble
        assert "cannot store ticks" in spool.trouble
        spool.retire(spool.pending(2))
        assert waiting(spool) == [3]


def test_memory_is_bounded_while_the_disk_fails(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")

    with opened(tmp_path) as spool:
        fill(spool, IN_MEMORY + 5)

        assert waiting(spool) == list(range(6, IN_MEMORY + 6))
        assert (spool.depth, spool.dropped_total) == (IN_MEMORY, 5)


def test_ticks_go_to_the_disk_once_there_is_one_and_the_stream_stays_the_same(tmp_path: Path) -> None:
    """The first ticks were numbered before the folder could be made."""
    (tmp_path / "spool").write_text("in the way")
    spool = opened(tmp_path)
    fill(spool, 100)
    (tmp_path / "spool").unlink()
    spool._retry_at_s = 0.0  # the next try is ten seconds away

    fill(spool, 1)

    assert (spool.trouble, spool.unstored_total) == (None, 100)
    boot = spool.boot
    killed(spool)
    with opened(tmp_path) as spool:
        assert (spool.boot, spool.next_seq) == (boot, 102)
        assert waiting(spool) == list(range(1, 102))


def test_ticks_sent_before_there_was_a_disk_keep_their_numbers_when_there_is_one(tmp_path: Path) -> None:
    """The file of an earlier run turns up after three ticks were numbered, sent and acknowledged without it."""
    with opened(tmp_path) as spool:
        fill(spool, 2)
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    (tmp_path / "spool").write_text("in the way")
    spool = opened(tmp_path)
    fill(spool, 3)
    spool.retire(spool.pending(2))
    on_its_way = spool.pending(10)
    boot = spool.boot
    (tmp_path / "spool").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "spool")
    spool._retry_at_s = 0.0  # the next try is ten seconds away

    fill(spool, 1)
    spool.retire(on_its_way)

    assert (spool.boot, spool.next_seq, spool.depth) == (boot, 5, 4)
    assert waiting(spool) == [1, 2, 3, 4]  # tick 3 again, and none of the older ones forgotten for it
    spool.close()


def test_a_file_that_turns_up_with_later_positions_than_now_is_set_aside(tmp_path: Path) -> None:
    """The clock was years ahead when it was written; no tick may be taken for another."""
    with opened(tmp_path) as spool:
        fill(spool, 2)
    damage(tmp_path, f"UPDATE tick SET position = position + {1 << 60}")
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    (tmp_path / "spool").write_text("in the way")
    spool = opened(tmp_path)
    fill(spool, 1)
    (tmp_path / "spool").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "spool")
    spool._retry_at_s = 0.0  # the next try is ten seconds away

    fill(spool, 1)

    assert (waiting(spool), spool.trouble, spool.set_aside_total) == ([1, 2], None, 1)
    spool.close()


def test_a_number_that_may_have_been_used_is_not_used_again(tmp_path: Path) -> None:
    """Tick 3 was numbered and sent, and the process killed before the disk took it."""
    spool = opened(tmp_path)
    fill(spool, 2)
    assert spool._store
    spool._store.db.execute("PRAGMA query_only = ON")  # as a disk that refuses writes
    fill(spool, 1)
    assert (spool.unstored_total, waiting(spool)) == (1, [1, 2, 3])
    boot = spool.boot
    killed(spool)

    with opened(tmp_path) as spool:
        assert spool.boot != boot
        assert spool.next_seq == 1
        assert waiting(spool) == [1, 2]


@given(st.binary(max_size=3000), st.binary(min_size=1, max_size=3000))
def test_what_was_packed_is_unpacked(content: bytes, dictionary: bytes) -> None:
    assert unpack(pack(content, dictionary), dictionary) == content


@given(st.binary(min_size=1, max_size=400), st.data())
def test_what_went_bad_is_never_unpacked(content: bytes, data: st.DataObject) -> None:
    """Cut short, or with a byte changed."""
    packed = bytearray(pack(content, b"dictionary"))
    at = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        packed[at] ^= data.draw(st.integers(1, 255))
    else:
        del packed[at:]

    try:
        assert unpack(bytes(packed), b"dictionary") == content  # the byte did not matter
    except PackError:
        return


def test_another_dictionary_is_refused() -> None:
    with pytest.raises(PackError):
        unpack(pack(b"tick", b"one"), b"other")


def test_a_tick_is_as_old_as_it_says_whichever_version_wrote_it(tmp_path: Path) -> None:
    """A collector that was replaced by a newer one left JSON; ticks are frames now."""
    at = NOON + timedelta(seconds=7)
    with opened(tmp_path) as spool:
        spool.append(1, frames.encode(HostTick(host="h1", site="s", boot="b", seq=1, measured_at=at, gpus=())))

        assert spool.oldest_at == at
