"""
llama.cpp's server: :8080/metrics with --metrics; in router mode the URL needs ?model=NAME.

Names: ggml-org/llama.cpp 00dc805, tools/server. Generated tokens are counted when a slot ends
(`metrics.on_prediction` after the final response), prompt tokens when the prompt has been processed. No histograms.
Build 7010 sent the page as a JSON string (ggml-org/llama.cpp#17384).
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/metrics",
    generated=(Count("llamacpp:tokens_predicted_total", finish=True),),
    prompt=(Count("llamacpp:prompt_tokens_total"),),
    running=("llamacpp:requests_processing",),
    waiting=("llamacpp:requests_deferred",),
    model_label="model",
)
