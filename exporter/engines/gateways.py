"""Gateways in front of engines, which count the engines' tokens again. Recognized, and never counted.

Sources: vllm-project/production-stack `src/vllm_router/services/metrics_service`; sglang-router 0.3.2 and
sgl-project/sglang `sgl-model-gateway/src/core/worker_manager.rs`; litellm 1.106.12
`litellm/integrations/prometheus.py`; the page of vllm-router 0.1.17 (vllm-project/router);
kubernetes-sigs/gateway-api-inference-extension 0.3 to 1.3 and llm-d/llm-d-inference-scheduler
`pkg/epp/metrics`, renamed to `llm_d_epp_*` in llm-d-router 0.9.

- The production-stack router repeats its engines' gauges under their own names, with `server` for a label;
  its `vllm:gpu_prefix_cache_hits_total` is a gauge.
- The vLLM router (a program of its own, not the production stack's) counts no tokens. At the port of its
  requests, `/metrics` is the page of one of its engines, unnamed.
- The SGLang router has counters of its own at `/metrics`, and at `/engine_metrics` the pages of all its
  engines as one, each series with `worker_addr`: every token of them, once more.
- LiteLLM and the endpoint picker count the usage in answers, so that streams without usage are missed;
LiteLLM
  requests usage where the client did not, and counts tokens of other providers too.
  If a client hangs up, it estimates a stream with its own tokenizer: 10 and 137 tokens for 23 and 179.
- LiteLLM has cached prompt tokens by team (`litellm_input_cached_tokens_metric_total`), for those engines
  that report them in the answer. They are not read: teams of other engines would pay for theirs in full.
- LiteLLM has labels for teams, the picker for adapters: their counts divide the cost of a server where the
  configuration says so (see `count_gateway`), and never count as tokens.
- The picker from llm-d-router 0.9 on writes each count under two names.
"""

from dataclasses import dataclass, replace
from typing import Final

from exporter.engines.sglang import SGLANG
from exporter.engines.spec import Fingerprint, created_name
from exporter.engines.vllm import VLLM


@dataclass(frozen=True, slots=True)
class Shares:
    """The counters of a gateway that divide tokens, and the labels that they are divided by.

    `prompt` and `generation` are names, best first: the first on the page is read, the others repeat it.
    `provider` is a label whose value may precede the model's name, with a slash. Of `teams` the first label
    with a value counts; the words of `unnamed` are no values. `created` is a name whose values are when
    series began; the process began with the oldest.
    """

    prompt: tuple[str, ...]
    generation: tuple[str, ...]
    model: str
    provider: str = ""
    deployment: str = ""
    teams: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ("",)
    created: str = ""

    @property
    def created_names(self) -> tuple[str, ...]:
        """The names of its `_created` series."""
        if not self.created:
            return ()
        return self.created, *map(created_name, (*self.prompt, *self.generation))


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """A page whose tokens are counted elsewhere.

    `title` is its name for people. `what` is a clause about its page, `remedy` an order that says what to
    read instead. `default_port` and `default_path` are its usual address. `shares` are its counters by
    client, `None` without any. `captured` is as in an engine's manual.
    """

    title: str
    what: str
    remedy: str
    fingerprint: Fingerprint
    default_port: int
    default_path: str = "/metrics"
    shares: Shares | None = None
    captured: tuple[str, ...] = ()


_READ_ENGINES: Final = "read each engine's own page"

_PRODUCTION_STACK: Final = GatewaySpec(
    title="the vLLM production-stack router",
    what="which repeats its engines' numbers under their names",
    remedy=_READ_ENGINES,
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
        remedy=_READ_ENGINES,
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
            prompt=(
                "llm_d_epp_request_input_tokens_sum",  # llm-d-router 0.9 and later, beside the next
                "inference_objective_input_tokens_sum",  # 1.1 and later
                "inference_model_input_tokens_sum",  # 0.3 to 1.0
            ),
            generation=(
                "llm_d_epp_request_output_tokens_sum",
                "inference_objective_output_tokens_sum",
                "inference_model_output_tokens_sum",
            ),
            model="target_model_name",
        ),
    ),
    GatewaySpec(
        title="the LiteLLM proxy",
        what="which counts the usage that answers report, those of other providers too",
        remedy=_READ_ENGINES,
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
            prompt=("litellm_input_tokens_metric_total",),
            generation=("litellm_output_tokens_metric_total",),
            model="model",
            provider="api_provider",
            deployment="model_id",
            teams=("team_alias", "team"),
            unnamed=("", "None"),
            created="litellm_input_tokens_metric_created",
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
        remedy=_READ_ENGINES,
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
