"""
vLLM, V1 engine: :8000/metrics, always on, counted with every iteration.

Names: vllm-project/vllm 005a810, vllm/v1/metrics/loggers.py. `inter_token_latency_seconds` was called
`time_per_output_token_seconds` before; releases in between have both, with the same observations. Series differ by
`engine`, one for each data-parallel replica. With several API servers the page has no `_created`.
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/metrics",
    generated=(Count("vllm:generation_tokens_total"),),
    prompt=(Count("vllm:prompt_tokens_total"),),
    running=("vllm:num_requests_running",),
    waiting=("vllm:num_requests_waiting",),
    ttft=("vllm:time_to_first_token_seconds",),
    itl=("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
)
