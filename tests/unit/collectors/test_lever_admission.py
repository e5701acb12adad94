"""Requests at once, through real HTTP servers and real programs: what is set, what reads back, what is refused."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from doubles import admission_server, pages
from doubles.pages import Page, Request

from collectors.levers import FREE, Found, LeverError, apply
from collectors.levers.admission import Admission, Endpoint, Settings, connect
from pipeline import plugins
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import load

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
CHAT = "chat-70b"


def lever_of(via: str, least: int = 1, **options: Any) -> Admission:
    """Return a lever of one job whose engine is told *via* a plug-in."""
    return connect(Settings(least=least, endpoint=(Endpoint(job=CHAT, via=via, options=options),)))


def refusal_of(lever: Admission, level: float = 20) -> LeverError:
    """Return what the lever says when the job cannot be set."""
    with pytest.raises(LeverError) as refused:
        lever.set(CHAT, level)
    return refused.value


def token_file(folder: Path, token: str = "hunter2", mode: int = 0o600) -> str:
    """Return the path of a file that holds a token."""
    file = folder / "token"
    file.write_text(f"{token}\n")
    file.chmod(mode)
    return str(file)


# The lever


def test_jobs_with_an_endpoint_are_found_and_nobody_is_asked() -> None:
    lever = lever_of("http", url="http://127.0.0.1:1/admission")

    assert lever.kind is Kind.ADMISSION
    assert lever.find(NOON, (CHAT, "42")) == (Found(CHAT),)
    assert lever.find(NOON, ("42",)) == ()


def test_a_job_without_an_endpoint_is_not_supported() -> None:
    lever = lever_of("http", url="http://127.0.0.1:1/admission")
    for call in (lambda: lever.read("42"), lambda: lever.set("42", 1)):
        with pytest.raises(LeverError, match="no endpoint") as told:
            call()
        assert told.value.trouble is Trouble.NOT_SUPPORTED


def test_without_a_limit_what_runs_is_all_there_is() -> None:
    with admission_server.serving(running=40) as engine:
        lever = lever_of("http", url=engine.url)
        reading = lever.read(CHAT)
        lever.close()

    assert (reading.lowest, reading.highest, reading.requested, reading.enforced) == (1, 40, FREE, None)
    assert reading.binding is None


def test_with_a_limit_that_is_what_it_takes() -> None:
    with admission_server.serving(limit=64, running=40) as engine:
        lever = lever_of("http", url=engine.url)
        reading = lever.read(CHAT)
        lever.close()

    assert (reading.lowest, reading.highest, reading.requested, reading.enforced) == (1, 64, 64, 64)
    assert reading.binding is False


def test_an_engine_with_nothing_to_do_takes_one_request_at_least() -> None:
    with admission_server.serving(running=0) as engine:
        lever = lever_of("http", least=8, url=engine.url)
        reading = lever.read(CHAT)
        lever.close()

    assert (reading.lowest, reading.highest) == (1, 1)


def test_the_least_of_the_settings_is_kept() -> None:
    with admission_server.serving(limit=64, running=40) as engine:
        lever = lever_of("http", least=8, url=engine.url)
        refused = refusal_of(lever, 7)
        lever.set(CHAT, 8)
        reading = lever.read(CHAT)
        lever.close()

    assert (refused.trouble, engine.puts, reading.lowest) == (Trouble.OUT_OF_RANGE, [8], 8)


@pytest.mark.parametrize("level", [0, -1, float("nan")])
def test_what_is_no_number_of_requests_is_out_of_range(level: float) -> None:
    with admission_server.serving(running=40) as engine:
        lever = lever_of("http", url=engine.url)
        refused = refusal_of(lever, level)
        lever.close()

    assert (refused.trouble, engine.asked) == (Trouble.OUT_OF_RANGE, [])


def test_a_part_of_a_request_is_a_whole_one_and_reads_back_as_asked() -> None:
    """A third of 40 is 13.3: 14 are let in, never fewer than asked."""
    with admission_server.serving(running=40) as engine:
        lever = lever_of("http", url=engine.url)
        reading = apply(lever, CHAT, 40 / 3)
        lever.close()

    assert (engine.puts, reading.requested, reading.enforced, reading.binding) == ([14], 40 / 3, 14, True)


def test_a_limit_that_somebody_else_sets_reads_back_as_theirs() -> None:
    with admission_server.serving(running=40) as engine:
        lever = lever_of("http", url=engine.url)
        lever.set(CHAT, 13.3)
        engine.limit = 30
        reading = lever.read(CHAT)
        lever.close()

    assert (reading.requested, reading.enforced) == (30, 30)


def test_what_ran_before_we_held_back_stays_the_measure_until_we_let_go() -> None:
    """Half of 40 is 20; half of the 20 that then run would be 10, and so on down."""
    with admission_server.serving(running=40) as engine:
        lever = lever_of("http", url=engine.url)
        lever.set(CHAT, 20)
        lever.read(CHAT)
        lever.set(CHAT, 15)
        held = lever.read(CHAT).highest
        lever.set(CHAT, FREE)
        engine.demand = 30
        free = lever.read(CHAT)
        lever.close()

    assert (held, free.highest, free.requested) == (40, 30, FREE)
    assert engine.puts == [20, 15, None]


def test_the_limit_found_is_the_measure_until_it_is_put_back() -> None:
    with admission_server.serving(limit=64, running=40) as engine:
        lever = lever_of("http", url=engine.url)
        lever.set(CHAT, 32)
        held = lever.read(CHAT).highest
        lever.set(CHAT, 64)
        engine.limit = 50
        back = lever.read(CHAT).highest
        lever.close()

    assert (held, back) == (64, 50)


def test_an_engine_that_can_be_set_and_not_read_is_let_go_of_all_the_same() -> None:
    with admission_server.serving(limit=20, running=40) as engine:
        lever = lever_of("http", url=engine.url)
        engine.fails = frozenset({"GET"})
        lever.set(CHAT, FREE)
        lever.close()

    assert engine.puts == [None]


def test_an_engine_that_says_yes_and_does_nothing_is_found_out() -> None:
    with admission_server.serving(running=40) as engine:
        lever = lever_of("http", url=engine.url)
        engine.ignores = True
        with pytest.raises(LeverError) as told:
            apply(lever, CHAT, 20)
        lever.close()

    assert told.value.trouble is Trouble.NOT_TAKEN


def test_an_engine_that_starts_anew_reads_as_it_is() -> None:
    with admission_server.process(limit=64, running=40) as engine:
        lever = lever_of("http", url=engine.url)
        apply(lever, CHAT, 20)
        engine.kill()
        away = refusal_of(lever)
        engine.restart()
        reading = lever.read(CHAT)
        lever.close()

    assert (away.trouble, reading.requested, reading.highest) == (Trouble.FAILED, 64, 64)


# via http


def test_the_token_is_sent_and_read_anew(tmp_path: Path) -> None:
    with admission_server.serving(running=40, token="second") as engine:
        lever = lever_of("http", url=engine.url, token_file=token_file(tmp_path, "first"))
        refused = refusal_of(lever)
        token_file(tmp_path, "second")
        lever.set(CHAT, 20)
        lever.close()

    assert (refused.trouble, engine.puts) == (Trouble.NO_PERMISSION, [20])
    assert "first" not in str(refused)


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    open_file = token_file(tmp_path, mode=0o644)
    with pytest.raises(ConfigError, match=r"endpoint of job 'chat-70b': .* has mode 0644"):
        lever_of("http", url="http://127.0.0.1:1/", token_file=open_file)

    with admission_server.serving(running=40) as engine:
        lever = lever_of("http", url=engine.url, token_file=token_file(tmp_path))
        token_file(tmp_path, mode=0o644)
        refused = refusal_of(lever)
        lever.close()

    assert (refused.trouble, "has mode 0644" in str(refused), engine.asked) == (Trouble.FAILED, True, [])


@pytest.mark.parametrize(
    ("page", "trouble", "words"),
    [
        (Page("too few", status=400), Trouble.OUT_OF_RANGE, "answered 400 too few"),
        (Page("too few", status=422), Trouble.OUT_OF_RANGE, "422"),
        (Page("", status=403), Trouble.NO_PERMISSION, "answered 403"),
        (Page("", status=404), Trouble.LOST, "answered 404"),
        (Page("", status=405), Trouble.NOT_SUPPORTED, "answered 405"),
        (Page("x" * 999, status=500), Trouble.FAILED, "answered 500 " + "x" * 200),
        (Page("", drops=True), Trouble.FAILED, "closed connection"),
        (Page("", delay_s=pages.FOREVER_S), Trouble.HANGS, "no whole page within 0.3 s"),
    ],
)
def test_an_endpoint_that_refuses_a_limit_is_quoted(page: Page, trouble: Trouble, words: str) -> None:
    def answer(request: Request) -> Page:
        return page if request.method == "PUT" else Page('{"limit": null, "running": 40}')

    with pages.serve(answer=answer) as server:
        lever = lever_of("http", url=server.url, timeout_s=0.3)
        refused = refusal_of(lever)
        lever.close()

    assert (refused.trouble, words in str(refused)) == (trouble, True)
    assert len(str(refused)) < 300


@pytest.mark.parametrize(
    "document",
    ["", "{", "[]", '{"running": 40}', '{"limit": -1}', '{"limit": "64"}', '{"limit": 6, "running": -1}', b"\xff"],
)
def test_a_document_that_is_none_is_an_error_and_no_engine_without_a_limit(document: str | bytes) -> None:
    with pages.serve({"/": Page(document)}) as server:
        lever = lever_of("http", url=server.url)
        with pytest.raises(LeverError, match="answered something else") as told:
            lever.read(CHAT)
        lever.close()

    assert told.value.trouble is Trouble.FAILED


def test_a_put_says_what_it_is() -> None:
    with pages.serve(answer=lambda _: Page('{"limit": 64}')) as server:
        lever = lever_of("http", url=f"{server.url}/x")
        lever.set(CHAT, 20)
        put = server.requests[-1]
        lever.close()

    assert (put.method, put.path, put.body) == ("PUT", "/x", b'{"limit":20}')
    assert put.headers["content-type"] == "application/json"


def test_an_endpoint_that_tells_neither_limit_nor_running_gives_no_measure() -> None:
    with pages.serve({"/": Page('{"limit": null}')}) as server:
        lever = lever_of("http", url=server.url)
        with pytest.raises(LeverError, match="nothing to take a share of") as told:
            lever.read(CHAT)
        lever.close()

    assert told.value.trouble is Trouble.NOT_SUPPORTED


# via command


def program(folder: Path, name: str, script: str) -> str:
    """Write a program and return its path."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def commanded(folder: Path, show: str = 'cat "${0%/*}/now"', **options: Any) -> Admission:
    """Return a lever whose engine is two programs and a file with its limit and 40."""
    shows = program(folder, "show", show)
    sets = program(folder, "set", 'echo "$1" 40 >"${0%/*}/now"')
    (folder / "now").write_text("unlimited 40\n")
    return lever_of("command", show=(shows,), set=(sets, "{limit}"), **options)


def test_programs_show_and_set(tmp_path: Path) -> None:
    lever = commanded(tmp_path)
    before = lever.read(CHAT)
    held = apply(lever, CHAT, 20)
    lever.set(CHAT, FREE)
    lever.close()

    assert (before.requested, before.highest, held.requested, held.highest) == (FREE, 40, 20, 40)
    assert (tmp_path / "now").read_text() == "unlimited 40\n"


@pytest.mark.parametrize(("printed", "limit"), [("64 40", 64), ("64", 64), (" 64\t40\n", 64), ("0 0", 0)])
def test_what_a_program_prints_is_limit_and_running(tmp_path: Path, printed: str, limit: float) -> None:
    assert commanded(tmp_path, f"printf '{printed}'").read(CHAT).requested == limit


@pytest.mark.parametrize("printed", ["", "64 40 7", "many", "64 few", "-1 40", "nan", "inf 40", "64 inf"])
def test_what_a_program_prints_may_be_nonsense(tmp_path: Path, printed: str) -> None:
    with pytest.raises(LeverError, match="and not LIMIT RUNNING") as told:
        commanded(tmp_path, f"echo '{printed}'").read(CHAT)

    assert told.value.trouble is Trouble.FAILED


@pytest.mark.parametrize(
    ("script", "trouble", "words"),
    [
        ("echo no engine >&2; exit 1", Trouble.FAILED, "show failed: no engine"),
        ("sleep 60", Trouble.HANGS, "did not end within 0.3 s"),
    ],
)
def test_a_program_that_fails_is_quoted(tmp_path: Path, script: str, trouble: Trouble, words: str) -> None:
    with pytest.raises(LeverError, match=words) as told:
        commanded(tmp_path, script, timeout_s=0.3).read(CHAT)

    assert told.value.trouble is trouble


def test_a_program_that_is_not_told_the_limit_is_refused(tmp_path: Path) -> None:
    there = program(tmp_path, "there", "")
    with pytest.raises(ConfigError, match=r"endpoint of job 'chat-70b': set: no argument has \{limit\} in it"):
        lever_of("command", show=(there,), set=(there,))
    with pytest.raises(ConfigError, match="show: write the full path"):
        lever_of("command", show=("there",), set=(there, "{limit}"))


# via sglang


@dataclass
class Sglang:
    """As much of SGLang's HTTP server as is asked: see the sources named in `collectors.admission.sglang`."""

    most: int = 64
    """Requests of one rank: --max-running-requests."""
    ranks: int = 1
    stages: int = 1
    running: int = 40
    each: int = 0
    has_loads: bool = True
    is_old: bool = False
    posts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.each = self.each or self.most // self.stages

    def answer(self, request: Request) -> Page:
        """Return the reply."""
        match request.method, request.path:
            case "GET", "/server_info":
                state = {"pp_max_micro_batch_size": self.each, "pp_size": self.stages, "tp_size": 8}
                if not self.is_old:
                    state["effective_max_running_requests_per_dp"] = self.most
                return self._page({"version": "0.5", "internal_states": [state] * self.ranks})
            case "GET", "/v1/loads" if self.has_loads:
                load = {"num_running_reqs": self.running // self.ranks, "num_waiting_reqs": 7}
                return self._page({"loads": [{"dp_rank": rank, **load} for rank in range(self.ranks)]})
            case "POST", "/set_internal_state":
                args = json.loads(request.body)["server_args"]
                self.posts.append(args)
                taken = 1 <= args["pp_max_micro_batch_size"] <= self.most // self.stages
                self.each = args["pp_max_micro_batch_size"] if taken else self.each
                return self._page([taken] * self.ranks)
        return Page('{"detail":"Not Found"}', status=404)

    def _page(self, document: object) -> Page:
        return Page(json.dumps(document), content_type=pages.JSON)


def test_sglang_at_the_end_of_its_range_has_no_limit() -> None:
    """64 requests fit; 40 run, and are what there is to take a share of."""
    engine = Sglang()
    with pages.serve(answer=engine.answer) as server:
        lever = lever_of("sglang", url=server.url)
        before = lever.read(CHAT)
        held = apply(lever, CHAT, 20)
        apply(lever, CHAT, FREE)
        lever.close()

    assert (before.requested, before.highest, held.requested, held.highest) == (FREE, 40, 20, 40)
    assert engine.posts == [{"pp_max_micro_batch_size": 20}, {"pp_max_micro_batch_size": 64}]


def test_sglang_with_several_ranks_and_stages_counts_all_their_batches() -> None:
    """2 ranks × 4 stages: a limit of 20 is 3 for each of 8 batches, which is 24 together."""
    engine = Sglang(ranks=2, stages=4, running=40)
    with pages.serve(answer=engine.answer) as server:
        lever = lever_of("sglang", url=server.url)
        reading = apply(lever, CHAT, 20)
        lever.close()

    assert engine.posts == [{"pp_max_micro_batch_size": 3}]
    assert (reading.requested, reading.enforced, reading.highest) == (20, 24, 40)


def test_sglang_takes_no_more_than_fits() -> None:
    engine = Sglang(each=8)
    with pages.serve(answer=engine.answer) as server:
        lever = lever_of("sglang", url=server.url)
        reading = apply(lever, CHAT, 500)
        lever.close()

    assert (engine.each, reading.requested, reading.enforced) == (64, 500, None)


def test_sglang_that_refuses_says_so() -> None:
    engine = Sglang()

    def answer(request: Request) -> Page:
        return Page("[true, false]") if request.method == "POST" else engine.answer(request)

    with pages.serve(answer=answer) as server:
        lever = lever_of("sglang", url=server.url)
        refused = refusal_of(lever)
        lever.close()

    assert (refused.trouble, "does not take pp_max_micro_batch_size = 20" in str(refused)) == (
        Trouble.OUT_OF_RANGE,
        True,
    )


def test_sglang_without_its_loads_still_tells_its_limit() -> None:
    engine = Sglang(each=32, has_loads=False)
    with pages.serve(answer=engine.answer) as server:
        lever = lever_of("sglang", url=server.url)
        reading = lever.read(CHAT)
        lever.close()

    assert (reading.requested, reading.highest, reading.binding) == (32, 32, None)


def test_an_sglang_that_does_not_tell_its_range_is_too_old() -> None:
    engine = Sglang(is_old=True)
    with pages.serve(answer=engine.answer) as server:
        lever = lever_of("sglang", url=server.url)
        with pytest.raises(LeverError, match="this SGLang is too old") as told:
            lever.read(CHAT)
        lever.close()

    assert told.value.trouble is Trouble.NOT_SUPPORTED


@pytest.mark.parametrize(
    "document",
    [
        "{}",
        '{"internal_states": []}',
        '{"internal_states": [{}]}',
        '{"internal_states": [{"effective_max_running_requests_per_dp": 64}]}',
    ],
)
def test_another_server_than_sglang_is_refused(document: str) -> None:
    with pages.serve({"/server_info": Page(document)}) as server:
        lever = lever_of("sglang", url=server.url)
        with pytest.raises(LeverError) as told:
            lever.read(CHAT)
        lever.close()

    assert told.value.trouble is Trouble.NOT_SUPPORTED


# Settings


FILE = """\
[lever.admission]
least = 2

[[lever.admission.endpoint]]
job = "chat-70b"
via = "http"
options = { url = "http://127.0.0.1:9000/admission" }

[[lever.admission.endpoint]]
job = "chat-8b"
via = "sglang"
options.url = "http://127.0.0.1:30000"
"""


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"sglang"', '"sgland"', "line 9, .* no 'sgland' in collectors.admission; have command, http, sglang"),
        ("options.url", "options.ulr", "line 9, .* via sglang has no option 'ulr'; there are url, token_file, ca_file"),
        ('"http://127.0.0.1:30000"', "30000", r"line 9, .* options: Expected `str`, got `int` - at `url`"),
        ('options.url = "http://127.0.0.1:30000"\n', "", "line 9, .* options: Object missing required field `url`"),
        ('job = "chat-8b"', 'job = ""', "line 9, .* give the `job`"),
        ("job =", "jbo =", "line 5, .* unknown key 'jbo'; did you mean 'job'"),
        ("least = 2", "least = 0", "line 2, "),
        ('"chat-8b"', '"chat-70b"', "two endpoints of job 'chat-70b'"),
        ("http://127.0.0.1:30000", "127.0.0.1:30000", "endpoint of job 'chat-8b': not a URL"),
    ],
)
def test_mistakes_in_a_settings_file_are_named_with_their_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    file = tmp_path / "host.toml"
    file.write_text(FILE)
    connect(load(file, "lever.admission", Settings)).close()
    file.write_text(FILE.replace(old, new))
    with pytest.raises(ConfigError, match=reason):
        connect(load(file, "lever.admission", Settings))


def test_every_way_of_telling_has_settings_that_connect_and_nothing_is_asked() -> None:
    ways = plugins.available("collectors.admission")

    assert ways == ["command", "http", "sglang"]
    assert all(hasattr(plugins.load("collectors.admission", way), "Settings") for way in ways)
