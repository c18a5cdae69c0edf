"""Shares of a service level of a real vLLM, by its clients' own clocks and by the exporter.

    python tests/vllm/measured_levels.py FOLDER

Prints both, and what a client's measurement adds to a request's time, by the server's own sums: it has one
request at a time. Fails where the exporter's bounds do not hold the share by these sums, where a client has a
first token before the server, or another mean of the later ones. Run by `tests/vllm/run`.
"""

import http.client
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.e2e.daemon import Daemon, Page, until
from tests.e2e.vllm import Vllm
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

FIRST, EACH = 0.009, 0.02
"""Objectives, each between two of its buckets: 0.005 and 0.01, 0.01 and 0.025. The first is met by some."""
REQUESTS, TOKENS = 120, 24
CLOSE = 0.25
"""Of an objective, by which means of later tokens may differ in the median: neither clock waits for more."""
NAMES = ("time_to_first_token_seconds", "request_time_per_output_token_seconds")
"""Of the server's histograms, in the order of the objectives."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One streamed request: seconds to its first token, and the mean of the later ones."""

    first: float
    each: float


def stream(server: Vllm, prompt: str) -> Timed:
    """Ask for a stream, and time its lines as they arrive."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    body = {"model": "tiny", "prompt": prompt, "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
    text = json.dumps(body)
    began = time.perf_counter()
    connection.request("POST", "/v1/completions", text, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == http.client.OK, answer.read()
    moments = list(_moments(answer))
    connection.close()
    return Timed(moments[0] - began, (moments[-1] - moments[0]) / (TOKENS - 1))


def _moments(answer: http.client.HTTPResponse) -> Iterator[float]:
    """When each chunk with a token arrived."""
    for line in answer:
        if line.startswith(b"data: {"):
            yield time.perf_counter()


def measured(server: Vllm, prompt: str) -> tuple[Timed, Timed]:
    """One request by its client's clock, and by the server's: alone, it is what the sums rise by."""
    before = server.page()
    timed = stream(server, prompt)
    after = until(lambda: risen(server.page(), before), 60, "the request in both histograms")
    first, each = (total(after, name) - total(before, name) for name in NAMES)
    return timed, Timed(first, each)


def risen(page: Page, before: Page) -> Page | None:
    """The page, once each histogram has a request more."""
    counts = [f"vllm:{name}_count" for name in NAMES]
    return page if all(page.sum(count) == before.sum(count) + 1 for count in counts) else None


def total(page: Page, name: str) -> float:
    """Seconds of all requests in one of the server's histograms."""
    return page.sum(f"vllm:{name}_sum")


def buckets(page: Page, name: str) -> dict[float, float]:
    """The server's own histogram, read by Prometheus' client."""
    rows = page.rows[f"vllm:{name}_bucket"]
    return {float(labels["le"]): value for labels, value in rows}


def around(counts: dict[float, float], objective: float) -> tuple[float, float]:
    """Counts of the buckets on both sides of an objective."""
    below = [counts[bound] for bound in sorted(counts) if bound <= objective]
    above = [counts[bound] for bound in sorted(counts) if bound >= objective]
    return (below[-1] if below else 0.0), above[0]


def main(folder: Path) -> None:
    """Serve, measure and compare.

    Raises:
        AssertionError: the exporter counted anything but what the server's histograms have, or bounds
            that the times of the requests are not within.
    """
    host = FakeNvml(folder, Scenario(h100s(1, utilization=60, power_mw=500_000)))
    with Vllm(folder / "vllm.log") as server:
        configuration = f"""
interval: 1s
hardware: [{{rented: {{dollars_per_gpu_hour: 2.50}}}}]
servers:
  - name: chat
    url: "{server.url}"
    gpus: [0]
    slo: {{first_token_seconds: {FIRST}, per_token_seconds: {EACH}}}
"""
        stream(server, "warm up")
        with Daemon(folder, configuration, host.environment()) as daemon:
            daemon.until(lambda page: bool(page.matching("inference_slo_observations_total")), "rows", 120)
            before = [buckets(server.page(), name) for name in NAMES]
            # Prompts of 1 to 120 words, so that the times differ.
            timed = [measured(server, f"{number} " + "hello " * number) for number in range(REQUESTS)]
            after = [buckets(server.page(), name) for name in NAMES]
            page = daemon.until(
                lambda page: page.sum("inference_slo_observations_total") == 2 * REQUESTS, "counts", 120
            )
    lines = [f"{REQUESTS} requests of {TOKENS} tokens"]
    for number, (objective, seconds) in enumerate((("first_token", FIRST), ("per_token", EACH))):
        ends, begins = (around(counts[number], seconds) for counts in (after, before))
        low, high = (end - begin for end, begin in zip(ends, begins, strict=True))
        counted = tuple(
            page.value("inference_slo_met_observations_total", objective=objective, bound=bound)
            for bound in ("lower", "upper")
        )
        assert counted == (low, high), (objective, counted, (low, high))
        pairs = [(by.each, own.each) if number else (by.first, own.first) for by, own in timed]
        adds = [by - own for by, own in pairs]
        exact, met = (sum(pair[which] <= seconds for pair in pairs) for which in (1, 0))
        lines.append(
            f"{objective} within {seconds} s: exporter {low:.0f} to {high:.0f}; server {exact}; "
            f"clients {met}, who measure {min(adds):.4f} to {max(adds):.4f} s more, median {median(adds):.4f}"
        )
        assert low <= exact <= high, lines[-1]
        if number:
            assert abs(median(adds)) <= CLOSE * seconds, lines[-1]
        else:  # nobody has a token before the server
            assert min(adds) >= 0, lines[-1]
            assert met <= high, lines[-1]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
