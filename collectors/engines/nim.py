"""
NVIDIA NIM for LLMs: :8000/v1/metrics, vLLM's names without a prefix.

Names and "per iteration": docs.nvidia.com/nim/large-language-models/latest/observability.html. vLLM's own names
are taken as well, for images that pass its page through unchanged.
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/v1/metrics",
    generated=(Count("generation_tokens_total"), Count("vllm:generation_tokens_total")),
    prompt=(Count("prompt_tokens_total"), Count("vllm:prompt_tokens_total")),
    running=("num_requests_running", "vllm:num_requests_running"),
    waiting=("num_requests_waiting", "vllm:num_requests_waiting"),
    ttft=("time_to_first_token_seconds", "vllm:time_to_first_token_seconds"),
    itl=("time_per_output_token_seconds", "vllm:inter_token_latency_seconds"),
)
