"""How each kind of engine names what it counts, written down apart from the code under test."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """What one kind of engine calls things."""

    path: str
    live: str = ""
    """Counter of generated tokens that grows with every iteration."""
    finished: str = ""
    """The same when requests end."""
    finished_lengths: str = ""
    """Histogram of lengths instead of a counter."""
    prompt: str = ""
    prompt_lengths: str = ""
    running: str = ""
    waiting: str = ""
    ttft: str = ""
    itl: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    live_labels: Mapping[str, str] = field(default_factory=dict)
    is_python: bool = False
    """Written with prometheus_client, which says when each counter and the process began."""


LAYOUTS = {
    "vllm": Layout(
        path="/metrics",
        live="vllm:generation_tokens",
        prompt="vllm:prompt_tokens",
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        ttft="vllm:time_to_first_token_seconds",
        itl="vllm:inter_token_latency_seconds",
        labels={"engine": "0", "model_name": "m"},
        is_python=True,
    ),
    "sglang": Layout(
        path="/metrics",
        live="sglang:realtime_tokens",
        live_labels={"mode": "decode", "tp_rank": "0"},
        finished="sglang:generation_tokens",
        prompt="sglang:prompt_tokens",
        running="sglang:num_running_reqs",
        waiting="sglang:num_queue_reqs",
        ttft="sglang:time_to_first_token_seconds",
        itl="sglang:inter_token_latency_seconds",
        labels={"engine_type": "unified", "model_name": "m"},
        is_python=True,
    ),
    "tensorrt_llm": Layout(
        path="/prometheus/metrics",
        finished="trtllm_generation_tokens",
        prompt="trtllm_prompt_tokens",
        running="trtllm_num_requests_running",
        waiting="trtllm_num_requests_waiting",
        ttft="trtllm_time_to_first_token_seconds",
        itl="trtllm_time_per_output_token_seconds",
        labels={"engine_type": "trtllm", "model_name": "m"},
        is_python=True,
    ),
    "dynamo": Layout(
        path="/metrics",
        live="dynamo_frontend_output_tokens",
        finished_lengths="dynamo_frontend_output_sequence_tokens",
        prompt_lengths="dynamo_frontend_input_sequence_tokens",
        running="dynamo_frontend_inflight_requests",
        waiting="dynamo_frontend_queued_requests",
        ttft="dynamo_frontend_time_to_first_token_seconds",
        itl="dynamo_frontend_inter_token_latency_seconds",
        labels={"model": "m"},
    ),
    "nim": Layout(
        path="/v1/metrics",
        live="generation_tokens",
        prompt="prompt_tokens",
        running="num_requests_running",
        waiting="num_requests_waiting",
        ttft="time_to_first_token_seconds",
        itl="time_per_output_token_seconds",
        labels={"model_name": "m"},
        is_python=True,
    ),
    "tgi": Layout(
        path="/metrics",
        finished_lengths="tgi_request_generated_tokens",
        prompt_lengths="tgi_request_input_length",
        running="tgi_batch_current_size",
        waiting="tgi_queue_size",
        itl="tgi_request_mean_time_per_token_duration",
    ),
    "llama_cpp": Layout(
        path="/metrics",
        finished="llamacpp:tokens_predicted",
        prompt="llamacpp:prompt_tokens",
        running="llamacpp:requests_processing",
        waiting="llamacpp:requests_deferred",
    ),
    "lmdeploy": Layout(
        path="/metrics",
        live="lmdeploy:generation_tokens",
        prompt="lmdeploy:prompt_tokens",
        running="lmdeploy:num_requests_running",
        waiting="lmdeploy:num_requests_waiting",
        ttft="lmdeploy:time_to_first_token_seconds",
        itl="lmdeploy:time_per_output_token_seconds",
        labels={"engine": "0", "model_name": "m"},
        is_python=True,
    ),
}
