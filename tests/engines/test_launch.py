"""What command lines say: each engine as its documentation starts it, and lines that start none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engines.catalogue import COMMANDS
from exporter.engines.launch import Launch, launch, program, works_for
from exporter.readings import SequenceLimit

PYTHON = "/usr/bin/python3.12"
VLLM = f"{PYTHON} /opt/venv/bin/vllm serve"


def parse_launch(line: str) -> Launch:
    """The launch of a line of words without spaces."""
    parsed = launch(line.split(" "))
    assert parsed is not None, line
    return parsed


@pytest.mark.parametrize(
    ("line", "engine", "port", "host", "model"),
    [
        (f"{VLLM} Qwen/Qwen3-8B", "vllm", 8000, "", "Qwen/Qwen3-8B"),
        (f"{VLLM} --port=8001 Qwen/Qwen3-8B --host 10.0.0.5", "vllm", 8001, "10.0.0.5", "Qwen/Qwen3-8B"),
        (f"{VLLM} --port 8001 Qwen/Qwen3-8B", "vllm", 8001, "", "Qwen/Qwen3-8B"),
        (f"{VLLM} /m/Qwen3 --served-model-name chat chat-8b", "vllm", 8000, "", "chat"),
        (f"{VLLM} /hub/models--Qwen--Qwen3-8B/snapshots/0a1b", "vllm", 8000, "", "Qwen/Qwen3-8B"),
        (f"{VLLM} --enforce-eager Qwen/Qwen3-8B", "vllm", 8000, "", ""),  # the word may be the flag's
        (f"{VLLM} --model a --model b", "vllm", 8000, "", "b"),
        ("vllm serve ./m/ --uds /run/vllm.sock", "vllm", None, "", "m"),
        (f"{PYTHON} -m vllm.entrypoints.openai.api_server --model m", "vllm", 8000, "", "m"),
        (f"{PYTHON} -Xfrozen_modules -W error -um vllm.entrypoints.openai.api_server", "vllm", 8000, "", ""),
        (f"{PYTHON} /x/vllm/entrypoints/openai/api_server.py --port 1", "vllm", 1, "", ""),
        (f"{PYTHON} -m vllm.entrypoints.cli.main serve m", "vllm", 8000, "", "m"),
        ("vllm-rs serve a/b --port 9", "vllm", 9, "", "a/b"),
        ("VLLM::APIServer_1", "vllm", 8000, "", ""),
        ("CHAT::APIServer", "vllm", 8000, "", ""),
        (f"{PYTHON} -m sglang.launch_server --model-path a/b", "sglang", 30000, "127.0.0.1", "a/b"),
        (f"{PYTHON} -m sglang.launch_server --model a/b --host 0.0.0.0", "sglang", 30000, "", "a/b"),
        ("sglang serve --model-path a/b --port 31000", "sglang", 31000, "127.0.0.1", "a/b"),
        ("text-generation-launcher --model-id a/b", "tgi", 3000, "", "a/b"),
        ("text-generation-launcher -p 80 --hostname 10.0.0.1", "tgi", 80, "10.0.0.1", ""),
        ("trtllm-serve a/b --tp_size 2", "trtllm", 8000, "localhost", "a/b"),
        ("trtllm-serve serve a/b --host 0.0.0.0", "trtllm", 8000, "", "a/b"),
        ("/opt/tritonserver/bin/tritonserver --model-repository=/m", "triton", 8000, "", ""),
        ("/app/llama-server -m /m/a.gguf", "llamacpp", 8080, "127.0.0.1", "a.gguf"),
        ("llama-server -hf ggml-org/gemma-GGUF --port 9", "llamacpp", 9, "127.0.0.1", "ggml-org/gemma-GGUF"),
        ("/usr/bin/llama serve -m a.gguf --port 9", "llamacpp", 9, "127.0.0.1", "a.gguf"),
        ("llama-server -m a.gguf -a chat --host ::", "llamacpp", 8080, "", "chat"),
        ("llama-server --host /run/llama.sock", "llamacpp", None, "/run/llama.sock", ""),
        ("/usr/local/bin/ollama serve", "ollama", 11434, "127.0.0.1", ""),
        (f"{PYTHON} /x/lmdeploy serve api_server a/b --server-port 9", "lmdeploy", 9, "", "a/b"),
        ("lmdeploy serve api_server a/b --model-name c", "lmdeploy", 23333, "", "c"),
        ("aphrodite run a/b", "aphrodite", 2242, "", "a/b"),
        ("mlc_llm serve HF://mlc-ai/q4", "mlc", 8000, "127.0.0.1", "HF://mlc-ai/q4"),
        (f"{PYTHON} -m mlc_llm serve --model q4 --host 0.0.0.0", "mlc", 8000, "", "q4"),
        ("local-ai run --address :9090", "localai", 9090, "", ""),
        ("local-ai --address 127.0.0.1:9", "localai", 9, "127.0.0.1", ""),
        ("local-ai --address nonsense", "localai", 8080, "", ""),
        ("text-embeddings-router --model-id a/b --port 80", "tei", 80, "", "a/b"),
        ("infinity_emb v2 --model-id a/b", "infinity", 7997, "", "a/b"),
        ("vllm-omni serve a/b --log-stats", "vllm-omni", 8000, "", "a/b"),
        ("max serve --model a/b --port 8080", "max", 8080, "", "a/b"),
        (f"{PYTHON} -m lightllm.server.api_server --model_dir /m/b", "lightllm", 8000, "127.0.0.1", "b"),
        ("xinference-local -H 0.0.0.0 --port 9990", "xinference", 9990, "", ""),
        (f"{PYTHON} -m dynamo.frontend --http-port 8787", "dynamo", 8787, "", ""),
        (f"{PYTHON} -m dynamo.vllm --model a/b", "dynamo", None, "", "a/b"),
        (f"{PYTHON} -m huggingfaceserver --model_name a --http_port 81", "kserve", 81, "", "a"),
        ("/bin/bash /opt/nim/start_server.sh", "nim", 8000, "", ""),
        (f"{PYTHON} -m vllm_nvext.entrypoints.openai.api_server --model a", "nim", 8000, "", "a"),
        (f"{PYTHON} -m nim_llm_sdk.entrypoints.launch --port 1977", "nim", 1977, "", ""),
        ("ray::ProxyActor", "ray", 8000, "127.0.0.1", ""),
    ],
)
def test_each_engines_server_is_recognized(
    line: str, engine: str, port: int | None, host: str, model: str
) -> None:
    """Engine, port, what it binds and what it serves: by flags, else by the engine's own defaults."""
    parsed = parse_launch(line)

    assert (parsed.engine, parsed.port, parsed.host, parsed.model) == (engine, port, host, model)
    assert parsed.serves
    assert not parsed.part


def test_a_command_line_starts_one_engine() -> None:
    """No two commands have a program or a module in common, so that their order means nothing."""
    programs = [start for _, command in COMMANDS for start in command.programs]
    modules = [start for _, command in COMMANDS for start in command.modules]

    assert sorted(programs) == sorted({*programs})
    assert sorted(modules) == sorted({*modules})


def test_every_row_is_started_above_or_below() -> None:
    """An engine that no test starts is not known to be recognized."""
    engines = {engine for engine, _ in COMMANDS}

    assert engines == {
        *("aphrodite", "dynamo", "infinity", "kserve", "llamacpp", "lmdeploy", "localai", "mlc", "nim"),
        *("ollama", "ray", "sglang", "tei", "tgi", "triton", "trtllm", "vllm", "vllm-omni"),
        *("lightllm", "max", "xinference"),
    }


@pytest.mark.parametrize(
    "line",
    [
        "",
        "vllm",
        "vllm bench serve",
        "vllm chat",
        "grep vllm serve",
        "vi /opt/venv/bin/vllm",
        "sh -c vllm",
        f"{PYTHON} -c vllm",
        f"{PYTHON} -m vllm",
        f"{PYTHON} -",
        PYTHON,
        f"{PYTHON} train.py --model-path a --port 8000",
        "trtllm-serve disaggregated -c a.yaml",
        "local-ai models list",
        "ollama run llama3",
        "ollama runner --model a --port 1",
        "llama-cli -m a.gguf",
        "VLLM::EngineCore",
        "sglang::scheduler_TP0",
        "ray::RayWorkerWrapper",
        "uv run vllm serve a",
        "mpirun -n 2 trtllm-serve a",
        "numactl --membind 0 llama-server",
    ],
)
def test_what_serves_nothing_is_no_server(line: str) -> None:
    """Clients, workers, editors; and what starts a server, which is a process of its own below."""
    assert launch(line.split(" ")) is None
    assert launch([]) is None


@pytest.mark.parametrize(
    ("line", "metrics", "port", "path"),
    [
        (f"{VLLM} m", True, 8000, "/metrics"),
        (f"{VLLM} m --disable-log-stats", False, 8000, "/metrics"),
        (f"{PYTHON} -m sglang.launch_server", False, 30000, "/metrics"),
        (f"{PYTHON} -m sglang.launch_server --enable_metrics", True, 30000, "/metrics"),
        ("sglang serve --grpc-mode --enable-metrics", True, 30001, "/metrics"),
        (
            "sglang serve --grpc-mode --enable-metrics --smg-http-sidecar-port 5",
            True,
            5,
            "/metrics",
        ),
        ("trtllm-serve m", None, 8000, "/prometheus/metrics"),
        ("tritonserver", True, 8002, "/metrics"),
        ("tritonserver --metrics-port=9002 --http-port 9000", True, 9002, "/metrics"),
        ("tritonserver --allow-metrics=false", False, 8002, "/metrics"),
        ("tritonserver --allow-metrics 0", False, 8002, "/metrics"),
        ("tritonserver --allow-metrics=true", True, 8002, "/metrics"),
        ("llama-server", False, 8080, "/metrics"),
        ("llama-server --metrics --port 9", True, 9, "/metrics"),
        ("ollama serve", False, 11434, "/metrics"),
        ("lmdeploy serve api_server m --disable-metrics", False, 23333, "/metrics"),
        ("local-ai --disable-metrics-endpoint", False, 8080, "/metrics"),
        (f"{PYTHON} -m vllm_nvext.entrypoints.openai.api_server", True, 8000, "/v1/metrics"),
        (f"{PYTHON} -m dynamo.sglang --model m", None, None, "/metrics"),
        ("ray::ProxyActor", None, None, "/metrics"),
        ("raylet/raylet --metrics_export_port=8080", True, 8080, "/metrics"),
        (f"{PYTHON} -u /x/ray/dashboard/agent.py --metrics-export-port=8080", True, 8080, "/metrics"),
        ("vllm serve m --uds /run/a", True, None, "/metrics"),
    ],
)
def test_where_metrics_are_and_whether_they_are_on(
    line: str, *, metrics: bool | None, port: int | None, path: str
) -> None:
    """By its command line; a file or the environment may switch them on all the same."""
    parsed = parse_launch(line)

    assert (parsed.metrics, parsed.metrics_port, parsed.metrics_path) == (metrics, port, path)


@pytest.mark.parametrize(
    ("line", "gpu_count"),
    [
        (f"{VLLM} m", 1),
        (f"{VLLM} m -tp 4", 4),
        (f"{VLLM} m --tensor-parallel-size=4 --pipeline_parallel_size 2 -dp 3", 24),
        (f"{VLLM} m -tp 2 --data-parallel-size 8 --data-parallel-rank 3", 2),
        (f"{VLLM} m -tp 2 -dp 8 --data-parallel-hybrid-lb --data-parallel-size-local 4", 8),
        (f"{VLLM} m -tp auto", None),
        (f"{VLLM} m -tp 0", None),
        (f"{VLLM} m -tp 99999 -dp 99999", None),
        ("VLLM::APIServer_0", None),
        ("sglang serve --tp 2 --dp 4", 8),
        ("sglang serve --tp-size 8 --dp-size 8 --enable-dp-attention --pp-size 2", 16),
        ("text-generation-launcher --num-shard 4", 4),
        ("text-generation-launcher", None),
        ("trtllm-serve m --tp_size 4 --pp_size 2", 8),
        ("lmdeploy serve api_server m --tp 2", 2),
        ("lmdeploy serve api_server m --tp 8 --dp 8", None),
        (f"{PYTHON} -m dynamo.vllm -tp 2", 2),
        ("tritonserver", None),
        ("llama-server", None),
        ("ollama serve", None),
    ],
)
def test_how_many_gpus_a_servers_page_tells_of(line: str, gpu_count: int | None) -> None:
    """The product of its dimensions; ranks that have pages of their own count for themselves."""
    assert parse_launch(line).world_size == gpu_count


PRODUCER = '{"kv_connector": "ExampleConnector", "kv_role": "kv_producer"}'
CONSUMER = PRODUCER.replace("kv_producer", "kv_consumer")


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["vllm", "serve", "m", "--kv-transfer-config", PRODUCER], "prefill"),
        (["vllm", "serve", "m", "--kv_transfer_config", CONSUMER], "decode"),
        (["vllm", "serve", f"--kv-transfer-config={CONSUMER}", "m"], "decode"),
        (["vllm", "serve", "m", "--kv-transfer-config.kv_role", "kv_producer"], "prefill"),
        (["vllm", "serve", "m", "--kv-transfer-config.kv_role=kv_consumer"], "decode"),
        (["vllm", "serve", "m", "--kv-transfer-config", PRODUCER.replace("kv_producer", "kv_both")], ""),
        (["vllm", "serve", "m", "--kv-transfer-config", "[" * 100_000], ""),
        (["vllm", "serve", "m", "--kv-transfer-config", "[]"], ""),
        (["vllm", "serve", "m", "--kv-transfer-config", '{"kv_role": ["kv_producer"]}'], ""),
        (["vllm", "serve", "m", "--kv-transfer-config", "kv_producer"], ""),
        (["vllm", "serve", "m", "--kv-transfer-config"], ""),
        (["vllm", "serve", "m"], ""),
        (["sglang", "serve", "--model", "m", "--disaggregation-mode", "prefill"], "prefill"),
        (["sglang", "serve", "--model", "m", "--disaggregation-mode=decode"], "decode"),
        (["sglang", "serve", "--model", "m", "--disaggregation-mode", "null"], ""),
        (["python3", "-m", "dynamo.vllm", "--model", "m", "--disaggregation-mode", "decode"], "decode"),
        (["python3", "-m", "dynamo.vllm", "--model", "m", "--disaggregation-mode", "agg"], ""),
        (["VLLM::APIServer_0"], ""),
    ],
)
def test_the_role_in_a_pair_is_a_flag(argv: list[str], role: str) -> None:
    """A value that names no part, and one that is no JSON, name none."""
    launched = launch(argv)
    assert launched is not None
    assert launched.role == role


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        (f"{VLLM} m", None),
        (f"{VLLM} m --max-num-seqs 64", SequenceLimit(64)),
        (f"{VLLM} m --max_num_seqs=64 -dp 4", SequenceLimit(64)),
        (f"{VLLM} m --max-num-seqs 64 --max-num-seqs 32", SequenceLimit(32)),
        (f"{VLLM} m --max-num-seqs", None),
        (f"{VLLM} m --max-num-seqs 0", None),
        (f"{VLLM} m --max-num-seqs -1", None),
        (f"{VLLM} m --max-num-seqs 1k", None),
        (f"{VLLM} m --max-num-seqs 999999", None),
        ("VLLM::APIServer_0", None),
        ("aphrodite run m --max-num-seqs 64", SequenceLimit(64)),
        (f"{PYTHON} -m huggingfaceserver --max-num-seqs 64", SequenceLimit(64)),
        (f"{PYTHON} -m dynamo.vllm --model m --max-num-seqs 64", SequenceLimit(64)),
        (f"{PYTHON} -m dynamo.sglang --model m --max-running-requests 64", None),
        ("sglang serve --model m", None),
        ("sglang serve --model m --max-running-requests 64", SequenceLimit(64)),
        ("sglang serve --model m --max-running-requests 64 --dp 4", None),
        (
            "sglang serve --model m --max-running-requests 64 --dp 4 --enable-dp-attention",
            SequenceLimit(64, shared=True),
        ),
        ("text-generation-launcher --max-batch-size 16", SequenceLimit(16)),
        ("text-generation-launcher --max-concurrent-requests 128", None),
        ("lmdeploy serve api_server m --max-batch-size 16", SequenceLimit(16)),
        ("llama-server -np 4 --metrics", SequenceLimit(4)),
        ("llama-server --parallel 4", SequenceLimit(4)),
        ("llama-server", None),
        ("trtllm-serve m --max_batch_size 16", None),
        ("tritonserver", None),
    ],
)
def test_the_largest_number_of_sequences_is_a_flag(line: str, limit: SequenceLimit | None) -> None:
    """Without one it is unknown: a default depends on the version and the GPU."""
    assert parse_launch(line).max_running == limit


@pytest.mark.parametrize(
    ("line", "nodes", "rank", "serves"),
    [
        (f"{VLLM} m --nnodes 2", 2, 0, True),
        (f"{VLLM} m -n 2 -r 1", 2, 1, False),
        (f"{VLLM} m -dp 4 --headless", 1, 0, False),
        ("sglang serve --nnodes 4 --node-rank 3", 4, 3, False),
    ],
)
def test_followers_of_other_hosts_serve_nothing(line: str, nodes: int, rank: int, *, serves: bool) -> None:
    """They compute for a server whose API is elsewhere."""
    parsed = parse_launch(line)

    assert (parsed.nodes, parsed.node_rank, parsed.serves) == (nodes, rank, serves)


def test_only_a_flag_tells_a_port_for_sure() -> None:
    """A default may be overruled by a file or the environment; what is no port is not told."""
    lines = (f"{VLLM} m", f"{VLLM} m --port 8000", f"{VLLM} m --port 99999", f"{VLLM} m --port x")

    assert [(parse_launch(line).default_port, parse_launch(line).named_port) for line in lines] == [
        (8000, None),
        (None, 8000),
        (None, None),
        (8000, None),
    ]


@pytest.mark.parametrize(
    ("line", "routes"),
    [
        ("llama-server --models-dir /m", True),
        ("llama serve --models-preset=/m.ini --metrics", True),
        ("llama-server --models-dir /m -m a.gguf", False),  # a model that is named is served
        ("llama-server -m a.gguf", False),
        ("vllm serve m --models-dir /m", False),
    ],
)
def test_a_llamacpp_without_a_model_of_its_own_is_a_router(line: str, *, routes: bool) -> None:
    """Where it is told of a folder of models, or of a file of them."""
    parsed = launch(line.split())
    assert parsed is not None
    assert parsed.routes == routes


def test_a_server_with_a_key_file_speaks_tls() -> None:
    """The scheme is https then."""
    assert parse_launch(f"{VLLM} m --ssl-keyfile k --ssl-certfile c").scheme == "https"
    assert parse_launch(f"{VLLM} m").scheme == "http"


@pytest.mark.parametrize(
    ("line", "engines"),
    [
        ("VLLM::EngineCore_DP1", {"vllm", "aphrodite", "ray"}),
        ("VLLM::Worker_TP0", {"vllm", "aphrodite", "ray"}),
        ("ray::RayWorkerWrapper.execute", {"vllm", "aphrodite", "ray"}),
        ("ray::ServeReplica:app:LLM", {"ray"}),
        ("sglang::scheduler_TP0", {"sglang"}),
        (f"{PYTHON} -m mpi4py.futures.server", {"trtllm"}),
        ("/opt/conda/bin/python3 /opt/conda/bin/text-generation-server serve m", {"tgi"}),
        ("/usr/local/bin/ollama runner --port 1", {"ollama"}),
        ("/t/triton_python_backend_stub /m/1/model.py", {"triton"}),
        (f"{PYTHON} train.py", set()),
        ("", set()),
    ],
)
def test_workers_say_for_whom_they_compute(line: str, engines: set[str]) -> None:
    """By their title, or by their program; most say nothing."""
    assert works_for(line.split(" ")) == engines


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/python3", "-u", "/opt/a/train.py", "--key", "secret"], "train.py"),
        (["python3", "-m", "torch.distributed.run", "secret.py"], "torch.distributed.run"),
        (["python3", "-c", "secret = 1"], "python3"),
        (["python3"], "python3"),
        (["/bin/bash", "/x/start.sh", "secret"], "start.sh"),
        (["bash", "-c", "secret"], "bash"),
        (["./a.out", "secret"], "a.out"),
        (["ray::RayTrainWorker.train secret"], "ray::RayTrainWorker.train"),
        (["myjob --key=/secret/secret"], "myjob"),
        (["/opt/My App/bin/job"], "My"),
        (["\x1b[31m\n\u202eevil\x00", "secret"], "31m_evil"),
        (["x" * 5000], "x" * 64),
        (["/"], "comm"),
        ([""], "comm"),
        ([], "comm"),
    ],
)
def test_a_process_is_called_by_its_program_and_nothing_more(argv: list[str], name: str) -> None:
    """Arguments hold keys; a name is plain and short."""
    assert program(argv, "comm") == name


def test_a_process_that_says_nothing_is_unknown() -> None:
    """There is always a name."""
    assert [program([]), program(["\n"]), program([], "\u202e")] == ["unknown"] * 3


WORDS = st.sampled_from(
    [
        *(
            "vllm",
            "serve",
            "python3",
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--port",
            "--port=1",
            "-tp",
        ),
        *("8000", "--model", "/", "--", "-", "=", "ray::ProxyActor", "--served-model-name=", "local-ai", ":"),
        *("--address", "--host", ".sock", "-c", "", "models--a--b", "\x00", "\n"),
    ]
)


@given(st.lists(st.text(max_size=20) | WORDS, max_size=12))
def test_no_command_line_makes_the_reader_raise(argv: list[str]) -> None:
    """Whoever starts a process writes it; what is told stays within bounds."""
    parsed = launch(argv)
    works_for(argv)

    assert 0 < len(program(argv)) <= 64
    if parsed is not None:
        assert len(parsed.model) <= 128
        assert len(parsed.host) <= 128
        assert parsed.model.isprintable()
        assert all(port is None or 0 < port < 65536 for port in (parsed.port, parsed.metrics_port))
        assert parsed.world_size is None or parsed.world_size > 0
        assert parsed.max_running is None or 0 < parsed.max_running.sequences <= 65_536
