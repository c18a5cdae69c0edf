"""Gateways in front of engines, which count the engines' tokens again. Recognized, and never counted.

Sources: vllm-project/production-stack `src/vllm_router/services/metrics_service`; sglang-router 0.3.2 and
sgl-project/sglang `sgl-model-gateway/src/core/worker_manager.rs`; litellm 1.106.12
`litellm/integrations/prometheus.py`; the page of vllm-router 0.1.17 (vllm-project/router);
kubernetes-sigs/gateway-api-inference-extension 0.3 to 1.3 and llm-d/llm-d-inference-scheduler
`pkg/epp/metrics`, renamed to `llm_d_epp_*` in llm-d-router 0.9; llm-d/llm-d-router @a8b1b78
`docs/proposals/coordinator-request-attribution-metrics.md`; envoyproxy/ai-gateway 0.4 to 1.1
`internal/metrics/genai.go`, `cmd/extproc/mainlib/admin_test.go`; agentgateway/agentgateway @75b4e6c
`crates/agentgateway/src/telemetry/metrics.rs` and `log.rs`; Kong/kong 3.10
`kong/plugins/prometheus/exporter.lua`; apache/apisix 3.18 `apisix/plugins/prometheus/exporter.lua`;
maximhq/bifrost @001016f `plugins/telemetry/main.go`.

- The production-stack router repeats its engines' gauges under their own names, with `server` for a label;
  its `vllm:gpu_prefix_cache_hits_total` is a gauge.
- The vLLM router (a program of its own, not the production stack's) counts no tokens. At the port of its
  requests, `/metrics` is the page of one of its engines, unnamed.
- The SGLang router has counters of its own at `/metrics`, and at `/engine_metrics` the pages of all its
  engines as one, each series with `worker_addr`: every token of them, once more.
- LiteLLM and the endpoint picker count the usage in answers, so that streams without usage are missed;
  LiteLLM requests usage where the client did not, and counts tokens of other providers too.
  If a client hangs up, it estimates a stream with its own tokenizer: 10 and 137 tokens for 23 and 179.
- With `prometheus_metrics_ttl_seconds` LiteLLM lets go of series that nobody used for so long, and begins
  them at zero once they are used (`prometheus_helpers/bounded_prometheus_series_tracker.py`). Beyond
  `prometheus_metrics_max_series_per_metric` the labels of a new one are `other`.
- LiteLLM has cached prompt tokens by team (`litellm_input_cached_tokens_metric_total`), for those engines
  that report them in the answer; so have Envoy AI Gateway, agentgateway and Bifrost. They are not read
  unless the configuration names them: teams of other engines would pay for theirs in full. They are
  within the prompt, as in answers of the OpenAI API.
- LiteLLM and Bifrost have labels for teams, the pickers for adapters: their counts divide the cost of a
  server where the configuration says so (see `count_gateway`), and never count as tokens.
- The picker from llm-d-router 0.9 on writes each count under two names.
- The coordinator's counters by tenant are those of a proposal; no release had them by 2026-11. It writes
  `unknown` for a header that is missing.
- Envoy AI Gateway and agentgateway write histograms by token type: `reasoning` is within `output`, and
  `cached_input` and `cache_creation_input` within `input`. Tenants have no label of their own: request
  headers (`metricsRequestHeaderAttributes`) and custom fields become labels.
- The name of Envoy AI Gateway's histogram lost its unit in 0.5. Other programs may write it too: only
  `otel_scope_name` is its own.
- agentgateway writes no sums where its histograms are native only.
- Kong counts `total_tokens` beside both kinds, and has no consumer on these counters, only the workspace.
- APISIX reports the model of the answer, empty for one from its cache.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from exporter.engines.sglang import SGLANG
from exporter.engines.spec import Choice, Fingerprint, created_name, label
from exporter.engines.vllm import VLLM
from exporter.readings import TokenKind


@dataclass(frozen=True, slots=True)
class TokenSeries:
    """A counter of tokens of one kind, or a histogram's sum: the series of a name that pass `where`."""

    name: str
    where: Choice = ()

    def __str__(self) -> str:
        """As the configuration has it: tokens_total{type="input"}."""
        labels = ",".join(f'{name}="{"|".join(values)}"' for name, values in self.where)
        return f"{self.name}{{{labels}}}" if labels else self.name


def series_named(*names: str) -> tuple[TokenSeries, ...]:
    """Counters of one kind that are told apart by their names alone, best first."""
    return tuple(map(TokenSeries, names))


@dataclass(frozen=True, slots=True)
class Shares:
    """The counters of a gateway that divide tokens, and the labels that they are divided by.

    Counters of one kind are best first: the first name on the page is read, the others repeat it.
    """

    prompt: tuple[TokenSeries, ...]
    generation: tuple[TokenSeries, ...]
    model: str
    """Label of the model."""
    provider: str = ""
    """Label whose value may precede the model's name, with a slash."""
    deployment: str = ""
    """Label of the deployment."""
    teams: tuple[str, ...] = ()
    """Labels of the team: the first with a value counts."""
    unnamed: tuple[str, ...] = ("",)
    """Words that are no value of a label."""
    created: str = ""
    """Name whose values are when series began; the process began with the oldest."""
    cached: tuple[TokenSeries, ...] = ()
    """Prompt tokens that a cache had."""

    @property
    def kinds(self) -> tuple[tuple[TokenKind, tuple[TokenSeries, ...]], ...]:
        """Its counters by what they count."""
        return ("prompt", self.prompt), ("cached_prompt", self.cached), ("generation", self.generation)

    @property
    def names(self) -> frozenset[str]:
        """The names of its counters."""
        return frozenset(series.name for _, alternatives in self.kinds for series in alternatives)

    @property
    def created_names(self) -> tuple[str, ...]:
        """The names of its `_created` series."""
        if not self.created:
            return ()
        return self.created, *map(created_name, sorted(self.names))


_READ_ENGINES: Final = "read each engine's own page"


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """A page whose tokens are counted elsewhere."""

    title: str
    """Name for people."""
    fingerprint: Fingerprint
    default_port: int
    """Usual port."""
    default_path: str = "/metrics"
    """Usual path."""
    what: str = "which counts the usage that answers report, those of other providers too"
    """Clause about its page."""
    remedy: str = _READ_ENGINES
    """What to read instead, an order."""
    shares: Shares | None = None
    """Counters by client; `None` without any."""
    captured: tuple[str, ...] = ()
    """Versions of which the tests have a page of a running gateway."""


def _token_type(kind: str) -> Choice:
    return (("gen_ai_token_type", (kind,)),)


_PRODUCTION_STACK: Final = GatewaySpec(
    title="the vLLM production-stack router",
    what="which repeats its engines' numbers under their names",
    fingerprint=Fingerprint(
        (
            *VLLM.fingerprint.names,
            "vllm:current_qps",
            "vllm:healthy_pods_total",
            "vllm:input_tokens_total",
            "vllm:output_tokens_total",
        ),
        labels=("server",),
        without=("model_name",),
    ),
    default_port=8001,
    captured=("a6c01db",),
)

GATEWAYS: Final[tuple[GatewaySpec, ...]] = (
    GatewaySpec(
        title="the Gateway API endpoint picker",
        what="which counts the usage that answers report",
        fingerprint=Fingerprint(
            (
                "inference_objective_request_total",  # 1.1 and later
                "inference_objective_running_requests",
                "inference_model_request_total",  # 0.3 to 1.0
                "inference_model_running_requests",
                "inference_pool_ready_pods",
                "inference_pool_average_queue_size",
                "inference_extension_info",
                "llm_d_inference_scheduler_disagg_decision_total",
                "llm_d_inference_scheduler_pd_decision_total",
                "llm_d_epp_request_total",  # llm-d-router 0.9 and later
                "llm_d_epp_scheduler_attempts_total",
                "llm_d_epp_per_endpoint_queue_size",
            )
        ),
        default_port=9090,
        shares=Shares(
            prompt=series_named(
                "llm_d_epp_request_input_tokens_sum",  # llm-d-router 0.9 and later, beside the next
                "inference_objective_input_tokens_sum",  # 1.1 and later
                "inference_model_input_tokens_sum",  # 0.3 to 1.0
            ),
            generation=series_named(
                "llm_d_epp_request_output_tokens_sum",
                "inference_objective_output_tokens_sum",
                "inference_model_output_tokens_sum",
            ),
            model="target_model_name",
        ),
    ),
    GatewaySpec(
        title="the LiteLLM proxy",
        fingerprint=Fingerprint(
            (
                "litellm_proxy_total_requests_metric_total",
                "litellm_proxy_failed_requests_metric_total",
                "litellm_requests_metric_total",
                "litellm_spend_metric_total",
                "litellm_total_tokens_metric_total",
                "litellm_input_tokens_metric_total",
                "litellm_output_tokens_metric_total",
                "litellm_in_flight_requests",
                "litellm_deployment_state",
            )
        ),
        default_port=4000,
        captured=("1.106.12",),
        default_path="/metrics/",
        shares=Shares(
            prompt=series_named("litellm_input_tokens_metric_total"),
            generation=series_named("litellm_output_tokens_metric_total"),
            model="model",
            provider="api_provider",
            deployment="model_id",
            teams=("team_alias", "team"),
            unnamed=("", "None"),
            created="litellm_input_tokens_metric_created",
        ),
    ),
    GatewaySpec(
        title="the llm-d coordinator",
        what="which counts the usage that answers report, by tenant",
        fingerprint=Fingerprint(
            (
                "llm_d_coordinator_request_total",
                "llm_d_coordinator_request_running",
                "llm_d_coordinator_request_input_tokens_attributed_total",
            )
        ),
        default_port=9090,
        shares=Shares(
            prompt=series_named("llm_d_coordinator_request_input_tokens_attributed_total"),
            generation=series_named("llm_d_coordinator_request_output_tokens_attributed_total"),
            model="target_model_name",
            unnamed=("", "unknown"),
        ),
    ),
    GatewaySpec(
        title="the Envoy AI Gateway",
        fingerprint=Fingerprint(
            (
                "gen_ai_client_token_usage_sum",  # 0.5 and later
                "gen_ai_client_token_usage_token_sum",
                "gen_ai_server_request_duration_seconds_sum",
            ),
            where=label("otel_scope_name", "envoyproxy/ai-gateway"),
        ),
        default_port=1064,
        shares=Shares(
            prompt=(
                TokenSeries("gen_ai_client_token_usage_sum", _token_type("input")),
                TokenSeries("gen_ai_client_token_usage_token_sum", _token_type("input")),
            ),
            generation=(
                TokenSeries("gen_ai_client_token_usage_sum", _token_type("output")),
                TokenSeries("gen_ai_client_token_usage_token_sum", _token_type("output")),
            ),
            model="gen_ai_request_model",
        ),
    ),
    GatewaySpec(
        title="the agentgateway proxy",
        fingerprint=Fingerprint(("agentgateway_build_info", "agentgateway_gen_ai_client_token_usage_sum")),
        default_port=15020,
        shares=Shares(
            prompt=(TokenSeries("agentgateway_gen_ai_client_token_usage_sum", _token_type("input")),),
            generation=(TokenSeries("agentgateway_gen_ai_client_token_usage_sum", _token_type("output")),),
            model="gen_ai_request_model",
            unnamed=("", "unknown"),
        ),
    ),
    GatewaySpec(
        title="the Kong gateway",
        fingerprint=Fingerprint(("kong_node_info", "kong_ai_llm_requests_total", "kong_ai_llm_tokens_total")),
        default_port=8007,
        shares=Shares(
            prompt=(TokenSeries("kong_ai_llm_tokens_total", (("token_type", ("prompt_tokens",)),)),),
            generation=(TokenSeries("kong_ai_llm_tokens_total", (("token_type", ("completion_tokens",)),)),),
            model="ai_model",
        ),
    ),
    GatewaySpec(
        title="the APISIX gateway",
        fingerprint=Fingerprint(
            ("apisix_node_info", "apisix_llm_prompt_tokens", "apisix_http_requests_total")
        ),
        default_port=9091,
        default_path="/apisix/prometheus/metrics",
        shares=Shares(
            prompt=series_named("apisix_llm_prompt_tokens"),
            generation=series_named("apisix_llm_completion_tokens"),
            model="llm_model",
        ),
    ),
    GatewaySpec(
        title="the Bifrost gateway",
        fingerprint=Fingerprint(
            (
                "bifrost_upstream_requests_total",
                "bifrost_input_tokens_total",
                "bifrost_output_tokens_total",
                "bifrost_active_requests",
            )
        ),
        default_port=8080,
        shares=Shares(
            prompt=series_named("bifrost_input_tokens_total"),
            generation=series_named("bifrost_output_tokens_total"),
            model="model",
            provider="provider",
            teams=("team_name",),
        ),
    ),
    GatewaySpec(
        title="the SGLang router",
        what="which passes requests on and holds no GPU",
        remedy=_READ_ENGINES + ", started with --enable-metrics",
        fingerprint=Fingerprint(
            (
                "smg_http_requests_total",
                "smg_http_connections_active",
                "smg_router_requests_total",
                "smg_router_tokens_total",  # where it speaks gRPC with its engines
                "smg_worker_pool_size",
                "smg_worker_health",
                "sgl_router_requests_total",  # before it was renamed
                "sgl_router_processed_requests_total",
                "sgl_router_active_workers",
                "sgl_router_worker_health",
            )
        ),
        default_port=29000,
        captured=("0.3.2",),
    ),
    GatewaySpec(
        title="the vLLM router",
        what="which passes requests on and holds no GPU",
        remedy=_READ_ENGINES + ", and not the router's port of requests, which shows one of them",
        fingerprint=Fingerprint(
            (
                "vllm_router_active_workers",
                "vllm_router_worker_health",
                "vllm_router_processed_requests_total",
                "vllm_router_requests_total",
                "vllm_router_running_requests",
            )
        ),
        default_port=29000,
        captured=("0.1.17",),
    ),
    GatewaySpec(
        title="the SGLang router's collection of its engines",
        what="which repeats the page of every engine behind it",
        fingerprint=Fingerprint(
            SGLANG.fingerprint.names + VLLM.fingerprint.names,
            labels=("worker_addr",),
        ),
        default_port=30000,
        default_path="/engine_metrics",
    ),
    _PRODUCTION_STACK,
    replace(  # before it knows an engine
        _PRODUCTION_STACK,
        fingerprint=Fingerprint(("vllm:num_incoming_requests_total", "vllm:routing_decisions_total")),
    ),
)
"""Tried before the engines, whose names some of them borrow."""


def with_counters(names: Collection[str]) -> Shares | None:
    """The counters of the gateway that writes some of these names; `None` for one that is not built in."""
    every = (gateway.shares for gateway in GATEWAYS if gateway.shares is not None)
    return next((shares for shares in every if not shares.names.isdisjoint(names)), None)
