"""Ollama: `ollama serve`. It has no page of metrics, and counts no tokens anywhere.

Source: ollama/ollama 0.33.0-rc2, `server/routes.go` (its root answers the greeting; nothing in the tree
speaks of Prometheus) and `api/types.go`: tokens stand in the last object of each answer only
(`prompt_eval_count`, which includes cached ones, and `eval_count`), so that nobody but who asked sees them.
"""

from typing import Final

from exporter.engines.spec import LOOPBACK, Command, Uncounted

OLLAMA: Final = Uncounted(
    name="ollama",
    title="Ollama",
    greeting=b"Ollama is running",
    default_port=11434,
    what="which counts no tokens, so that its GPU money has no price per token",
    remedy="serve the same GGUF file with llama-server --metrics to have them counted",
    commands=(
        Command(
            programs=("ollama serve",),
            worker_patterns=(r"ollama runner", r"ollama_llama_server"),
            port=11434,
            host=LOOPBACK,
            metrics="never",
        ),
    ),
)
