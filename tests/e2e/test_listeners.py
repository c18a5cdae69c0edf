"""Who answers at an address: real programs of two users, and who gets a request, a token and the counts.

The daemon runs as root without any capability, as the DaemonSet runs it: it sees nobody's descriptors.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.readings import FailureReason, ReadFailedError
from exporter.sources.kubernetes import Pods, PodSource, ServiceAccount
from tests import unprivileged
from tests.e2e.daemon import Daemon, Page, free_port, until
from tests.e2e.gpu_processes import GpuProgram, compute
from tests.e2e.network import Network
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.rights import NETWORKS
from tests.sources.kubernetes.api_server import IDENTITY

OWNER, STRANGER = 1000, unprivileged.STRANGER
TOKEN = "t0ken-of-the-team"  # noqa: S105 - of these tests alone
HONEST, FORGED = 1_000, 5_000_000
"""Tokens on the page of each."""

RESTARTS = 10

ALL = "0.0.0.0"  # noqa: S104 - of programs that run for a minute

PROGRAM = '''\
"""Serves a page of vLLM's at HOST and PORT as soon as it gets them, and writes down what was sent to it.

SIGUSR1 closes the listener, and the program lives on, as a server does that drains.
"""
import asyncio, os, signal, socket, ssl, sys

async def answer(reader, writer):
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
    with open(os.environ["SENT"], "a") as sent:
        sent.write(" ".join(line for line in head.split("\\r\\n") if line[:4] in ("GET ", "Auth")) + "\\n")
    body = open(os.environ["PAGE"], "rb").read()
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain; version=0.0.4\\r\\n"
                 b"Content-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s" % (len(body), body))
    await writer.drain()
    writer.close()

async def main():
    host, port, certificate = os.environ["HOST"], int(os.environ["PORT"]), os.environ["CERTIFICATE"]
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    while True:
        try:
            if host == "dual":
                listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
                server = await asyncio.start_server(answer, sock=listener)
            else:
                server = await asyncio.start_server(answer, host, port, ssl=tls)  # "::" is for IPv6 alone
            break
        except OSError:
            await asyncio.sleep(0)
    open(os.environ["SENT"] + ".listens", "w").close()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, server.close)
    await asyncio.Event().wait()

asyncio.run(main())
'''

METRICS = """\
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {count}
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="m"}} {count}
"""

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("local users"),  # each daemon sees the programs of all tests that run
    pytest.mark.skipif(os.geteuid() != 0, reason=NETWORKS),
]


class Host:
    """A host with two GPUs, its programs, and a daemon that is yet to start."""

    def __init__(self, stack: ExitStack, folder: Path, mine: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._begun = 0
        self.mine = mine
        self.gpus = FakeNvml(mine, Scenario(h100s(2, utilization=40, power_mw=400_000)))
        self.port = free_port()
        self.token = mine / "token"
        self.token.write_text(TOKEN, encoding="ascii")
        self.token.chmod(0o600)
        self.daemon = Daemon(mine, "interval: 1s\n", self.gpus.environment())
        self.daemon.begin = unprivileged.powerless

    @property
    def rule(self) -> str:
        """An entry that sends a token to the vLLM of the owner."""
        return (
            f"servers:\n  - {{match: {{user: {OWNER}, process: vllm, port: {self.port}}}, name: chat, "
            f"metrics: {{bearer_token_file: {self.token}}}}}\n"
        )

    def starts(self, servers: str = "") -> None:
        """The daemon starts."""
        self.daemon.config.write_text(
            "interval: 1s\n"
            'hardware: [{match: {gpu_model: "*"}, rented: {dollars_per_gpu_hour: 2.5}}]\n'
            f"discovery: {{cloud: off, kubernetes: off}}\n{servers}",
            encoding="utf-8",
        )
        self._stack.enter_context(self.daemon)

    def program(
        self,
        user: int,
        host: str = "127.0.0.1",
        named: str = "vllm",
        count: int = HONEST,
        **options: Any,
    ) -> "Program":
        """A program of a user begins to listen, or tries to."""
        self._begun += 1
        return self._stack.enter_context(
            Program(self._folder / str(self._begun), self.port, user, host, named, count, **options)
        )

    def tokens(self) -> int:
        """The prompt tokens of all servers."""
        return int(self.daemon.settled().sum("inference_tokens_total", kind="prompt"))

    def unread(self, reason: str) -> Page:
        """A page on which a server is unread for a reason."""
        return self.daemon.until(
            lambda page: bool(page.matching("inference_server_unread_info", reason=reason)), reason
        )


class Program(GpuProgram):
    """A program of a user, what it was sent, and whether it listens."""

    def __init__(
        self,
        folder: Path,
        port: int,
        user: int,
        host: str,
        named: str,
        count: int,
        begin: Callable[..., list[str]] = lambda *argv: [*argv],
        within: Network | None = None,
        certificate: Path | None = None,
    ) -> None:
        folder.mkdir()
        (folder / named).write_text(PROGRAM, encoding="utf-8")
        self._page = folder / "page"
        self._sent = folder / "sent"
        self.serves(count)
        self._sent.touch()
        for path in (folder, self._sent):
            os.chown(path, user, user)
        python = shutil.which("python3", path="/usr/bin:/usr/local/bin")  # this one may be root's alone
        assert python is not None
        words = ("serve", "tiny/model", "--port", str(port))
        who = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
        environment = {
            "PATH": os.environ["PATH"],
            "SENT": str(self._sent),
            "PAGE": str(self._page),
            "HOST": host,
            "PORT": str(port),
            "CERTIFICATE": "",
        }
        if certificate is not None:
            shown = folder / "certificate.pem"
            parts = (certificate / name for name in ("certificate.pem", "key.pem"))
            shown.write_text("".join(part.read_text(encoding="ascii") for part in parts), encoding="ascii")
            os.chown(shown, user, user)
            environment["CERTIFICATE"] = str(shown)
        command = [*who, *begin(python, str(folder / named), *words)]
        super().__init__(command if within is None else within.command(*command), environment)

    @property
    def sent(self) -> str:
        """The lines of what was sent to it."""
        return self._sent.read_text(encoding="utf-8")

    @property
    def listens(self) -> bool:
        """Whether it got the address."""
        return self._sent.with_name("sent.listens").exists()

    def until_it_listens(self) -> "Program":
        """It, once it listens."""
        until(lambda: self.listens, 30, "a listener")
        return self

    def until_it_got_the_token(self, times: int = 1) -> None:
        """Wait until so many requests had the token."""
        until(lambda: self.sent.count(TOKEN) >= times, 30, f"the token, {times} times")

    def serves(self, count: int, page: str = METRICS) -> None:
        """From now on its page has this count."""
        part = self._page.with_name("next")
        part.write_text(page.format(count=count), encoding="utf-8")
        part.rename(self._page)

    def drains(self) -> None:
        """It closes its listener and lives on."""
        self.process.send_signal(signal.SIGUSR1)

    def ends(self) -> None:
        """It is killed."""
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as shared, ExitStack() as stack:
        folder = Path(shared)
        folder.chmod(0o755)  # pytest's own are root's alone
        yield Host(stack, folder, tmp_path)


def test_whoever_gets_the_port_of_a_server_that_ended_gets_nothing_else(host: Host) -> None:
    """Ten restarts under a stranger who waits for the port: no request, no token, none of its counts.

    Attempt: a program takes the port of another user's server that ended

    Result: no request, no token, none of its counts

    Left: a connection, closed before a byte
    """
    victim = host.program(OWNER).until_it_listens()
    compute(host.gpus, victim.pid, None)
    host.starts(host.rule)
    victim.until_it_got_the_token()
    requests = []
    for _ in range(RESTARTS):
        stranger = host.program(STRANGER, named="waits", count=FORGED)
        victim.ends()
        stranger.until_it_listens()
        host.daemon.settled()
        requests.append(stranger.sent)
        stranger.ends()
        victim = host.program(OWNER).until_it_listens()
        compute(host.gpus, victim.pid, None)
        victim.until_it_got_the_token()
    assert requests == [""] * RESTARTS
    assert host.tokens() <= (RESTARTS + 1) * HONEST


def test_a_server_that_drains_is_read_no_more_and_neither_is_who_has_its_port(host: Host) -> None:
    """Its processes live on, so that the scan of them stands; before it closed, it was read and counted.

    Attempt: a program takes the port of another user's server that drains

    Result: no request, no token, none of its counts

    Left: a connection, closed before a byte
    """
    victim = host.program(OWNER).until_it_listens()
    compute(host.gpus, victim.pid, None)
    host.starts(host.rule)
    victim.until_it_got_the_token()
    victim.serves(HONEST + 500)
    host.daemon.until(lambda page: page.tokens("chat").get("prompt", 0) >= 500, "what it served")
    stranger = host.program(STRANGER, named="waits", count=FORGED)
    victim.drains()
    stranger.until_it_listens()
    host.unread("not_listening")
    for _ in range(3):
        assert host.tokens() <= HONEST + 500
    assert stranger.sent == ""
    assert victim.process.poll() is None


def test_a_server_for_ipv6_alone_is_read_at_its_own_family(host: Host) -> None:
    """As asyncio, and with it uvicorn, listens at `::`; a stranger has the port on IPv4.

    Attempt: a program listens at the port of another user's server, on the other family

    Result: no request; the server is read on its own family

    Left: nothing
    """
    victim = host.program(OWNER, "::").until_it_listens()
    stranger = host.program(STRANGER, ALL, named="waits", count=FORGED).until_it_listens()
    compute(host.gpus, victim.pid, None)
    host.starts(host.rule)
    victim.until_it_got_the_token(3)
    assert stranger.sent == ""
    assert host.tokens() <= HONEST


def test_the_port_of_a_server_for_both_families_is_nobody_elses(host: Host) -> None:
    """The control of the last test: the kernel refuses the stranger."""
    victim = host.program(OWNER, "dual").until_it_listens()
    stranger = host.program(STRANGER, ALL, named="waits", count=FORGED)
    compute(host.gpus, victim.pid, None)
    host.starts(host.rule)
    victim.until_it_got_the_token(3)
    assert not stranger.listens
    assert host.tokens() <= HONEST


def local(host: Host, name: str, more: str = "") -> str:
    """An entry with a URL of this host, and a token."""
    return (
        f'servers:\n  - {{name: chat, url: "http://{name}:{host.port}", gpus: [0], '
        f"metrics: {{bearer_token_file: {host.token}}}{more}}}\n"
    )


@pytest.mark.parametrize(("ours", "theirs"), [(ALL, "::1"), ("::1", "127.0.0.1")])
def test_localhost_is_the_family_at_which_its_user_listens(host: Host, ours: str, theirs: str) -> None:
    """With `user` it is read there; a stranger at the other family gets nothing."""
    victim = host.program(OWNER, ours).until_it_listens()
    stranger = host.program(STRANGER, theirs, named="waits", count=FORGED).until_it_listens()
    host.starts(local(host, "localhost", f", user: {OWNER}"))
    victim.until_it_got_the_token(3)
    assert stranger.sent == ""
    assert host.tokens() <= HONEST


def test_localhost_is_nobody_where_two_users_listen(host: Host) -> None:
    """Without `user` neither is believed, and the reason is said; alone, the first one was read.

    Attempt: a program listens at the other family of a `url` with `localhost`

    Result: no request to either, and the reason `not_listening`

    Left: the server is not read until its entry has `user` or an address
    """
    victim = host.program(OWNER, ALL).until_it_listens()
    host.starts(local(host, "localhost"))
    victim.until_it_got_the_token(2)
    stranger = host.program(STRANGER, "::1", named="waits", count=FORGED).until_it_listens()
    host.unread("not_listening")
    host.daemon.settled()  # the request of the tick before may be written down later
    before = victim.sent
    host.daemon.settled()
    assert (stranger.sent, victim.sent) == ("", before)
    assert host.tokens() <= HONEST


def test_a_url_of_this_host_is_bound_to_a_user(host: Host) -> None:
    """Who gets the port after that user's server gets no request, as with servers that are found.

    Attempt: a program takes the port of a `url` with `user`

    Result: no request, no token

    Left: without `user` all of them; `check-config` warns where there is a token
    """
    victim = host.program(OWNER).until_it_listens()
    host.starts(local(host, "127.0.0.1", f", user: {OWNER}"))
    victim.until_it_got_the_token()
    stranger = host.program(STRANGER, named="waits", count=FORGED)
    victim.ends()
    stranger.until_it_listens()
    host.unread("not_listening")
    host.daemon.settled()
    assert stranger.sent == ""


def test_an_address_that_a_user_gives_his_own_network_is_not_read_in_place_of_anothers(host: Host) -> None:
    """A plain service of the host has that address; a container's own network is the control.

    Attempt: a user gives a network of their own an address that others have

    Result: nothing is read there, in either network

    Left: a page of others counts for them if they copy a connection within the milliseconds of its check
    """
    with Network() as network:
        address = network.neighbor
        service = host.program(OWNER, address, named="service", count=7_923).until_it_listens()
        claim = f'ip link set lo up && ip address add {address}/32 dev lo && exec "$0" "$@"'
        own = ("unshare", "-Urn", "sh", "-c", claim)
        stranger = host.program(STRANGER, ALL, begin=lambda *argv: [*own, *argv]).until_it_listens()
        contained = host.program(OWNER, ALL, within=network).until_it_listens()
        compute(host.gpus, stranger.pid, contained.pid)
        host.starts()
        until(lambda: contained.sent.count("/metrics") >= 3, 30, "three requests of the control")
        host.unread("not_listening")
        assert (service.sent, stranger.sent) == ("", "")
        assert host.tokens() <= HONEST


PODS = '{{"kind": "PodList", "apiVersion": "v1", "metadata": {{}}, "items": []}}'


def test_the_token_of_the_kubelet_goes_to_root_alone(host: Host) -> None:
    """Who takes the port of a kubelet without a known certificate gets none, ten times of ten.

    Attempt: a program takes the port of the kubelet while that restarts

    Result: no token of the service account

    Left: a TCP connection, closed before TLS
    """
    account = ServiceAccount("https://127.0.0.1:1", "node", host.token, host.token, "127.0.0.1")

    def pods() -> Pods:
        return PodSource(SystemClock(), account, "kubelet", kubelet_port=host.port).read()

    requests = []
    for _ in range(RESTARTS):
        kubelet = host.program(0, named="kubelet", certificate=IDENTITY).until_it_listens()
        kubelet.serves(0, PODS)
        assert pods().pods == ()
        assert TOKEN in kubelet.sent
        stranger = host.program(STRANGER, named="waits", certificate=IDENTITY)
        stranger.serves(0, PODS)
        kubelet.ends()
        stranger.until_it_listens()
        with pytest.raises(ReadFailedError, match=f"of uid {STRANGER}; it needs hostPID") as caught:
            pods()
        assert caught.value.reason == FailureReason.NOT_LISTENING
        requests.append(stranger.sent)
        stranger.ends()
    assert requests == [""] * RESTARTS
