"""Engines of the configuration are read like built-in ones."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from exporter.clock import SystemClock
from exporter.config import Config, parse
from exporter.engines import ENGINES
from exporter.readings import FailureReason, ReadFailedError, ServerReading
from exporter.sources.endpoints import EndpointSources, configured_targets

ACME = """\
engines:
  - name: acme
    counters:
      - {name: acme_prompt_total, quantity: prompt, minus: acme_cached_total}
      - {name: acme_cached_total, quantity: cached_prompt}
      - {name: acme_out_total, quantity: generation, where: {kind: text}}
    models: [model]
    models_path: /v1/models
    running: {name: acme_slots, where: {state: busy}}
    waiting: {name: acme_queue}
"""
PAGE = b"""\
# HELP acme_prompt_total whole prompts
acme_prompt_total 1200
acme_cached_total 200
acme_out_total{kind="text"} 70
acme_out_total{kind="dry"} 5
acme_slots{state="busy"} 3
acme_slots{state="free"} 13
acme_queue 1
process_start_time_seconds 1795560000.5
"""
MODELS = json.dumps({"data": [{"id": "tiny"}]}).encode()


@contextmanager
def served(pages: dict[str, bytes]) -> Iterator[str]:
    """An HTTP server on loopback with these pages; the rest is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def read(config: Config) -> ServerReading:
    """What the daemon reads of the first configured server."""
    with closing(EndpointSources(SystemClock())) as sources:
        targets = configured_targets(config.servers)
        return sources.of(targets, config.limits.body_bytes, described=config.engines)[0].read()


def configured(url: str, engines: str = ACME, more: str = "") -> Config:
    return parse(f'{engines}servers: [{{name: a, url: "{url}", gpus: all{more}}}]\n'.encode())


def counted(reading: ServerReading) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for counter in reading.counters:
        sums[counter.model, counter.quantity] += counter.sign * counter.value
    return dict(sums)


@pytest.mark.parametrize("more", ["", ", engine: acme"], ids=["by its page", "by name"])
def test_a_described_engine_is_read(more: str) -> None:
    """1200 whole prompt tokens less 200 cached; dry output does not count."""
    with served({"/metrics": PAGE, "/v1/models": MODELS}) as url:
        reading = read(configured(url, more=more))

    assert reading.engine == "acme"
    assert counted(reading) == {
        ("tiny", "prompt"): 1000,
        ("tiny", "cached_prompt"): 200,
        ("tiny", "generation"): 70,
    }
    assert [(load.model, load.running, load.waiting) for load in reading.loads] == [("tiny", 3, 1)]
    assert reading.identity == "started 1795560000.5"


def test_a_page_without_series_yet_is_the_engines() -> None:
    """Client libraries write the type first, and a series with labels once it is used."""
    with served({"/metrics": b"# TYPE acme_prompt_total counter\n"}) as url:
        reading = read(configured(url, more=", engine: acme"))
    assert (reading.engine, tuple(reading.counters)) == ("acme", ())


def test_another_page_is_not_the_engines() -> None:
    """A page without one of its names counts nothing, and says so."""
    with (
        served({"/metrics": b"other_total 1\n"}) as url,
        pytest.raises(ReadFailedError, match="no counter of tokens that acme has") as failed,
    ):
        read(configured(url, more=", engine: acme"))
    assert failed.value.reason == FailureReason.NO_TOKENS


VLLM = b'vllm:prompt_tokens_total{model_name="m"} 10\nvllm:generation_tokens_total{model_name="m"} 4\n'
MINE = """\
engines:
  - {name: mine, models: [model_name], counters: [{name: "vllm:prompt_tokens_total", quantity: prompt}]}
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", ("vllm", {("m", "prompt"): 10, ("m", "generation"): 4})),
        (", engine: mine", ("mine", {("m", "prompt"): 10})),
    ],
)
def test_a_built_in_engine_wins_unless_the_server_names_the_other(
    more: str, expected: tuple[str, dict[tuple[str, str], float]]
) -> None:
    """A description cannot take over pages of vLLM by its names alone."""
    with served({"/metrics": VLLM}) as url:
        reading = read(configured(url, MINE, more))
    assert (reading.engine, counted(reading)) == expected


def test_no_described_engine_has_the_name_of_a_built_in_one() -> None:
    """So a name means one engine."""
    assert "acme" not in ENGINES
