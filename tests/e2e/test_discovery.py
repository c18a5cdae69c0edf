"""Without configuration, on this machine: real servers and other processes are found, priced and counted.

A llama.cpp server in the daemon's network, one in a network of its own, and a training job hold a GPU each;
NVML (the fake one) lists their real process ids. The daemon runs as root without any capability.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import unprivileged
from tests.e2e.daemon import Daemon, Page
from tests.e2e.gpu_processes import RemoteLlama, compute, trainer
from tests.e2e.llama import Llama
from tests.e2e.network import Network
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.rights import NETWORKS

COST, SECONDS = "inference_cost_dollars_total", "inference_gpu_seconds_total"
COUNTERS = (COST, "inference_server_cost_dollars_total", "inference_gpu_cost_dollars_total")
TRAINER = "unmatched:train.py"
SECRET = "s3cr3t-" + "0123456789" * 3
UUIDS = tuple(gpu.uuid for gpu in h100s(4))

HOOK = """
import os, sys
_own = f"/proc/{os.getpid()}/"
_log = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def _hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        path = str(arguments[0])
        if path.startswith("/proc/") and not path.startswith(_own):
            os.write(_log, f"{path}\\n".encode())
sys.addaudithook(_hook)
"""
"""Begins with the interpreter, and writes down what it opens of other processes."""

pytestmark = pytest.mark.timeout(120)


@dataclass
class Scene:
    """A page, and what the servers themselves had counted when it was taken."""

    page: Page
    here: dict[str, int]
    elsewhere: dict[str, int] = field(default_factory=dict)


@dataclass
class Story:
    """What happened on the host, in order."""

    port: int
    elsewhere_address: str
    discovered: Scene
    served: Scene
    after_outage: Scene
    restarted: Scene
    third: Scene
    ended: Page
    named: Scene
    before_name: Scene
    text: str
    opened: set[str]
    pids: frozenset[int]

    @property
    def here(self) -> str:
        """The name of the server in the daemon's network."""
        return f"llamacpp:{self.port}"

    @property
    def elsewhere(self) -> str:
        """The name of the server in a network of its own."""
        return f"llamacpp:{self.elsewhere_address}"


def serve(server: Llama, people: int) -> None:
    """So many short prompts, all different."""
    for number in range(people):
        server.complete(f"{number} tokens cost money per gpu second, {server.port}", 30)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    if os.geteuid() != 0:
        pytest.skip(NETWORKS)
    folder = tmp_path_factory.mktemp("found")
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    gpus = FakeNvml(folder, Scenario(h100s(4, utilization=40, power_mw=400_000)))
    paths = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**gpus.environment(), "PYTHONPATH": paths, "OPENED": str(folder / "opened")}
    with (
        Network() as network,
        Llama(folder / "here.log") as here,
        RemoteLlama(folder / "elsewhere.log", network) as elsewhere,
        trainer(folder, "--token", SECRET, secret=SECRET) as training,
    ):
        daemon = Daemon(folder, "interval: 1s\n", environment)
        daemon.begin = unprivileged.powerless
        others = (elsewhere.process.pid, training.pid)  # type: ignore[union-attr]
        compute(gpus, here.process.pid, *others, None)  # type: ignore[union-attr]
        with daemon:
            yield run_story(daemon, gpus, here, elsewhere, folder, others)


def run_story(
    daemon: Daemon, gpus: FakeNvml, here: Llama, elsewhere: RemoteLlama, folder: Path, others: tuple[int, int]
) -> Story:
    def scene() -> Scene:
        counted = here.at_rest(), elsewhere.at_rest()
        return Scene(daemon.settled(), *counted)

    def now(third: int | None = None) -> None:
        assert here.process is not None
        compute(gpus, here.process.pid, *others, third)

    discovered = scene()
    serve(here, 6)
    serve(elsewhere, 4)
    served = scene()

    daemon.kill()
    serve(here, 3)
    serve(elsewhere, 2)
    daemon.start()
    after_outage = scene()

    # The next process at this address serves more than the former one had by the time it is seen.
    here.restart()
    serve(here, 12)
    now()
    restarted = scene()

    with Llama(folder / "third.log") as late:
        serve(late, 2)  # before NVML lists it: it is no router, as will be known
        assert late.process is not None
        now(late.process.pid)
        serve(late, 2)
        counted = late.at_rest()
        third = Scene(daemon.settled(), counted, {"port": late.port})
    now()
    ended = daemon.settled()

    before_name = scene()
    rule = f"servers:\n  - {{match: {{port: {here.port}}}, name: chat}}\n"
    assert daemon.reload(f"interval: 1s\n{rule}") == 200
    daemon.settled()
    serve(here, 2)
    named = scene()
    daemon.terminate(10)
    read = [
        (folder / name).read_bytes()
        for name in ("daemon.log", "ledger.db", "ledger.db-wal")
        if (folder / name).exists()
    ]
    text = b"\n".join([*read, *(page.body for page in daemon.pages)]).decode(errors="replace")
    opened = set((folder / "opened").read_text(encoding="utf-8").splitlines())
    assert here.process is not None
    return Story(
        here.port,
        f"{elsewhere.host}:{elsewhere.port}",
        discovered,
        served,
        after_outage,
        restarted,
        third,
        ended,
        named,
        before_name,
        text,
        opened,
        frozenset({here.process.pid, *others}),
    )


def holders(page: Page) -> dict[str, str]:
    """Who holds each GPU; a GPU of nobody is left out."""
    rows = page.rows.get("inference_server_gpu_share_ratio", ())
    server_of = {labels["uuid"]: labels["server"] for labels, _ in rows}
    assert len(server_of) == len(rows)
    assert {value for _, value in rows} == {1}
    return server_of


def total(*counts: dict[str, int]) -> dict[str, int]:
    """Tokens by kind of several processes together."""
    return {kind: sum(count[kind] for count in counts) for kind in counts[0]}


def test_servers_and_a_training_job_are_found(story: Story) -> None:
    """By engine, network and port; what is no server by its program. The fourth GPU is nobody's."""
    expected = dict(zip(UUIDS, (story.here, story.elsewhere, TRAINER), strict=False))
    assert holders(story.discovered.page) == expected
    up = {labels["url"]: value for labels, value in story.discovered.page.rows["inference_server_up"]}
    assert up == {
        f"http://127.0.0.1:{story.port}/metrics": 1,
        f"http://{story.elsewhere_address}/metrics": 1,
    }


def test_what_was_found_is_priced(story: Story) -> None:
    """Without a configured price each GPU has an estimate, and says so."""
    rows = story.discovered.page.rows["inference_price_info"]
    assert {(labels["uuid"], labels["price_basis"]) for labels, _ in rows} == {
        (uuid, "estimate") for uuid in UUIDS
    }
    assert story.discovered.page.matching("inference_gpu_priced") == [1, 1, 1, 1]


def test_tokens_are_the_servers_own(story: Story) -> None:
    """Exactly, in both networks."""
    for scene in (story.served, story.after_outage):
        assert scene.page.tokens(story.here) == scene.here
        assert scene.page.tokens(story.elsewhere) == scene.elsewhere
    assert min(story.served.here["generation"], story.served.elsewhere["generation"]) > 100
    assert story.after_outage.here != story.served.here


def test_names_survive_a_killed_daemon(story: Story) -> None:
    """Who holds what is found anew, under the same names."""
    assert holders(story.after_outage.page) == holders(story.discovered.page)
    servers = {labels["server"] for labels, _ in story.after_outage.page.rows[SECONDS]}
    assert servers == {story.here, story.elsewhere, TRAINER, "unallocated"}


def test_a_server_that_is_started_anew_is_counted_once(story: Story) -> None:
    """It adds all that it served to what the former process had, though it has served more by then."""
    assert story.restarted.here["generation"] > story.after_outage.here["generation"]
    assert story.restarted.page.tokens(story.here) == total(story.after_outage.here, story.restarted.here)
    assert holders(story.restarted.page) == holders(story.discovered.page)


def test_a_server_that_starts_later_is_counted_from_zero(story: Story) -> None:
    """It was seen to start: what it served before it was read is counted, too."""
    name = f"llamacpp:{story.third.elsewhere['port']}"
    assert holders(story.third.page)[UUIDS[3]] == name
    assert story.third.page.tokens(name) == story.third.here


def test_a_server_that_ends_leaves_its_gpu_unallocated(story: Story) -> None:
    """Nobody holds it, nobody fails to be read, and its tokens stay."""
    name = f"llamacpp:{story.third.elsewhere['port']}"
    assert UUIDS[3] not in holders(story.ended)
    assert story.ended.tokens(name) == story.third.here
    assert story.ended.matching("inference_source_up", source=f"server:{name}") == []
    idle = [page.sum(SECONDS, server="unallocated") for page in (story.ended, story.before_name.page)]
    assert idle[1] - idle[0] == pytest.approx(story.before_name.page.tick - story.ended.tick, abs=0.2)


def test_a_reload_names_what_was_found(story: Story) -> None:
    """From then on its dollars and tokens are `chat`'s; what was posted stays where it was."""
    assert holders(story.named.page)[UUIDS[0]] == "chat"
    before, after = story.before_name, story.named
    assert after.page.tokens(story.here) == before.page.tokens(story.here)
    moved = {kind: after.here[kind] - before.here[kind] for kind in after.here}
    chat = after.page.tokens("chat")
    assert {kind: chat.get(kind, 0) for kind in moved} == moved


@pytest.mark.parametrize("when", ["discovered", "served", "after_outage", "restarted", "third", "named"])
def test_no_dollar_is_lost(story: Story, when: str) -> None:
    """Three sums of the same dollars, a residual of nothing; the training job carries a quarter of them."""
    page: Page = getattr(story, when).page
    sums = [page.sum(name) for name in COUNTERS]
    assert sums[0] > 0
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)
    assert page.value("inference_ledger_residual_dollars") == 0
    assert page.sum(SECONDS, server=TRAINER) == pytest.approx(page.sum(SECONDS) / 4, rel=1e-9)
    assert page.sum(COST, server=TRAINER) == pytest.approx(page.sum(COST) / 4, rel=1e-6)


def test_no_source_fails_without_capabilities(story: Story) -> None:
    """As root without any: everything that was needed could be read."""
    page = story.named.page
    sources = {labels["source"] for labels, _ in page.rows["inference_source_up"]}
    assert sources == {"nvml", "clock", "processes", "server:chat", f"server:{story.elsewhere}"}
    assert page.matching("inference_source_up", source="processes") == [1]
    # A look may come while a process ends, or before a server listens.
    for reason in ("denied", "hidden", "namespace", "unreadable"):
        assert page.matching("inference_source_errors_total", source="processes", reason=reason) == []


def test_nothing_is_read_that_is_not_needed(story: Story) -> None:
    """Of another process: state, user, command line, cgroup, and its network's sockets and addresses.

    Of one whose first thread has ended, also the state of its others.
    """
    read = {
        re.sub(r"^task(/[0-9]+/stat)?$", "task", path.split("/", 3)[3])
        for path in story.opened
        if path.split("/")[2].isdigit() and path.count("/") > 2
    }
    assert {"stat", "cmdline", "cgroup", "net/tcp"} <= read
    network = {"net/tcp", "net/tcp6", "net/fib_trie", "net/if_inet6"}
    assert read <= {"stat", "status", "cmdline", "cgroup", "fd", "task"} | network
    for pid in story.pids:
        assert f"/proc/{pid}/cmdline" in story.opened


def test_secrets_are_kept_nowhere(story: Story) -> None:
    """What stands on a command line, or in an environment, is on no page, in no log and in no ledger."""
    assert SECRET not in story.text
    assert "train.py" in story.text
