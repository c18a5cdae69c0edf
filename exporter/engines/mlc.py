"""MLC-LLM: `mlc_llm serve`.

Source: mlc-ai/mlc-llm 79d603f (2026-07), `cpp/serve/{metrics.h,metrics.cc,engine.cc}`,
`python/mlc_llm/serve/{engine_base,entrypoints/metrics_entrypoints}.py`.

- The page is no exposition: names and values with a tab between, no types, labels without quotes
  (`decode_time_by_batch_size_mean{batch_size=1}`). What is read has no labels.
- `prompt_tokens_sum` are whole prompts, `prefill_tokens_sum` what was computed of them: the rest was cached.
  `decode_tokens_sum` holds tokens that were rolled back; `completion_tokens_sum` does not.
- Tokens move when a request finishes, engine seconds with every step.
- All names stand on the page from the start, and none begins with the engine's name.
"""

from typing import Final

from exporter.engines import spec

_PROMPT: Final = "prompt_tokens_sum"
_COMPUTED: Final = "prefill_tokens_sum"
_GENERATION: Final = "completion_tokens_sum"
_PREFILL: Final = "engine_prefill_time_sum"
_DECODE: Final = "engine_decode_time_sum"

MLC: Final = spec.Engine(
    name="mlc",
    prefix="",
    default_port=8000,
    fingerprint=spec.Fingerprint(names=(_PREFILL,)),
    groups=(
        (
            spec.Alternative(
                (_PROMPT, _COMPUTED),
                (
                    spec.Count(_COMPUTED, "prompt"),
                    spec.Count(_PROMPT, "cached_prompt"),
                    spec.Count(_COMPUTED, "cached_prompt", sign=-1),
                ),
            ),
        ),
        spec.counter(_GENERATION, "generation"),
        (spec.phase_seconds(_PREFILL, _DECODE, "decode_seconds"),),
    ),
    metadata_queries=(spec.MetadataQuery("v1/models", model=("data", 0, "id")),),
    commands=(
        spec.Command(
            programs=("mlc_llm serve",),
            modules=("mlc_llm serve", "mlc_llm.cli.serve"),
            port=8000,
            host=spec.LOOPBACK,
            model_flags=("--model",),
            positional_model=True,
        ),
    ),
    manual=spec.Manual(
        title="MLC-LLM",
        versions="the sources of July 2026",
        reading="Passes through the engine's loop as a request that runs no model.",
        deployment=("Of several models only the first one's counters are on the page.",),
        cannot_tell=(
            "Requests at work, waiting or finished.",
            "Its version, and when its process started.",
            "Tokens of a request that is not finished.",
        ),
    ),
)
