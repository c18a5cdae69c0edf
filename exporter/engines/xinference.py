"""Xinference: `xinference-local`, `xinference-worker`.

Source: xorbitsai/inference, `xinference/core/metrics.py` (copyright 2026), `xinference/core/model.py`.

- Counters are of each worker, at a port of its own; aioprometheus writes names as they are, without `_total`.
- The page of the supervisor, at the API's port, counts no tokens.
- They count language models only, by the usage of an answer, whatever engine runs the model.
- Labels are `model`, `type`, `node`, `format` and `quantization`.
"""

from typing import Final

from exporter.engines.spec import Command, Engine, Fingerprint, Manual, counter

_PROMPT: Final = "xinference:input_tokens_total_counter"
_GENERATION: Final = "xinference:output_tokens_total_counter"

XINFERENCE: Final = Engine(
    name="xinference",
    prefix="xinference:",
    default_port=9998,
    fingerprint=Fingerprint(names=(_PROMPT, _GENERATION)),
    groups=(counter(_PROMPT, "prompt"), counter(_GENERATION, "generation")),
    models=("model",),
    creates_late=True,
    commands=(
        Command(
            programs=("xinference-local", "xinference-worker"),
            port=9997,
            ports=("--port", "-p"),
            hosts=("--host", "-H"),
            host="127.0.0.1",
            metrics_port=9998,
            metrics_ports=("--metrics-exporter-port", "-mp"),
        ),
    ),
    manual=Manual(
        title="Xinference",
        versions="the sources of 2026",
        switch="`--metrics-exporter-port=9998`; without it the port is a random one",
        reading="Renders counters of its process of metrics; no model is asked.",
        deployment=("Read each worker. The supervisor's page, at the API's port, counts no tokens.",),
        cannot_tell=(
            "Which tokens of a prompt were cached, the time of each phase, and requests in hand.",
            "Tokens of answers without usage, and of models that are no language models.",
        ),
    ),
)
