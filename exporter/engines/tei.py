"""Text Embeddings Inference: `text-embeddings-router`.

Source: huggingface/text-embeddings-inference 0d124dc (v1.9.3), `core/src/{infer,queue,tokenization}.rs`,
`router/src/{lib,prometheus,http/server}.rs`.

- It generates nothing: all tokens are prompt, and all of a GPU's work is prefill.
- Tokens are the sum of a histogram of input lengths, as tokenized and validated. `te_batch_next_tokens`
  counts them once more, by batch.
- `te_request_count` counts a single prediction twice, so that `te_request_success` tells the requests.
- No series names the model, counters have no `_total`, and every family appears with its first use.
"""

from typing import Final

from exporter.engines.spec import Command, Engine, Fingerprint, Gauge, Manual, MetadataQuery, counter

_INPUT: Final = "te_request_input_length_sum"

TEI: Final = Engine(
    name="tei",
    prefix="te_",
    default_port=3000,
    fingerprint=Fingerprint(
        names=(_INPUT, "te_request_count", "te_request_success", "te_embed_count", "te_queue_size")
    ),
    groups=(
        counter(_INPUT, "prompt"),
        counter("te_request_success", "requests"),
    ),
    waiting=(Gauge("te_queue_size"),),
    series_appear_late=True,
    metadata_queries=(
        MetadataQuery("info", model=("served_model_name",), version=("version",)),
        MetadataQuery("info", model=("model_id",)),  # before there was a name of its own
    ),
    commands=(
        Command(
            programs=("text-embeddings-router",),
            port=3000,
            port_flags=("--port", "-p"),
            host_flags=("--hostname",),
            model_flags=("--served-model-name", "--model-id"),
        ),
    ),
    manual=Manual(
        title="Text Embeddings Inference",
        versions="1.9.3",
        reading="Renders counters of its router; the model is not asked.",
        deployment=("The image listens on port 80, the router by itself on 3000.",),
        cannot_tell=(
            "Requests at work.",
            "When its process started.",
            "The requests of `/predict` with a single input.",
        ),
    ),
)
