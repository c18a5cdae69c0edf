"""Servers under load in this process: their counters grow by the clock, and each read is recorded."""

import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Counts = tuple[int, int, int]
"""Tokens of one server: computed prompts, cached prompts, generated."""

KINDS = ("prompt", "cached_prompt", "generation")

PAGE = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7955608211e+09
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="{model}"}} 4.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="{model}"}} 0.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="{model}"}} {prompts}
# HELP vllm:prompt_tokens_by_source_total Number of prompt tokens by source.
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{{engine="0",model_name="{model}",source="local_compute"}} {prompt}
vllm:prompt_tokens_by_source_total{{engine="0",model_name="{model}",source="local_cache_hit"}} {cached_prompt}
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="{model}"}} {generation}
# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="{model}"}} {requests}
"""


class LoadServer:
    """One server on loopback. Its counters are of all time since it was made."""

    def __init__(self, name: str, rates: Counts, after_read: Callable[[], None]) -> None:
        self.name = name
        self.reported: list[Counts] = []
        """Counters reported at each read, in order."""
        self._rates = rates
        self._after = after_read
        self._began = time.monotonic_ns()
        self._frozen: Counts | None = None
        self._telling = threading.Lock()
        self._listen(0)

    def _listen(self, port: int) -> None:
        """Answer at a port of loopback, at any free one without a number."""
        self._listener = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._listener.daemon_threads = True
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is read."""
        return f"http://127.0.0.1:{self._listener.server_port}/metrics"

    def now(self) -> Counts:
        """The counters, some tokens a millisecond since the beginning."""
        if self._frozen is not None:
            return self._frozen
        lived = (time.monotonic_ns() - self._began) // 10**6
        prompt, cached, generation = (
            7 * (number + 1) + rate * lived for number, rate in enumerate(self._rates)
        )
        return prompt, cached, generation

    def freeze(self) -> None:
        """Serve nobody any more: the counters stand."""
        self._frozen = self.now()

    def close(self) -> None:
        """Stop answering."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    def _page(self) -> bytes:
        with self._telling:
            counts = self.now()
            self.reported.append(counts)
        prompt, cached, generation = counts
        return PAGE.format(
            model=f"{self.name}-8b",
            prompts=prompt + cached,
            prompt=prompt,
            cached_prompt=cached,
            generation=generation,
            requests=generation // 100,
        ).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class LoadHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                is_metrics = self.path == "/metrics"
                body = server._page() if is_metrics else b"{}"
                try:
                    self.send_response(200 if is_metrics else 404)
                    self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True  # whoever asked was killed
                if is_metrics:
                    server._after()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

        return LoadHandler


class Load:
    """Servers, and a count of the reads that they answered."""

    def __init__(self, paces: dict[str, Counts]) -> None:
        self._reads = 0
        self._read = threading.Condition()
        self.servers: Mapping[str, LoadServer] = {
            name: LoadServer(name, rates, self._count_read) for name, rates in paces.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers.values():
            server.close()

    @property
    def reads(self) -> int:
        """Reads answered so far."""
        return self._reads

    def await_reads(self, count: int, seconds: float) -> bool:
        """Wait until so many were answered; false when they were not in time."""
        with self._read:
            return self._read.wait_for(lambda: self._reads >= count, seconds)

    def _count_read(self) -> None:
        with self._read:
            self._reads += 1
            self._read.notify_all()
