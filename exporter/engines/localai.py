"""LocalAI: `local-ai`.

Source: mudler/LocalAI @82c191a (4.9.0), `core/services/metrics` and `core/services/routing/billing`.

- Tokens are counted per user and model as they are billed, at the end of a request, about since 4.3.2; older
  versions have only the histogram of API calls.
- Series appear with the first request.
- What could not be billed (an answer without usage) is in `localai_usage_unrecorded_total`, as a count of
  requests. Nothing tells cached tokens or the time of a phase.
"""

from typing import Final

from exporter.engines import spec

_TOKENS: Final = "localai_tokens_total"
_BILLED: Final = "localai_billed_requests_total"

LOCALAI: Final = spec.Engine(
    name="localai",
    prefix="localai_",
    default_port=8080,
    fingerprint=spec.Fingerprint(
        names=(_TOKENS, _BILLED, "localai_usage_unrecorded_total", "api_call_count")
    ),
    model_labels=("served_model",),
    groups=(
        (
            spec.Alternative(
                (_TOKENS,),
                (
                    spec.Count(_TOKENS, "prompt", where=spec.label("kind", "prompt")),
                    spec.Count(_TOKENS, "generation", where=spec.label("kind", "completion")),
                ),
            ),
        ),
        spec.counter(_BILLED, "requests"),
    ),
    series_appear_late=True,
    commands=(
        spec.Command(
            programs=("local-ai",),
            foreign=("models", "backends", "federated", "worker", "tts", "transcript"),
            port=8080,
            port_flags=(),
            host_flags=(),
            address_flags=("--address",),
            metrics_off_flags=("--disable-metrics-endpoint",),
        ),
    ),
    manual=spec.Manual(
        title="LocalAI",
        versions="4.3.2 to 4.9",
        reading="Renders counters of the API server; its backends are not asked.",
        deployment=(
            "Read LocalAI; the backends that it starts have no pages.",
            "Where it asks for keys, send an administrator's: `metrics.bearer_token_file`.",
        ),
        cannot_tell=(
            "Tokens, before 4.3.2.",
            "Which tokens of a prompt were cached, the time of each phase, and requests in hand.",
            "Tokens of answers without usage.",
        ),
    ),
)
