"""A prefill and decode pair of vLLM without configuration: what `--kv-transfer-config` says is read.

Stand-ins with the command lines of two vLLM 0.32.0, and the figures of their pages. A client sent four
prompts of 196 tokens to the one, which generated a token of each. It sent them to the other too, which took
512 of the 784 from a shared folder, computed 272 again, and generated 20 tokens for each.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT, Daemon, Page, free_port, get
from tests.e2e.gpu_processes import GpuProgram, compute
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

SERVER = """\
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write(open(os.environ["PAGE"], "rb").read())
    def log_message(self, *words):
        pass

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

pytestmark = pytest.mark.timeout(120)


def write(path: Path, computed: int, transferred: int, generated: int, requests: int) -> None:
    """The page of one vLLM, whole at any time."""
    source = 'vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny",source="%s"} %d\n'
    text = (
        "process_start_time_seconds 1.7957e9\n"
        + source % ("local_compute", computed)
        + source % ("local_cache_hit", 0)
        + source % ("external_kv_transfer", transferred)
        + f'vllm:generation_tokens_total{{engine="0",model_name="tiny"}} {generated}\n'
        + 'vllm:num_requests_running{engine="0",model_name="tiny"} 0\n'
        + f'vllm:request_success_total{{engine="0",finished_reason="length",model_name="tiny"}} {requests}\n'
    )
    path.with_suffix(".new").write_text(text, encoding="ascii")
    path.with_suffix(".new").replace(path)


@contextmanager
def pair(folder: Path, gpus: FakeNvml, *roles: str) -> Iterator[tuple[list[str], list[Path]]]:
    """Two servers with these roles on their command lines; their names, and their pages."""
    script = folder / "vllm"
    script.write_text(SERVER, encoding="ascii")
    names, pages, programs = [], [], []
    with ExitStack() as stack:
        for role in roles:
            port, page = free_port(), folder / f"{len(names)}.prom"
            write(page, 0, 0, 0, 0)
            transfer = {"kv_connector": "ExampleConnector", "kv_role": role}
            words = ["serve", "tiny", "--port", str(port), "--kv-transfer-config", json.dumps(transfer)]
            argv = [sys.executable, str(script), *words, "--no-enable-prefix-caching"]
            programs.append(stack.enter_context(GpuProgram(argv, {"PORT": str(port), "PAGE": str(page)})))
            names.append(f"vllm:{port}")
            pages.append(page)
        compute(gpus, *(program.pid for program in programs))
        yield names, pages


def counted(page: Page, *servers: str) -> dict[str, int]:
    """Tokens of these servers together, by kind; none that are 0."""
    sums: dict[str, int] = {}
    for server in servers:
        for kind, count in page.tokens(server).items():
            sums[kind] = sums.get(kind, 0) + count
    return {kind: count for kind, count in sums.items() if count}


def doctor(daemon: Daemon) -> list[str]:
    """What `doctor` finds."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "doctor", f"--config.file={daemon.config}", "--json"],
        cwd=ROOT,
        env=daemon.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return [finding["text"] for finding in json.loads(done.stdout)["findings"]]


@pytest.fixture
def gpus(tmp_path: Path) -> FakeNvml:
    return FakeNvml(tmp_path, Scenario(h100s(2, utilization=50, power_mw=400_000)))


def read(daemon: Daemon, pages: list[Path], names: list[str]) -> Page:
    """A scrape after the four prompts, with tokens of both servers."""
    daemon.until(lambda page: page.sum("inference_server_up") == len(names), "both are read")
    daemon.settled()
    write(pages[0], 784, 0, 4, 4)
    write(pages[1], 272, 512, 80, 4)
    daemon.until(lambda page: page.tokens(names[1]).get("generation") == 80, "the answers")
    return daemon.settled()


def test_each_token_of_a_pair_is_counted_once(tmp_path: Path, gpus: FakeNvml) -> None:
    """784 prompt tokens and 80 generated ones, and the busy money of each server in its own phase."""
    daemon = Daemon(tmp_path, "interval: 1s\n", gpus.environment())
    with pair(tmp_path, gpus, "kv_producer", "kv_consumer") as (names, pages), daemon:
        page = read(daemon, pages, names)

        assert counted(page, names[0]) == {"prompt": 784}
        assert counted(page, names[1]) == {"generation": 80}
        cost = "inference_cost_dollars_total"
        for name, mine, other in ((names[0], "prefill", "decode"), (names[1], "decode", "prefill")):
            assert page.sum(cost, server=name, phase=mine) > 0
            assert page.sum(cost, server=name, phase=other) == 0
        assert not [text for text in doctor(daemon) if "has no role" in text]
        assert b"has no role" not in get(daemon.port, "/cost.json")[1]


def test_a_pair_whose_command_lines_say_both_is_noted(tmp_path: Path, gpus: FakeNvml) -> None:
    """1,056 prompt tokens: 784 and 272. The decode server is named by `doctor` and on the page."""
    daemon = Daemon(tmp_path, "interval: 1s\n", gpus.environment())
    with pair(tmp_path, gpus, "kv_both", "kv_both") as (names, pages), daemon:
        page = read(daemon, pages, names)

        assert counted(page, *names) == {"prompt": 1056, "cached_prompt": 512, "generation": 84}
        doubt = (
            f"{names[1]} has no role: nothing says whether it prefills or decodes, and 512 prompt tokens are "
            "from other engines."
        )
        assert [text for text in doctor(daemon) if doubt in text]
        notes = json.loads(get(daemon.port, "/cost.json")[1])["host"]["notes"]
        assert [note for note in notes if doubt in note]


def test_a_command_line_that_its_page_contradicts_counts_all(tmp_path: Path, gpus: FakeNvml) -> None:
    """Both say the wrong role: no token is left out, and `doctor` says what disagrees.

    Attempt: a command line claims a role of a pair that the page contradicts

    Result: the server has no role, and its tokens count whole

    Left: a role of its own server that its page agrees with
    """
    daemon = Daemon(tmp_path, "interval: 1s\n", gpus.environment())
    with pair(tmp_path, gpus, "kv_consumer", "kv_producer") as (names, pages), daemon:
        page = read(daemon, pages, names)

        assert counted(page, *names) == {"prompt": 1056, "cached_prompt": 512, "generation": 84}
        texts = " ".join(doctor(daemon))
        assert f"{names[0]} has no role: its command line says decode, and its page has 784 computed" in texts
        assert f"{names[1]} has no role: its command line says prefill, and its page has 80 " in texts
