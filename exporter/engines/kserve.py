"""KServe's model server, `python -m huggingfaceserver` and its kin, where no engine inside tells tokens.

Source: kserve 0.21.0 `kserve/metrics.py`, `huggingfaceserver`, and `qpext`.

- Its own metrics are four histograms of request times; one counts the requests. Those of its OpenAI routes go
  past them (`protocol/rest/openai/dataplane.py`).
- With the vLLM backend vLLM's metrics stand on the same page, which then is read as vLLM's.
- The aggregated page of the queue proxy (`qpext`, port 9088) repeats the container's page (8080).
- Dashboards of KServe show `kserve_vllm:` names: Prometheus is told to rename, the page has vLLM's.
"""

from typing import Final

from exporter.engines.spec import Command, Engine, Factor, Fingerprint, Manual, counter
from exporter.engines.vllm import KV_ROLE, MAX_NUM_SEQS

_PREDICTED: Final = "request_predict_seconds_count"

KSERVE: Final = Engine(
    name="kserve",
    prefix="",
    default_port=8080,
    fingerprint=Fingerprint(
        names=(_PREDICTED, "request_preprocess_seconds_count", "request_postprocess_seconds_count"),
        labels=("model_name",),
    ),
    model_labels=("model_name",),
    groups=(counter(_PREDICTED, "requests"),),
    series_appear_late=True,
    tokens=False,
    disguises=("vllm",),
    commands=(
        Command(
            modules=("huggingfaceserver",),
            port=8080,
            port_flags=("--http-port",),
            host_flags=(),
            model_flags=("--model-name", "--model-id"),
            world_factors=(
                Factor(("--tensor-parallel-size", "-tp")),
                Factor(("--pipeline-parallel-size", "-pp")),
            ),
            max_running=MAX_NUM_SEQS,  # of the vLLM backend, whose page has the requests
            role=KV_ROLE,
        ),
    ),
    manual=Manual(
        title="KServe huggingfaceserver",
        versions="0.21",
        captured=("0.21.0",),
        reading="Renders counters of the model server; the model is not asked.",
        deployment=(
            "Read the container (8080) or the aggregated page of the queue proxy (9088), which repeats it.",
            "With the vLLM backend it is shown as vLLM, unless it is started with `--disable-log-stats`.",
        ),
        cannot_tell=(
            "Tokens, with the Hugging Face backend and of other model servers.",
            "Requests to `/openai/`, with them: those of the protocols v1 and v2 are counted.",
        ),
    ),
)
