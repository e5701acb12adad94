"""When files are merged, removed, sealed and let go; facts that a crash tore."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive_manifest import Manifest, Published, Sealed, lines, of, read
from pipeline.archive_places import NO_DAY, Place, fits, loaded_name, merged_name, parse, place_of, streamed_name
from pipeline.archive_plan import expired, is_over, merges, removable, seals
from pipeline.pipeline_settings import Upkeep
from pipeline.topics import SITE_INTERVALS

TOPIC = SITE_INTERVALS.name
NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
DAY = date(2026, 7, 23)
SETTINGS = Upkeep(merge_files=3, merge_bytes=1000, grace_s=60, settle_s=3600)


def streamed(number: int, size: int = 10) -> Published:
    name = streamed_name(TOPIC, 0, (number, number), f"{number:064x}")
    return Published(file=name, at=NOON, bytes=size, sha256="0", rows=1, offsets={0: (number, number)})


def merged(level: int, *sources: Published, size: int = 30, at: datetime = NOON) -> Published:
    replaces = {source.file: source.sha256 for source in sources}
    name = merged_name(TOPIC, level, replaces)
    return Published(file=name, at=at, bytes=size, sha256="0", rows=len(sources), replaces=replaces)


LOADED = Published(file=loaded_name(TOPIC, 300), at=NOON, bytes=10, sha256="0", rows=1)


def test_files_are_merged_once_there_are_enough_of_a_level() -> None:
    """Three small ones are enough here; a merged one and loaded history do not count among them."""
    two, three = [streamed(1), streamed(2)], [streamed(1), streamed(2), streamed(3)]
    level_1 = merged(1, streamed(7), streamed(8))

    assert list(merges(of([*two, level_1, LOADED]), SETTINGS, over=False)) == []
    (merge,) = merges(of([*three, level_1, LOADED]), SETTINGS, over=False)
    assert (merge.level, merge.sources) == (1, tuple(fact.file for fact in three))


def test_once_the_day_is_over_all_are_merged_whatever_their_level() -> None:
    facts = [streamed(1), merged(2, streamed(7), streamed(8)), LOADED]

    (merge,) = merges(of(facts), SETTINGS, over=True)

    assert (merge.level, set(merge.sources)) == (3, {facts[0].file, facts[1].file})


def test_a_file_as_large_as_they_get_is_left_and_a_full_batch_does_not_wait() -> None:
    """Of 400 bytes two fit into 1 000; of 500 and more none is merged."""
    assert list(merges(of([streamed(1, 500), streamed(2, 600), streamed(3, 700)]), SETTINGS, over=True)) == []
    pairs = [merge.sources for merge in merges(of([streamed(n, 400) for n in range(5)]), SETTINGS, over=False)]
    assert [len(sources) for sources in pairs] == [2, 2]


def test_what_is_merged_is_not_merged_again() -> None:
    sources = [streamed(1), streamed(2), streamed(3)]

    assert list(merges(of([*sources, merged(1, *sources)]), SETTINGS, over=True)) == []


def test_a_replaced_file_goes_after_the_grace_period_and_not_before() -> None:
    sources = [streamed(1), streamed(2)]
    known = of([*sources, merged(1, *sources)])

    assert removable(known, SETTINGS, NOON + timedelta(seconds=59)) == []
    assert removable(known, SETTINGS, NOON + timedelta(seconds=60)) == sorted(source.file for source in sources)


def test_a_file_that_is_another_than_the_one_that_was_merged_is_not_replaced() -> None:
    """What is in it now is in no other file."""
    before = streamed(1)
    another = Published(file=before.file, at=NOON, bytes=20, sha256="1", rows=2)
    known = of([before, merged(1, before, streamed(2)), another])

    assert before.file in known.live
    assert removable(known, SETTINGS, NOON + timedelta(hours=1)) == []


def test_a_day_is_over_an_hour_after_midnight() -> None:
    assert not is_over(DAY, datetime(2026, 7, 24, 0, 59, tzinfo=UTC), SETTINGS)
    assert is_over(DAY, datetime(2026, 7, 24, 1, tzinfo=UTC), SETTINGS)


def test_a_place_is_sealed_when_nothing_is_left_to_do_and_again_when_something_came_late() -> None:
    only = merged(1, streamed(1), streamed(2))
    seal = Sealed(at=NOON, files=(only.file,), rows=2, rows_sha256="0")

    assert seals(of([only]), SETTINGS, over=True)
    assert not seals(of([only]), SETTINGS, over=False)
    assert not seals(of([only, streamed(1)]), SETTINGS, over=True), "a replaced file is still there"
    assert not seals(of([only, seal]), SETTINGS, over=True)
    assert seals(of([only, seal, streamed(9, 600)]), SETTINGS, over=True), "too large to be merged, and late"
    assert not seals(of([LOADED]), SETTINGS, over=True), "history is not what the day held"


def test_days_go_once_kept_long_enough_and_topics_not_named_stay() -> None:
    days = [NO_DAY, *(date(2026, 7, day) for day in range(20, 24))]

    assert expired(days, NOON, {TOPIC: 2}, TOPIC) == [date(2026, 7, 20), date(2026, 7, 21)]
    assert expired(days, NOON, {}, TOPIC) == []


def test_a_clock_that_runs_years_ahead_lets_nothing_go() -> None:
    days = [date(2026, 7, day) for day in range(20, 24)]

    assert expired(days, datetime(2031, 1, 1, tzinfo=UTC), {TOPIC: 30}, TOPIC) == []


def test_a_message_from_the_far_future_lets_nothing_go() -> None:
    assert expired([DAY, date(2999, 1, 1)], NOON, {TOPIC: 30}, TOPIC) == []


def test_a_manifest_reads_back_and_a_torn_line_is_no_fact() -> None:
    known = of([streamed(1), merged(1, streamed(2)), Sealed(at=NOON, files=("a",), rows=1, rows_sha256="0")])
    content = lines(known.facts())

    assert read(content) == known
    assert read(content + b'{"fact":"published","fi') == known
    assert read(content + b'{"fact":"published","fi\n' + lines([streamed(3)])) == known.plus(streamed(3))
    assert read(b"") == Manifest()


@pytest.mark.parametrize("site", ["site-1", "dc/2", "_", "..", "ü =?#", "day=1", "%5F", "a" * 200])
def test_any_name_of_a_site_is_one_folder_and_comes_back(site: str) -> None:
    place = Place(TOPIC, DAY, site)
    topic, day, folder = place.folder.split("/")

    assert (topic, place_of(topic, day, folder)) == (TOPIC, place)
    assert fits(site)


def test_a_name_too_long_for_a_folder_does_not_fit() -> None:
    assert not fits("ü" * 34)


@given(st.text(max_size=40))
def test_no_two_sites_share_a_folder(site: str) -> None:
    assert place_of(TOPIC, "day=2026-07-23", Place(TOPIC, DAY, site).folder.rpartition("/")[2]) == Place(
        TOPIC, DAY, site
    )


@pytest.mark.parametrize("name", ["_manifest.jsonl", ".a.parquet.1.tmp", "a.parquet", "merged-1-xyz-00000000.parquet"])
def test_other_files_are_none_of_the_archive_s(name: str) -> None:
    assert parse(name) is None


def test_a_settings_file_that_keeps_what_is_no_topic_is_refused() -> None:
    from pipeline.pipeline_settings import Pipeline

    with pytest.raises(ValueError, match="no topic"):
        Pipeline(keep_days={"site.capacity.v7": 3})
