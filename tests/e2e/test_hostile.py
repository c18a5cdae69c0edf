"""Processes that were made to break a page, a log or somebody's books."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import unprivileged
from tests.e2e.daemon import Daemon, Page, get
from tests.e2e.gpu_processes import GpuProgram, compute, waiting
from tests.e2e.llama import Llama
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

UUIDS = tuple(gpu.uuid for gpu in h100s(4))
SECONDS = "inference_gpu_seconds_total"
EVIL = (
    b"evil\n# TYPE inference_cost_dollars_total gauge\n\x1b[2J\x1b]0;title\x07"
    b'"} 1e300 <script>\xff\xfe \xe2\x80\xae'
)
"""Line ends, escape sequences, the end of a label, no UTF-8, and what turns the direction of a line."""
MEGABYTE = [EVIL * 1400] * 10
"""A command line of a megabyte: the kernel takes words of 128 KiB."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    scenario = Scenario(h100s(4, utilization=40, power_mw=400_000))
    return FakeNvml(tmp_path_factory.mktemp("hostile"), scenario)


@pytest.fixture(scope="module", params=["root", "powerless"])
def page(
    tmp_path_factory: pytest.TempPathFactory, gpus: FakeNvml, request: pytest.FixtureRequest
) -> Iterator[tuple[Daemon, Page, Llama]]:
    """A server of somebody honest, and three programs of somebody who is not.

    Read as root, who sees which process has which socket, and as root without capabilities, who does not.
    """
    folder = tmp_path_factory.mktemp("books")
    daemon = Daemon(folder, "interval: 1s\n", gpus.environment())
    if request.param == "powerless":
        daemon.begin = unprivileged.powerless
    with (
        Llama(folder / "llama.log") as honest,
        GpuProgram([EVIL, *MEGABYTE], executable=waiting(folder)) as huge,
        # Another server's port, by who does not listen there; and a model's name that is no name.
        GpuProgram(
            [b"vllm", b"serve", EVIL, b"--port", str(honest.port).encode()], executable=waiting(folder)
        ) as thief,
        GpuProgram(
            [b"aphrodite", b"run", EVIL, b"--port", b"99999999@evil.example"], executable=waiting(folder)
        ) as liar,
        daemon,
    ):
        assert len(Path(f"/proc/{huge.pid}/cmdline").read_bytes()) > 1_000_000
        assert honest.process is not None
        compute(gpus, honest.process.pid, huge.pid, thief.pid, liar.pid)
        daemon.settled()
        for number in range(4):
            honest.complete(f"{number} tokens cost money", 30)
        honest.at_rest()
        yield daemon, daemon.settled(), honest


def sees_sockets(page: tuple[Daemon, Page, Llama]) -> bool:
    """Whether the daemon has the right to see which process has which socket."""
    return page[0].begin is not unprivileged.powerless


def called(page: tuple[Daemon, Page, Llama]) -> str:
    """The name of the honest server: by its port where that is certainly its own."""
    return f"llamacpp:{page[2].port}" if sees_sockets(page) else "llamacpp:model=tiny"


def test_metrics_stay_well_formed(page: tuple[Daemon, Page, Llama]) -> None:
    """Prometheus' own parser and promtool take them; no series has a name of a page that was read."""
    _, scraped, _ = page
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is not on PATH: run the end-to-end tests with `make e2e`"
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=scraped.body, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    assert {name for name in scraped.rows if not name.startswith(("inference_", "process_"))} == {
        "python_info",
        "python_gc_collections_total",
        "python_gc_objects_collected_total",
        "python_gc_objects_uncollectable_total",
    }
    assert b"\x1b" not in scraped.body
    assert all(
        value.isprintable()
        for rows in scraped.rows.values()
        for labels, _ in rows
        for value in labels.values()
    )
    assert len(scraped.body) < 200_000


def test_everybody_carries_their_own_dollars(page: tuple[Daemon, Page, Llama]) -> None:
    """Each of the four a quarter, whatever they call themselves."""
    _, scraped, _ = page
    rows = scraped.rows["inference_server_gpu_share_ratio"]
    server_of = {labels["uuid"]: labels["server"] for labels, _ in rows}
    assert server_of[UUIDS[0]] == called(page)
    assert sorted(server_of) == sorted(UUIDS)
    assert len(set(server_of.values())) == 4
    for server in server_of.values():
        assert scraped.sum("inference_cost_dollars_total", server=server) == pytest.approx(
            scraped.sum("inference_cost_dollars_total") / 4, rel=1e-6
        )
    assert server_of[UUIDS[1]] == "unmatched:evil"
    assert scraped.value("inference_ledger_residual_dollars") == 0


def test_tokens_are_of_who_serves_them(page: tuple[Daemon, Page, Llama]) -> None:
    """Who claims another one's port has none, and is read nowhere.

    Without capabilities nothing tells which of two programs of one user listens: neither is read, and both
    say why.
    """
    _, scraped, honest = page
    read = [labels["url"] for labels, up in scraped.rows["inference_server_up"] if up]
    reasons = {
        labels["server"]: labels["reason"] for labels, _ in scraped.rows["inference_server_unread_info"]
    }
    if sees_sockets(page):
        assert scraped.tokens(called(page)) == honest.count(honest.page())
        assert read == [honest.url]
        assert len(scraped.rows["inference_tokens_total"]) == 3
        assert called(page) not in reasons
    else:
        assert read == []
        assert "inference_tokens_total" not in scraped.rows
        assert list(reasons.values()).count("port_contested") == 2
        assert reasons[called(page)] == "port_contested"


def test_the_page_and_its_data_stay_well_formed(page: tuple[Daemon, Page, Llama]) -> None:
    """What stands on a command line is no markup, and no escape sequence."""
    daemon, _, _ = page
    status, body = get(daemon.port, "/")
    assert (status, b"<script>\xff" in body, b"1e300 <script>" in body, b"\x1b" in body) == (
        200,
        False,
        False,
        False,
    )
    status, body = get(daemon.port, "/cost.json")
    assert status == 200
    json.loads(body)
    assert b"\x1b" not in body


def test_the_log_stays_lines(page: tuple[Daemon, Page, Llama]) -> None:
    """One for each event, each with its time; short, and without escape sequences."""
    daemon, _, _ = page
    lines = daemon.log.read_bytes().splitlines()
    assert [line for line in lines if not re.match(rb"ts=2\d{3}-\d\d-\d\dT\S+ level=\w+ msg=", line)] == []
    assert max(map(len, lines)) < 2000
    assert b"\x1b" not in daemon.log.read_bytes()
