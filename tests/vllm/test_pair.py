"""A real prefill and decode pair without configuration: each token once, by the two command lines alone."""

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.gpu_processes import compute
from tests.e2e.vllm import Vllm
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

PROMPTS = 4
PROMPT_TOKENS = 196
ANSWER_TOKENS = 20
pytestmark = pytest.mark.timeout(1800)


class PairedVllm(Vllm):
    """One of two that share a folder of KV caches."""

    def __init__(self, folder: Path, role: str) -> None:
        super().__init__(folder / f"{role}.log")
        extra = {"shared_storage_path": str(folder / "kv")}
        connector = {"kv_connector": "ExampleConnector", "kv_role": role, "kv_connector_extra_config": extra}
        self._transfer = json.dumps(connector)

    def command(self) -> list[str]:
        words = super().command()
        return [*words, "--no-enable-prefix-caching", "--kv-transfer-config", self._transfer]

    def answer(self, prompt: list[int], tokens: int) -> dict[str, Any]:
        """The usage of one answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=300)
        body = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status == http.client.OK, text
        usage: dict[str, Any] = json.loads(text)["usage"]
        return usage


def test_each_token_of_a_real_pair_is_counted_once(tmp_path: Path) -> None:
    """784 prompt tokens are the prefill server's, 80 generated ones the decode server's."""
    gpus = FakeNvml(tmp_path, Scenario(h100s(2, utilization=50, power_mw=400_000)))
    daemon = Daemon(tmp_path, "interval: 1s\n", gpus.environment())
    with PairedVllm(tmp_path, "kv_producer") as prefill, PairedVllm(tmp_path, "kv_consumer") as decode:
        assert prefill.process is not None
        assert decode.process is not None
        compute(gpus, prefill.process.pid, decode.process.pid)
        with daemon:
            daemon.until(lambda page: page.sum("inference_server_up") == 2, "both are read")
            daemon.settled()
            for number in range(PROMPTS):
                prompt = [10 + (number + 7 * at) % 40 for at in range(PROMPT_TOKENS)]
                assert prefill.answer(prompt, 1)["prompt_tokens"] == PROMPT_TOKENS
                assert decode.answer(prompt, ANSWER_TOKENS)["completion_tokens"] == ANSWER_TOKENS
            for server in (prefill, decode):
                server.at_rest()
            daemon.settled()
            page = daemon.settled()

            counts = [page.tokens(f"vllm:{server.port}") for server in (prefill, decode)]
            moved = decode.page().sum("vllm:prompt_tokens_by_source_total", source="external_kv_transfer")
            assert moved > 0
            assert [{kind: n for kind, n in each.items() if n} for each in counts] == [
                {"prompt": PROMPTS * PROMPT_TOKENS},
                {"generation": PROMPTS * ANSWER_TOKENS},
            ]
