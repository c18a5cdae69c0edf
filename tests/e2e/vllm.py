"""vLLM on the CPU, with a model of random weights; `tests/vllm/run` brings both."""

from tests.e2e.daemon import ROOT, Page
from tests.e2e.engine import EngineServer

ENVIRONMENT = ROOT / ".cache" / "engines" / "vllm"
MODEL = ROOT / ".cache" / "engines" / "tiny-bfloat16"


class Vllm(EngineServer):
    """Its prompt counter holds whole prompts, what was cached included."""

    start_seconds = 600  # other engines may run beside it
    longest = 300

    def command(self) -> list[str]:
        return [
            *(str(ENVIRONMENT / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(MODEL), "--served-model-name", "tiny", "--dtype", "bfloat16"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--max-model-len", "512", "--enforce-eager"),
        ]

    def environment(self) -> dict[str, str]:
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        return {**offline, "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}

    def count(self, page: Page) -> dict[str, int]:
        cached = int(page.sum("vllm:prompt_tokens_cached_total"))
        return {
            "prompt": int(page.sum("vllm:prompt_tokens_total")) - cached,
            "cached_prompt": cached,
            "generation": int(page.sum("vllm:generation_tokens_total")),
        }

    def running(self, page: Page) -> float:
        return page.sum("vllm:num_requests_running")
