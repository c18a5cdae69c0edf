"""Roles of a disaggregated pair: what a server was started as holds while its page agrees.

The pages are those of two vLLM 0.32.0 with one shared storage, to which a client sent four prompts of 196
tokens, each to the one and then to the other, and was answered 20 tokens.
"""

import pytest

from exporter.engines import ENGINES, interpret, read, wanted
from exporter.engines.roles import agreed_role
from exporter.readings import Role, RoleClaim

PREFILL = RoleClaim("prefill", "its command line")
DECODE = RoleClaim("decode", "its command line")
LABELED = RoleClaim("prefill", "label llm-d.ai/role")


def page(generated: int, computed: int, transferred: int, requests: int = 4, running: int = 0) -> str:
    """A page of vLLM."""
    source = 'vllm:prompt_tokens_by_source_total{model_name="m",source="%s"} %d\n'
    sources = ("local_compute", computed), ("external_kv_transfer", transferred), ("local_cache_hit", 7)
    return "".join(source % each for each in sources) + (
        f'vllm:generation_tokens_total{{model_name="m"}} {generated}\n'
        f'vllm:request_success_total{{finished_reason="length",model_name="m"}} {requests}\n'
        f'vllm:num_requests_running{{model_name="m"}} {running}\n'
    )


PRODUCER = page(4, 784, 0)
CONSUMER = page(80, 272, 512)
EMPTY = page(0, 0, 0, 0)


def agreed(text: str, *claims: RoleClaim, engine: str = "vllm") -> tuple[Role, str]:
    """The role by one page."""
    described = ENGINES[engine]
    parsed = read(text.encode(), wanted(described))
    return agreed_role(claims, described, parsed, interpret(described, parsed))


@pytest.mark.parametrize(
    ("text", "claims", "role"),
    [
        (PRODUCER, [PREFILL], "prefill"),
        (CONSUMER, [DECODE], "decode"),
        (PRODUCER, [LABELED, PREFILL], "prefill"),
        (EMPTY, [PREFILL], "prefill"),
        (EMPTY, [DECODE], "decode"),
        (page(3, 600, 0, requests=0, running=3), [PREFILL], "prefill"),  # none has ended
        (PRODUCER, [], ""),
    ],
)
def test_a_role_holds_while_the_page_agrees(text: str, claims: list[RoleClaim], role: Role) -> None:
    """And before the first request."""
    assert agreed(text, *claims) == (role, "")


@pytest.mark.parametrize(
    ("text", "claims", "doubt"),
    [
        (
            CONSUMER,
            [PREFILL],
            "its command line says prefill, and its page has 80 generated tokens for 4 requests",
        ),
        (
            PRODUCER,
            [DECODE],
            (
                "its command line says decode, and its page has 784 computed prompt tokens and 0 from other "
                "engines"
            ),
        ),
        (PRODUCER, [LABELED, DECODE], "label llm-d.ai/role says prefill and its command line says decode"),
        (
            CONSUMER,
            [],
            "nothing says whether it prefills or decodes, and 512 prompt tokens are from other engines",
        ),
    ],
)
def test_what_disagrees_is_said(text: str, claims: list[RoleClaim], doubt: str) -> None:
    """Then there is no role: the server counts what its page has."""
    assert agreed(text, *claims) == ("", doubt)


def test_a_page_before_sources_counts_hits_in_other_engines() -> None:
    """VLLM 0.11.2 to 0.15."""
    text = (
        'vllm:prompt_tokens_total{model_name="m"} 784\n'
        'vllm:prefix_cache_hits_total{model_name="m"} 0\n'
        'vllm:external_prefix_cache_hits_total{model_name="m"} 512\n'
    )
    assert agreed(text, DECODE) == ("decode", "")
    assert agreed(text)[1].endswith("512 prompt tokens are from other engines")


def test_a_page_that_does_not_count_transfers_contradicts_no_decode_server() -> None:
    """V0, whose prompt counter is all that there is."""
    assert agreed('vllm:prompt_tokens_total{model_name="m"} 784\n', DECODE) == ("decode", "")


def test_a_page_that_names_its_role_is_a_source_too() -> None:
    """SGLang's `engine_type`; it needs no command line, and contradicts one."""
    text = (
        'sglang:prompt_tokens_total{model_name="m",engine_type="decode"} 784\n'
        'sglang:generation_tokens_total{model_name="m",engine_type="decode"} 80\n'
    )
    assert agreed(text, engine="sglang") == ("decode", "")
    assert agreed(text, DECODE, engine="sglang") == ("decode", "")
    assert agreed(text, PREFILL, engine="sglang") == (
        "",
        "its command line says prefill and its page says decode",
    )
