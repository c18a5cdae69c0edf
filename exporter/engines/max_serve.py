"""Modular MAX: `max serve`.

Source: modular 26.7.0 (October 2026), `max/serve/telemetry/metrics.py`, `max/serve/config.py`,
`max/serve/scheduler/utils.py`; a page of it is recorded.

- OpenTelemetry's names with dots are `maxserve.num_input_tokens`; its Prometheus exporter writes underscores,
  and `_total` at counters.
- The page is at a port of its own, 8001 or `MAX_SERVE_METRICS_ENDPOINT_PORT`, which no flag sets.
  `MAX_SERVE_DISABLE_TELEMETRY=1` removes it; `OTEL_SDK_DISABLED=true` sends nothing out and leaves it.
- `maxserve_cache_hits_tokens_total` has a series for each `tier`; one without a tier would repeat their sum.
- Batches are of prefill (`CE`) or of decode (`TG`); one lasts from its schedule to its results; where
  batches overlap, the engine reports that of the batch which has completed.
- Counters have no label of the model; `maxserve_pipeline_load_total` names it.
- `maxserve_request_count_total` counts HTTP requests of any path, so that requests are not read. Latencies
  are in milliseconds, which are not read either.
"""

from typing import Final

from exporter.engines import spec
from exporter.readings import Quantity

_PROMPT: Final = "maxserve_num_input_tokens_total"
_GENERATION: Final = "maxserve_num_output_tokens_total"
_LOADED: Final = "maxserve_pipeline_load_total"
_HITS: Final = "maxserve_cache_hits_tokens_total"
_BATCHES: Final = "maxserve_batch_execution_time_milliseconds_sum"
_TIERS: Final = spec.label("tier", "g0", "external")


def _seconds(quantity: Quantity, batch: str) -> spec.Count:
    return spec.Count(_BATCHES, quantity, where=spec.label("batch_type", batch), scale=0.001)


MAX_SERVE: Final = spec.Engine(
    name="max",
    prefix="maxserve_",
    default_port=8001,
    fingerprint=spec.Fingerprint(names=(_PROMPT, _GENERATION, _LOADED)),
    groups=(
        (
            spec.Alternative(
                (_PROMPT,),
                (
                    spec.Count(_PROMPT, "prompt"),
                    spec.Count(_HITS, "prompt", sign=-1, where=_TIERS),
                    spec.Count(_HITS, "cached_prompt", where=_TIERS),
                ),
            ),
        ),
        spec.counter(_GENERATION, "generation"),
        (
            spec.Alternative(
                (_BATCHES,), (_seconds("prefill_seconds", "CE"), _seconds("decode_seconds", "TG"))
            ),
        ),
    ),
    running=(spec.Gauge("maxserve_num_requests_running"),),
    waiting=(spec.Gauge("maxserve_num_requests_queued"),),
    named_by=(spec.ModelLabel(_LOADED, "model"),),
    series_appear_late=True,
    commands=(
        spec.Command(
            programs=("max serve",),
            port=8000,
            metrics_port=8001,
            model_flags=("--served-model-name", "--model", "--model-path"),
        ),
    ),
    manual=spec.Manual(
        title="Modular MAX",
        versions="26.7",
        captured=("26.7.0",),
        reading="Renders counters of its API server or of a process beside it; the model is not asked.",
        deployment=(
            "Its page is at port 8001, or where `MAX_SERVE_METRICS_ENDPOINT_PORT` says.",
            "With `MAX_SERVE_DISABLE_TELEMETRY=1` there is none; `OTEL_SDK_DISABLED=true` keeps it.",
            "Of several models on one page the counters do not say which: all are of the first.",
        ),
        cannot_tell=(
            "Cached tokens and the time of each phase, in earlier releases.",
            "Finished requests, and latencies in seconds.",
        ),
    ),
)
