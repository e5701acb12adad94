"""
TensorRT-LLM (trtllm-serve): :8000/prometheus/metrics, started with return_perf_metrics; /metrics is JSON.

Names: NVIDIA/TensorRT-LLM 050f80d, tensorrt_llm/metrics/collector.py. Tokens are counted when a request finishes
(`log_request_metrics_dict`); the gauges need enable_iter_perf_stats. `time_per_output_token` is one mean for each
request, not every gap between tokens.
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/prometheus/metrics",
    generated=(Count("trtllm_generation_tokens_total", finish=True),),
    prompt=(Count("trtllm_prompt_tokens_total", finish=True),),
    running=("trtllm_num_requests_running",),
    waiting=("trtllm_num_requests_waiting",),
    ttft=("trtllm_time_to_first_token_seconds",),
    itl=("trtllm_time_per_output_token_seconds",),
)
