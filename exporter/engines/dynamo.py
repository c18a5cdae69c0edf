"""NVIDIA Dynamo: workers, which show their engine's metrics, and the frontend, which counts the same tokens.

Source: ai-dynamo/dynamo @0014908 `lib/llm/src/http/service/metrics.rs`, ai-dynamo 1.6.1
`prometheus_names.py`, and docs.nvidia.com/dynamo `observability/metrics`.

- A worker's page is at `DYN_SYSTEM_PORT`, off by default: its engine's own names, each series with
  `dynamo_component`, beside `dynamo_component_*` of its own. `dynamo_component_router_*` repeats lengths.
  Of the engine's process it has no `process_*`; vLLM's `_created` are there.
- Of a disaggregated pair the component of prefill workers is `prefill`; decode workers have the name of any
  other worker (`backend`), so that their flag, or a label of their pod, says it.
- The frontend's prompts include cached tokens, told beside them, and move at the first token; generated
  tokens move live. The sum of inter-token latency is decode seconds; time to the first token
  holds the queue's. Of several prompts in one completion the first alone is counted, and what all of them
  generated.
- An answer that the frontend ends at a word to stop at is no finished request of its worker.
- Requests for a model that nobody serves have the model `unknown_model`, which is none; they fail, and those
  that succeed are counted.
- Queued requests are those without a first token, in prefill too: they are not what waits.
"""

from typing import Final

from exporter.engines import spec
from exporter.engines.sglang import DISAGGREGATION_MODE, SGLANG
from exporter.engines.trtllm import TRTLLM
from exporter.engines.vllm import MAX_NUM_SEQS, VLLM

_CARRIED: Final = (VLLM, SGLANG, TRTLLM)

DYNAMO: Final = spec.Engine(
    name="dynamo",
    prefix="",
    default_port=8081,
    fingerprint=spec.Fingerprint(
        names=(
            *(name for engine in _CARRIED for name in engine.fingerprint.names),
            "dynamo_component_requests_total",
            "dynamo_component_inflight_requests",
        ),
        labels=("dynamo_component",),
    ),
    model_labels=("model_name", "model"),
    groups=tuple(group for engine in _CARRIED for group in engine.groups),
    running=tuple(gauge for engine in _CARRIED for gauge in engine.running),
    waiting=tuple(gauge for engine in _CARRIED for gauge in engine.waiting),
    max_running=tuple(gauge for engine in _CARRIED for gauge in engine.max_running),
    kv_cache=tuple(cache for engine in _CARRIED for cache in engine.kv_cache),
    first_token=tuple(each for engine in _CARRIED for each in engine.first_token),
    per_token=tuple(each for engine in _CARRIED for each in engine.per_token),
    created=VLLM.created,
    series_appear_late=True,
    nameless=TRTLLM.nameless,
    named_by=TRTLLM.named_by,
    repeated=SGLANG.repeated | TRTLLM.repeated,
    role_label="dynamo_component",
    prompts_from_other_engines=VLLM.prompts_from_other_engines,
    commands=(
        spec.Command(modules=("dynamo.frontend",), port=8000, port_flags=("--http-port",)),
        spec.Command(  # a worker; its system port comes from the environment (DYN_SYSTEM_PORT)
            modules=("dynamo.vllm", "dynamo.sglang", "dynamo.trtllm"),
            port_flags=(),
            host_flags=(),
            metrics="configured",
            model_flags=("--served-model-name", "--model", "--model-path"),
            world_factors=(
                spec.Factor(("--tensor-parallel-size", "-tp", "--tp-size", "--tp")),
                spec.Factor(("--pipeline-parallel-size", "-pp", "--pp-size")),
                spec.Factor(("--data-parallel-size", "-dp", "--dp-size"), one_with=("--data-parallel-rank",)),
            ),
            max_running=MAX_NUM_SEQS,  # with vLLM inside
            role=DISAGGREGATION_MODE,
        ),
    ),
    manual=spec.Manual(
        title="NVIDIA Dynamo, workers",
        versions="1.0 to 1.6",
        captured=("1.6.1-vllm-0.31.0",),
        reading="Renders counters of the worker's process; the engine is not asked.",
        switch="`DYN_SYSTEM_PORT=8081` in its environment",
        deployment=(
            "Read every worker, and not the frontend, which counts the same tokens again.",
            "Of a disaggregated pair both count the prompt. A prefill worker is known by its component.",
            "A decode worker is known by `--disaggregation-mode`, or by the labels of Dynamo's operator.",
        ),
        cannot_tell=("Without either, that a worker is one of a pair's decode workers.",),
    ),
)

_PROMPT: Final = "dynamo_frontend_input_sequence_tokens_sum"
_CACHED: Final = "dynamo_frontend_cached_tokens_sum"
_GENERATION: Final = "dynamo_frontend_output_tokens_total"
_REQUESTS: Final = "dynamo_frontend_requests_total"
_TTFT: Final = "dynamo_frontend_time_to_first_token_seconds_sum"
_ITL: Final = "dynamo_frontend_inter_token_latency_seconds_sum"

DYNAMO_FRONTEND: Final = spec.Engine(
    name="dynamo-frontend",
    prefix="dynamo_frontend_",
    default_port=8000,
    fingerprint=spec.Fingerprint(
        names=(
            _PROMPT,
            _GENERATION,
            _REQUESTS,
            "dynamo_frontend_inflight_requests",
            "dynamo_frontend_disconnected_clients",  # there before the first request
        )
    ),
    model_labels=("model",),
    groups=(
        (spec.prompt_less_cached(_PROMPT, _CACHED),),
        (
            spec.Alternative((_GENERATION,), (spec.Count(_GENERATION, "generation"),)),
            spec.Alternative(  # before it was counted live
                ("dynamo_frontend_output_sequence_tokens_sum",),
                (spec.Count("dynamo_frontend_output_sequence_tokens_sum", "generation"),),
            ),
        ),
        (
            spec.Alternative(
                (_REQUESTS,), (spec.Count(_REQUESTS, "requests", where=spec.label("status", "success")),)
            ),
        ),
        (spec.phase_seconds(_TTFT, _ITL),),
    ),
    running=(spec.Gauge("dynamo_frontend_inflight_requests", unless=spec.label("model", "unknown_model")),),
    first_token=(spec.LatencyHistogram("dynamo_frontend_time_to_first_token_seconds"),),
    per_token=(spec.LatencyHistogram("dynamo_frontend_inter_token_latency_seconds", basis="tokens"),),
    series_appear_late=True,
    repeats=("dynamo",),
    instead="read each worker's own page (DYN_SYSTEM_PORT), or name this one with engine: dynamo-frontend",
    manual=spec.Manual(
        title="NVIDIA Dynamo, frontend",
        versions="0.7 to 1.6",
        captured=("1.6.1",),
        reading="Renders counters of the frontend; its workers are not asked.",
        deployment=(
            "Read only where workers have no page: it is then named with `engine: dynamo-frontend`.",
            "Where a frontend is read, pages of its workers are not.",
            "A frontend counts for the workers of all hosts, whatever GPUs are configured for it.",
        ),
        cannot_tell=(
            "Requests that wait.",
            "Of several prompts in one completion, all but the first.",
        ),
    ),
)
