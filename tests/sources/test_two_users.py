"""Two users on one host: nothing of one changes with what the other's processes say of themselves.

The proc tree is read, grouped and named by the daemon's own code, once with the victim alone and once with
the stranger beside it. Of the victim all is equal: names, addresses, tokens, and what it holds of each GPU.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.clock import SystemClock
from exporter.config.settings import Config, ServerRule
from exporter.readings import GpuProcess
from exporter.sources.discovery.servers import DiscoveryResult, HostSnapshot, find_servers
from exporter.sources.processes import ProcessSource
from exporter.sources.server import Target
from tests.depth import examples
from tests.sources.discovery.builders import CONTAINERS, NOW, UIDS, gpu, rule
from tests.sources.processes.proc_host import ANY, OURS, ProcHost, Socket

VICTIM, STRANGER = 1000, 1001
PORT, OTHER_PORT = 18000, 18001
GB: Final = 10**9
TOKEN: Final = Path("/etc/ice/token")

SERVED: Final = (
    ("vllm", "serve", "chat-70b", "--port", str(PORT)),
    ("vllm", "serve", "chat-70b"),
    ("python", "-m", "sglang.launch_server", "--model-path", "chat-70b", "--port", str(PORT)),
    ("ray::ProxyActor",),
    ("python", "train.py"),
    ("train",),
)
"""What the victim runs."""

CLAIMS: Final = (
    *SERVED,
    ("vllm", "serve", str(PORT), "--port", str(PORT)),
    ("vllm", "serve", str(PORT)),
    ("vllm", "serve", "chat-70b:user-1000"),
    ("vllm", "serve", "chat-70b", "--port", str(OTHER_PORT)),
    ("vllm", "serve", "evil", "--port", "8000"),
    ("llama-server", "--port", str(PORT), "--alias", "x" * 200),
    ("llama-server", "--models-dir", "/m", "--port", str(PORT)),
    ("nvidia-cuda-mps-server",),
    ("VLLM::EngineCore",),
    ("VLLM::Worker_TP0",),
    ("ray::RayWorkerWrapper",),
    ("sglang::scheduler_TP0",),
    ("raylet", f"--metrics-export-port={OTHER_PORT}"),
    ("chat",),
    ("unmatched:train",),
    ("\n\x1b[31m",),
    (),
)
"""What the stranger's processes call themselves."""

CGROUPS: Final = (
    "/",
    "/system.slice/vllm.service",
    "/system.slice/jupyterhub.service",
    "/system.slice/ssh.service",
    "/user.slice/user-1000.slice/session-3.scope",
    "/system.slice/slurmstepd.scope/job_7/step_0",
)
"""Where both may be."""

FORGED: Final = (
    *CGROUPS,
    "/user.slice/user-1001.slice/user@1001.service/app.slice/vllm.service",
    f"/user.slice/user-1001.slice/user@1001.service/docker-{CONTAINERS[1]}.scope",
    f"/user.slice/user-1001.slice/user@1001.service/kubepods/pod{UIDS[1]}/{CONTAINERS[1]}",
    f"/system.slice/jupyterhub.service/kubepods/pod{UIDS[1]}/{CONTAINERS[1]}",
    "/system.slice/jupyterhub.service/system.slice/vllm.service",
)
"""Cgroups that a stranger may make and enter."""


@dataclass(frozen=True)
class Program:
    """A process, what it holds of the two GPUs, and where it listens."""

    argv: tuple[str, ...]
    cgroup: str
    memory: tuple[int, int]
    socket: tuple[str, int] | None = None
    below: int = 0
    session: int = 0
    with_first: bool = False


memories = st.tuples(*(st.sampled_from([0, 0, 4 * GB, 40 * GB]) for _ in range(2)))
victims = st.builds(
    Program,
    st.sampled_from(SERVED),
    st.sampled_from(CGROUPS),
    memories,
    st.sampled_from([None, (ANY, PORT), ("127.0.0.1", PORT), (ANY, 8000), (ANY, OTHER_PORT)]),
)
others_of_a_host = st.builds(
    Program,
    st.sampled_from(CLAIMS),
    st.sampled_from(FORGED),
    memories,
    st.sampled_from([None, None, (ANY, 18002), ("127.0.0.1", 18002), ("127.0.0.2", PORT), ("::1", 8000)]),
    below=st.sampled_from([1, 100, 110, 200]),
    session=st.sampled_from([0, 100]),
    with_first=st.booleans(),
)
entries = st.sampled_from(
    [
        (),
        (rule("chat", user="1000", uid=VICTIM, process="*", bearer_token_file=TOKEN),),
        (rule("chat", user="1000", uid=VICTIM, containers=True, bearer_token_file=TOKEN),),
        (rule("chat", port=PORT),),
        (rule("chat", port=PORT, gpu_share_ratio=0.5),),
        (rule("chat", process="vllm"),),
        (rule("chat", unit="vllm.service", bearer_token_file=TOKEN),),
    ]
)


def has_what_it_claims(victim: Program, entries: tuple[ServerRule, ...]) -> bool:
    """Whether more than its age speaks for a victim: it listens at the port that names it, or names none.

    An entry for a program alone is of who began first, and so is one for a unit, whose first is its own.
    """
    if any(entry.match.user is None and entry.match.port is None for entry in entries):
        return False
    named = 8000 if victim.argv in (("vllm", "serve", "chat-70b"), ("ray::ProxyActor",)) else PORT
    by_port = "train" not in victim.argv[-1] or any(entry.match.port for entry in entries)
    return not by_port or (victim.socket is not None and victim.socket[1] == named)


def fair(victim: Program, other: Program, entries: tuple[ServerRule, ...]) -> Program:
    """A stranger without what is no word: the victim's port before it has that, an age where that counts."""
    holds = has_what_it_claims(victim, entries)
    listens = other.socket is not None and other.socket[1] in (PORT, 8000)
    socket = other.socket if holds or not listens else None
    return replace(other, socket=socket, with_first=other.with_first and holds)


def looked_at(
    root: Path, victim: Program, others: list[Program], entries: tuple[ServerRule, ...], *, may_trace: bool
) -> DiscoveryResult:
    """What the daemon finds on a host of a victim, its worker, and others."""
    host = ProcHost(root)
    worker = Program(("VLLM::EngineCore",), victim.cgroup, (3 * GB, 0))
    programs = {100: (victim, VICTIM), 110: (worker, VICTIM)}
    programs |= {200 + 10 * number: (other, STRANGER) for number, other in enumerate(others)}
    sockets: dict[int, Socket] = {
        pid: (*program.socket, 5000 + pid, user)
        for pid, (program, user) in programs.items()
        if program.socket is not None
    }
    for pid, (program, user) in programs.items():
        host.process(
            pid,
            *program.argv,
            parent=100 if pid == 110 else program.below or 1,
            session=program.session or pid,
            ticks=50 if program.with_first else 1000 + pid,
            cgroup=f"0::{program.cgroup}",
            network=(OURS, *sockets.values()),
            user=user,
        )
        if may_trace:
            host.open(pid, *([f"socket:[{sockets[pid][2]}]"] if pid in sockets else []))
    cards = [
        gpu(
            number,
            *(
                GpuProcess(pid, each.memory[number], 0.25)
                for pid, (each, _) in programs.items()
                if each.memory[number]
            ),
        )
        for number in range(2)
    ]
    computing = {process.pid for card in cards for process in card.processes or ()}
    groups = ProcessSource(SystemClock(), root=root).read(computing).groups
    result = find_servers(Config(server_rules=entries), tuple(cards), HostSnapshot(groups), NOW)
    return replace(result, targets=tuple(on_any_tree(target) for target in result.targets))


def on_any_tree(target: Target) -> Target:
    """A target without the number of its network, which each proc tree has of its own."""
    listener = target.access.listener
    access = replace(target.access, listener=listener and replace(listener, network=None))
    return replace(target, access=access)


ITS_PORT: Final = Program(
    ("vllm", "serve", "chat-70b", "--port", str(PORT)), "/", (0, 0), ("127.0.0.1", PORT)
)
RAYLET: Final = Program(
    ("raylet", f"--metrics-export-port={OTHER_PORT}"), CGROUPS[2], (0, 0), ("127.0.0.2", PORT)
)
BELOW: Final = Program(("train",), FORGED[9], (4 * GB, 0), ("127.0.0.1", 18002), with_first=True)


@examples(300)
# A socket at 127.0.0.1 is no claim to the port of another socket.
@example(ITS_PORT, [RAYLET, BELOW], (rule("chat", port=PORT),), False)
@given(victims, st.lists(others_of_a_host, min_size=1, max_size=3), entries, st.booleans())
def test_nothing_of_one_user_changes_with_the_words_of_another(
    victim: Program,
    others: list[Program],
    entries: tuple[ServerRule, ...],
    may_trace: bool,  # noqa: FBT001 - as hypothesis gives it
) -> None:
    """No dollar, name or token, whatever the other's processes are called and wherever they are.

    Nor when they began, but for a victim that only claims what it does not have yet: who was first has that.
    """
    others = [fair(victim, other, entries) for other in others]
    with tempfile.TemporaryDirectory() as alone, tempfile.TemporaryDirectory() as beside:
        before = looked_at(Path(alone), victim, [], entries, may_trace=may_trace)
        after = looked_at(Path(beside), victim, others, entries, may_trace=may_trace)
    keys = {one.key for one in before.servers}
    assert [one for one in after.servers if one.key in keys] == [*before.servers]
    assert [one for one in after.holders if one.key in keys] == [*before.holders]
    assert [one for one in after.targets if one.key in keys] == [*before.targets]
    # A stranger whom the host's own unit starts, and nobody else, is whom an entry for that unit means.
    if victim.cgroup == "/system.slice/vllm.service" or not any(entry.match.unit for entry in entries):
        assert [
            one.key for one in after.targets if one.access.bearer_token_file and one.key not in keys
        ] == []
