"""Servers that were made to starve, to lead astray or to kill whoever reads them: the others lose nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.e2e.daemon import Daemon, Page
from tests.e2e.hostile_server import QUICK, SLOW, Hostile
from tests.e2e.load_servers import KINDS, Load
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

MEBIBYTE = 2**20
SERIES = 17_000
PACES = {f"good-{number}": (number + 1, 2, 3) for number in range(7)}

pytestmark = pytest.mark.timeout(180)


def configuration(urls: dict[str, str], interval: str = "1s") -> str:
    """A host of eight GPUs, on which servers sit in turn."""
    servers = "".join(
        f'  - {{name: {name}, url: "{url}", engine: vllm, gpus: [{number % 8}]}}\n'
        for number, (name, url) in enumerate(urls.items())
    )
    return f"""
interval: {interval}
hardware: [{{rented: {{dollars_per_gpu_hour: 2.50}}}}]
servers:
{servers}"""


@pytest.fixture
def host(tmp_path: Path) -> FakeNvml:
    return FakeNvml(tmp_path, Scenario(h100s(8, utilization=60, power_mw=500_000)))


def most_resident(pid: int) -> int:
    """The most that a process ever had in memory, in bytes, as the kernel counts it."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024


def on_disk(daemon: Daemon) -> int:
    """Bytes of the ledger, and of all that SQLite keeps beside it."""
    return sum(path.stat().st_size for path in daemon.ledger.parent.glob(f"{daemon.ledger.name}*"))


def sound(page: Page) -> bool:
    """Whether the books balance, and no source met what no source may."""
    internal = page.matching("inference_source_errors_total", reason="internal")
    return page.value("inference_ledger_residual_dollars") == 0 and sum(internal) == 0


@contextmanager
def pages(body: Callable[[str], bytes]) -> Iterator[str]:
    """A server with a page at each path; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = body(self.path)
            self.send_response(200 if answer else 404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def crowded(salt: str, value: int) -> bytes:
    """A page of 17,000 counters, 2.2 MB."""
    line = (
        f'vllm:generation_tokens_total{{engine="0",model_name="m",tenant="{"x" * 48}-{salt}-%06d"}} {value}\n'
    )
    return (
        "process_start_time_seconds 1.5e9\n" + "".join(line % number for number in range(SERIES))
    ).encode()


def test_one_of_eight_servers_plays_every_trick(tmp_path: Path, host: FakeNvml) -> None:
    """The other seven are exact to the token, memory is flat, and what the page says stays little."""
    quick, slow = list(QUICK), list(SLOW)
    apart = len(quick) // len(slow)
    kinds = [kind for number, kind in enumerate(quick) for kind in _between(number, kind, slow, apart)]
    assert len(kinds) == len(QUICK) + len(SLOW) >= 31
    with ExitStack() as stack:
        load = stack.enter_context(Load(PACES))
        evil = stack.enter_context(Hostile(kinds))
        urls = {name: server.url for name, server in load.servers.items()} | {"evil": evil.url}
        daemon = stack.enter_context(Daemon(tmp_path, configuration(urls), host.environment()))
        daemon.until(lambda _: len(evil.played) > 2, "the first kinds", 60)
        before = psutil.Process(daemon.pid).memory_info().rss
        daemon.until(lambda _: evil.done, "all kinds", 150)
        for server in load.servers.values():
            server.freeze()
        page = daemon.settled()
        after, most = psutil.Process(daemon.pid).memory_info().rss, most_resident(daemon.pid)

        counted = {name: page.tokens(name) for name in load.servers}
        assert daemon.process is not None
        assert daemon.process.poll() is None
    assert set(evil.played) == set(kinds)
    assert counted == {
        name: dict(
            zip(
                KINDS,
                (last - first for first, last in zip(s.reported[0], s.reported[-1], strict=True)),
                strict=True,
            )
        )
        for name, s in load.servers.items()
    }
    assert sound(page)
    for name in load.servers:
        assert page.value("inference_server_up", server=name) == 1
        assert page.sum("inference_source_errors_total", source=f"server:{name}") == 0
    # 1e15 was refused; what came back counted one.
    assert page.sum("inference_tokens_total", server="evil") < 1_000_000
    assert page.sum("inference_source_errors_total", source="server:evil", reason="implausible_tokens") >= 1
    assert sum(len(rows) for rows in page.rows.values()) < 3_000
    assert after < before + 24 * MEBIBYTE
    assert most < 110 * MEBIBYTE


def _between(number: int, kind: str, slow: list[str], apart: int) -> Iterator[str]:
    """A quick kind, and after each few of them a slow one."""
    yield kind
    position, rest = divmod(number + 1, apart)
    if rest == 0 and position <= len(slow):
        yield slow[position - 1]


@pytest.mark.nightly
def test_a_page_that_makes_up_series_grows_neither_memory_nor_ledger(tmp_path: Path, host: FakeNvml) -> None:
    """17,000 new ones at each read: it had 236 MiB resident and 208 MiB of ledger after 26 reads."""
    reads = [0]

    def body(path: str) -> bytes:
        if path != "/metrics":
            return b""
        reads[0] += 1
        return crowded(str(reads[0]), 5)

    with (
        pages(body) as url,
        Daemon(tmp_path, configuration({"evil": f"{url}/metrics"}), host.environment()) as daemon,
    ):
        daemon.until(lambda _: reads[0] > 12, "a dozen reads", 120)
        page, most, disk = daemon.settled(), most_resident(daemon.pid), on_disk(daemon)
    assert page.value("inference_server_up", server="evil") == 1
    assert sound(page)
    assert most < 110 * MEBIBYTE
    assert disk < 20 * MEBIBYTE


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_32_honest_servers_of_17000_series_are_exact(tmp_path: Path, host: FakeNvml) -> None:
    """Each series rises by two: 34,000 tokens of each server. They had 641 MiB resident."""
    first, then = crowded("honest", 5), crowded("honest", 7)
    shown = {"body": first}

    def body(path: str) -> bytes:
        # Servers that started at one moment and count alike are one, by several addresses.
        _, metrics, name = path.rpartition("/metrics/")
        return shown["body"].replace(b"1.5e9", b"15000000" + name[1:].zfill(2).encode()) if metrics else b""

    names = [f"s{number}" for number in range(32)]
    with pages(body) as url:
        config = configuration({name: f"{url}/metrics/{name}" for name in names}, "5s")
        with Daemon(tmp_path, config, host.environment()) as daemon:
            # The model of a server is known once it was read.
            daemon.until(lambda page: _of_model(page) >= set(names), "all were read", 400, pause=1)
            shown["body"] = then
            page = daemon.until(
                lambda page: page.sum("inference_tokens_total") >= 2 * SERIES * 32,
                "their tokens",
                400,
                pause=1,
            )
            most = most_resident(daemon.pid)
    assert {name: page.tokens(name) for name in names} == {name: {"generation": 2 * SERIES} for name in names}
    assert sound(page)
    assert most < 200 * MEBIBYTE


def _of_model(page: Page) -> set[str]:
    rows = page.rows.get("inference_cost_dollars_total", ())
    return {labels["server"] for labels, _ in rows if labels["model"] == "m"}


def test_a_good_server_is_read_behind_sixteen_that_say_nothing(tmp_path: Path, host: FakeNvml) -> None:
    """It is the last of them, and was never read; now it is read within some ticks, and then in each."""
    with ExitStack() as stack:
        silent = [stack.enter_context(Hostile(["silence"])) for _ in range(16)]
        load = stack.enter_context(Load({"good": (5, 2, 3)}))
        good = load.servers["good"]
        urls = {f"silent-{number}": server.url for number, server in enumerate(silent)} | {"good": good.url}
        daemon = stack.enter_context(Daemon(tmp_path, configuration(urls), host.environment()))
        began = time.monotonic()
        daemon.until(
            lambda page: page.matching("inference_server_up", server="good") == [1.0], "it is read", 60
        )
        assert time.monotonic() - began < 30
        good.freeze()
        first = daemon.settled()
        ups = [first, daemon.settled(), daemon.settled()]
        assert [page.value("inference_server_up", server="good") for page in ups] == [1.0] * 3
        assert sum(first.tokens("good").values()) == sum(good.reported[-1]) - sum(good.reported[0])
        reasons = {
            labels["reason"]
            for labels, value in ups[-1].rows["inference_source_errors_total"]
            if labels["source"] == "server:silent-0" and value
        }
    assert reasons <= {"busy", "queued", "backoff", "timeout"}
    assert reasons


def test_600_model_names_of_one_server_leave_others_theirs(tmp_path: Path, host: FakeNvml) -> None:
    """Also after a restart: the honest one has its two rows. Of the other, its first two and 50 have rows."""
    served = {"/honest": ["llama-8b"], "/greedy": [f"made-up-{number:03}" for number in range(600)]}

    def body(path: str) -> bytes:
        names = served.get(path.partition("?")[0], [])
        return b"".join(
            b'vllm:generation_tokens_total{model_name="%s"} 100\n' % name.encode() for name in names
        )

    def models(page: Page, server: str) -> set[str]:
        rows = page.rows.get("inference_tokens_total", ())
        return {labels["model"] for labels, _ in rows if labels["server"] == server}

    with pages(body) as address:
        urls = {"greedy": f"{address}/greedy", "honest": f"{address}/honest"}
        daemon = Daemon(tmp_path, configuration(urls), host.environment())
        with daemon:
            daemon.until(
                lambda page: len(models(page, "greedy")) == 2 + 50 + 1, "the names of the greedy one"
            )
            assert daemon.terminate() == 0
            served["/honest"] = ["llama-8b", "llama-70b"]
            daemon.start()
            page = daemon.until(
                lambda page: models(page, "honest") == {"llama-8b", "llama-70b"}, "two rows of the honest one"
            )
            assert len(models(page, "greedy")) == 2 + 50 + 1
            assert sound(page)
