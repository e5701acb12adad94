"""Captures that are damaged, hostile or no captures: an answer or one line, no traceback, no made-up watt."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import captures
from collectors.captures import report
from collectors.captures.values import Capture, CaptureError

SAMPLES = {path.name: path.read_bytes() for path in (Path(__file__).parents[2] / "data" / "captures").iterdir()}

#: Draws that stand in a sample, by GPU: a shorter file may know less, but nothing else.
DRAWS_W = {
    "GPU-aaaaaaaa-0000-4000-8000-000000000001": {100.25},
    "GPU-aaaaaaaa-0000-4000-8000-000000000002": {210.5},
    "GPU-aaaaaaaa-0000-4000-8000-000000000003": set[float](),
    "GPU-bbbbbbbb-0000-4000-8000-000000000001": {300.5},
    "GPU-bbbbbbbb-0000-4000-8000-000000000002": {200.25},
    "GPU-bbbbbbbb-0000-4000-8000-000000000003": set[float](),
    "GPU-cccccccc-0000-4000-8000-000000000001": {127.67, 144.97},
    "GPU-eeeeeeee-0000-4000-8000-000000000001": {50.25, 50.5, 390.25},
    "GPU-eeeeeeee-0000-4000-8000-000000000002": {51.5, 51.75},
}


def answer(content: bytes) -> Capture | None:
    """Return what is read, None where it is refused; the reports can be written, and the refusal is one line."""
    refusal = ""
    try:
        capture = captures.read(content)
    except CaptureError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        return None
    document = msgspec.json.decode(report.as_json(capture, capture.newest))
    assert document["totals"]["gpus"] == len(document["gpus"]) >= 1
    assert report.as_table(capture.newest)
    return capture


def assert_true_to_the_sample(capture: Capture) -> None:
    for snapshot in capture.snapshots:
        for gpu in snapshot.gpus:
            assert gpu.power_w is None or gpu.power_w in DRAWS_W[gpu.uuid or ""], gpu


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_file_cut_at_any_byte_gives_only_what_stood_in_it(name: str) -> None:
    whole = SAMPLES[name]

    for length in range(len(whole)):
        if (capture := answer(whole[:length])) is not None:
            assert_true_to_the_sample(capture)


@pytest.mark.parametrize("name", ["qx_hardware/*h100*", "exporter_metrics/*h100*load*", "exporter_captures/*l40s*"])
def test_a_real_file_cut_anywhere_says_nothing_new(shared_data: Path, name: str) -> None:
    (path,) = (shared_data / "data" / "nvidia_smi_captures").glob(name)
    whole = path.read_bytes()
    draws_w = {
        draw_w
        for snapshot in captures.read(whole).snapshots
        for gpu in snapshot.gpus
        for draw_w in (gpu.power_w, gpu.average_w)
    } | {None, 183.28, 119.88, 110.24, 110.01}  # the logs' own, which the session printed before the tables'

    for length in range(0, len(whole), len(whole) // 200):
        if (capture := answer(whole[:length])) is not None:
            assert {gpu.power_w for snapshot in capture.snapshots for gpu in snapshot.gpus} <= draws_w


@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1))
@settings(max_examples=300)
def test_a_file_with_flipped_bytes_is_an_answer_or_one_line(name: str, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(SAMPLES[name])
    for place, byte in flips:
        damaged[place % len(damaged)] = byte

    answer(bytes(damaged))


@given(st.binary(max_size=400), st.sampled_from([b"", b"<nvidia_smi_log>", b"nvidia_smi_count{", b"uuid, index\n"]))
@settings(max_examples=300)
def test_noise_is_an_answer_or_one_line(noise: bytes, lure: bytes) -> None:
    answer(lure + noise)


def test_a_truncated_log_shows_the_gpus_that_were_whole_and_says_so() -> None:
    whole = SAMPLES["three_boards.xml"]

    capture = captures.read(whole[: whole.index(b"GH200")])

    assert [gpu.power_w for gpu in capture.newest.gpus] == [100.25, 210.5]
    assert capture.notes == (
        "truncated in line 55; only whole GPUs are shown",
        "3 GPUs were attached, 2 are in the file",
    )


def test_a_log_truncated_before_its_first_gpu_is_whole_is_refused_in_one_line() -> None:
    whole = SAMPLES["three_boards.xml"]

    with pytest.raises(CaptureError, match=r"^holds no whole GPU: truncated in line \d+$"):
        captures.read(whole[: whole.index(b"</gpu>")])


def test_of_a_truncated_loop_the_last_log_with_all_gpus_is_shown() -> None:
    whole = SAMPLES["three_boards.xml"]

    capture = captures.read(whole + whole[: whole.index(b"00000000:2B")])

    assert (capture.newest.name, len(capture.newest.gpus)) == ("1", 3)
    assert len(capture.snapshots) == 2


def test_a_figure_on_a_line_without_an_end_is_not_believed() -> None:
    page = SAMPLES["gpu_exporter.prom"].removesuffix(b"44.97\n")  # the draw now reads "1"

    capture = captures.read(page)

    assert capture.newest.gpus[0].power_w == 127.67
    assert capture.notes == ("truncated: the last line, which has no end, is left out",)


def test_a_row_without_an_end_is_not_believed() -> None:
    table = b"index, power.draw [W]\n0, 390.25\n1, 3"  # of 391.50

    capture = captures.read(table)

    assert [gpu.power_w for gpu in capture.newest.gpus] == [390.25]
    assert capture.notes == ("truncated: the last line, which has no end, is left out",)


def test_a_bomb_of_entities_is_refused_before_it_goes_off() -> None:
    bomb = '<!DOCTYPE nvidia_smi_log [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><nvidia_smi_log>&b;</nvidia_smi_log>'

    with pytest.raises(CaptureError, match="declares XML entities"):
        captures.read(bomb.encode())


def test_a_file_of_this_machine_named_as_an_entity_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("GPU-secret", encoding="utf-8")
    thief = f'<!DOCTYPE nvidia_smi_log [<!ENTITY a SYSTEM "file://{tmp_path}/secret">]><nvidia_smi_log>'

    with pytest.raises(CaptureError, match="declares XML entities"):
        captures.read(f"{thief}<gpu><uuid>&a;</uuid></gpu></nvidia_smi_log>".encode())


def test_the_dtd_that_nvidia_smi_embeds_is_no_bomb() -> None:
    embedded = "<!DOCTYPE nvidia_smi_log [<!ELEMENT nvidia_smi_log (gpu*)><!ATTLIST gpu id CDATA #REQUIRED>]>"
    log = f"{embedded}<nvidia_smi_log><gpu id='1'><uuid>GPU-a</uuid></gpu></nvidia_smi_log>"

    assert captures.read(log.encode()).newest.gpus[0].uuid == "GPU-a"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n\n ", "is empty"),
        (b"\x7fELF\x02\x01\0\0", "is not text"),
        (b"<html><body>502</body></html>", "its root is <html>"),
        (b"<nvidia_smi_log>" + b"<a>" * 100_000, "more than 32 deep"),
        (b"<nvidia_smi_log></nvidia_smi_log>", "nvidia-smi saw none"),
        (b"No devices were found\n", "holds no GPU"),
        (b"node_load1 0.5\n", "holds no GPU"),
        (b"# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).\n", "no series of a GPU"),
        (b"x" * (captures.LIMIT_B + 1), "larger than 64 MB"),
    ],
)
def test_what_is_no_capture_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(CaptureError, match=reason):
        captures.read(content)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "ascii"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_windows_and_its_byte_order_marks_change_nothing(name: str, ending: str, encoding: str) -> None:
    text = SAMPLES[name].decode()

    assert captures.read(text.replace("\n", ending).encode(encoding)) == captures.read(SAMPLES[name])


def test_letters_of_another_encoding_spoil_nothing_but_themselves() -> None:
    latin = "<nvidia_smi_log><gpu><product_name>Café</product_name><uuid>GPU-a</uuid></gpu></nvidia_smi_log>"

    (gpu,) = captures.read(latin.encode("latin-1")).newest.gpus

    assert (gpu.uuid, gpu.name) == ("GPU-a", "Caf\N{REPLACEMENT CHARACTER}")
