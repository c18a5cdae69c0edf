"""Shares of a service level of a real vLLM, by its clients' own clocks and by the exporter.

    python tests/vllm/measured_levels.py FOLDER

Prints both, and what the clients' measurement adds to a request's time. Fails where the clients' shares lie
outside the exporter's bounds by more than that. Run by `make test-vllm`.
"""

import http.client
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.daemon import Daemon, Page
from tests.e2e.vllm import Vllm
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

FIRST, EACH = 0.05, 0.02
"""Objectives, each between two of its buckets: 0.04 and 0.06, 0.01 and 0.025."""
REQUESTS, CLIENTS, TOKENS = 120, 4, 24


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


def request_of_nothing(server: Vllm) -> float:
    """Seconds of a request to the same server that computes nothing: what measuring adds."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.request("GET", "/health")
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - began


def overhead(server: Vllm) -> float:
    """The longest of such requests, beside as many streams as are measured."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        streams = [clients.submit(stream, server, f"{number} overhead") for number in range(REQUESTS // 2)]
        took = [request_of_nothing(server)]
        while not all(each.done() for each in streams):
            took.append(request_of_nothing(server))
    return max(took)


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
        AssertionError: the exporter counted anything but what the server's histograms have, or clients
            measured another share.
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
        names = ("time_to_first_token_seconds", "request_time_per_output_token_seconds")
        with Daemon(folder, configuration, host.environment()) as daemon:
            daemon.until(lambda page: bool(page.matching("inference_slo_observations_total")), "rows", 120)
            before = [buckets(server.page(), name) for name in names]
            with ThreadPoolExecutor(CLIENTS) as clients:
                timed = list(
                    clients.map(lambda number: stream(server, f"{number} hello world"), range(REQUESTS))
                )
            server.at_rest()
            after = [buckets(server.page(), name) for name in names]
            page = daemon.until(
                lambda page: page.sum("inference_slo_observations_total") == 2 * REQUESTS, "counts", 120
            )
        adds = overhead(server)
    lines = [
        f"{REQUESTS} requests of {TOKENS} tokens by {CLIENTS} clients; one of nothing: at most {adds:.4f} s"
    ]
    for number, (objective, seconds) in enumerate((("first_token", FIRST), ("per_token", EACH))):
        ends, begins = (around(counts[number], seconds) for counts in (after, before))
        low, high = (end - begin for end, begin in zip(ends, begins, strict=True))
        counted = tuple(
            page.value("inference_slo_met_observations_total", objective=objective, bound=bound)
            for bound in ("lower", "upper")
        )
        assert counted == (low, high), (objective, counted, (low, high))
        times = [request.each if number else request.first for request in timed]
        # A client sees a token later than the server has it, by less than `adds`; a mean over the later
        # tokens has no more than twice that for all of them.
        late = 2 * adds / (TOKENS - 1) if number else adds
        met = sum(each <= seconds for each in times)
        reachable = sum(each - late <= seconds for each in times)
        lines.append(
            f"{objective} within {seconds} s: exporter {low:.0f} to {high:.0f}; clients {met}, "
            f"less what measuring adds {reachable}"
        )
        assert low <= reachable, lines[-1]
        early = sum(each + (late if number else 0.0) <= seconds for each in times)
        assert early <= high, lines[-1]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
