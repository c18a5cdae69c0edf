"""Service levels over the wire: a server with known request times, restarts, damaged pages and reloads."""

import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, Page, until
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

FIRST, EACH = 0.6, 0.05
"""Objectives: one between the buckets 0.5 and 0.75, the other on a bucket's bound."""
FIRST_BUCKETS, EACH_BUCKETS = (0.1, 0.25, 0.5, 0.75, 1.0, 2.5), (0.01, 0.025, 0.05, 0.1)

CONFIGURATION = f"""
interval: 1s
hardware: [{{rented: {{dollars_per_gpu_hour: 2.50}}}}]
servers:
  - name: chat
    url: "URL"
    engine: vllm
    gpus: [0]
    slo: {{first_token_seconds: {FIRST}, per_token_seconds: {EACH}, target_ratio: 0.9}}
"""

pytestmark = pytest.mark.timeout(180)


class TimedServer:
    """A server that knows how long each request took, and shows it as vLLM does."""

    def __init__(self) -> None:
        self.chance = random.Random(5)  # noqa: S311 - times of requests, the same each run
        self.times: list[tuple[float, float]] = []
        self.all: list[tuple[float, float]] = []
        self.started = 1.5e9
        self.damaged = False
        self.reads = 0

    def serve(self, count: int) -> None:
        """Answer so many requests, each with a time to its first token and a mean of the others."""
        new = [
            (self.chance.lognormvariate(-0.5, 0.6), self.chance.lognormvariate(-3.2, 0.4))
            for _ in range(count)
        ]
        self.times += new
        self.all += new

    def restart(self) -> None:
        """A new process: its histograms begin at zero."""
        self.started = time.time()
        self.times = []

    def page(self) -> bytes:
        """The page now; a damaged one has counts that fall from bucket to bucket."""
        self.reads += 1
        lines = [
            f"process_start_time_seconds {self.started}",
            'vllm:num_requests_running{model_name="m"} 1',
            f'vllm:generation_tokens_total{{model_name="m"}} {100 * len(self.times)}',
        ]
        for number, (name, bounds) in enumerate(
            (("time_to_first_token", FIRST_BUCKETS), ("request_time_per_output_token", EACH_BUCKETS))
        ):
            counts = [sum(request[number] <= bound for request in self.times) for bound in bounds]
            if self.damaged:
                counts[0] = len(self.times) + 1
            rows = [*zip(map(str, bounds), counts, strict=True), ("+Inf", len(self.times))]
            lines += [
                f'vllm:{name}_seconds_bucket{{le="{bound}",model_name="m"}} {count}' for bound, count in rows
            ]
        return "".join(f"{line}\n" for line in lines).encode()

    def expected(self, since: int = 0) -> dict[tuple[str, str], int]:
        """What the exporter must have counted, by the times themselves, of requests from one on."""
        times = self.all[since:]
        return {
            ("first_token", "lower"): sum(first <= 0.5 for first, _ in times),
            ("first_token", "upper"): sum(first <= 0.75 for first, _ in times),
            ("per_token", "lower"): sum(each <= EACH for _, each in times),
            ("per_token", "upper"): sum(each <= EACH for _, each in times),
        }


@pytest.fixture
def server() -> TimedServer:
    return TimedServer()


@pytest.fixture
def url(server: TimedServer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = server.page()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}/metrics"
    listener.shutdown()
    listener.server_close()
    thread.join(timeout=10)


def counted(page: Page) -> dict[tuple[str, str], int]:
    return {
        (labels["objective"], labels["bound"]): int(value)
        for labels, value in page.rows.get("inference_slo_met_observations_total", ())
    }


def observed(page: Page) -> set[float]:
    return set(page.matching("inference_slo_observations_total", basis="requests"))


def read_again(server: TimedServer) -> None:
    """Wait until the daemon has read the page twice more."""
    before = server.reads
    until(lambda: server.reads >= before + 2, 60, "two more reads")


def test_counts_are_those_of_the_requests(tmp_path: Path, server: TimedServer, url: str) -> None:
    """Each counts once, through damaged pages, a restart of the server, and a daemon that is killed."""
    host = FakeNvml(tmp_path, Scenario(h100s(1, utilization=60, power_mw=500_000)))
    server.serve(50)
    with Daemon(tmp_path, CONFIGURATION.replace("URL", url), host.environment()) as daemon:
        daemon.until(lambda page: observed(page) == {0}, "rows at zero", 60)
        server.serve(200)
        page = daemon.until(lambda page: observed(page) == {200}, "200 requests", 60)
        assert counted(page) == server.expected(since=50)

        server.damaged = True
        server.serve(100)
        read_again(server)
        damaged = daemon.scrape()
        assert observed(damaged) == {200}
        assert damaged.value("inference_source_errors_total", reason="bad_histograms") >= 1
        assert damaged.tokens("chat") == {"generation": 100 * 300}
        server.damaged = False
        page = daemon.until(lambda page: observed(page) == {300}, "those of the damaged pages", 60)
        assert counted(page) == server.expected(since=50)

        server.restart()
        server.serve(40)
        page = daemon.until(lambda page: observed(page) == {340}, "those of the new process", 60)
        assert counted(page) == server.expected(since=50)

        daemon.kill()
        server.serve(60)
        daemon.start()
        page = daemon.until(lambda page: observed(page) == {400}, "those of the daemon's absence", 90)
        assert counted(page) == server.expected(since=50)
        assert page.value("inference_ledger_residual_dollars") == 0
        assert page.value("inference_slo_target_ratio") == 0.9
        assert page.value("inference_slo_objective_seconds", objective="first_token") == FIRST

        times = server.all[50:]
        true = sum(first <= FIRST for first, _ in times) / len(times)
        totals = counted(page)
        assert totals["first_token", "lower"] < true * 400 < totals["first_token", "upper"]


def test_a_level_is_set_and_removed_by_reload(tmp_path: Path, server: TimedServer, url: str) -> None:
    """Requests before it was set are none of it, nor those of its absence; counters never fall."""
    host = FakeNvml(tmp_path, Scenario(h100s(1, utilization=60, power_mw=500_000)))
    configuration = CONFIGURATION.replace("URL", url)
    without = "".join(line for line in configuration.splitlines(keepends=True) if "slo:" not in line)
    server.serve(500)
    with Daemon(tmp_path, without, host.environment()) as daemon:
        daemon.settled()
        assert daemon.scrape().matching("inference_slo_observations_total") == []
        assert daemon.reload(configuration) == 200
        daemon.until(lambda page: observed(page) == {0}, "rows at zero", 60)
        server.serve(30)
        daemon.until(lambda page: observed(page) == {30}, "30 requests", 60)
        assert daemon.reload(without) == 200
        daemon.until(lambda page: not page.matching("inference_slo_target_ratio"), "no level", 60)
        server.serve(70)
        read_again(server)
        assert daemon.reload(configuration) == 200
        daemon.until(lambda page: bool(page.matching("inference_slo_target_ratio")), "a level", 60)
        read_again(server)
        server.serve(5)
        page = daemon.until(lambda page: observed(page) == {35}, "five more", 60)
        assert counted(page).keys() == server.expected().keys()
