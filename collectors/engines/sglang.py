"""
SGLang: :30000/metrics with --enable-metrics.

Names: sgl-project/sglang 00ae9c1, python/sglang/srt/metrics/collector.py. `generation_tokens_total` grows when a
request finishes; `realtime_tokens_total`, by mode, with every log interval, and is preferred. Releases without it have
the inter-token histogram, which counts each new token as it is streamed (`observe_inter_token_latency`), all but the
first: those are in the other histogram. Every scheduler process reports its engine's figures under its own ranks;
replicas of data parallelism differ by `dp_rank` and are added up.
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/metrics",
    generated=(
        Count("sglang:realtime_tokens_total", where={"mode": frozenset({"decode"})}),
        Count("sglang:inter_token_latency_seconds_count", "sglang:time_to_first_token_seconds_count"),
        Count("sglang:generation_tokens_total", finish=True),
    ),
    prompt=(
        Count("sglang:realtime_tokens_total", where={"mode": frozenset({"prefill_compute", "prefill_cache"})}),
        Count("sglang:prompt_tokens_total", finish=True),
    ),
    running=("sglang:num_running_reqs",),
    waiting=("sglang:num_queue_reqs",),
    ttft=("sglang:time_to_first_token_seconds",),
    itl=("sglang:inter_token_latency_seconds",),
    repeated_by=frozenset({"tp_rank", "pp_rank", "moe_ep_rank"}),
)
