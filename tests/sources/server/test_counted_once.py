"""Each token is counted once, whatever is configured beside the engine that computed it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from exporter.cost import counters
from exporter.cost.server_deltas import COUNTED_BY_PEER
from exporter.cost.state import EndpointState
from exporter.readings import ReadFailedError, ServerKey, ServerReading
from exporter.sources.https_client import HttpsClient
from exporter.sources.server import KnownEngines, ServerSource, Target, repeated

FIRST, SECOND, GATEWAY = (f"http://10.0.0.{last}:8000/metrics" for last in (1, 2, 9))


class Endpoints:
    """Hosts that answer by URL, their endpoints read tick by tick, and what moved there by quantity."""

    def __init__(self, clock: Any) -> None:
        self.client = HttpsClient(httpx.Client(transport=httpx.MockTransport(self.answer)))
        self.pages: dict[str, str] = {}
        self.tokens: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._clock = clock
        self._sources: list[ServerSource] = []
        self._states: dict[str, EndpointState] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        page = self.pages.get(str(request.url))
        return httpx.Response(404) if page is None else httpx.Response(200, content=iter([page.encode()]))

    def configure(self, *urls: str, **engines: str) -> None:
        """Endpoints, and the engines of those that are named by `first`, `second` and `gateway`."""
        named = {FIRST: "first", SECOND: "second", GATEWAY: "gateway"}
        elsewhere = repeated(engines.values())
        self._sources = [
            ServerSource(
                Target(ServerKey("", named[url]), url, engines.get(named[url])),
                self.client,
                self._clock,
                engines=KnownEngines(counted_elsewhere=elsewhere),
            )
            for url in urls
        ]

    def tick(self, pages: dict[str, str]) -> None:
        self.pages = pages
        for source in self._sources:
            try:
                reading = source.read()
            except ReadFailedError as failure:
                reading = ServerReading(source.key, source.url, up=False)
                self.reasons[source.url] = failure.reason
            tick = counters.endpoint_deltas(self._states.get(source.url), reading, 0)
            self._states[source.url] = tick.state
            for (_, quantity), count in tick.deltas.items():
                if quantity not in COUNTED_BY_PEER[reading.role]:
                    self.tokens[quantity] += round(count)


@pytest.fixture
def endpoints(hand_clock: Any) -> Iterator[Endpoints]:
    made = Endpoints(hand_clock)
    yield made
    made.client.close()


def vllm(prompt: int, generation: int, labels: str = 'engine="0"') -> str:
    return (
        f'vllm:prompt_tokens_total{{{labels},model_name="m"}} {prompt}\n'
        f'vllm:generation_tokens_total{{{labels},model_name="m"}} {generation}\n'
    )


def production_stack(first: int, second: int) -> str:
    return "".join(
        f'vllm:num_requests_running{{server="{url}"}} 1\n'
        f'vllm:input_tokens_total{{model="m",server="{url}"}} {n}\n'
        for url, n in ((FIRST, first), (SECOND, second))
    )


def collection(first: str, second: str) -> str:
    """What the SGLang router makes of its engines' pages: underscores for colons, and a label more."""
    return "".join(
        line.replace(":", "_", 1).replace("{", f'{{worker_addr="{url}",') + "\n"
        for url, page in ((FIRST, first), (SECOND, second))
        for line in page.splitlines()
    )


def picker(prompt: int) -> str:
    return (
        'inference_objective_request_total{model_name="m"} 1\n'
        f'inference_objective_input_tokens_sum{{model_name="m"}} {prompt}\n'
    )


def litellm(prompt: int) -> str:
    return f'litellm_input_tokens_metric_total{{model="m",team="a"}} {prompt}\n'


def frontend(prompt: int, generation: int) -> str:
    return (
        f'dynamo_frontend_input_sequence_tokens_sum{{model="m"}} {prompt}\n'
        f'dynamo_frontend_output_tokens_total{{model="m"}} {generation}\n'
    )


WORKER = 'dynamo_component="backend",engine="0"'

GATEWAYS = [
    pytest.param((production_stack(100, 200), production_stack(150, 290)), id="production-stack"),
    pytest.param(
        (collection(vllm(100, 10), vllm(200, 20)), collection(vllm(150, 17), vllm(290, 31))),
        id="sglang-collection",
    ),
    pytest.param(("smg_router_tokens_total 330\n", "smg_router_tokens_total 488\n"), id="sglang-router"),
    pytest.param((picker(300), picker(440)), id="endpoint-picker"),
    pytest.param((litellm(300), litellm(440)), id="litellm"),
]


@pytest.mark.parametrize("pages", GATEWAYS)
@pytest.mark.parametrize("engines", [{}, {"gateway": "vllm"}], ids=["found", "mistaken-for-vllm"])
def test_a_gateway_beside_its_engines_adds_nothing(
    endpoints: Endpoints, pages: tuple[str, str], engines: dict[str, str]
) -> None:
    """Both engines moved by 50 + 90 prompt and 7 + 11 generated tokens, and the gateway tells them again."""
    endpoints.configure(GATEWAY, FIRST, SECOND, **engines)

    endpoints.tick({GATEWAY: pages[0], FIRST: vllm(100, 10), SECOND: vllm(200, 20)})
    endpoints.tick({GATEWAY: pages[1], FIRST: vllm(150, 17), SECOND: vllm(290, 31)})

    assert endpoints.tokens == {"prompt": 140, "generation": 18}
    assert endpoints.reasons == {GATEWAY: "gateway"}


def test_a_frontend_of_dynamo_is_not_read_unless_it_is_named(endpoints: Endpoints) -> None:
    """Its workers are: 50 prompt and 7 generated tokens."""
    endpoints.configure(GATEWAY, FIRST)

    endpoints.tick({GATEWAY: frontend(100, 10), FIRST: vllm(100, 10, WORKER)})
    endpoints.tick({GATEWAY: frontend(150, 17), FIRST: vllm(150, 17, WORKER)})

    assert endpoints.tokens == {"prompt": 50, "generation": 7}
    assert endpoints.reasons == {GATEWAY: "gateway"}


@pytest.mark.parametrize("engines", [{}, {"first": "dynamo"}, {"first": "vllm"}])
def test_beside_a_frontend_that_is_named_workers_are_not_read(
    endpoints: Endpoints, engines: dict[str, str]
) -> None:
    """Whatever they are called, and also while the frontend does not answer: it tells the rest later."""
    endpoints.configure(FIRST, SECOND, GATEWAY, gateway="dynamo-frontend", **engines)
    alone = vllm(900, 90)

    endpoints.tick({GATEWAY: frontend(100, 10), FIRST: vllm(100, 10, WORKER), SECOND: alone})
    endpoints.tick({FIRST: vllm(140, 15, WORKER), SECOND: alone})
    endpoints.tick({GATEWAY: frontend(150, 17), FIRST: vllm(150, 17, WORKER), SECOND: vllm(905, 93)})

    assert endpoints.tokens == {"prompt": 50 + 5, "generation": 7 + 3}
    assert endpoints.reasons[FIRST] == "counted_twice"
    assert SECOND not in endpoints.reasons


def test_a_pair_of_dynamo_counts_a_prompt_where_it_was_computed(endpoints: Endpoints) -> None:
    """Trap: both workers count it, and the first token; here 60 prompt tokens, of which 20 were cached.

    What the decode worker fetched from the other one is cached there, until its role is configured.
    """

    def worker(component: str, computed: int, cached: int, fetched: int, generation: int) -> str:
        labels = f'dynamo_component="{component}",engine="0",model_name="m"'
        sources = (
            ("local_compute", computed),
            ("local_cache_hit", cached),
            ("external_kv_transfer", fetched),
        )
        return f"vllm:generation_tokens_total{{{labels}}} {generation}\n" + "".join(
            f'vllm:prompt_tokens_by_source_total{{{labels},source="{source}"}} {count}\n'
            for source, count in sources
        )

    endpoints.configure(FIRST, SECOND)

    endpoints.tick({FIRST: worker("prefill", 100, 10, 0, 5), SECOND: worker("backend", 0, 0, 110, 400)})
    endpoints.tick({FIRST: worker("prefill", 140, 30, 0, 7), SECOND: worker("backend", 0, 0, 170, 450)})

    assert endpoints.tokens == {"prompt": 40, "generation": 50, "cached_prompt": 20 + 60}


def test_engines_of_ranks_on_one_page_are_added_once_each(endpoints: Endpoints) -> None:
    """Data-parallel ranks are series of one page; a rank that begins anew counts from zero, alone."""
    endpoints.configure(FIRST)

    endpoints.tick({FIRST: vllm(100, 10) + vllm(500, 50, 'engine="1"')})
    endpoints.tick({FIRST: vllm(110, 11) + vllm(520, 52, 'engine="1"')})

    assert endpoints.tokens == {"prompt": 30, "generation": 3}


@pytest.mark.parametrize(
    ("engine", "cold", "warm"),
    [
        (
            "ray",
            'ray_node_mem_used{ip="10.0.0.1"} 9\n',
            'ray_vllm_generation_tokens_total{model_name="m"} 7\n',
        ),
        (
            "dynamo-frontend",
            "dynamo_frontend_disconnected_clients 0\n",
            'dynamo_frontend_output_tokens_total{model="m"} 7\n',
        ),
        (
            "localai",
            'api_call_count{method="GET",path="/props"} 1\n',
            'localai_tokens_total{kind="completion",served_model="m",user="u"} 7\n',
        ),
        ("nim", 'num_request_max{model_name="m"} 8\n', 'generation_tokens_total{model_name="m"} 7\n'),
        (
            "triton",
            'nv_inference_request_success{model="m",version="1"} 0\n',
            (
                'nv_llm_input_token_len_sum{model="m",version="1"} 0\n'
                'nv_llm_output_token_len_sum{model="m",version="1"} 7\n'
            ),
        ),
    ],
)
def test_the_first_tokens_of_a_process_count(endpoints: Endpoints, engine: str, cold: str, warm: str) -> None:
    """Trap: series appear with their first token, and a first sight of them would only set marks."""
    endpoints.configure(FIRST, first=engine)

    endpoints.tick({FIRST: cold})
    endpoints.tick({FIRST: cold + warm})

    assert endpoints.reasons == {}
    assert +endpoints.tokens == {"generation": 7}


def test_a_replica_of_ray_that_is_new_on_the_page_counts_from_zero(endpoints: Endpoints) -> None:
    """One page speaks for all replicas of a node, and replicas come and go."""

    def replica(name: str, count: int) -> str:
        return f'ray_vllm_generation_tokens_total{{ReplicaId="{name}",model_name="m"}} {count}\n'

    endpoints.configure(FIRST)

    endpoints.tick({FIRST: replica("a", 1000) + replica("b", 500)})
    endpoints.tick({FIRST: replica("a", 1010)})  # b is silent for a while, or gone
    endpoints.tick({FIRST: replica("a", 1010) + replica("b", 503) + replica("c", 40)})

    assert endpoints.tokens == {"generation": 10 + 3 + 40}
