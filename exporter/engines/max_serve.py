"""Modular MAX: `max serve`.

Source: modular/modular, `max/serve/telemetry/metrics.py` and `max/serve/config.py` (copyright 2026),
docs.modular.com/max/environment-variables; names on the page by its tests, which look for
`maxserve_num_input_tokens_total` and `maxserve_pipeline_load_total{model="..."} 1.0`.

- OpenTelemetry's names with dots are `maxserve.num_input_tokens`; its Prometheus exporter writes underscores,
  and `_total` at counters.
- The page is at a port of its own, 8001 or `MAX_SERVE_METRICS_ENDPOINT_PORT`, which no flag sets.
- Counters have no label of the model; `maxserve_pipeline_load_total` names it.
- `maxserve.request_count` counts HTTP requests of any path, so that requests are not read. Latencies are in
  milliseconds, which are not read either.
"""

from typing import Final

from exporter.engines.spec import Command, Engine, Fingerprint, Gauge, Manual, ModelLabel, counter

_PROMPT: Final = "maxserve_num_input_tokens_total"
_GENERATION: Final = "maxserve_num_output_tokens_total"
_LOADED: Final = "maxserve_pipeline_load_total"

MAX_SERVE: Final = Engine(
    name="max",
    prefix="maxserve_",
    default_port=8001,
    fingerprint=Fingerprint(names=(_PROMPT, _GENERATION, _LOADED)),
    groups=(counter(_PROMPT, "prompt"), counter(_GENERATION, "generation")),
    running=(Gauge("maxserve_num_requests_running"),),
    waiting=(Gauge("maxserve_num_requests_queued"),),
    named_by=(ModelLabel(_LOADED, "model"),),
    creates_late=True,
    commands=(
        Command(
            programs=("max serve",),
            port=8000,
            metrics_port=8001,
            models=("--served-model-name", "--model", "--model-path"),
        ),
    ),
    manual=Manual(
        title="Modular MAX",
        versions="the sources of 2026",
        reading="Renders counters of its API server or of a process beside it; the model is not asked.",
        deployment=(
            "Its page is at port 8001, or where `MAX_SERVE_METRICS_ENDPOINT_PORT` says.",
            "Of several models on one page the counters do not say which: all are of the first.",
        ),
        cannot_tell=(
            "Which tokens of a prompt were cached, and the time of each phase.",
            "Finished requests, and latencies in seconds.",
        ),
    ),
)
