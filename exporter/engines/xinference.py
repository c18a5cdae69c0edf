"""Xinference: `xinference-local`, `xinference-worker`.

Source: xinference 4.1.0 (October 2026), `xinference/core/metrics.py`, `xinference/core/model.py`; a page of
it is recorded. Before: xorbitsai/inference, the same files of early 2026.

- Counters are of each worker, at a port of its own; aioprometheus writes names as they are, without `_total`.
- The page of the supervisor, at the API's port, counts no tokens.
- They count language models only, by the usage of an answer, whatever engine runs the model.
- The name that clients ask for is `model_uid`, in releases before 4 `model`. `model_name` is its family.
- `xinference:model_request_total` (4.0 and later) counts calls of all models, those that failed included; one
  that streams counts when it begins.
- Its time to the first token is the whole time of an answer that does not stream: it is not read.
"""

from typing import Final

from exporter.engines.spec import Alternative, Command, Count, Engine, Fingerprint, Gauge, Manual, counter

_PROMPT: Final = "xinference:input_tokens_total_counter"
_GENERATION: Final = "xinference:output_tokens_total_counter"
_REQUESTS: Final = "xinference:model_request_total"
_ERRORS: Final = "xinference:model_request_errors_total"

XINFERENCE: Final = Engine(
    name="xinference",
    prefix="xinference:",
    default_port=9998,
    fingerprint=Fingerprint(names=(_PROMPT, _GENERATION)),
    groups=(
        counter(_PROMPT, "prompt"),
        counter(_GENERATION, "generation"),
        (Alternative((_REQUESTS,), (Count(_REQUESTS, "requests"), Count(_ERRORS, "requests", sign=-1))),),
    ),
    running=(Gauge("xinference:model_serve_count"),),
    model_labels=("model_uid", "model"),
    series_appear_late=True,
    commands=(
        Command(
            programs=("xinference-local", "xinference-worker"),
            port=9997,
            port_flags=("--port", "-p"),
            host_flags=("--host", "-H"),
            host="127.0.0.1",
            metrics_port=9998,
            metrics_port_flags=("--metrics-exporter-port", "-mp"),
        ),
    ),
    manual=Manual(
        title="Xinference",
        versions="4.1.0, and the sources of early 2026",
        captured=("4.1.0",),
        switch="`--metrics-exporter-port=9998`; without it the port is a random one",
        reading="Renders counters of its process of metrics; no model is asked.",
        deployment=("Read each worker. The supervisor's page, at the API's port, counts no tokens.",),
        cannot_tell=(
            "Which tokens of a prompt were cached, the time of each phase, and requests that wait.",
            "Tokens of answers without usage, and of models that are no language models.",
        ),
    ),
)
