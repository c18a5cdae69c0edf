"""A real llama.cpp without configuration: a router and its model, and metrics that the environment has."""

import http.client
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import unprivileged
from tests.e2e.daemon import ROOT, Daemon, Page, get, until
from tests.e2e.gpu_processes import compute
from tests.e2e.llama import Llama, binary
from tests.e2e.network import Network
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.rights import NETWORKS

MODEL = "tiny"
QUERY = f"model={MODEL}&autoload=false"
pytestmark = pytest.mark.timeout(120)


class Router(Llama):
    """Starts a server for each model that is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "router.log")
        self._models = folder / "models"
        self._models.mkdir()
        shutil.copy(ROOT / "tests/e2e/tiny.gguf", self._models / f"{MODEL}.gguf")

    def command(self) -> list[str]:
        return [
            *(str(binary()), "--models-dir", str(self._models), "--metrics"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("-c", "4096", "-np", "2", "-ngl", "0", "-t", "1"),
        ]

    def page(self) -> Page:
        """Of the model, which is not loaded for it."""
        return Page(get(self.port, f"/metrics?{QUERY}", host=self.host)[1], 0)

    def children(self) -> list[int]:
        """The servers that it started, whichever of its threads did."""
        assert self.process is not None
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(one) for thread in threads for one in thread.read_text("ascii").split()]

    def unload(self) -> None:
        """The model's server ends."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = json.dumps({"model": MODEL})
        connection.request("POST", "/models/unload", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == http.client.OK
        connection.close()
        until(lambda: not self.children(), 30, "no model loaded")


class RemoteRouter(Router):
    """In a network of its own, on all addresses of it; its models are on loopback there."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.host = network.host
        super().__init__(folder)
        self._network = network

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("--host") + 1] = "0.0.0.0"  # noqa: S104 - of its own network
        return self._network.command(*words)


class ByEnvironment(Llama):
    """Its metrics are switched on by nothing that its command line shows."""

    def command(self) -> list[str]:
        return [word for word in super().command() if word != "--metrics"]

    def environment(self) -> dict[str, str]:
        return {"LLAMA_ARG_ENDPOINT_METRICS": "1"}


@dataclass
class Host:
    """The daemon's page before the model was loaded, and what was counted each time that it was."""

    before: Page
    unloaded: list[int]
    pages: list[Page]
    counts: list[dict[str, int]]
    pids: list[int]
    by_environment: dict[str, int]
    router: str
    plain: str


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("router")
    gpus = FakeNvml(folder, Scenario(h100s(2, utilization=40, power_mw=400_000)))
    daemon = Daemon(folder, "interval: 1s\n", gpus.environment())
    with Router(folder) as router, ByEnvironment(folder / "plain.log") as plain, daemon:
        assert plain.process is not None
        compute(gpus, None, plain.process.pid)
        name, pids = f"llamacpp:{router.port}:{MODEL}", []
        before, unloaded = daemon.settled(), router.children()
        plain.complete("hello world", 20)
        pages, counts = [], []
        for _ in range(2):  # loaded anew it is another process, at another port
            router.complete("tokens cost money", 30)
            pids += router.children()
            compute(gpus, pids[-1], plain.process.pid)
            daemon.settled()
            router.complete("per gpu second", 30)
            counts.append(router.at_rest())
            pages.append(daemon.settled())
            compute(gpus, None, plain.process.pid)
            router.unload()
        yield Host(before, unloaded, pages, counts, pids, plain.at_rest(), name, f"llamacpp:{plain.port}")


def test_a_model_of_a_router_is_a_server_of_its_own(host: Host) -> None:
    """By the router's port and the model's name; the router is none, and is not missing either."""
    for page in host.pages:
        servers = {labels["server"] for labels, _ in page.rows["inference_server_up"]}
        assert servers == {host.router, host.plain}
        assert page.matching("inference_server_up") == [1, 1]
        assert "inference_server_unread_info" not in page.rows


def test_its_tokens_are_counted_from_the_first(host: Host) -> None:
    """It was seen to start. Loaded anew it is another process, and counts on under its name."""
    first, second = host.counts
    assert len(set(host.pids)) == 2
    assert host.pages[0].tokens(host.router) == first
    assert host.pages[1].tokens(host.router) == {kind: first[kind] + second[kind] for kind in first}
    assert min(first["generation"], second["generation"]) == 60


def test_watching_loads_no_model(host: Host) -> None:
    """Before anybody asked for it, no server ran for it."""
    assert host.unloaded == []
    assert host.before.tokens(host.router) == {}


def test_metrics_that_the_environment_switched_on_are_read(host: Host) -> None:
    """The command line shows no flag for them."""
    assert host.pages[-1].tokens(host.plain) == host.by_environment


def test_in_a_network_of_its_own_a_model_is_read_through_its_router(tmp_path: Path) -> None:
    """By a daemon without any capability, at the address of that network."""
    if os.geteuid() != 0:
        pytest.skip(NETWORKS)
    gpus = FakeNvml(tmp_path, Scenario(h100s(1, utilization=40, power_mw=400_000)))
    daemon = Daemon(tmp_path, "interval: 1s\n", gpus.environment())
    daemon.begin = unprivileged.powerless
    with Network() as network, RemoteRouter(tmp_path, network) as router, daemon:
        name = f"llamacpp:{network.host}:{router.port}:{MODEL}"
        router.complete("tokens cost money", 30)
        compute(gpus, *router.children())
        page = daemon.until(lambda page: page.tokens(name) == router.at_rest(), "tokens through the router")

    urls = [labels["url"] for labels, _ in page.rows["inference_server_endpoint_info"]]
    assert urls == [f"http://{network.host}:{router.port}/metrics?model=***&autoload=***"]
    assert page.tokens(name)["generation"] == 30
