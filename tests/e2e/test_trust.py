"""Programs of other users on one host claim a server's port, its name and its token, and get none of them.

The daemon runs as root without any capability, as the DaemonSet runs it: it sees nobody's descriptors.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import unprivileged
from tests.e2e.daemon import Daemon, Page, free_port, until
from tests.e2e.gpu_processes import GpuProgram, compute
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.rights import NETWORKS

OWNER, OTHER_USER = 1000, unprivileged.STRANGER
TOKEN = "t0ken-of-the-team"  # noqa: S105 - of these tests alone
PRICE = 2.50

SERVER = '''\
"""Serves a page of vLLM's, and writes down what was sent to it. Without LISTEN it waits."""
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(os.environ["SENT"], "a") as sent:
            sent.write(f"{self.path} {self.headers.get('Authorization')}\\n")
        body = open(os.environ["PAGE"], "rb").read()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass

if os.environ["LISTEN"]:
    http.server.HTTPServer(("127.0.0.1", int(os.environ["LISTEN"])), Handler).serve_forever()
sys.stdin.read()
'''

PAGE = """\
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {count}
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="m"}} {count}
"""

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("local users"),  # each daemon sees the programs of all tests that run
]


@dataclass
class Host:
    """A daemon, the ports, and what each program was sent."""

    daemon: Daemon
    port: int
    other: int
    folder: Path
    page: Page

    def sent(self, name: str) -> str:
        """The lines that a program wrote down."""
        return (self.folder / name / "sent").read_text(encoding="utf-8")

    def serves(self, name: str, count: int, models: int = 0) -> None:
        """From now on a program's page has this count, and as many other models."""
        page = self.folder / name / "page"
        more = "".join(f'vllm:generation_tokens_total{{model_name="m{each}"}} 1\n' for each in range(models))
        (self.folder / name / "next").write_text(PAGE.format(count=count) + more, encoding="utf-8")
        (self.folder / name / "next").rename(page)

    def models(self, server: str, number: int) -> Page:
        """A scrape on which a server has rows of as many models, `other` among them."""

        def have(page: Page) -> bool:
            rows = page.rows["inference_tokens_total"]
            return len({labels["model"] for labels, _ in rows if labels["server"] == server}) == number

        return self.daemon.until(have, f"{number} models of {server}")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip(NETWORKS)
    mine = tmp_path_factory.mktemp("trust")
    (mine / "token").write_text(TOKEN, encoding="ascii")
    (mine / "token").chmod(0o600)
    port, other = free_port(), free_port()
    config = f"""\
interval: 1s
hardware:
  - {{match: {{gpu_model: "*"}}, rented: {{dollars_per_gpu_hour: {PRICE}}}}}
ownership:
  rules:
    - {{match: {{server: chat}}, product: chat}}
    - {{match: {{server: "vllm:{port}"}}, product: chat}}
servers:
  - {{match: {{user: {OWNER}, process: vllm}}, name: chat, metrics: {{bearer_token_file: {mine}/token}}}}
"""
    gpus = FakeNvml(mine, Scenario(h100s(3, utilization=40, power_mw=400_000)))
    daemon = Daemon(mine, config, gpus.environment())
    daemon.begin = unprivileged.powerless
    with tempfile.TemporaryDirectory() as shared, ExitStack() as stack:
        folder = Path(shared)
        folder.chmod(0o755)  # pytest's own are root's alone
        host = Host(daemon, port, other, folder, Page(b"", 0))
        programs = [
            stack.enter_context(begun(host, name, user, named, listen))
            for name, user, named, listen in (
                ("victim", OWNER, port, port),
                ("thief", OTHER_USER, port, None),
                ("stranger", OTHER_USER, other, other),
            )
        ]
        compute(gpus, *(program.pid for program in programs))
        with daemon:
            host.serves("victim", 1500)
            host.serves("stranger", 9000)
            host.page = until(lambda: counted(daemon), 60, "500 tokens of chat")
            yield host


def begun(host: Host, name: str, user: int, port: int, listen: int | None) -> GpuProgram:
    """A program that is called vllm, of a user, that names a port and listens at one, or at none."""
    own = host.folder / name
    own.mkdir()
    (own / "vllm").write_text(SERVER, encoding="utf-8")
    host.serves(name, 1000)
    os.chown(own, user, user)
    (own / "sent").touch()
    os.chown(own / "sent", user, user)
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")  # this one may be root's alone
    assert python is not None
    words = ("serve", "tiny/evil" if listen is None else "tiny/model", "--port", str(port))
    who = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
    environment = {
        "PATH": os.environ["PATH"],
        "SENT": str(own / "sent"),
        "PAGE": str(own / "page"),
        "LISTEN": str(listen or ""),
    }
    return GpuProgram([*who, python, str(own / "vllm"), *words], environment)


def counted(daemon: Daemon) -> Page | None:
    """A page on which the server's tokens are counted."""
    page = daemon.scrape()
    return page if page.tokens("chat").get("prompt", 0) >= 500 else None


def test_money_stays_with_whom_the_port_is(host: Host) -> None:
    """One GPU of three is the product's: not that of the program which names the same port.

    Attempt: a command line names the port of another user's server

    Result: its GPU is paid for under a name of its own; `doctor` reports the claim

    Left: the name of its own GPU's cost
    """
    assert host.page.sum("inference_cost_dollars_per_hour", product="chat") == pytest.approx(PRICE)
    assert host.page.sum("inference_cost_dollars_per_hour", product="unassigned") == pytest.approx(2 * PRICE)
    servers = {labels["server"] for labels, _ in host.page.rows["inference_server_gpu_share_ratio"]}
    assert servers == {"chat", f"vllm:model=tiny/evil:user-{OTHER_USER}", f"vllm:{host.other}"}


def test_a_token_goes_to_the_user_that_it_is_for(host: Host) -> None:
    """And to nobody who calls a program the same.

    Attempt: a program has the name of the server whose entry has a token

    Result: no token

    Left: requests to its own page, without a token
    """
    assert f"Bearer {TOKEN}" in host.sent("victim")
    assert "Bearer" not in host.sent("stranger") + host.sent("thief")
    assert "/metrics" in host.sent("stranger")


def test_tokens_are_those_of_the_page_behind_the_port(host: Host) -> None:
    """A stranger's page counts for the stranger.

    Attempt: a page has invented counts

    Result: they are its own server's tokens

    Left: its own tokens, and the price per token from them
    """
    served = host.page.tokens("chat")
    assert served["prompt"] in (
        500,
        1500,
    )  # counted from its start where the daemon saw that it was not there
    assert served["prompt"] == served["generation"]


def test_what_was_refused_is_counted(host: Host) -> None:
    """The thief's claim is a failure of the look at processes, by its reason."""
    assert host.page.sum("inference_source_errors_total", source="processes", reason="refused") >= 1


def test_600_models_of_one_user_take_no_row_of_another(host: Host) -> None:
    """Of the 50 rows the stranger gets 25, beside its first two; the server gets all that it asks for.

    Attempt: a page names 600 models

    Result: its first two and 25 have rows, the rest counts as its `other`; other users have the rest

    Left: all 50 rows, if nobody else asked before; the first two models of each server have theirs
    """
    host.serves("victim", 1500, models=4)
    host.models("chat", 5)
    host.serves("stranger", 9000, models=600)
    host.models(f"vllm:{host.other}", 2 + 25 + 1)
    host.serves("victim", 1500, models=20)
    page = host.models("chat", 21)

    assert page.matching("inference_tokens_total", server="chat", model="other") == []
    assert page.matching("inference_tokens_total", server=f"vllm:{host.other}", model="other") != []
