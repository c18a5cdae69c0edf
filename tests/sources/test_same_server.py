"""A server that two endpoints name is counted once: real sockets, read as the daemon reads them."""

import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config import parse
from exporter.config.settings import Config
from exporter.cost.policy import CardinalityLimits
from exporter.cost.server_deltas import collect_deltas
from exporter.cost.state import State
from exporter.readings import CounterReading, FailureReason, Peer, ServerKey, ServerReading
from exporter.sampler.frame_reader import FrameRead, FrameReader
from exporter.sources.endpoints import EndpointSources, configured_targets
from exporter.sources.http_client import peer_of
from exporter.sources.processes.procfs import ListeningSocket
from exporter.sources.same_server import SameServers, own_listeners, sockets_reached
from exporter.units import NANOSECONDS_PER_SECOND
from tests.kit.clock import START, ManualClock
from tests.sampler.sampler_fixture import FakeEndpoint, FakeNvmlSource, inline

VLLM = (
    'vllm:prompt_tokens_total{{model_name="m",engine="0"}} {tokens}\nprocess_start_time_seconds {started}\n'
)
NAMELESS = 'vllm:prompt_tokens_total{{model_name="m",engine="0"}} {tokens}\n'

Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server: an address to listen on, a port or 0, and the page of each request by its Host."""
    stops: list[Callable[[], object]] = []

    def start(page: Callable[[str], str], host: str = "0.0.0.0", port: int = 0) -> int:  # noqa: S104
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                if "/metrics" in self.path:
                    self.wfile.write(page(self.headers["Host"]).encode())

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        server = Server((host, port), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stops.extend((server.server_close, thread.join, server.shutdown))
        return int(server.server_port)

    yield start
    for stop in reversed(stops):
        stop()


class Daemon:
    """Reads configured endpoints every ten seconds, with one memory. `tokens` is what counted, by server."""

    def __init__(self, *urls: str) -> None:
        self.clock = ManualClock()
        self.tokens: Counter[str] = Counter()
        self._state = State()
        self._names: dict[str, str] = {}
        self._sources = EndpointSources(self.clock)
        self.configure(*urls)
        self.restart()

    def configure(self, *urls: str, first_engine: str = "") -> None:
        """A reload. The servers after the first are recognized by their pages."""
        engines = [first_engine and f", engine: {first_engine}", *[""] * len(urls)]
        servers = ", ".join(
            f'{{name: {self._name(url)}, url: "{url}", gpus: all{engine}}}'
            for url, engine in zip(urls, engines, strict=False)
        )
        self.config = parse(f"servers: [{servers}]\n".encode())

    def _name(self, url: str) -> str:
        """The same after each reload."""
        return self._names.setdefault(url, f"s{len(self._names)}")

    def restart(self) -> None:
        """What is kept on disk stays: the marks."""
        self._reader = FrameReader(self.clock, inline(self.clock), (FakeNvmlSource(),))

    def tick(self) -> FrameRead:
        self.clock.now += 10 * NANOSECONDS_PER_SECOND
        sources = self._sources.of(configured_targets(self.config.servers), 1 << 20)
        read = self._reader.read(self.config, sources, None, remembered=self._state)
        deltas = collect_deltas(self._state, read.frame, CardinalityLimits())
        self._state = replace(self._state, endpoints=deltas.endpoints)
        for server in deltas.servers:
            for model in server.models.values():
                self.tokens[server.key.server] += model.tokens.get("prompt", 0)
        return read

    def up(self) -> list[bool]:
        return [reading.up for reading in self.tick().frame.servers]

    def close(self) -> None:
        self._sources.close()


def test_a_server_by_two_names_is_counted_once(serve: Serve) -> None:
    """By an address, a name and another address of loopback; the later ones say what to do."""
    port = serve(lambda _: VLLM.format(tokens=100, started=1.5e9))
    urls = [f"http://{host}:{port}/metrics" for host in ("127.0.0.1", "localhost", "127.0.0.2")]
    with closing(Daemon(*urls)) as daemon:
        read = daemon.tick()

    assert [reading.up for reading in read.frame.servers] == [True, False, False]
    assert [len(reading.counters) for reading in read.frame.servers] == [1, 0, 0]
    assert [answer.health.reason for answer in read.servers[1:]] == [FailureReason.COUNTED_TWICE] * 2
    assert read.servers[1].problem == (
        f"{urls[1]}: the server that {urls[0]} reads, by another address: remove one of the two"
    )
    assert [server.reason for server in read.frame.unread] == ["counted_twice"] * 2


class Changing:
    """A page that a test writes; at first it is of no engine."""

    def __init__(self) -> None:
        self.text = "x 1\n"

    def __call__(self, _: str) -> str:
        return self.text


AFTER_THE_FIRST_TICK = START // NANOSECONDS_PER_SECOND + 15


def test_an_endpoint_that_is_read_alone_later_goes_on_where_the_other_one_stopped(serve: Serve) -> None:
    """The process starts while both are watched; a reload removes the first; then it counted 5,000,070."""
    page = Changing()
    port = serve(page)
    one, two = f"http://127.0.0.1:{port}/metrics", f"http://localhost:{port}/metrics"
    with closing(Daemon(one, two)) as daemon:
        assert daemon.up() == [False, False]
        for tokens in (5_000_000, 5_000_040):
            page.text = VLLM.format(tokens=tokens, started=AFTER_THE_FIRST_TICK)
            assert daemon.up() == [True, False]
        daemon.configure(two)
        page.text = VLLM.format(tokens=5_000_070, started=AFTER_THE_FIRST_TICK)
        assert daemon.up() == [True]
        assert daemon.tokens.total() == 5_000_070


def test_an_endpoint_whose_tokens_another_engine_repeats_begins_anew(serve: Serve) -> None:
    """A frontend counted what the worker did while both were named; after it only later tokens count."""
    front, worker = Changing(), Changing()
    frontend = 'dynamo_frontend_input_sequence_tokens_sum{{model="m"}} {}\n'
    vllm = VLLM.replace("engine=", 'dynamo_component="backend",engine=')
    ports = serve(front, "127.0.0.1"), serve(worker, "127.0.0.1")
    urls = [f"http://127.0.0.1:{port}/metrics" for port in ports]
    with closing(Daemon(*urls)) as daemon:
        daemon.configure(*urls, first_engine="dynamo-frontend")
        assert daemon.up() == [False, False]
        for tokens in (100, 50_000):
            front.text = frontend.format(tokens)
            worker.text = vllm.format(tokens=tokens, started=AFTER_THE_FIRST_TICK)
            assert daemon.up() == [True, False]
        assert daemon.tokens.total() == 49_900
        daemon.configure(urls[1])
        assert daemon.up() == [True]
        assert daemon.tokens.total() == 49_900
        worker.text = vllm.format(tokens=50_003, started=AFTER_THE_FIRST_TICK)
        assert daemon.up() == [True]
        assert daemon.tokens.total() == 49_903


def test_counts_that_move_between_the_reads_do_not_matter(serve: Serve) -> None:
    """The process is one, whatever it has counted when it answers again."""
    tokens = iter(range(100, 1000, 300))
    port = serve(lambda _: VLLM.format(tokens=next(tokens), started=1.5e9))
    with closing(Daemon(f"http://127.0.0.1:{port}/metrics", f"http://localhost:{port}/metrics")) as daemon:
        assert daemon.up() == [True, False]


def test_two_servers_at_one_port_are_two(serve: Serve) -> None:
    """Each listens on an address of its own; even with equal pages these are other sockets."""
    port = serve(lambda _: VLLM.format(tokens=100, started=1.5e9), "127.0.0.1")
    serve(lambda _: VLLM.format(tokens=100, started=1.5e9), "127.0.0.2", port)
    with closing(Daemon(f"http://127.0.0.1:{port}/metrics", f"http://127.0.0.2:{port}/metrics")) as daemon:
        assert daemon.up() == [True, True]


def test_servers_behind_one_proxy_are_two(serve: Serve) -> None:
    """One socket answers by the name of the host: the start of the process tells them apart."""
    port = serve(lambda host: VLLM.format(tokens=9, started=1.5e9 if host.startswith("local") else 1.6e9))
    with closing(Daemon(f"http://localhost:{port}/metrics", f"http://127.0.0.1:{port}/metrics")) as daemon:
        assert daemon.up() == [True, True]


def test_without_a_start_the_series_tell(serve: Serve) -> None:
    """The same path with the same series is one server, another path may be a proxy's other server."""
    port = serve(lambda _: NAMELESS.format(tokens=9))
    one, two = f"http://localhost:{port}", f"http://127.0.0.1:{port}"
    with closing(Daemon(f"{one}/metrics", f"{two}/metrics")) as daemon:
        assert daemon.up() == [True, False]
    with closing(Daemon(f"{one}/metrics?model=a", f"{two}/metrics?model=a")) as daemon:
        assert daemon.up() == [True, False]
    with closing(Daemon(f"{one}/a/metrics", f"{two}/b/metrics")) as daemon:
        assert daemon.up() == [True, True]
    with closing(Daemon(f"{one}/metrics?model=a", f"{two}/metrics?model=b")) as daemon:
        assert daemon.up() == [True, True]


def test_a_pair_lasts_while_its_series_differ_for_a_read(serve: Serve) -> None:
    """A series that begins between the two reads must not make the second one count."""
    more = 'vllm:prompt_tokens_total{model_name="n",engine="0"} 1\n'
    pages = iter(["", "", "", more])
    port = serve(lambda _: NAMELESS.format(tokens=9) + next(pages))
    with closing(Daemon(f"http://127.0.0.1:{port}/metrics", f"http://localhost:{port}/metrics")) as daemon:
        assert [daemon.up(), daemon.up()] == [[True, False]] * 2


ONE, TWO = "http://127.0.0.1:8000/metrics", "http://localhost:8000/metrics"


def answered(url: str, host: str = "127.0.0.1", identity: str = "started 1.0") -> ServerReading:
    return ServerReading(
        ServerKey("", "a"),
        url,
        up=True,
        engine="vllm",
        identity=identity,
        counters=(CounterReading("x", "m", "prompt", 1),),
        peer=Peer(host, 8000, host.startswith("127")),
    )


def test_a_pair_lasts_while_the_first_one_fails() -> None:
    """Else the second would count what the first counts once it answers again."""
    servers = SameServers(lambda: ())
    assert servers.of((ONE, TWO), (answered(ONE), answered(TWO))) == {TWO: ONE}
    assert servers.of((ONE, TWO), (answered(TWO),)) == {TWO: ONE}
    assert servers.of((TWO,), (answered(TWO),)) == {}  # it is configured no more


def turns(servers: SameServers, *ticks: str) -> list[dict[str, str]]:
    """What each tick finds; A, B and C are names of one server, and those that answer are in its word."""
    urls = {"A": ONE, "B": TWO, "C": "http://127.0.0.2:8000/metrics"}
    names = {url: name for name, url in urls.items()}
    return [
        {
            names[url]: names[first]
            for url, first in servers.of(urls.values(), [answered(urls[one]) for one in tick]).items()
        }
        for tick in ticks
    ]


def test_a_pair_turns_round_after_three_silent_ticks() -> None:
    """One failed read costs nothing, since the next has what it missed; a server that ended never has one."""
    servers = SameServers(lambda: ())
    assert turns(servers, "AB", "B", "B") == [{"B": "A"}] * 3
    assert turns(servers, "B", "B") == [{"A": "B"}] * 2
    assert turns(servers, "AB", "A", "A") == [{"A": "B"}] * 3
    assert turns(servers, "A", "BA", "B") == [{"B": "A"}] * 3


def test_silence_counts_where_it_is_of_one_alone() -> None:
    """An answer ends it, and while nobody answers nobody can take over."""
    servers = SameServers(lambda: ())
    assert turns(servers, "AB", "B", "B", "AB", "B", "B") == [{"B": "A"}] * 6
    assert turns(servers, "", "", "") == [{"B": "A"}] * 3
    assert turns(servers, "B") == [{"A": "B"}]


def test_who_counted_last_goes_on_counting_after_a_restart() -> None:
    """The new process remembers no pair."""
    assert turns(SameServers(lambda: ()), "B", "AB", "AB") == [{}, {"A": "B"}, {"A": "B"}]
    assert turns(SameServers(lambda: ()), "B", "", "AB") == [{}, {}, {"A": "B"}]
    assert turns(SameServers(lambda: ()), "A", "B", "AB") == [{}, {}, {"A": "B"}]


def test_all_names_of_a_server_turn_to_one() -> None:
    """Of three, the first that answers; one that joins while the first is silent waits for it too."""
    sockets = (ListeningSocket("", 8000, 1, 0),)
    servers = SameServers(lambda: sockets)
    assert turns(servers, "ABC", "BC", "BC") == [{"B": "A", "C": "A"}] * 3
    assert turns(servers, "BC") == [{"A": "B", "C": "B"}]
    joined = SameServers(lambda: sockets)
    assert turns(joined, "AB", "BC", "ABC") == [{"B": "A"}, {"B": "A", "C": "A"}, {"B": "A", "C": "A"}]
    assert turns(joined, "C", "C", "C", "A") == [{"B": "A", "C": "A"}] * 2 + [{"A": "C", "B": "C"}] * 2


def test_a_pair_that_joins_one_that_counted_later_follows_it() -> None:
    """A was silent while C counted: it must not go on from where it stopped."""
    servers = SameServers(lambda: ())
    pairs = [{"B": "A"}, {"B": "A"}, {"A": "C", "B": "C"}, {"A": "C", "B": "C"}]
    assert turns(servers, "AB", "C", "BC", "A") == pairs


def test_one_that_is_configured_no_more_leaves_its_server_to_one() -> None:
    """Of two that are left one goes on."""
    servers = SameServers(lambda: (ListeningSocket("", 8000, 1, 0),))
    assert turns(servers, "ABC") == [{"B": "A", "C": "A"}]
    third = "http://127.0.0.2:8000/metrics"
    assert servers.of((TWO, third), (answered(third),)) == {TWO: third}


def test_a_pair_of_which_one_fails_lasts_whatever_else_shares_a_port() -> None:
    """Here the second is silent, and two others are of one server."""
    servers = SameServers(lambda: ())
    others = [answered(f"http://10.0.0.9:8000/{path}", "10.0.0.9", "started 2.0") for path in "ab"]
    urls = (ONE, TWO, *(other.url for other in others))
    pairs = {TWO: ONE, others[1].url: others[0].url}
    assert servers.of(urls, (answered(ONE), answered(TWO), *others)) == pairs
    assert servers.of(urls, (answered(ONE), *others)) == pairs


def test_tokens_count_once_whoever_answers(serve: Serve) -> None:
    """The first name stops to lead anywhere, comes back, and the daemon starts anew: the pair lasts."""
    page, silent = Changing(), [""]
    port = serve(lambda host: "x 1\n" if host == silent[0] else page.text)
    one, two = f"127.0.0.1:{port}", f"127.0.0.2:{port}"
    up = []
    with closing(Daemon(f"http://{one}/metrics", f"http://{two}/metrics")) as daemon:
        for tick, silent[0] in enumerate(("", "", one, one, one, "", two, "", two, "")):
            page.text = VLLM.format(tokens=900 + 7 * tick, started=1.5e9)
            if tick == 8:
                daemon.restart()
            up.append(daemon.up())
    a, b, none = [True, False], [False, True], [False, False]
    assert up == [a, a, none, none, b, b, none, b, none, b]
    assert daemon.tokens.total() == 9 * 7  # all ticks but the first, which only sets the marks


class Turns:
    """A server by two names, of which one answers in each tick: `A` or `B`, `=` for both, `-` for none; after
    an `r` the daemon has started anew. It counts 7 tokens a tick, and had 900 when it was read first.
    """

    def __init__(self, serve: Serve, page: str) -> None:
        self.page, self.tokens, self._answers = page, 900, ""
        port = serve(self._page)
        self._hosts = {"A": f"127.0.0.1:{port}", "B": f"127.0.0.2:{port}"}
        self.daemon = Daemon(*(f"http://{host}/metrics" for host in self._hosts.values()))

    def _page(self, host: str) -> str:
        answers = self._answers == "=" or host == self._hosts.get(self._answers)
        return self.page.format(tokens=self.tokens, started=1.5e9) if answers else "x 1\n"

    def take(self, turns: str) -> list[list[bool]]:
        up = []
        for self._answers in turns:
            if self._answers == "r":
                self.daemon.restart()
                continue
            up.append(self.daemon.up())
            self.tokens += 7
        return up


@pytest.mark.parametrize("page", [VLLM, NAMELESS])
@pytest.mark.parametrize(
    "turns", ["ABABABA", "ArBABABA", "ABrABABA", "ArBrArBrArBrA", "A-rB-ArBA", "ABABABrB-A"]
)
def test_names_that_never_answer_in_one_tick_count_once(serve: Serve, turns: str, page: str) -> None:
    """Both counted what happened since their own last read, also where the daemon started anew between.

    A had 900, and in its last turn 7 more for each tick since then.
    """
    server = Turns(serve, page)
    with closing(server.daemon):
        server.take(turns)
    assert server.daemon.tokens.total() == 7 * (len(turns.replace("r", "")) - 1)


@given(turns=st.text("AB=-r", max_size=16), identity=st.sampled_from(["", "started 1.0"]))
@example("A--B=", "")
def test_tokens_count_once_in_any_turns(turns: str, identity: str) -> None:
    """All since the first answer, once both have answered for three ticks; no socket is needed for that."""
    clock = ManualClock()
    endpoints = tuple(FakeEndpoint(ServerKey("", name), url) for name, url in (("A", ONE), ("B", TWO)))
    state, tokens, total = State(), 900, 0.0
    reader = FrameReader(clock, inline(clock), (FakeNvmlSource(),))
    for turn in f"{turns}===":
        if turn == "r":
            reader = FrameReader(clock, inline(clock), (FakeNvmlSource(),))
            continue
        for endpoint in endpoints:
            endpoint.failure = "" if turn in ("=", endpoint.key.server) else "refused"
            endpoint.generation, endpoint.identity = tokens, identity
            endpoint.peer = Peer("127.0.0.1", 8000, True)
        clock.now += 10 * NANOSECONDS_PER_SECOND
        read = reader.read(Config(), endpoints, None, remembered=state)
        deltas = collect_deltas(state, read.frame, CardinalityLimits())
        state = replace(state, endpoints=deltas.endpoints)
        total += sum(
            model.tokens.get("generation", 0) for one in deltas.servers for model in one.models.values()
        )
        tokens += 7
    assert total == 7 * (len(f"{turns}===".replace("r", "").lstrip("-")) - 1)


@pytest.mark.parametrize("page", [VLLM, NAMELESS])
@pytest.mark.parametrize("turns", ["ABBBBBB", "ArBBBBBB", "ABrBBBBBB", "ABBBrBBBBBB"])
def test_the_other_name_goes_on_where_one_stopped_for_good(serve: Serve, turns: str, page: str) -> None:
    """Nothing is lost: after three more ticks it counts all since the last answer of the first."""
    server = Turns(serve, page)
    with closing(server.daemon):
        assert server.take(turns)[-1] == [False, True]
    assert server.daemon.tokens.total() == 7 * (len(turns.replace("r", "")) - 1)


def test_a_process_that_starts_while_watched_counts_once_whoever_answers_first(serve: Serve) -> None:
    """The second name would count it from zero as well."""
    server = Turns(serve, "x 1\n")
    with closing(server.daemon):
        server.take("A")
        server.page = VLLM.replace("{started}", str(AFTER_THE_FIRST_TICK))
        server.tokens = 5_000_000
        server.take("ABA")
    assert server.daemon.tokens.total() == 5_000_014


def test_a_port_that_another_process_took_counts_for_it(serve: Serve) -> None:
    """The page of before was another process's. The new one had 40 tokens when B answered, 47 when A did."""
    server = Turns(serve, VLLM)
    with closing(server.daemon):
        server.take("A")
        server.page = VLLM.replace("{started}", str(AFTER_THE_FIRST_TICK))
        server.tokens = 40
        assert server.take("BrAB") == [[False, True], [False, False], [False, True]]
    assert server.daemon.tokens.total() == 40 + 14


def test_a_port_that_a_process_without_a_start_took_loses_nothing(serve: Serve) -> None:
    """B waits for A, then for a minute in which it answers alone; all 40 + 9 x 7 of the new process count."""
    server = Turns(serve, NAMELESS)
    with closing(server.daemon):
        server.take("A")
        server.tokens = 40
        server.take("BBBBBBBBBB")
    assert server.daemon.tokens.total() == 40 + 63


@pytest.mark.parametrize("page", [VLLM, NAMELESS])
def test_two_servers_at_one_port_that_take_turns_are_two(serve: Serve, page: str) -> None:
    """Each has a socket of its own, and its 28 tokens between its first answer and its last."""
    tokens, silent = [900], [""]

    def answer(host: str) -> str:
        return "x 1\n" if host.startswith(silent[0]) else page.format(tokens=tokens[0], started=1.5e9)

    port = serve(answer, "127.0.0.1")
    serve(answer, "127.0.0.2", port)
    one, two = "127.0.0.1:", "127.0.0.2:"
    with closing(Daemon(f"http://{one}{port}/metrics", f"http://{two}{port}/metrics")) as daemon:
        for silent[0] in (two, one, two, one, two, one):
            daemon.tick()
            tokens[0] += 7
    assert daemon.tokens == {"s0": 28, "s1": 28}


def test_replicas_behind_the_ingress_of_another_host_are_two() -> None:
    """Two names of one ingress lead to servers with equal pages: there only an identity makes them one."""
    names = [f"http://{name}.example:8000/metrics" for name in ("chat-a", "chat-b")]

    def of(*identities: str) -> dict[str, str]:
        answers = [answered(*one) for one in zip(names, ("10.0.0.9",) * 2, identities, strict=True)]
        return SameServers(lambda: ()).of(names, answers)

    assert of("", "") == {}
    assert of("started 1.0", "") == of("", "started 1.0") == {}
    assert of("started 1.0", "started 1.0") == {names[1]: names[0]}


def test_a_pair_ends_with_another_process() -> None:
    """A new server at one of the addresses counts."""
    servers = SameServers(lambda: ())
    servers.of((ONE, TWO), (answered(ONE), answered(TWO)))
    assert servers.of((ONE, TWO), (answered(ONE), answered(TWO, identity="started 2.0"))) == {}
    assert servers.of((ONE, TWO), (answered(ONE), answered(TWO, "10.0.0.9"))) == {}
    other = replace(answered(TWO), engine="sglang")
    assert servers.of((ONE, TWO), (answered(ONE), other)) == {}


def test_sockets_are_read_only_where_two_endpoints_have_one_port() -> None:
    """The usual host reads no table for this."""

    def sockets() -> tuple[ListeningSocket, ...]:
        raise AssertionError

    other = replace(answered("http://127.0.0.1:8001/metrics"), peer=Peer("127.0.0.1", 8001, True))
    assert SameServers(sockets).of((ONE, other.url), (answered(ONE), other)) == {}


def test_sockets_of_other_hosts_are_in_no_table() -> None:
    """Servers of other hosts share a port as a rule; one address of this host needs no table either."""

    def sockets() -> tuple[ListeningSocket, ...]:
        raise AssertionError

    urls = [f"http://10.0.0.{number}:8000/metrics" for number in (1, 2)]
    remote = [answered(url, f"10.0.0.{number}") for number, url in enumerate(urls, 1)]
    assert SameServers(sockets).of((ONE, TWO, *urls), (answered(ONE), *remote)) == {}
    assert SameServers(sockets).of((ONE, TWO, *urls), (answered(ONE), answered(TWO), *remote)) == {TWO: ONE}


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.9"])
def test_twice_the_endpoints_take_twice_the_steps(host: str) -> None:
    """Hundreds of servers behind one proxy, each with its path and process."""

    def calls(count: int) -> int:
        answers = [
            answered(f"http://{host}:8000/{number}/metrics", host, f"started {number}")
            for number in range(count)
        ]
        urls, servers, made = [answer.url for answer in answers], SameServers(lambda: ()), [0]

        def profile(_frame: object, _event: str, _argument: object) -> None:
            made[0] += 1

        assert servers.of(urls, answers) == {}
        sys.setprofile(profile)
        try:
            servers.of(urls, answers)
        finally:
            sys.setprofile(None)
        return made[0]

    assert calls(400) < 2.5 * calls(200)  # beyond the memory of urlsplit


ALL = ListeningSocket("::", 8000, 1, 0)
LOOPBACK = ListeningSocket("127.0.0.1", 8000, 2, 0)


@pytest.mark.parametrize(
    ("one", "other", "sockets", "expected"),
    [
        (Peer("127.0.0.1", 8000, True), Peer("10.0.0.5", 8000, True), (ALL,), True),
        (Peer("127.0.0.1", 8000, True), Peer("::1", 8000, True), (ALL,), True),
        (Peer("127.0.0.1", 8000, True), Peer("10.0.0.5", 8000, True), (ALL, LOOPBACK), False),
        (Peer("127.0.0.1", 8000, True), Peer("10.0.0.5", 8000, True), (), False),
        (Peer("127.0.0.1", 8000, True), Peer("10.0.0.5", 8000, False), (ALL,), False),  # another host's
        (Peer("127.0.0.1", 8000, True), Peer("127.0.0.1", 8001, True), (ALL,), False),
        (Peer("10.0.0.9", 8000, False), Peer("10.0.0.9", 8000, False), (), True),
    ],
)
def test_one_socket_takes_both_connections(
    one: Peer, other: Peer, sockets: tuple[ListeningSocket, ...], *, expected: bool
) -> None:
    """The one bound to the address, else the one bound to all; of another host the address tells."""
    reached = sockets_reached((one, other), lambda: sockets)
    assert (reached[one] == reached[other]) is expected


def test_a_peer_is_local_by_both_ends() -> None:
    """A host connects to its own address from it; a scope is no part of an address."""
    assert peer_of(("10.0.0.5", 80), ("10.0.0.5", 5)) == Peer("10.0.0.5", 80, True)
    assert peer_of(("10.0.0.6", 80), ("10.0.0.5", 5)) == Peer("10.0.0.6", 80, False)
    assert peer_of(("127.0.0.2", 80), ("127.0.0.1", 5)) == Peer("127.0.0.2", 80, True)
    assert peer_of(("fe80::1%eth0", 80, 0, 2), ("fe80::2", 5, 0, 2)) == Peer("fe80::1", 80, False)


def test_the_sockets_of_this_process_are_known() -> None:
    """By the kernel's table."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert [one.host for one in own_listeners() if one.port == port] == ["127.0.0.1"]
