"""
NVIDIA Dynamo, the frontend: :8000/metrics. Its families are empty until the first request.

Names: ai-dynamo/dynamo, lib/runtime/src/metrics/prometheus_names.rs (4415465) and lib/llm/src/http/service/metrics.rs
(0014908). `output_tokens_total` grows while requests run; releases without it have only the histogram of finished
requests' lengths, whose sum is their tokens. A worker's own page (DYN_SYSTEM_PORT) passes its engine's names through:
give it the kind of that engine, and leave out the frontend, or tokens count twice.
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/metrics",
    generated=(
        Count("dynamo_frontend_output_tokens_total"),
        Count("dynamo_frontend_output_sequence_tokens_sum", finish=True),
    ),
    prompt=(Count("dynamo_frontend_input_sequence_tokens_sum", finish=True),),
    running=("dynamo_frontend_inflight_requests",),
    waiting=("dynamo_frontend_queued_requests",),
    ttft=("dynamo_frontend_time_to_first_token_seconds",),
    itl=("dynamo_frontend_inter_token_latency_seconds",),
    model_label="model",
)
