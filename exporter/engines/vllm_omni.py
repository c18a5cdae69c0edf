"""vLLM-Omni: `vllm serve --omni`, pipelines of stages such as thinker, talker and vocoder.

Source: vllm-project/vllm-omni, `vllm_omni/metrics/{definitions,prometheus,stat_logger}.py` at 01aa7cc and
641dfaf (2026), and docs.vllm.ai/projects/vllm-omni/en/stable/usage/metrics (stable).

- Stages that are language models have vLLM's names, with `stage` and `replica` in place of `engine`. A
  request passes through all of them, so that their tokens are not one model's: each stage is a model.
- `vllm_omni:prompt_tokens_total` and `vllm_omni:generation_tokens_total` add all stages up. They count only
  where no stage has names of vLLM. Stable releases write `vllm:omni_` and have no such counters.
- `--log-stats` fills the page. Without it the pipeline's names stand there at zero or without series.
- Launched as `vllm serve --omni` it is read as vLLM, with the same result where a stage has vLLM's names.
"""

from dataclasses import replace
from typing import Final

from exporter.engines.spec import Alternative, Command, Count, Fingerprint, Gauge, Manual
from exporter.engines.vllm import VLLM

_PROMPT: Final = "vllm_omni:prompt_tokens_total"
_GENERATION: Final = "vllm_omni:generation_tokens_total"
_REQUESTS: Final = "vllm_omni:requests_success_total"

_BY_PROMPT, _BY_GENERATION, _BY_REQUESTS, *_OTHERS = VLLM.groups

VLLM_OMNI: Final = replace(
    VLLM,
    name="vllm-omni",
    prefix="vllm",
    default_port=8000,
    fingerprint=Fingerprint(
        names=(
            _PROMPT,
            _GENERATION,
            _REQUESTS,
            "vllm_omni:num_requests_running",
            "vllm:omni_num_requests_running",
        )
    ),
    groups=(
        (*_BY_PROMPT, Alternative((_PROMPT,), (Count(_PROMPT, "prompt"),))),
        (*_BY_GENERATION, Alternative((_GENERATION,), (Count(_GENERATION, "generation"),))),
        (*_BY_REQUESTS, Alternative((_REQUESTS,), (Count(_REQUESTS, "requests"),))),
        *_OTHERS,
    ),
    running=(*VLLM.running, Gauge("vllm_omni:num_requests_running"), Gauge("vllm:omni_num_requests_running")),
    waiting=(*VLLM.waiting, Gauge("vllm_omni:num_requests_waiting"), Gauge("vllm:omni_num_requests_waiting")),
    commands=(
        Command(
            programs=("vllm-omni serve",),
            port=8000,
            tls_flags=("--ssl-keyfile", "--ssl-certfile"),
            metrics="off",
            metrics_on_flags=("--log-stats",),
            model_flags=("--served-model-name", "--model"),
            positional_model=True,
        ),
    ),
    manual=Manual(
        title="vLLM-Omni",
        versions="the sources of 2026",
        switch="`--log-stats`",
        reading="Renders counters of its API server; the stages are not asked.",
        deployment=(
            "Each stage with vLLM's counters is a model of its own, named `MODEL:STAGE`.",
            "Its GPUs are charged to all stages by their tokens, since the page names no GPU.",
        ),
        cannot_tell=(
            "Seconds of audio, images and videos as tokens: such stages report none.",
            "Tokens of a pipeline without a language model, in releases that write `vllm:omni_`.",
        ),
    ),
)
