"""Triton Inference Server: `tritonserver`, with the TensorRT-LLM or vLLM backend, or models without tokens.

Source: triton-inference-server/core @73aad7c and server @e1db8a6 (`nv_inference_*`), vllm_backend @8de0c14
and @1e66a22 `src/utils/metrics.py`, NVIDIA/TensorRT-LLM @0d5352f `triton_backend`
`custom_metrics_reporter.cc`.

- Triton counts requests and no tokens; its backends count them, vLLM's under vLLM's names with `model` and
  `version` for labels, TensorRT-LLM's as sums of histograms, at the end of a request. Neither says what of a
  prompt was cached.
- An ensemble counts each request once for itself and once for each member, so that requests are taken from
  the backend that counts tokens. A page without one has no better count than Triton's own.
- A streamed answer is one request.
- `vllm:iteration_tokens_total` is a histogram, `nv_inference_pending_request_count` a gauge, and durations
  (`_us`) are of whole requests, not of phases.
- TensorRT-LLM's reporter assigns values by position: a statistic that a version lacks moves the gauges of
  requests by one, but for active and max, which are the first two (`request_keys_`). Tokens are in histograms
  of their own.
- Neither backend counts preemptions: paused requests are a gauge of the last iteration.
"""

from typing import Final

from exporter.engines import spec
from exporter.engines.vllm import VLLM

_TRTLLM_PROMPT: Final = "nv_llm_input_token_len_sum"
_TRTLLM_GENERATION: Final = "nv_llm_output_token_len_sum"
_TRTLLM_ENDED: Final = "nv_llm_output_token_len_count"
_TRTLLM_REQUESTS: Final = "nv_trt_llm_request_metrics"
_VLLM_ENDED: Final = "vllm:e2e_request_latency_seconds_count"
_SUCCESS: Final = "nv_inference_request_success"

_VLLM_SWITCH: Final = (
    "The vLLM backend reports tokens (24.08 and later) with the parameter `REPORT_CUSTOM_METRICS` set to "
    "true in the model's `config.pbtxt`, and `disable_log_stats` set to false in its `model.json`."
)

TRITON: Final = spec.Engine(
    name="triton",
    prefix="",
    default_port=8002,
    fingerprint=spec.Fingerprint(
        names=(
            _SUCCESS,
            "nv_inference_count",
            "nv_inference_pending_request_count",
            _TRTLLM_REQUESTS,
            _TRTLLM_PROMPT,
            *VLLM.fingerprint.names,
        ),
        labels=("model", "version"),
    ),
    model_labels=("model",),
    groups=(
        *VLLM.groups[:2],
        VLLM.groups[3],
        (
            spec.Alternative(
                (_TRTLLM_PROMPT, _TRTLLM_GENERATION),
                (spec.Count(_TRTLLM_PROMPT, "prompt"), spec.Count(_TRTLLM_GENERATION, "generation")),
            ),
        ),
        (
            spec.Alternative(
                (_VLLM_ENDED,), (spec.Count(_VLLM_ENDED, "requests"), spec.Count(_TRTLLM_ENDED, "requests"))
            ),
            spec.Alternative((_TRTLLM_ENDED,), (spec.Count(_TRTLLM_ENDED, "requests"),)),
            spec.Alternative((_TRTLLM_REQUESTS,), ()),  # loaded, and has not yet answered
            spec.Alternative((_SUCCESS,), (spec.Count(_SUCCESS, "requests"),)),
        ),
    ),
    running=(
        spec.Gauge("vllm:num_requests_running"),
        spec.Gauge(_TRTLLM_REQUESTS, (("request_type", ("scheduled",)),)),
    ),
    waiting=(
        spec.Gauge("vllm:num_requests_waiting"),
        spec.Gauge(_TRTLLM_REQUESTS, (("request_type", ("waiting",)),)),
        spec.Gauge("nv_inference_pending_request_count"),
    ),
    max_running=(spec.Gauge(_TRTLLM_REQUESTS, (("request_type", ("max",)),)),),
    kv_cache=(
        spec.CacheGauge("nv_trt_llm_kv_cache_block_metrics", (("kv_cache_block_type", ("fraction",)),)),
    ),
    first_token=VLLM.first_token,
    per_token=VLLM.per_token,
    series_appear_late=True,
    commands=(
        spec.Command(
            programs=("tritonserver",),
            worker_patterns=(r"triton_python_backend_stub",),
            port=8000,
            port_flags=("--http-port",),
            host_flags=("--http-address",),
            metrics_off_flags=("--allow-metrics=false", "--allow-metrics=0"),
            metrics_port=8002,
            metrics_port_flags=("--metrics-port",),
        ),
    ),
    manual=spec.Manual(
        title="NVIDIA Triton Inference Server",
        versions="23.11 to 25.12",
        captured=("2.51",),
        reading="Renders counters of the server; its models are not asked.",
        deployment=(
            "Read the metrics port (8002), which speaks for all models of the server.",
            _VLLM_SWITCH,
            "An ensemble counts a request once more for each member; requests are taken from token counters.",
        ),
        cannot_tell=(
            "Tokens of models that are no language models, and of backends other than TensorRT-LLM and vLLM.",
            "Which tokens of a prompt were cached, up to 25.12.",
            "With the vLLM backend: its maximum of running requests, and the use of its KV cache.",
            "With the TensorRT-LLM backend: the time of each phase, and tokens before the request ends.",
        ),
    ),
)
