"""The quickstart, command by command, on a host of one GPU with a vLLM that serves tokens.

The vLLM is a stand-in with its command line, its socket and a page of it whose counters move.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exporter.cli.init import DEFAULT_FILE
from tests.demo.test_facts import CURL
from tests.docs.markdown import ROOT, blocks
from tests.e2e.daemon import free_port, get, until
from tests.e2e.gpu_processes import GpuProgram, compute
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

PAGE = ROOT / "docs" / "quickstart.md"
SERVED = ROOT / "tests" / "recordings" / "vllm-0.32.0" / "served.prom"

VLLM = '''\
"""A vLLM to look at: `vllm serve MODEL --port PORT`."""
import sys
sys.path.insert(0, {root!r})
from tests.e2e.vllm_replay_server import main
main({page!r}, sys.argv[-1])
'''

pytestmark = pytest.mark.timeout(300)


class Reader:
    """Somebody who types the commands of the page; sudo, the file, the port and the ledger are the test's."""

    def __init__(self, folder: Path, gpus: FakeNvml, server_port: int) -> None:
        self.port = free_port()
        self.server_port = server_port
        self.folder = folder
        self.file = folder / "ice.yaml"
        programs = folder / "bin"
        programs.mkdir()
        for name, call in (
            ("sudo", '"$@"'),
            ("inference-cost-exporter", f'{sys.executable} -m exporter "$@"'),
        ):
            (programs / name).write_text(f"#!/bin/sh\nexec {call}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
        self.environment = {**os.environ, **gpus.environment(), "PATH": f"{programs}:{os.environ['PATH']}"}

    def commands(self, number: int) -> list[str]:
        """The commands of a code_block that is marked as run on a host."""
        marked = [code_block for code_block in blocks(PAGE) if "host" in code_block.info[1:]]
        text = marked[number].text.replace(" init ", f" init --config.file={DEFAULT_FILE} ")
        text = text.replace(str(DEFAULT_FILE), str(self.file)).replace("9844", str(self.port))
        return text.replace(
            "exporter status", f"exporter status --from=http://127.0.0.1:{self.port}"
        ).splitlines()

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and output of a command, with nobody at the terminal."""
        done = subprocess.run(
            ["bash", "-c", f"{CURL}{command}"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def started(self, command: str) -> Iterator[None]:
        """The daemon while a code_block runs."""
        listen = f"--web.listen-address=127.0.0.1:{self.port} --ledger.path={self.folder / 'ledger.db'}"
        assert command.endswith(" &")
        with (self.folder / "daemon.log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.removesuffix(' &').removeprefix('sudo ')} {listen}"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(20)

    def figures(self) -> list[float]:
        """Prices per million tokens that the daemon knows of, after a request to the server.

        The tokens of the stand-in rise by a hundred at each.
        """
        get(self.server_port, "/metrics")
        with suppress(OSError):
            status, body = get(self.port, "/cost.json")
            host = json.loads(body)["host"] if status == 200 else None
            prices = [each["dollars_per_million_tokens"] for each in (host or {"servers": ()})["servers"]]
            return [price for price in prices if price is not None]
        return []


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    port = free_port()
    gpus = FakeNvml(tmp_path, Scenario(h100s(1, utilization=60, power_mw=500_000)))
    script = tmp_path / "vllm"
    script.write_text(VLLM.format(root=str(ROOT), page=str(SERVED)), encoding="utf-8")
    command = [sys.executable, str(script), "serve", "tiny", "--port", str(port)]
    with GpuProgram(command) as server:
        until(lambda: answers(port), 60, "the page of the server")
        compute(gpus, server.pid)
        yield Reader(tmp_path, gpus, port)


def answers(port: int) -> bool:
    with suppress(OSError):
        return get(port, "/metrics")[0] == 200
    return False


def test_each_command_does_what_the_page_says(reader: Reader) -> None:
    """From nothing to dollars per million tokens."""
    init, doctor = reader.commands(0)
    assert reader.run(init)[0] == 0
    status, examined = reader.run(doctor)
    assert status < 2, examined
    assert "1 x NVIDIA H100 80GB HBM3 at 2.500000 = 2.500000 dollars per hour\n" in examined
    assert "tokens since it started: " in examined

    (begin,) = reader.commands(1)
    show, scrape = reader.commands(2)
    with reader.started(begin):
        until(reader.figures, 150, "a price per token")
        status, screen = reader.run(show)
        assert status == 0
        assert "$2.50" in screen
        status, series = reader.run(scrape)
        assert status == 0
        assert 'model="' in series


def test_every_other_block_is_an_installation() -> None:
    """Only commands that need a network and root are not run here."""
    others = [code_block.text for code_block in blocks(PAGE) if "host" not in code_block.info[1:]]

    assert len(others) == 1
    assert "pip install --require-hashes" in others[0]
