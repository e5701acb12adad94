"""
LMDeploy: :23333/metrics with --enable-metrics, counted with every iteration.

Names: InternLM/lmdeploy 1263d5c, lmdeploy/metrics/loggers.py. Newer releases have `iter_token_latency`, the time
between outputs; older ones only `time_per_output_token_seconds`. Series differ by `engine`, one for each replica.
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/metrics",
    generated=(Count("lmdeploy:generation_tokens_total"),),
    prompt=(Count("lmdeploy:prompt_tokens_total"),),
    running=("lmdeploy:num_requests_running",),
    waiting=("lmdeploy:num_requests_waiting",),
    ttft=("lmdeploy:time_to_first_token_seconds",),
    itl=("lmdeploy:iter_token_latency", "lmdeploy:time_per_output_token_seconds"),
)
