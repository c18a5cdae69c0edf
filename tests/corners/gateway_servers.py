"""A vLLM server and a gateway before it, that say over HTTP what a test tells them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class GatewayServers:
    """A vLLM server and a gateway before it, at two paths of one port. What is `None` answers 503."""

    vllm: str | None = None
    gateway: str | None = None
    requests: list[str] = field(default_factory=list)

    def serves(self, prompt: int, generation: int) -> None:
        """What the server has counted."""
        of = '{engine="0",model_name="llama"}'
        self.vllm = (
            "process_start_time_seconds 1.5e9\n"
            f"vllm:num_requests_running{of} 1\n"
            f"vllm:prompt_tokens_total{of} {prompt}\n"
            f"vllm:generation_tokens_total{of} {generation}\n"
        )

    def counts(self, started: float = 1.6e9, **teams: tuple[int, int]) -> None:
        """What LiteLLM has counted: prompts and generated tokens by team."""
        self.gateway = f"process_start_time_seconds {started}\nlitellm_in_flight_requests 0\n"
        for team, (prompt, generation) in teams.items():
            of = f'{{model="hosted_vllm/llama",api_provider="hosted_vllm",team="t",team_alias="{team}"}}'
            self.gateway += f"litellm_input_tokens_metric_total{of} {prompt}\n"
            self.gateway += f"litellm_output_tokens_metric_total{of} {generation}\n"

    def picks(self, **adapters: tuple[int, int]) -> None:
        """What the Gateway API endpoint picker has counted by target model."""
        self.gateway = "process_start_time_seconds 1.6e9\ninference_extension_info 1\n"
        for name, (prompt, generation) in adapters.items():
            of = f'{{model_name="asked",target_model_name="{name}"}}'
            self.gateway += f"inference_objective_input_tokens_sum{of} {prompt}\n"
            self.gateway += f"inference_objective_output_tokens_sum{of} {generation}\n"

    def envoys(self, **tenants: tuple[int, int]) -> None:
        """What Envoy AI Gateway has counted: sums of histograms, with the tenant of a request header."""
        page = []
        for tenant, counts in tenants.items():
            for kind, count in zip(("input", "output"), counts, strict=True):
                of = (
                    f'{{gen_ai_operation_name="chat",gen_ai_request_model="llama",gen_ai_token_type="{kind}",'
                    f'otel_scope_name="envoyproxy/ai-gateway",tenant_id="{tenant}"}}'
                )
                page.append(f"gen_ai_client_token_usage_sum{of} {count}\n")
        self.gateway = "".join(page)

    def coordinates(self, started: float = 1.6e9, **tenants: tuple[int, int]) -> None:
        """What llm-d's coordinator has counted by tenant."""
        self.gateway = (
            f'process_start_time_seconds {started}\nllm_d_coordinator_request_total{{model_name="llama"}} 1\n'
        )
        for tenant, counts in tenants.items():
            of = (
                f'{{model_name="llama",target_model_name="llama",tenant_id="{tenant}",workload_id="unknown"}}'
            )
            for kind, count in zip(("input", "output"), counts, strict=True):
                self.gateway += f"llm_d_coordinator_request_{kind}_tokens_attributed_total{of} {count}\n"

    @contextmanager
    def served(self) -> Iterator[int]:
        """Serve both; the port."""
        servers = self

        class GatewayHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                servers.requests.append(self.path)
                body = {"/vllm": servers.vllm, "/gateway": servers.gateway}.get(self.path)
                self.send_response(503 if body is None else 200)
                self.end_headers()
                self.wfile.write((body or "").encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), GatewayHandler)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
