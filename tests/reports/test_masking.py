"""What a recording keeps of a page, and what it replaces."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engines import ENGINES, EVERYTHING, interpret, read, recognize, wanted
from exporter.reports.recording import Mask

CAPTURES = sorted((Path(__file__).parents[1] / "engines" / "captures").glob("*.prom"))
OF_ENGINES = [page for page in CAPTURES if recognize(read(page.read_bytes(), EVERYTHING)) is not None]

PAGE = b"""\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="acme/secret-8b"} 70 1700000000000
vllm:prompt_tokens_total{engine="1",model_name="acme/secret-8b"} 30.5 # {trace_id="abc"} 1 1.7e9
vllm:generation_tokens_total{engine="0",model_name="other \\"quoted\\" one"} 1e+06
# a remark of somebody's
vllm:e2e_request_latency_seconds_bucket{le="+Inf",user="alice",team="acme/secret-8b"} 3
vllm:request_success_total{finished_reason="stop",model_name="acme/secret-8b"} 9
vllm:request_success_total{finished_reason="gpu-host-7.acme.example",model_name="acme/secret-8b"} 1
vllm:lora_requests_info{running_lora_adapters="a,b",max_lora="4"} 1
vllm:num_requests_running{model_name="",engine="123456789"} NaN
# HELP acme_orders_total Orders of ours.
# TYPE acme_orders_total counter
acme_orders_total{customer="bob"} 5
process_start_time_seconds 1.5e9
vllm:prompt_tokens_total{model_name="broken} 1
"""

MASKED = b"""\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="model-1"} 70
vllm:prompt_tokens_total{engine="1",model_name="model-1"} 30.5
vllm:generation_tokens_total{engine="0",model_name="model-2"} 1e+06
vllm:e2e_request_latency_seconds_bucket{le="+Inf",user="user-1",team="model-1"} 3
vllm:request_success_total{finished_reason="finished_reason-1",model_name="model-1"} 9
vllm:request_success_total{finished_reason="finished_reason-2",model_name="model-1"} 1
vllm:lora_requests_info{running_lora_adapters="running_lora_adapters-1",max_lora="max_lora-1"} 1
vllm:num_requests_running{model_name="",engine="engine-1"} NaN
process_start_time_seconds 1.5e9
vllm:prompt_tokens_total ?
"""


PIECES = (
    *(
        b"vllm:num_requests_running",
        b"vllm:x",
        b"{",
        b"}",
        b" ",
        b"\n",
        b"=",
        b",",
        b'"',
        b"\\",
        b"# {",
        b"1",
    ),
    *(b"model_name", b"user", b'model_name="s3cret"', b'="s3cret"', b' # {user="s3cret"} 1', b"\t", b"\r"),
    *(
        b'{"data":[{"id":"s3cret"}]}',
        b'{"version":"s3cret"}',
        b"[",
        b"]",
        b":",
        b'"model_alias"',
        b'"s3cret"',
    ),
)
"""What pages and answers are made of."""


def test_names_are_replaced_and_numbers_kept() -> None:
    """Worked by hand: one word for one text, whatever its label; what is no engine's is left out."""
    assert Mask().page(PAGE) == (MASKED, 1)


def test_the_same_text_has_the_same_replacement_on_the_next_page() -> None:
    """So that a series goes on from page to page, and a new name is a new one."""
    mask = Mask()
    first, _ = mask.page(b'vllm:num_requests_running{model_name="a"} 1\nvllm:x{model_name="b"} 1\n')
    second, _ = mask.page(b'vllm:x{model_name="c"} 1\nvllm:x{model_name="b"} 2\n')
    assert b'"model-1"} 1\n' in first
    assert second == b'vllm:x{model_name="model-3"} 1\nvllm:x{model_name="model-2"} 2\n'
    assert mask.model("b") == "model-2"


def test_a_damaged_line_is_as_damaged_as_before() -> None:
    """A counter whose line is broken is not absent: another way of counting would hold."""
    page = b'vllm:prompt_tokens_total{model_name="a"} 9\n\tvllm:prefix_cache_hits_total{model_name="a} 5\r\n'
    masked, left_out = Mask().page(page)
    assert (masked, left_out) == (
        b'vllm:prompt_tokens_total{model_name="model-1"} 9\nvllm:prefix_cache_hits_total ?\n',
        0,
    )
    holders = read(masked, EVERYTHING)
    assert (holders.names, holders.malformed) == (
        frozenset({"vllm:prompt_tokens_total", "vllm:prefix_cache_hits_total"}),
        1,
    )


def test_a_long_model_is_the_same_on_the_page_and_in_what_was_read_of_it() -> None:
    """What is read is cut to 128 characters; the page is not."""
    mask = Mask()
    mask.page(b'vllm:x{model_name="' + b"m" * 200 + b'"} 1\n')
    assert mask.model("m" * 128) == "model-1"


def test_a_label_that_is_quoted_is_replaced_as_well() -> None:
    """No engine has one."""
    page = b'vllm:num_requests_running{"acme \\"team\\""="blue",model_name="m"} 1\n'
    masked, _ = Mask().page(page)
    assert masked == b'vllm:num_requests_running{"label-1"="value-1",model_name="model-1"} 1\n'
    assert read(masked, EVERYTHING).malformed == 0


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=40).map(b"".join))
def test_whatever_a_server_says_is_masked_or_left_out(body: bytes) -> None:
    """Never raises, and keeps neither the model nor the user, wherever they stand."""
    mask = Mask()
    masked, _ = mask.page(body)
    assert b"s3cret" not in masked
    for engine in ENGINES.values():
        for query in engine.metadata_queries:
            assert b"s3cret" not in (mask.answer(query.path, body, engine) or b"")
    assert b"s3cret" not in (mask.answer("props", body, ENGINES["llamacpp"]) or b"")


def test_a_page_without_labels_and_with_tabs_is_kept() -> None:
    """As MLC writes it; what it writes between braces is no label."""
    page = b"prompt_tokens_sum\t12\ndecode_time_by_batch_size_mean{batch_size=1}\t0.5\n"
    assert Mask().page(page) == (b"prompt_tokens_sum 12\n", 1)


def test_a_page_inside_of_a_json_string_is_kept_as_a_page() -> None:
    """As llama.cpp sent it in November 2025."""
    assert Mask().page(b'"llamacpp:prompt_tokens_total 5\\n"')[0] == b"llamacpp:prompt_tokens_total 5\n"


def test_programs_beside_rays_engines_are_left_out() -> None:
    """Ray puts its prefix before the metrics of every application."""
    page = b'ray_acme_orders_total{Customer="bob"} 5\nray_vllm_num_requests_running{model_name="x"} 1\n'
    assert Mask().page(page) == (b'ray_vllm_num_requests_running{model_name="model-1"} 1\n', 1)


@pytest.mark.parametrize(
    ("engine", "path", "body", "expected"),
    [
        (
            "llamacpp",
            "v1/models",
            {"object": "list", "data": [{"id": "secret", "owned_by": "acme"}, {"id": "other"}]},
            {"data": [{"id": "model-1"}]},
        ),
        (
            "llamacpp",
            "props",
            {
                "model_alias": "secret",
                "model_path": "/srv/acme/secret.gguf",
                "chat_template": "You are Acme's.",
                "is_sleeping": False,
                "total_slots": 4,
                "build_info": "b10434-0a1b2c3",
            },
            {
                "is_sleeping": False,
                "total_slots": 4,
                "model_alias": "model-1",
                "build_info": "b10434-0a1b2c3",
            },
        ),
        (
            "tei",
            "info",
            {"model_id": "/data/secret", "served_model_name": "secret", "version": "1.9.3", "sha": "ab"},
            {"served_model_name": "model-1", "version": "1.9.3", "model_id": "model-2"},
        ),
        ("vllm", "version", {"version": "0.32.0"}, {"version": "0.32.0"}),
        ("vllm", "version", {"version": "0.32.0+acme.fork"}, {"version": "version-1"}),
    ],
)
def test_of_other_pages_only_what_is_read_is_kept(
    engine: str, path: str, body: object, expected: object
) -> None:
    """Nobody knows what else stands there."""
    answer = Mask().answer(path, json.dumps(body).encode(), ENGINES[engine])
    assert answer is not None
    assert json.loads(answer) == expected


@pytest.mark.parametrize("body", [b"not JSON", b"[]", b'{"version": 5}', b'"' + b"[" * 100_000, b"null"])
def test_an_answer_that_tells_nothing_is_not_kept(body: bytes) -> None:
    """Whatever it is."""
    assert Mask().answer("version", body, ENGINES["vllm"]) is None


@pytest.mark.parametrize("page", OF_ENGINES, ids=lambda page: page.stem)
def test_a_masked_page_is_read_as_before(page: Path) -> None:
    """Every capture of an engine: the same sums by quantity, requests and number of models, other names."""
    body = page.read_bytes()
    engine = recognize(read(body, EVERYTHING))
    assert engine is not None
    masked, _ = Mask().page(body)
    assert recognize(read(masked, EVERYTHING)) is engine
    before, after = (interpret(engine, read(each, wanted(engine))) for each in (body, masked))
    assert [(c.quantity, c.sign, c.value) for c in after.counters] == [
        (c.quantity, c.sign, c.value) for c in before.counters
    ]
    assert sorted((x.running or 0, x.waiting or 0, x.batches) for x in after.loads) == sorted(
        (x.running or 0, x.waiting or 0, x.batches) for x in before.loads
    )
    assert len(after.models) == len(before.models)
    assert (after.role, after.started) == (before.role, before.started)
    assert not set(before.models) & set(after.models)


@pytest.mark.parametrize("page", CAPTURES, ids=lambda page: page.stem)
def test_no_name_is_left_on_any_capture(page: Path) -> None:
    """Models, users, keys, hosts and paths of the captures, found by their labels."""
    body = page.read_bytes()
    private = re.compile(
        rb"\b(?:model|model_name|served_model|user|team|api_key_alias|hashed_api_key|end_user|user_email|client_ip"
        rb'|server|worker|worker_id|worker_addr|tenant|pid|url|path|host|instance)="([^"]{3,})"'
    )
    names = set(private.findall(body)) - {b"undefined"}
    masked, _ = Mask().page(body)
    for name in names:
        assert b'"%b"' % name not in masked, name
