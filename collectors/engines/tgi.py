"""
Hugging Face TGI: :80/metrics. No counter of tokens, but histograms of finished requests' lengths: their sums.

Names: huggingface/text-generation-inference db931fc and its "Metrics" reference. No time to the first token;
`mean_time_per_token` is one mean for each request. Without labels, also of the model.
"""

from collectors.engines import Count, Engine

ENGINE = Engine(
    path="/metrics",
    generated=(Count("tgi_request_generated_tokens_sum", finish=True),),
    prompt=(Count("tgi_request_input_length_sum", finish=True),),
    running=("tgi_batch_current_size",),
    waiting=("tgi_queue_size",),
    itl=("tgi_request_mean_time_per_token_duration",),
)
