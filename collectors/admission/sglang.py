"""
SGLang's own scheduler: how many requests it runs at once, changed while it serves; what is over that waits.

    POST /set_internal_state  {"server_args": {"pp_max_micro_batch_size": 8}}   →  [true, …], one for each DP rank
    GET  /server_info         →  "internal_states": [{"pp_max_micro_batch_size": 8, …}, …]
    GET  /v1/loads            →  "loads": [{"num_running_reqs": 40, …}, …]

The figure is that of one batch, of which there is one for each data-parallel rank and each stage of the pipeline; it
goes from 1 to ``effective_max_running_requests_per_dp`` over the number of stages, where nothing is held back. So the
limit of the whole engine moves in steps of ranks × stages. It asks for the admin key, or the API key, where SGLang was
started with one. With priority preemption running requests may be replaced, which is as it was.

Read in sgl-project/sglang: scheduler_components/internal_state.py at 2784deeea9da (the key, its range, what the state
shows), scheduler.py at 0003215cf146 (get_num_allocatable_reqs: no request is added to a batch beyond it), and
entrypoints/v1_loads.py at 0564b5215b33. Older releases call it `max_micro_batch_size` and do not show its range: they
are refused. Not run against an SGLang yet.
"""

from typing import Annotated

import msgspec

from collectors.admission import Admitted
from collectors.admission._pages import Pages, Server
from collectors.levers import LeverError
from pipeline.messages.control import Trouble

KEY = "pp_max_micro_batch_size"
Whole = Annotated[int, msgspec.Meta(ge=1)]


class Settings(Server, frozen=True, kw_only=True):
    """``options`` of an endpoint `via` sglang: `url` is http://HOST:PORT of the engine, not of a router before it."""


def connect(settings: Settings) -> "SgLang":
    """Return the endpoint; raise `ConfigError` for a bad URL or a token that cannot be read."""
    return SgLang(Pages(settings), settings.url)


class _State(msgspec.Struct):
    """Of one data-parallel rank."""

    pp_max_micro_batch_size: Whole | None = None
    effective_max_running_requests_per_dp: Whole | None = None
    pp_size: Whole = 1


class _Info(msgspec.Struct):
    internal_states: list[_State] = msgspec.field(default_factory=list)


class _Load(msgspec.Struct):
    num_running_reqs: int


class _Loads(msgspec.Struct):
    loads: list[_Load]


class SgLang:
    """One engine."""

    def __init__(self, pages: Pages, url: str) -> None:
        self._pages = pages
        self._url = url

    def read(self) -> Admitted:
        """Return what all ranks take together; at the end of the range that is no limit."""
        each, most, batches = self._batches()
        found = self._pages.find(_Loads, "/v1/loads")
        running = sum(load.num_running_reqs for load in found.loads) if found else None
        return Admitted(None if each >= most else each * batches, running)

    def limit(self, requests: int | None) -> float | None:
        """Set all ranks to the same, which together is *requests* or a few more."""
        _, most, batches = self._batches()
        each = most if requests is None else min(most, max(1, -(-requests // batches)))
        reply = self._pages.send("POST", {"server_args": {KEY: each}}, "/set_internal_state")
        if not all(self._pages.decode(reply, list[bool])):
            raise LeverError(f"{self._url} does not take {KEY} = {each}; see its log", Trouble.OUT_OF_RANGE)
        return None if each >= most else each * batches

    def close(self) -> None:
        """Close the connection."""
        self._pages.close()

    def _batches(self) -> tuple[int, int, int]:
        """Return how many requests a batch takes, how many it can take, and how many batches there are."""
        states = self._pages.get(_Info, "/server_info").internal_states
        most = min(
            (state.effective_max_running_requests_per_dp or 0) // state.pp_size for state in states or [_State()]
        )
        each = [state.pp_max_micro_batch_size for state in states if state.pp_max_micro_batch_size is not None]
        if not most or len(each) != len(states):
            text = f"{self._url} does not tell {KEY} and its range in /server_info: this SGLang is too old"
            raise LeverError(text, Trouble.NOT_SUPPORTED)
        return max(each), most, sum(state.pp_size for state in states)
