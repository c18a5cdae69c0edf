"""A real llama.cpp without configuration: a router with a model, and metrics switched on by the environment."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT, Daemon, Page, get, until
from tests.e2e.llama import Llama, binary
from tests.e2e.tenants import compute
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

MODEL = "tiny"
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
        return Page(get(self.port, f"/metrics?model={MODEL}&autoload=false")[1], 0)

    def children(self) -> list[int]:
        """The servers that it started."""
        assert self.process is not None
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


class ByEnvironment(Llama):
    """Its metrics are switched on by nothing that its command line shows."""

    def command(self) -> list[str]:
        return [word for word in super().command() if word != "--metrics"]

    def environment(self) -> dict[str, str]:
        return {"LLAMA_ARG_ENDPOINT_METRICS": "1"}


@dataclass
class Host:
    """The daemon's page before the model was loaded, and after each use of it."""

    before: Page
    loaded: Page
    again: Page
    counted: dict[str, int]
    recounted: dict[str, int]
    environment: dict[str, int]
    router: str
    plain: str
    loads: list[int]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("router")
    gpus = FakeNvml(folder, Scenario(h100s(2, utilization=40, power_mw=400_000)))
    daemon = Daemon(folder, "interval: 1s\n", gpus.environment())
    with Router(folder) as router, ByEnvironment(folder / "plain.log") as plain, daemon:
        assert plain.process is not None
        compute(gpus, None, plain.process.pid)
        plain.complete("hello world", 20)
        before = daemon.settled()
        loads = [len(router.children())]

        def used() -> tuple[Page, dict[str, int]]:
            assert plain.process is not None
            router.complete("tokens cost money", 30)
            (child,) = router.children()
            compute(gpus, child, plain.process.pid)
            router.complete("per gpu second", 30)
            counted = router.at_rest()
            loads.append(child)
            page = daemon.until(lambda page: page.tokens(name) != last, "tokens of the router's model")
            return daemon.settled() if page else page, counted

        name, last = f"llamacpp:{router.port}:{MODEL}", {}
        loaded, counted = used()
        # Loaded anew it is another process, at another port.
        with contextlib.closing(unload(router)):
            compute(gpus, None, plain.process.pid)
        last = loaded.tokens(name)
        again, recounted = used()
        yield Host(
            before,
            loaded,
            again,
            counted,
            recounted,
            plain.at_rest(),
            name,
            f"llamacpp:{plain.port}",
            loads,
        )


def unload(router: Router) -> contextlib.ExitStack:
    """The model's server ends."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=30)
    connection.request(
        "POST", "/models/unload", f'{{"model": "{MODEL}"}}', {"Content-Type": "application/json"}
    )
    assert connection.getresponse().status == http.client.OK
    connection.close()
    until(lambda: not router.children(), 30, "no model loaded")
    return contextlib.ExitStack()


def test_a_model_of_a_router_is_a_server_of_its_own(host: Host) -> None:
    """By the router's port and the model's name; the router is none, and nothing is told of it."""
    servers = {labels["server"] for labels, _ in host.loaded.rows["inference_server_up"]}
    assert servers == {host.router, host.plain}
    assert host.loaded.matching("inference_server_up") == [1, 1]
    assert "inference_server_unread_info" not in host.loaded.rows


def test_its_tokens_are_its_own(host: Host) -> None:
    """From the first on, since it was seen to start; loaded anew it keeps its name and counts on."""
    assert host.loaded.tokens(host.router) == host.counted
    total = {kind: count + host.recounted[kind] for kind, count in host.counted.items()}
    assert host.again.tokens(host.router) == total
    assert host.loads[1] != host.loads[2]


def test_watching_loads_no_model(host: Host) -> None:
    """Before anybody asked for it, no server ran for it."""
    assert host.loads[0] == 0
    assert host.before.tokens(host.router) == {}


def test_metrics_that_the_environment_switched_on_are_read(host: Host) -> None:
    """Its command line has no flag for them."""
    assert host.again.tokens(host.plain) == host.environment
