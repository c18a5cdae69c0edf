"""What a real vLLM counts of a beam search: one request for each beam and each token."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.daemon import Page
from tests.e2e.vllm import Vllm

PROMPT = "the quick brown fox jumps over the lazy dog, hello world " * 3
COUNTERS = ("prompt_tokens", "generation_tokens", "request_success")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    with Vllm(tmp_path_factory.mktemp("vllm") / "vllm.log") as vllm:
        yield vllm


def counted(page: Page) -> tuple[float, ...]:
    return tuple(page.sum(f"vllm:{name}_total") for name in COUNTERS)


def rises(server: Vllm, **request: Any) -> tuple[int, tuple[float, ...]]:
    """Tokens of the prompt as the answer tells them, and by how much each counter rose."""
    before = counted(server.page())
    connection = http.client.HTTPConnection(server.host, server.port, timeout=300)
    body = {"model": "tiny", "prompt": PROMPT, "ignore_eos": True, "temperature": 0, **request}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == http.client.OK, text
    server.at_rest()
    rise = zip(counted(server.page()), before, strict=True)
    return json.loads(text)["usage"]["prompt_tokens"], tuple(after - earlier for after, earlier in rise)


def test_one_beam_of_twelve_tokens_counts_the_prompt_twelve_times(server: Vllm) -> None:
    """And at each step what it has said: 0 + 1 + ... + 11 = 66 tokens."""
    prompt, rise = rises(server, max_tokens=12, n=1, use_beam_search=True)

    assert rise == (12 * prompt + 66, 12, 12)


def test_four_beams_count_from_the_second_token_on(server: Vllm) -> None:
    """The first token is one request; each of nine more is four, of 1 to 9 tokens beside the prompt: 180."""
    prompt, rise = rises(server, max_tokens=10, n=4, use_beam_search=True)

    assert rise == (37 * prompt + 180, 37, 37)


def test_four_samples_count_it_four_times(server: Vllm) -> None:
    """No search: each sample, for which vLLM wants a temperature, is a request of ten tokens."""
    prompt, rise = rises(server, max_tokens=10, n=4, temperature=1)

    assert rise == (4 * prompt, 40, 4)
