"""A real Triton is read as what it is: tokens to the last one, requests, and nothing twice."""

import http.client
import json
import os
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.readings import ServerKey, ServerReading
from exporter.sources.server import ServerSource, Target, shared_client
from tests.e2e.daemon import ROOT, free_port, get, until

PACKAGES = ROOT / ".cache" / "triton" / "lib" / "python3.11" / "site-packages"
SERVER = PACKAGES / "pytriton" / "tritonserver"
CONFIG = """backend: "python"
max_batch_size: 0
input [{ name: "TOKENS" data_type: TYPE_INT32 dims: [2] }]
output [{ name: "SUM" data_type: TYPE_INT32 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


class Triton:
    def __init__(self, api: int, metrics: int) -> None:
        self.api = api
        self.metrics = metrics

    def infer(self, model: str, prompt: int, generation: int) -> None:
        tokens = {"name": "TOKENS", "shape": [2], "datatype": "INT32", "data": [prompt, generation]}
        connection = http.client.HTTPConnection("127.0.0.1", self.api, timeout=30)
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tokens]}))
        answer = connection.getresponse()
        output = json.loads(answer.read())
        connection.close()
        assert output["outputs"][0]["data"] == [prompt + generation]

    def read(self) -> ServerReading:
        url = f"http://127.0.0.1:{self.metrics}/metrics"
        return ServerSource(Target(ServerKey("", "triton"), url), shared_client(), SystemClock()).read()


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("triton")
    for name in ("llm", "plain"):
        version = folder / "models" / name / "1"
        version.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("counting_model.py"), version / "model.py")
        version.with_name("config.pbtxt").write_text(f'name: "{name}"\n{CONFIG}')
    server = Triton(free_port(), free_port())
    libraries = f"{PACKAGES / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    log = folder / "log"
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            [
                str(SERVER / "bin" / "tritonserver"),
                f"--model-repository={folder / 'models'}",
                f"--backend-directory={SERVER / 'backends'}",
                *("--http-address=127.0.0.1", f"--http-port={server.api}", "--allow-grpc=false"),
                *("--metrics-address=127.0.0.1", f"--metrics-port={server.metrics}"),
            ],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": libraries,
                "PYTHONPATH": str(PACKAGES),
                "PATH": f"{ROOT / '.cache' / 'triton' / 'bin'}:{os.environ['PATH']}",
            },
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
        )

    def ready() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        try:
            return get(server.api, "/v2/health/ready")[0] == http.client.OK
        except OSError:
            return False

    try:
        until(ready, 60, f"Triton ready, see {log}")
        yield server
    finally:
        os.killpg(process.pid, 9)
        process.wait(10)


def counted(reading: ServerReading) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for counter in reading.counters:
        counts[counter.model, counter.quantity] += round(counter.sign * counter.value)
    return counts


def test_tokens_of_a_real_triton_are_counted_to_the_last_one(triton: Triton) -> None:
    """Those of the model that counts them; its requests are the ones that it ended itself."""
    before = counted(triton.read())
    for prompt, generation in ((700, 30), (512, 1), (1, 200)):
        triton.infer("llm", prompt, generation)
    triton.infer("plain", 5, 5)

    reading = triton.read()

    assert (reading.engine, reading.models) == ("triton", ("llm",))
    assert counted(reading) - before == {
        ("llm", "prompt"): 1213,
        ("llm", "generation"): 231,
        ("llm", "requests"): 3,
    }
    assert [(load.model, load.running) for load in reading.loads] == [("llm", 0.0)]
