"""Infinity: `infinity_emb v2`.

Source: infinity_emb 0.0.77 and 0.0.78, `infinity_server.py`.

- It counts no tokens. Its page is what prometheus-fastapi-instrumentator writes for every FastAPI program, so
  it is known by routes that others do not have: with a prefix such as `/v1`, by those of images and audio.
- Requests are those of all its routes that succeeded; status classes are grouped to 2xx.
"""

from typing import Final

from exporter.engines import spec

_HTTP: Final = "http_requests_total"
_ROUTES: Final = ("/embeddings", "/embeddings_image", "/embeddings_audio", "/rerank", "/classify")
_OWN: Final = (
    "/embeddings",
    "/embeddings_image",
    "/embeddings_audio",
    "/v1/embeddings_image",
    "/v1/embeddings_audio",
)
_SERVED: Final = (
    *spec.label("handler", *_ROUTES, *(f"/v1{route}" for route in _ROUTES)),
    *spec.label("status", "2xx", "200"),
)

INFINITY: Final = spec.Engine(
    name="infinity",
    prefix="http_",
    default_port=7997,
    fingerprint=spec.Fingerprint(names=(_HTTP,), where=spec.label("handler", *_OWN)),
    groups=((spec.Alternative((_HTTP,), (spec.Count(_HTTP, "requests", where=_SERVED),)),),),
    metadata_queries=(
        spec.MetadataQuery("models", model=("data", 0, "id")),
        spec.MetadataQuery("v1/models", model=("data", 0, "id")),  # with the prefix /v1
    ),
    series_appear_late=True,
    tokens=False,
    commands=(
        spec.Command(
            programs=("infinity_emb",),
            modules=("infinity_emb",),
            port=7997,
            model_flags=("--served-model-name", "--model-id", "--model-name-or-path"),
        ),
    ),
    manual=spec.Manual(
        title="Infinity",
        versions="0.0.77 and 0.0.78",
        captured=("0.0.78",),
        reading="Renders counters of its API server; the model is not asked.",
        deployment=("Routes under a prefix other than `/v1` are not known.",),
        cannot_tell=(
            "Tokens: what it holds is paid for, in the phase other, and has no price per token.",
            "Requests at work or waiting.",
            "Which of several models a request was for: all are counted as the first one's.",
            "Its version.",
        ),
    ),
)
