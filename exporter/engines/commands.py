"""How inference servers are started: names, not code. One row per way of starting an API server.

Defaults are the program's own: a port or a host that an image sets through the environment cannot be seen
from outside, and is then found by what listens.
Flags are written with dashes, as documented. Argument parsers of Python accept underscores too, so `launch`
reads both alike.
Sources: each project's argument parser or CLI page; NIM's are the scripts of its images.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Metrics: TypeAlias = Literal["on", "off", "configured", "never"]
"""Whether metrics are served where no flag says: `configured` is said in a file or an environment."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One dimension of a server's world, by the number that its flags give, else one.

    `unless`: with one of these flags it counts once, since another dimension holds it or each rank has a page
    of its own. `narrow`: with one of these flags `narrowed` gives the number, since the page is of this host.
    `needed`: without its flags the world is not known. `alone`: above one it is not, for others divide by it.
    """

    flags: tuple[str, ...]
    unless: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    needed: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One way in which an engine's API server is started.

    `programs` and `modules` are a program (a path where it begins with a slash), or a Python module, with the
    words that must follow it; `foreign` words that must not. `titles` and `workers` match the start of what a
    process calls itself: of an API server, and of processes that compute for one.
    `part` is a process that serves nothing itself and tells what the server does not.
    `host` is empty for all interfaces. `addresses` are flags that take host and port together.
    `metrics_next` are flags with which metrics are at the port after the API's.
    With `metrics_apart` they are not at the API's port unless a flag says where.
    A flag written `--name=value` counts only with that value.
    With `routes`, and no model, it is a router, which starts a server for each model.
    `models` are flags, best first; `files` those of them that take a path; `positional` the first free word.
    `world_factors` is empty where the command line does not tell how many GPUs work for it.
    """

    engine: str
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    part: bool = False
    port: int | None = None
    ports: tuple[str, ...] = ("--port",)
    host: str = ""
    hosts: tuple[str, ...] = ("--host",)
    addresses: tuple[str, ...] = ()
    unix: tuple[str, ...] = ()
    tls: tuple[str, ...] = ()
    metrics: Metrics = "on"
    metrics_on: tuple[str, ...] = ()
    metrics_off: tuple[str, ...] = ()
    metrics_path: str = "/metrics"
    metrics_port: int | None = None
    metrics_ports: tuple[str, ...] = ()
    metrics_next: tuple[str, ...] = ()
    metrics_apart: bool = False
    models: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    positional: bool = False
    world_factors: tuple[Factor, ...] = ()
    nodes: tuple[str, ...] = ("--nnodes",)
    ranks: tuple[str, ...] = ("--node-rank",)
    followers: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


LOOPBACK: Final = "127.0.0.1"

_VLLM_WORLD: Final = (
    Factor(("--tensor-parallel-size", "-tp")),
    Factor(("--pipeline-parallel-size", "-pp")),
    Factor(("--prefill-context-parallel-size", "-pcp")),
    Factor(
        ("--data-parallel-size", "-dp"),
        # External load balancing: one server, and one page, per rank.
        unless=("--data-parallel-rank", "-dpn", "--data-parallel-external-lb", "-dpe"),
        # Hybrid: one page per host.
        narrow=("--data-parallel-hybrid-lb", "-dph", "--data-parallel-start-rank", "-dpr"),
        narrowed=("--data-parallel-size-local", "-dpl"),
    ),
)
_SSL: Final = ("--ssl-keyfile", "--ssl-certfile")
_NAMED: Final = ("--served-model-name", "--model")
_ENGINE_CORE: Final = r"[\w.-]+::(EngineCore|Worker|DPCoordinator|DPEngineCore)|ray::RayWorker"
"""vllm/utils/system_utils.py; the prefix VLLM can be set (VLLM_PROCESS_NAME_PREFIX)."""

COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        engine="vllm",
        programs=("vllm serve", "vllm-rs serve"),  # the Rust one starts a headless Python one
        modules=("vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main serve"),
        titles=(r"[\w.-]+::APIServer",),
        workers=(_ENGINE_CORE,),
        port=8000,
        unix=("--uds",),
        tls=_SSL,
        metrics_off=("--disable-log-stats",),
        models=_NAMED,
        positional=True,
        world_factors=_VLLM_WORLD,
        nodes=("--nnodes", "-n"),
        ranks=("--node-rank", "-r"),
        followers=("--headless",),
    ),
    Command(
        engine="sglang",
        programs=("sglang serve",),
        modules=("sglang.launch_server",),
        workers=(r"sglang::",),
        port=30000,
        host=LOOPBACK,
        tls=_SSL,
        metrics="off",
        metrics_on=("--enable-metrics",),
        metrics_ports=("--smg-http-sidecar-port", "--grpc-http-sidecar-port"),
        metrics_next=("--smg-grpc-mode", "--grpc-mode"),
        models=("--served-model-name", "--model-path", "--model"),
        world_factors=(
            Factor(("--tp-size", "--tensor-parallel-size", "--tp")),
            Factor(("--pp-size", "--pipeline-parallel-size", "--pp")),
            # With attention in data parallel the ranks of tensor parallel are divided among it.
            Factor(("--dp-size", "--data-parallel-size", "--dp"), unless=("--enable-dp-attention",)),
        ),
    ),
    Command(
        engine="tgi",  # its image sets the port through the environment; the router's command line has it
        programs=("text-generation-launcher", "text-generation-router"),
        workers=(r"text-generation-server",),
        port=3000,
        ports=("--port", "-p"),
        hosts=("--hostname",),
        models=("--model-id", "--tokenizer-name"),
        world_factors=(Factor(("--num-shard",), needed=True),),  # else every visible GPU
    ),
    Command(
        engine="trtllm",
        programs=("trtllm-serve serve", "trtllm-serve"),
        modules=("tensorrt_llm.commands.serve serve", "tensorrt_llm.commands.serve"),
        workers=(r"mpi4py\.futures\.server",),
        foreign=("disaggregated", "disaggregated_mpi_worker", "mm_embedding_serve"),
        port=8000,
        host="localhost",
        metrics="configured",  # return_perf_metrics in its YAML; /metrics drains a queue and is never read
        metrics_path="/prometheus/metrics",
        models=("--served-model-name",),
        positional=True,
        world_factors=(Factor(("--tp-size", "--tp")), Factor(("--pp-size", "--pp")), Factor(("--cp-size",))),
    ),
    Command(
        engine="triton",
        programs=("tritonserver",),
        workers=(r"triton_python_backend_stub",),
        port=8000,
        ports=("--http-port",),
        hosts=("--http-address",),
        metrics_off=("--allow-metrics=false", "--allow-metrics=0"),
        metrics_port=8002,
        metrics_ports=("--metrics-port",),
    ),
    Command(
        engine="llamacpp",
        programs=("llama-server", "llama serve"),  # one binary for all commands since May 2026
        port=8080,
        host=LOOPBACK,
        tls=("--ssl-key-file",),
        metrics="off",
        metrics_on=("--metrics",),
        models=("--alias", "-a", "--model", "-m", "--hf-repo", "-hf", "-hfr"),
        files=("--model", "-m"),
        routes=("--models-dir", "--models-preset"),
    ),
    Command(
        engine="ollama",
        programs=("ollama serve",),
        workers=(r"ollama runner", r"ollama_llama_server"),
        port=11434,
        host=LOOPBACK,
        metrics="never",
    ),
    Command(
        engine="lmdeploy",
        programs=("lmdeploy serve api_server",),
        modules=("lmdeploy serve api_server", "lmdeploy.serve.openai.api_server"),
        port=23333,
        ports=("--server-port",),
        hosts=("--server-name",),
        tls=("--ssl",),
        metrics_off=("--disable-metrics",),
        models=("--model-name",),
        positional=True,
        world_factors=(Factor(("--tp",)), Factor(("--dp",), alone=True)),
    ),
    Command(
        engine="aphrodite",
        programs=("aphrodite run", "aphrodite serve"),
        modules=("aphrodite.endpoints.openai.api_server", "aphrodite.endpoints.cli run"),
        workers=(_ENGINE_CORE,),
        port=2242,
        tls=_SSL,
        metrics_off=("--disable-log-stats",),
        models=_NAMED,
        positional=True,
        world_factors=_VLLM_WORLD,
    ),
    Command(
        engine="mlc",
        programs=("mlc_llm serve",),
        modules=("mlc_llm serve", "mlc_llm.cli.serve"),
        port=8000,
        host=LOOPBACK,
        models=("--model",),
        positional=True,
    ),
    Command(
        engine="localai",
        programs=("local-ai",),
        foreign=("models", "backends", "federated", "worker", "tts", "transcript"),
        port=8080,
        ports=(),
        hosts=(),
        addresses=("--address",),
        metrics_off=("--disable-metrics-endpoint",),
    ),
    Command(
        engine="tei",
        programs=("text-embeddings-router",),
        port=3000,
        ports=("--port", "-p"),
        hosts=("--hostname",),
        models=("--served-model-name", "--model-id"),
    ),
    Command(
        engine="infinity",
        programs=("infinity_emb",),
        modules=("infinity_emb",),
        port=7997,
        models=("--served-model-name", "--model-id", "--model-name-or-path"),
    ),
    Command(engine="dynamo", modules=("dynamo.frontend",), port=8000, ports=("--http-port",)),
    Command(  # a worker; its system port comes from the environment (DYN_SYSTEM_PORT)
        engine="dynamo",
        modules=("dynamo.vllm", "dynamo.sglang", "dynamo.trtllm"),
        ports=(),
        hosts=(),
        metrics="configured",
        models=("--served-model-name", "--model", "--model-path"),
        world_factors=(
            Factor(("--tensor-parallel-size", "-tp", "--tp-size", "--tp")),
            Factor(("--pipeline-parallel-size", "-pp", "--pp-size")),
            Factor(("--data-parallel-size", "-dp", "--dp-size"), unless=("--data-parallel-rank",)),
        ),
    ),
    Command(  # which of these an image starts depends on its age
        engine="nim",
        programs=("/opt/nim/start_server.sh",),
        modules=(
            "nim_llm_sdk.entrypoints.launch",
            "nim_llm_sdk.entrypoints.openai.api_server",
            "vllm_nvext.entrypoints.openai.api_server",
        ),
        port=8000,
        metrics_path="/v1/metrics",
        models=_NAMED,
    ),
    Command(
        engine="kserve",
        modules=("huggingfaceserver",),
        port=8080,
        ports=("--http-port",),
        hosts=(),
        models=("--model-name", "--model-id"),
        world_factors=(
            Factor(("--tensor-parallel-size", "-tp")),
            Factor(("--pipeline-parallel-size", "-pp")),
        ),
    ),
    Command(  # replicas and engines are children of the raylet, beside this proxy
        engine="ray",
        titles=(r"ray::ProxyActor", r"ray::HTTPProxyActor"),
        workers=(r"ray::ServeReplica", r"ray::RayWorker", _ENGINE_CORE),
        port=8000,
        host=LOOPBACK,
        metrics="configured",
        metrics_apart=True,  # one page per node, of the node's agent
    ),
    Command(
        engine="ray",
        programs=("raylet",),
        modules=("ray.dashboard.agent",),
        part=True,
        ports=(),
        hosts=(),
        metrics_ports=("--metrics-export-port",),
    ),
)
"""The first row that fits wins."""
