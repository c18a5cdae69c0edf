"""Doing what the remedy of a reason says makes it go away: each row of the table."""

import os
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from exporter.clock import SystemClock
from exporter.config import load
from exporter.engines.launch import Launch
from exporter.readings import FailureReason, GpuReading, ReadFailedError, unread_reason
from exporter.sources.discovery import servers
from exporter.sources.discovery.servers import HostSnapshot, find_servers
from exporter.sources.endpoints import EndpointSources, configured_targets
from exporter.sources.kubernetes import Pod, PodAnnotations
from exporter.sources.processes import ProcessGroup
from exporter.sources.processes.procfs import ListeningSocket, Proc
from tests.sources.discovery.builders import NOW, api, gpu, group, pod, podded, sockets

OWN_NETWORK = Proc().network("self") or 0

VLLM = b'vllm:prompt_tokens_total{model_name="m"} 70\nvllm:generation_tokens_total{model_name="m"} 30\n'
LLAMA = b"llamacpp:prompt_tokens_total 1\nllamacpp:tokens_predicted_total 2\n"
LITELLM = b'litellm_proxy_total_requests_metric_total{team="a"} 1\n'
NODE = b"node_load1 0.5\n"
RECORDINGS = Path(__file__).parents[2] / "recordings"
FRONTEND = (RECORDINGS / "dynamo-frontend-1.6.1/0003.prom").read_bytes()
WORKER = (RECORDINGS / "dynamo-1.6.1-vllm-0.31.0/0003.prom").read_bytes()

ELSEWHERE = {
    FailureReason.TIMEOUT: "tests/sources/server/test_fetch.py has each way to be late",
    FailureReason.SEVERAL_PROCESSES: "tests/e2e/test_replicas.py gives each its own entry",
    FailureReason.INTERNAL: "a slip of ours, which nobody can make go away but we",
}
"""Rows whose remedy is nothing that a test could do."""


@dataclass
class Page:
    """What a server says at one path, and to whom."""

    body: bytes = VLLM
    status: int = 200
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Server(ThreadingHTTPServer):
    """An inference server on loopback that says what it is told to say; by TLS with a context."""

    daemon_threads = True

    def __init__(self, pages: dict[str, Page], context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = pages
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever does not like the certificate hangs up."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path, Page(b"", 404))
        if page.token and self.headers.get("Authorization") != f"Bearer {page.token}":
            page = Page(b"", 401)
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page.body)

    def log_message(self, *_words: Any) -> None:
        """No word to the terminal of the tests."""


@dataclass
class Host:
    """What runs on a host and what its operator wrote, to be changed and looked at again."""

    folder: Path
    gpus: tuple[GpuReading, ...] = (gpu(0, 7),)
    groups: tuple[ProcessGroup, ...] = ()
    pods: tuple[Pod, ...] | None = ()
    config: str = ""
    stop: list[Callable[[], None]] = field(default_factory=list)
    inodes: dict[int, int] = field(default_factory=dict)
    """The sockets of the servers that listen, by port."""

    def socket(self, port: int) -> ListeningSocket:
        """The socket at a port; one that is nobody's where no server listens."""
        return ListeningSocket("127.0.0.1", port, self.inodes.get(port, port), os.geteuid())

    def serves(self, page: Page | None = None, path: str = "/metrics", **more: Any) -> Server:
        """A server begins to listen."""
        server = Server({path: page or Page()}, **more)
        self.inodes[server.port] = os.fstat(server.fileno()).st_ino
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        self.stop += [server.shutdown, server.server_close]
        return server

    def runs(self, port: int, pid: int = 7, engine: str = "vllm", **fields: Any) -> ProcessGroup:
        """The processes of a server of user 990 that listens at a port of the host."""
        start = Launch(engine, named_port=port, metrics_port=port)
        words = {"launch": start, **fields}
        here = sockets(self.socket(port), network=OWN_NETWORK, own=True)
        return group(pid, id=f"/{pid}", server=api(pid, port, **words), user=990, sockets=here)

    def reasons(self) -> set[FailureReason]:
        """Why what is here is not read; something is always here."""
        path = self.folder / "config.yaml"
        path.write_text(self.config, encoding="utf-8")
        config = load(path)
        result = find_servers(config, self.gpus, HostSnapshot(self.groups, (), self.pods), NOW)
        reasons = {one.reason for one in result.unread}
        endpoints = EndpointSources(SystemClock())
        targets = (*configured_targets(config.servers), *result.targets)
        sources = endpoints.of(targets, config.limits.body_bytes)
        assert sources or reasons
        for source in sources if len(targets) < 3 else ():
            try:
                source.read()
            except ReadFailedError as failure:
                reasons.add(unread_reason(failure.reason))
        endpoints.close()
        return reasons


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for end in host.stop:
        end()


Remedy = Callable[[], None]
Case = Callable[[Host], Remedy]
CASES: dict[FailureReason, Case] = {}


def case(reason: FailureReason) -> Callable[[Case], Case]:
    """Makes the reason come about; what it returns is what its remedy says."""

    def note(one: Case) -> Case:
        CASES[reason] = one
        return one

    return note


def writes(host: Host, config: str) -> Remedy:
    """The operator writes a configuration."""

    def remedy() -> None:
        host.config = config

    return remedy


def starts(host: Host, *groups: ProcessGroup) -> Remedy:
    """The operator starts the servers otherwise."""

    def remedy() -> None:
        host.groups = groups

    return remedy


def entry(metrics: str, match: str = "user: '990'") -> str:
    """An entry about the servers of one user."""
    return f"servers: [{{match: {{{match}}}, metrics: {{{metrics}}}}}]\n"


@case(FailureReason.NOT_LISTENING)
def _(host: Host) -> Remedy:
    port = host.serves().port
    host.groups = (replace_server(host.runs(port), port=None, metrics_port=None),)
    return writes(host, entry(f"port: {port}"))


@case(FailureReason.PORT_TAKEN)
def _(host: Host) -> Remedy:
    one = host.runs(host.serves().port)
    host.groups = (replace_server(one, port=None, metrics_port=None, port_fault=FailureReason.PORT_TAKEN),)
    return starts(host, one)


@case(FailureReason.PORT_CONTESTED)
def _(host: Host) -> Remedy:
    port = host.serves().port
    host.groups = (
        replace_server(
            host.runs(port), port=None, metrics_port=None, port_fault=FailureReason.PORT_CONTESTED
        ),
    )
    return writes(host, f'servers: [{{name: a, url: "http://127.0.0.1:{port}", gpus: all}}]\n')


@case(FailureReason.ADDRESS_TAKEN)
def _(host: Host) -> Remedy:
    one, other = host.runs(host.serves().port), host.runs(host.serves().port, 8)
    host.gpus, host.groups = (gpu(0, 7), gpu(1, 8)), (one, other)
    assert one.server is not None
    host.config = entry(f"port: {one.server.port}")
    return writes(host, "")


@case(FailureReason.NO_PORT)
def _(host: Host) -> Remedy:
    port = host.serves().port
    here = sockets(host.socket(port), host.socket(1), network=OWN_NETWORK, own=True)
    host.groups = (group(7, name="house", sockets=here, user=990),)
    host.config = "servers: [{match: {process: house}, engine: vllm}]\n"
    return writes(host, entry(f"port: {port}", "process: house"))


@case(FailureReason.NO_ADDRESS)
def _(host: Host) -> Remedy:
    port = host.serves().port
    host.groups = (replace_server(host.runs(port), reach="unknown", hosts=()),)
    return writes(host, f'servers: [{{name: a, url: "http://127.0.0.1:{port}", gpus: all}}]\n')


@case(FailureReason.NO_POD_ADDRESS)
def _(host: Host) -> Remedy:
    port = host.serves().port
    unseen = podded(0, 7)
    document = {"pod_annotations": PodAnnotations(port=port)}
    host.groups, host.pods = (unseen,), (pod("a-0", "a", ips=(), **document),)
    return looks_up(host, pod("a-0", "a", ips=("127.0.0.1",), **document))


@case(FailureReason.NO_POD_NAME)
def _(host: Host) -> Remedy:
    port = host.serves().port
    host.groups, host.pods = (podded(0, 7, server=api(7, port)),), None
    return looks_up(host, pod("a-0", "a"))


@case(FailureReason.LOOPBACK)
def _(host: Host) -> Remedy:
    one = host.runs(host.serves().port)
    host.groups = (replace_server(one, reach="loopback", hosts=()),)
    return starts(host, replace_server(one, reach="address", hosts=("127.0.0.1",)))


@case(FailureReason.PATH)
def _(host: Host) -> Remedy:
    fields = {"ips": ("127.0.0.1",)}
    host.groups = (podded(0, 7, server=api(7, host.serves().port)),)
    host.pods = (pod("a-0", "a", pod_annotations=PodAnnotations(path="metrics"), **fields),)
    return looks_up(host, pod("a-0", "a", pod_annotations=PodAnnotations(path="/metrics"), **fields))


@case(FailureReason.TOKEN_IN_THE_CLEAR)
def _(host: Host) -> Remedy:
    server, ca_file = by_tls(host, "127.0.0.1")
    (host.folder / "token").write_text("secret", encoding="ascii")
    host.groups = (replace_server(host.runs(server.port), reach="address"),)
    host.groups = (replace(host.groups[0], sockets=None),)
    token = f"bearer_token_file: {host.folder}/token"
    host.config = entry(token)
    return writes(host, entry(f"scheme: https, ca_file: {ca_file}, {token}"))


@case(FailureReason.TOO_MANY)
def _(host: Host) -> Remedy:
    groups = [host.runs(port, port) for port in range(1, servers.TARGETS_MAX + 2)]
    host.gpus, host.groups = (gpu(0, *range(1, servers.TARGETS_MAX + 2)),), (*groups,)
    return starts(host, *groups[:-1])


@case(FailureReason.CONNECTION)
def _(host: Host) -> Remedy:
    ended, other = host.serves(), host.serves()
    host.groups = (host.runs(ended.port),)
    ended.shutdown()
    ended.server_close()
    return starts(host, host.runs(other.port))


@case(FailureReason.TLS)
def _(host: Host) -> Remedy:
    host.groups = (host.runs(host.serves().port),)
    host.config = entry("scheme: https")
    return writes(host, entry("scheme: http"))


@case(FailureReason.CERTIFICATE)
def _(host: Host) -> Remedy:
    server, ca_file = by_tls(host, "127.0.0.1")
    host.groups = (host.runs(server.port),)
    host.config = entry("scheme: https")
    return writes(host, entry(f"scheme: https, ca_file: {ca_file}"))


@case(FailureReason.CERTIFICATE_NAME)
def _(host: Host) -> Remedy:
    server, ca_file = by_tls(host, "chat.example.com")
    host.groups = (host.runs(server.port),)
    host.config = entry(f"scheme: https, ca_file: {ca_file}")
    return writes(host, entry(f"scheme: https, ca_file: {ca_file}, server_name: chat.example.com"))


@case(FailureReason.TOKEN_FILE)
def _(host: Host) -> Remedy:
    host.groups = (host.runs(host.serves(Page(token="secret")).port),)  # noqa: S106 - of this test
    host.config = entry(f"bearer_token_file: {host.folder}/token")
    return lambda: void((host.folder / "token").write_text("secret", encoding="ascii"))


@case(FailureReason.UNAUTHORIZED)
def _(host: Host) -> Remedy:
    host.groups = (host.runs(host.serves(Page(token="secret")).port),)  # noqa: S106 - of this test
    (host.folder / "token").write_text("secret", encoding="ascii")
    return writes(host, entry(f"bearer_token_file: {host.folder}/token"))


@case(FailureReason.NOT_FOUND)
def _(host: Host) -> Remedy:
    host.groups = (host.runs(host.serves(path="/llm/metrics").port),)
    return writes(host, entry("path: /llm/metrics"))


@case(FailureReason.METRICS_OFF)
def _(host: Host) -> Remedy:
    server = host.serves(Page(status=501))
    start = Launch("llamacpp", server.port, metrics_port=server.port, metrics=False)
    host.groups = (host.runs(server.port, launch=start),)
    restarted = host.serves(Page(LLAMA))
    return starts(host, host.runs(restarted.port, engine="llamacpp"))


@case(FailureReason.REDIRECT)
def _(host: Host) -> Remedy:
    server = host.serves(Page(status=307, headers={"Location": "/metrics/"}))
    server.pages["/metrics/"] = Page()
    host.groups = (host.runs(server.port),)
    return writes(host, entry("path: /metrics/"))


@case(FailureReason.HTTP_STATUS)
def _(host: Host) -> Remedy:
    return mends(host, Page(status=503))


@case(FailureReason.ENCODING)
def _(host: Host) -> Remedy:
    return mends(host, Page(headers={"Content-Encoding": "br"}))


@case(FailureReason.TOO_LARGE)
def _(host: Host) -> Remedy:
    host.groups = (host.runs(host.serves(Page(VLLM + b"# more\n" * 20_000)).port),)
    host.config = "limits: {body_bytes: 65536}\n"
    return writes(host, "limits: {body_bytes: 1048576}\n")


@case(FailureReason.NOT_RECOGNIZED)
def _(host: Host) -> Remedy:
    wrong, right = host.serves(Page(NODE)), host.serves()
    entry = 'servers: [{{name: a, url: "http://127.0.0.1:{port}", gpus: all}}]\n'
    host.config = entry.format(port=wrong.port)
    return writes(host, entry.format(port=right.port))


@case(FailureReason.NO_TOKENS)
def _(host: Host) -> Remedy:
    host.groups = (host.runs(host.serves().port, engine="ollama"),)
    return starts(host, host.runs(host.serves(Page(LLAMA)).port, engine="llamacpp"))


@case(FailureReason.GATEWAY)
def _(host: Host) -> Remedy:
    gateway, behind = host.serves(Page(LITELLM)), host.serves()
    entry = 'servers: [{{name: a, url: "http://127.0.0.1:{port}", gpus: all}}]\n'
    host.config = entry.format(port=gateway.port)
    return writes(host, entry.format(port=behind.port))


@case(FailureReason.COUNTED_TWICE)
def _(host: Host) -> Remedy:
    front = host.serves(Page(FRONTEND))
    worker = host.serves(Page(WORKER))
    one = f'{{name: a, url: "http://127.0.0.1:{front.port}", gpus: all, engine: dynamo-frontend}}'
    other = f'{{name: b, url: "http://127.0.0.1:{worker.port}", gpus: all}}'
    host.config = f"servers: [{one}, {other}]\n"
    return writes(host, f"servers: [{other}]\n")


@case(FailureReason.ROUTER)
def _(host: Host) -> Remedy:
    props = b'{"role": "router", "model_alias": "llama-server", "build_info": "b1", "total_slots": 0}'
    router = host.serves(Page(props), "/props")
    router.pages["/metrics?model=m&autoload=false"] = Page(LLAMA)
    host.config = f'servers: [{{name: a, url: "http://127.0.0.1:{router.port}", gpus: all}}]\n'
    return writes(host, host.config.replace(f"{router.port}", f"{router.port}/metrics?model=m"))


@case(FailureReason.ASLEEP)
def _(host: Host) -> Remedy:
    server = host.serves(Page(LLAMA))
    props = '{"model_alias": "m", "build_info": "b1", "total_slots": 1, "is_sleeping": %s}'
    server.pages["/props"] = Page((props % "true").encode())
    host.groups = (host.runs(server.port, engine="llamacpp"),)
    return lambda: server.pages.update({"/props": Page((props % "false").encode())})


def replace_server(one: ProcessGroup, **fields: Any) -> ProcessGroup:
    """The same group, its server found otherwise."""
    assert one.server is not None
    return replace(one, server=replace(one.server, **fields))


def looks_up(host: Host, *pods: Pod) -> Remedy:
    """The pods of the node are told."""

    def remedy() -> None:
        host.pods = pods

    return remedy


def mends(host: Host, page: Page) -> Remedy:
    """A page that is not right, and becomes so."""
    server = host.serves(page)
    host.groups = (host.runs(server.port),)
    return lambda: server.pages.update({"/metrics": Page()})


def by_tls(host: Host, name: str) -> tuple[Server, Path]:
    """A server whose certificate an authority of its own signed for a name, and that authority's file."""
    authority, path = trustme.CA(), host.folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return host.serves(context=context), path


def void(_done: object) -> None:
    """A remedy has no answer."""


@pytest.mark.parametrize("reason", sorted(CASES))
def test_doing_what_the_remedy_says_makes_the_reason_go_away(reason: FailureReason, host: Host) -> None:
    """Before, it is the only reason; after, there is none."""
    remedy = CASES[reason](host)
    assert host.reasons() == {reason}

    remedy()

    assert host.reasons() == set()


def test_every_reason_that_has_a_remedy_is_tried() -> None:
    """Or says why it cannot be."""
    with_remedy = {reason for reason in FailureReason if reason.remedy}
    assert CASES.keys() | ELSEWHERE.keys() == with_remedy
