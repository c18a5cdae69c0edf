"""`check-config --page`: what a saved page of metrics says, by the engines of a configuration."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.reports.check_config import check_config
from tests.sources.server.test_described import ACME, MINE, PAGE, VLLM


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`check-config --page` with a configuration and a page."""

    def run(engines: str, page: bytes, *, as_json: bool = False) -> tuple[int, str]:
        (tmp_path / "ice.yaml").write_text(engines)
        (tmp_path / "page.prom").write_bytes(page)
        status, text = check_config(tmp_path / "ice.yaml", 0, page=tmp_path / "page.prom", as_json=as_json)
        return status, text.replace(f"{tmp_path}/", "")

    return run


def test_check_config_prints_what_it_reads_from_a_page(check: Callable[..., tuple[int, str]]) -> None:
    """Counts by kind, gauges, and names that the page lacks; the model is on another page."""
    status, text = check(ACME, PAGE.replace(b"acme_queue 1\n", b""))

    assert status == 0
    assert (
        "engines:\n  acme: prompt acme_prompt_total, prompt - acme_cached_total, cached_prompt "
        "acme_cached_total, generation acme_out_total; models by model\n"
    ) in text
    assert text.endswith(
        "page page.prom: acme\n"
        "  a model that no label names: prompt 1000, cached_prompt 200, generation 70, running 3\n"
        "  not on the page: acme_queue\n"
    )


def test_check_config_shows_both_readings_of_a_page_of_a_built_in_engine(
    check: Callable[..., tuple[int, str]],
) -> None:
    """First what the daemon reads, then what it would read if a server named the engine."""
    _, text = check(MINE, VLLM)
    assert "page page.prom: vllm\n  m: prompt 10, generation 4\n" in text
    assert text.endswith("page page.prom: mine, where a server has `engine: mine`\n  m: prompt 10\n")


def test_check_config_prints_a_page_as_json(check: Callable[..., tuple[int, str]]) -> None:
    """The same for programs, with the engine's counters."""
    document = json.loads(check(ACME, PAGE, as_json=True)[1])
    assert document["page"] == {
        "file": document["page"]["file"],
        "readings": [
            {
                "engine": "acme",
                "models": {
                    "": {"prompt": 1000, "cached_prompt": 200, "generation": 70, "running": 3, "waiting": 1}
                },
                "absent": [],
                "left_out": 0,
            }
        ],
    }
    assert document["engines"][0]["name"] == "acme"
    assert document["engines"][0]["counters"][1] == {
        "name": "acme_cached_total",
        "quantity": "prompt",
        "sign": -1,
        "scale": 1.0,
    }


def test_check_config_refuses_a_page_that_it_cannot_read(
    check: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """A page of no engine, a gateway's, none, a folder, one too large."""
    assert check(ACME, b"x 1\n") == (
        2,
        "page.prom: a page of no known engine; compare its names with `engines` of acme\n",
    )
    assert check("interval: 10s\n", b"x 1\n") == (
        2,
        "page.prom: a page of no known engine; describe it under `engines`\n",
    )
    status, text = check("interval: 10s\n", b'litellm_requests_metric_total{model="m"} 1\n')
    assert (status, text.partition(",")[0]) == (2, "page.prom: the page of the LiteLLM proxy")
    assert check("limits: {body_bytes: 65536}\n", b"x" * 65537) == (
        2,
        "page.prom is larger than 65536 bytes; raise `limits: {body_bytes: BYTES}`\n",
    )
    assert check_config(None, 0, page=tmp_path / "no")[1] == (
        f"{tmp_path}/no cannot be read: No such file or directory\n"
    )
    assert check_config(None, 0, page=tmp_path)[1] == (
        f"{tmp_path} is no file; save a page of the server in one\n"
    )
