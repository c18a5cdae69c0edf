"""Processes of other users and containers beside a server: none is its worker, its namesake or its client.

Users, processes and cgroups are real: what the kernel says of them is all that the daemon has. It runs as
root without any capability, as the DaemonSet runs it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.sources.processes import census
from exporter.sources.processes.cgroups import Cgroup
from exporter.sources.processes.procfs import Proc
from tests import unprivileged
from tests.e2e.daemon import ROOT, Daemon, Page, free_port, until
from tests.e2e.gpu_processes import GIGABYTE, GpuProgram, waiting
from tests.e2e.test_trust import PAGE, SERVER
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Process, Scenario, h100s
from tests.rights import CONTAINERS

VICTIM, STRANGER = 1000, unprivileged.STRANGER
IN_HOST, IN_CONTAINER = 1010, 1011
"""Users that an entry means on the host itself, and in containers too."""

TOKEN = "t0ken-of-the-team"  # noqa: S105 - of these tests alone
PRICE = 2.50
GPUS = 24
RATE = "inference_cost_dollars_per_hour"

FIRST, SECOND = "4f1c" * 16, "ab12" * 16
"""Ids of containers."""
POD, OTHER_POD = "0a1b2c3d-1111-2222-3333-444455556666", "0f0f0f0f-1111-2222-3333-444455556666"

LEADERLESS = """
#include <pthread.h>
#include <unistd.h>
static void *work(void *nothing) { char c; _exit((int)read(0, &c, 1)); return nothing; }
int main(void) { pthread_t other; pthread_create(&other, 0, work, 0); pthread_exit(0); }
"""
"""A program whose first thread ends, and whose second one goes on."""

pytestmark = pytest.mark.timeout(180)


class Cgroups:
    """Cgroups of this host, made and removed: a folder of the tests' own stands for the root of a host."""

    def __init__(self) -> None:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
        root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
        if os.geteuid() != 0 or root is None or not os.access(root / "cgroup.procs", os.W_OK):
            pytest.skip(CONTAINERS)
        self._root = root / f"ice-{os.getpid()}"
        try:
            self._root.mkdir()
        except OSError:
            pytest.skip(CONTAINERS)

    def make(self, path: str) -> Path:
        """A cgroup."""
        folder = self._root / path
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        """Remove all, which no process is left in."""
        for folder, _, _ in os.walk(self._root, topdown=False):
            until(lambda folder=folder: _removed(Path(folder)), 10, f"{folder} is empty")


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


class Host:
    """Programs in cgroups of a host, each on GPUs of its own unless two are told to share."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.cgroups = Cgroups()
        stack.callback(self.cgroups.close)
        self._stack = stack
        self.gpus: list[tuple[Process, ...]] = []
        """The processes on each GPU."""

    def program(
        self, *argv: str, user: int, cgroup: str, executable: str = "", begin: tuple[str, ...] = ()
    ) -> int:
        """A program that waits, whatever it is called; its id."""
        executable = executable or waiting(self.folder)
        return self._begun(
            ["bash", "-c", 'exec -a "$0" "$@"', argv[0], executable, *argv[1:]], argv, user, cgroup, begin
        )

    def server(
        self, name: str, model: str, port: int, *, user: int, cgroup: str, begin: tuple[str, ...] = ()
    ) -> int:
        """A vLLM that answers, and writes down what it was sent; its id."""
        own = self.folder / name
        own.mkdir()
        (own / "vllm").write_text(SERVER, encoding="utf-8")
        (own / "page").write_text(PAGE.format(count=1000), encoding="utf-8")
        (own / "sent").touch()
        os.chown(own / "sent", user, user)
        python = shutil.which("python3", path="/usr/bin:/usr/local/bin")  # this one may be root's alone
        assert python is not None
        environment = {"SENT": str(own / "sent"), "PAGE": str(own / "page"), "LISTEN": str(port)}
        argv = [python, str(own / "vllm"), "serve", model, "--port", str(port)]
        return self._begun(argv, argv, user, cgroup, begin, environment)

    def _begun(
        self,
        command: list[str],
        argv: list[str] | tuple[str, ...],
        user: int,
        cgroup: str,
        begin: tuple[str, ...],
        environment: dict[str, str] | None = None,
    ) -> int:
        enter = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.cgroups.make(cgroup))]
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        variables = {"PATH": os.environ["PATH"], **(environment or {})}
        program = self._stack.enter_context(GpuProgram([*enter, *begin, *who, *command], variables))
        line = "".join(f"{word}\0" for word in argv).encode()
        until(lambda: _command_line(program.pid) in (line, b""), 20, f"{argv[0]} is begun")
        return program.pid

    def holds(self, *processes: int | tuple[int, int]) -> None:
        """The next GPU is held by these, with the gigabytes of each."""
        each = [one if isinstance(one, tuple) else (one, 20) for one in processes]
        self.gpus.append(tuple(Process(pid, gigabytes * GIGABYTE) for pid, gigabytes in each))

    def sent(self, name: str) -> str:
        """The requests that a server wrote down."""
        return (self.folder / name / "sent").read_text(encoding="utf-8")


def _command_line(pid: int) -> bytes | None:
    """The words of a process; none of one whose first thread has ended."""
    state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][:1]
    line = Path(f"/proc/{pid}/cmdline").read_bytes()
    return line if line or state == "Z" else None


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as shared, ExitStack() as stack:
        folder = Path(shared)
        folder.chmod(0o755)  # pytest's own are root's alone
        yield Host(folder, stack)


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """A port of this host for each server."""
    names = ("launcher", "jupyter", "named", "mine", "evil", "inside", "pod")
    return {name: free_port() for name in names}


@pytest.fixture(scope="module")
def daemon(host: Host, ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("identity")
    (folder / "token").write_text(TOKEN, encoding="ascii")
    (folder / "token").chmod(0o600)
    workers(host, ports)
    clients_of_mps(host)
    names(host, ports)
    users_of_containers(host, ports)
    (host.folder / "leaderless.c").write_text(LEADERLESS, encoding="utf-8")
    program = str(host.folder / "leaderless")
    subprocess.run(["cc", "-pthread", host.folder / "leaderless.c", "-o", program], check=True)
    host.holds(host.program("tune", user=VICTIM, cgroup="system.slice/tune.service", executable=program))
    config = f"""\
interval: 1s
hardware:
  - {{match: {{gpu_model: "*"}}, rented: {{dollars_per_gpu_hour: {PRICE}}}}}
ownership:
  rules:
    - {{match: {{server: "vllm:{ports["named"]}"}}, product: chat, team: victims}}
servers:
  - {{match: {{user: {IN_HOST}, process: vllm}}, name: chat, metrics: {{bearer_token_file: {folder}/token}}}}
  - match: {{user: {IN_CONTAINER}, containers: true, process: vllm}}
    name: inside
    metrics: {{bearer_token_file: {folder}/token}}
"""
    cards = h100s(len(host.gpus), utilization=40, power_mw=400_000)
    gpus = FakeNvml(
        folder,
        Scenario(tuple(replace(gpu, processes=each) for gpu, each in zip(cards, host.gpus, strict=True))),
    )
    daemon = Daemon(folder, config, gpus.environment())
    daemon.begin = unprivileged.powerless
    with daemon:
        yield daemon


@pytest.fixture(scope="module")
def page(daemon: Daemon) -> Page:
    return daemon.settled()


def rates(page: Page) -> dict[str, float]:
    """Dollars per hour of each server."""
    servers = {labels["server"] for labels, _ in page.rows[RATE]}
    return {server: round(page.sum(RATE, server=server), 3) for server in servers}


def workers(host: Host, ports: dict[str, int]) -> None:
    """A server with a worker of its own, and strangers that are called as one, in a unit and in a service."""
    unit, shared = "system.slice/launcher.service", "system.slice/jupyterhub.service"
    host.holds(host.server("launcher", "chat-70b", ports["launcher"], user=VICTIM, cgroup=unit))
    host.holds(host.program("VLLM::EngineCore", user=VICTIM, cgroup=unit))
    host.holds(host.program("VLLM::Worker_TP0", user=STRANGER, cgroup=unit))
    host.holds(host.program("train", user=1030, cgroup=unit))
    host.holds(host.server("jupyter", "chat-70b", ports["jupyter"], user=VICTIM, cgroup=shared))
    host.holds(host.program("VLLM::EngineCore", user=VICTIM, cgroup=shared))
    host.holds(host.program("VLLM::EngineCore", user=STRANGER, cgroup=shared))
    host.holds(host.program("ray::RayWorkerWrapper", user=STRANGER, cgroup=shared))


def test_a_worker_is_of_its_servers_user(page: Page, ports: dict[str, int]) -> None:
    """Two GPUs are each server's: its own and its worker's. Each stranger pays for its own.

    Attempt: a process in the unit or service of another user's server has the title of its workers

    Result: it is no worker, and its GPU is paid for under its program's name and its user

    Left: the name of its own GPU's cost
    """
    paid = rates(page)

    assert [paid[f"vllm:{ports[name]}"] for name in ("launcher", "jupyter")] == [2 * PRICE] * 2
    titles = ("VLLM::Worker_TP0", "VLLM::EngineCore", "ray::RayWorkerWrapper")
    assert [paid[f"unmatched:{name}:user-{STRANGER}"] for name in titles] == [PRICE] * 3
    assert paid["unmatched:train:user-1030"] == PRICE


MPS = "nvidia-cuda-mps-server"


def clients_of_mps(host: Host) -> None:
    """A stranger that is called as the server of MPS beside a victim, and alone; then those of two users."""
    session = "user.slice/user-1000.slice/session-3.scope"
    host.holds(
        (host.program(MPS, user=STRANGER, cgroup=session), 40),
        (host.program("job", user=VICTIM, cgroup=session), 4),
    )
    host.holds(host.program(MPS, user=1020, cgroup=session))
    own = host.program(MPS, user=1021, cgroup=session), host.program("client", user=1021, cgroup=session)
    host.holds((own[0], 40), (own[1], 4))
    roots = host.program(MPS, user=0, cgroup="system.slice/mps.service")
    host.holds((roots, 40), (host.program("client", user=1022, cgroup=session), 4))


def test_a_program_that_is_called_as_mps_pays_for_what_it_holds(page: Page) -> None:
    """40 of 44 GB of one GPU, and all of another; 4 of 44 GB are the victim's.

    Attempt: a process has the name of the MPS server

    Result: it pays for what it holds, unless a client of its own user is there

    Left: which of its user's own programs pays
    """
    paid = rates(page)

    assert paid[f"unmatched:job:user-{VICTIM}"] == round(PRICE * 4 / 44, 3)
    assert paid[f"unmatched:{MPS}:user-{STRANGER}"] == round(PRICE * 40 / 44, 3)
    assert paid[f"unmatched:{MPS}:user-1020"] == PRICE


def test_what_mps_holds_is_its_clients(page: Page) -> None:
    """The client of the same user, and any client of root's, pays for all of its GPU."""
    paid = rates(page)

    assert [paid[f"unmatched:client:user-{user}"] for user in (1021, 1022)] == [PRICE] * 2
    assert {name for name in paid if MPS in name} == {
        f"unmatched:{MPS}:user-{user}" for user in (STRANGER, 1020)
    }


def names(host: Host, ports: dict[str, int]) -> None:
    """A model that is called as a port, begun before the victim; two containers of root that look alike."""
    port = ports["named"]
    host.program(
        "vllm", "serve", str(port), "--port", str(port), user=STRANGER, cgroup="system.slice/ssh.service"
    )
    host.program(
        "vllm", "serve", "evil", "--port", str(port), user=STRANGER, cgroup="system.slice/ssh.service"
    )
    host.holds(host.server("named", "chat-70b", port, user=VICTIM, cgroup="system.slice/vllm.service"))
    for container, model in ((FIRST, "llama"), (SECOND, "llama"), ("cd34" * 16, "other")):
        apart = ("unshare", "--net")
        host.holds(host.server(container[:4], model, 8000, user=0, cgroup=f"docker/{container}", begin=apart))


def test_who_listens_keeps_its_name_and_its_product(page: Page, ports: dict[str, int]) -> None:
    """Whatever model and port a command line names, and however early.

    Attempt: a model has the name of another user's port, or a command line names that port

    Result: who listens keeps the name, the product and the team

    Left: until anybody listens or computes, the port's name or an entry without `user`, if it began first;
    the name of a server that listens at one address only, by listening at 127.0.0.1
    """
    assert rates(page)[f"vllm:{ports['named']}"] == PRICE
    assert page.sum(RATE, product="chat", team="victims") == pytest.approx(PRICE)


def test_two_containers_of_root_with_one_port_and_model_are_two_servers(page: Page) -> None:
    """The later one is called by its container; another model is a name of its own.

    Attempt: a container of root serves the model of another one, at the same port of its own network

    Result: they are two servers, and the later one has its container in its name

    Left: the plain name for who began first, unless an entry names it
    """
    paid = rates(page)

    assert paid["vllm:8000:llama"] == PRICE
    assert paid[f"vllm:8000:llama:container-{SECOND[:12]}"] == PRICE
    assert paid["vllm:8000:other"] == PRICE


def users_of_containers(host: Host, ports: dict[str, int]) -> None:
    """An entry's user on the host, in a container and in a pod; and one that is meant in containers too."""
    container, pod = f"docker/{'ef56' * 16}", f"kubepods/burstable/pod{POD}/{'9a9a' * 16}"
    host.holds(host.server("mine", "m", ports["mine"], user=IN_HOST, cgroup="system.slice/mine.service"))
    host.holds(host.server("evil", "evil", ports["evil"], user=IN_HOST, cgroup=container))
    host.holds(host.server("pod", "podded", ports["pod"], user=IN_CONTAINER, cgroup=pod))
    host.holds(host.server("inside", "m", ports["inside"], user=IN_CONTAINER, cgroup=f"docker/{'7b7b' * 16}"))


def test_an_entry_for_a_user_means_no_container(host: Host, page: Page, ports: dict[str, int]) -> None:
    """Nor a pod: neither gets its name, its token or its dollars. `containers` is for what root starts.

    Attempt: a container or a pod runs as the uid of an entry

    Result: it has no name, token or cost of that entry; `doctor` reports it

    Left: nothing, unless the entry has `containers: true`, and never for a pod
    """
    paid = rates(page)

    assert (paid["chat"], paid["inside"]) == (PRICE, PRICE)
    assert paid[f"vllm:{ports['evil']}:evil"] == PRICE
    assert paid[f"vllm:{ports['pod']}:podded"] == PRICE
    assert [f"Bearer {TOKEN}" in host.sent(name) for name in ("mine", "inside")] == [True, True]
    assert ["Bearer" in host.sent(name) for name in ("evil", "pod")] == [False, False]
    assert "/metrics" in host.sent("evil")


def test_the_doctor_says_what_to_write_instead(daemon: Daemon, ports: dict[str, int]) -> None:
    """For a container another key, for a pod its workload."""
    doctor = (sys.executable, "-m", "exporter", "doctor", "--config.file", str(daemon.config))
    command = daemon.begin(*doctor, "--ledger.path", str(daemon.ledger))
    done = subprocess.run(
        command, cwd=ROOT, env=daemon.environment, capture_output=True, text=True, check=False
    )
    by_uid = "matches this container by its uid alone"

    assert (
        f"server vllm:{ports['evil']}:evil: servers[0] {by_uid}: add `containers: true` to its match."
        in done.stdout
    )
    assert f"server vllm:{ports['pod']}:podded: servers[1] {by_uid}: write `workload:" in done.stdout


def test_a_program_whose_first_thread_ended_has_its_name(page: Page) -> None:
    """Its command line is still that of its other threads."""
    assert rates(page)[f"unmatched:tune:user-{VICTIM}"] == PRICE
    assert "unmatched:unknown" not in rates(page)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"kubepods/pod{POD}/{FIRST}", (POD, FIRST)),
        (f"kubepods/pod{POD}/{FIRST}/kubepods/pod{OTHER_POD}/{SECOND}", (POD, FIRST)),
        (f"kubepods/pod{POD}/{FIRST}/docker/{SECOND}", (POD, FIRST)),
        (f"docker/{FIRST}/kubepods/pod{OTHER_POD}/{SECOND}", ("", FIRST)),
        (f"system.slice/jupyterhub.service/kubepods/pod{OTHER_POD}/{SECOND}", ("", SECOND)),
    ],
)
def test_a_cgroup_that_a_process_makes_below_its_own_names_no_other_pod(
    path: str, expected: tuple[str, str], host: Host
) -> None:
    """The outermost pod and container count; below a unit there is no pod.

    Attempt: a process makes a cgroup with the name of another pod or container, and enters it

    Result: the outermost pod and container count, and none below a user's manager or a service

    Left: nothing
    """
    pid = host.program("sleep", user=VICTIM, cgroup=path)
    process = census.read(Proc(), pid, set())

    assert process is not None
    cgroup: Cgroup = process.cgroup
    assert (cgroup.pod, cgroup.container) == expected


def test_every_dollar_is_somebodys(host: Host, page: Page) -> None:
    """What the servers pay is what the GPUs cost."""
    assert sum(rates(page).values()) == pytest.approx(PRICE * len(host.gpus), abs=0.01)
