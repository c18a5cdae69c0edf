"""The client of Prometheus' API: whole answers, and a clear error for each kind of refusal."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from exporter.clock import SystemClock
from exporter.config.http_client import Authorization, BasicAuth, ClientTls, Header, HttpClientConfig
from exporter.finance.prometheus.client import (
    PrometheusClient,
    PrometheusError,
    QuerySample,
    QuerySeries,
)
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, SECOND

Handler = Callable[[httpx.Request], httpx.Response]


def client(
    handler: Handler, config: HttpClientConfig | None = None, clock: ManualClock | None = None
) -> PrometheusClient:
    """A client whose requests a function answers."""
    return PrometheusClient(
        "http://prometheus.example:9090/prefix/",
        config or HttpClientConfig(),
        clock or ManualClock(),
        30 * SECOND,
        httpx.MockTransport(handler),
    )


def success(result: object, **more: object) -> httpx.Response:
    return httpx.Response(200, json={"status": "success", "data": {"result": result}, **more})


def failure(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"status": "error", "errorType": "execution", "error": message})


def form(request: httpx.Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


def test_an_instant_query_answers_labels_and_exact_text() -> None:
    """A value keeps all digits that the server sent; the metric's name is no label."""
    requested = []

    def handler(request: httpx.Request) -> httpx.Response:
        requested.append((request.method, str(request.url), form(request)))
        metric = {"__name__": "x", "ledger": "l1"}
        return success([{"metric": metric, "value": [1793404800.5, "1204.170000000001"]}])

    answer = client(handler).instant("x", 1_793_404_800 * SECOND)

    assert answer == (
        QuerySeries({"ledger": "l1"}, (QuerySample(1_793_404_800_500_000_000, "1204.170000000001"),)),
    )
    assert answer[0].samples[0].picodollars == 1_204_170_000_000_001
    assert requested == [
        (
            "POST",
            "http://prometheus.example:9090/prefix/api/v1/query",
            {
                "query": "x",
                "time": "1793404800.000",
                "partial_response": "false",
                "timeout": "30.000",
            },
        )
    ]


@pytest.mark.parametrize("value", ["NaN", "+Inf", "money"])
def test_what_is_no_amount_is_refused(value: str) -> None:
    """It would make a total that nobody can trust."""
    with pytest.raises(PrometheusError, match="no amount of dollars"):
        _ = QuerySample(0, value).picodollars


@pytest.mark.parametrize(
    ("answer", "divisible", "message"),
    [
        (
            failure(422, "query processing would load too many samples into memory"),
            True,
            "too many samples",
        ),
        (failure(400, "invalid parameter"), False, 'HTTP 400: "invalid parameter"'),
        (failure(401, "no"), False, "--http.config.file"),
        (httpx.Response(403, text="forbidden"), False, "--http.config.file"),
        (httpx.Response(404, text="404 page not found"), False, "no JSON of the API"),
        (
            httpx.Response(302, headers={"Location": "/login", "Content-Type": "text/html"}),
            False,
            "HTTP 302 with HTML",
        ),
        (success([], isPartial=True), False, "a storage node is down"),
        (success([], warnings=["partial response: store a is down"]), False, "store a is down"),
        (success("text"), False, "no series in the form of the API"),
        (success([{"metric": {}, "value": ["now"]}]), False, "no series in the form of the API"),
        (success([{"metric": {}, "values": []}]), False, "no series in the form of the API"),
        (success([{"metric": {}, "value": [1, "much"]}]), False, "no series in the form of the API"),
        (
            httpx.Response(
                200, text='{"status": "success", "data": {"result": [{"metric": {}, "value": [1e999, "1"]}]}}'
            ),
            False,
            "no series in the form of the API",
        ),
        (httpx.Response(200, json=[1]), False, "no JSON of the API"),
        (httpx.Response(200, text="[" * 100_000), False, "no JSON of the API"),
        (failure(422, "query timed out in expression evaluation"), True, "--query.timeout"),
    ],
)
def test_each_refusal_says_what_to_do(answer: httpx.Response, message: str, *, divisible: bool) -> None:
    """An error, never an empty answer; it says whether parts of the query may have one."""
    with pytest.raises(PrometheusError) as raised:
        client(lambda _request: answer).instant("x", 0)

    assert raised.value.divisible == divisible
    assert message in str(raised.value)
    assert "http://prometheus.example:9090/prefix" in str(raised.value)


def test_grafana_is_named() -> None:
    """Its API answers 401 or a page of its own; its health names its database."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/health":
            return httpx.Response(200, json={"database": "ok", "version": "11.6.0"})
        return httpx.Response(401, json={"message": "Unauthorized"})

    with pytest.raises(
        PrometheusError, match=r"is Grafana, not Prometheus: .*/api/datasources/proxy/uid/UID"
    ):
        client(handler).instant("x", 0)


@pytest.mark.parametrize("health", ["endless", "dripping"])
def test_a_health_page_is_bounded_and_gets_no_credentials(tmp_path: Path, health: str) -> None:
    """Whatever answers HTML and then does not end: 10,000 bytes or five seconds of it are read."""
    (tmp_path / "token").write_text("t0k3n\n")
    clock, pieces, sent = ManualClock(), [], []

    def body() -> Iterator[bytes]:
        while True:
            pieces.append(1)
            clock.now += SECOND if health == "dripping" else 0
            yield b" " * (1 if health == "dripping" else 4096)

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/health":
            return httpx.Response(200, html="<html>")
        sent.append(str(request.url) + str(dict(request.headers)))
        return httpx.Response(200, content=body())

    config = HttpClientConfig(
        authorization=Authorization(tmp_path / "token"),
        headers=(("X-Token", Header(files=(tmp_path / "token",))),),
    )
    with pytest.raises(PrometheusError) as raised:
        client(handler, config, clock).instant("x", 0)

    assert not raised.value.divisible
    assert len(pieces) == (5 if health == "dripping" else 3)
    assert len(sent) == 1
    assert "t0k3n" not in sent[0]


def test_headers_that_drip_are_left_at_the_deadline() -> None:
    """Each byte comes within the timeout of one receive; all of them never would."""
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not stop.wait(0.02):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip, args=(listener,))
        server.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with PrometheusClient(address, HttpClientConfig(), SystemClock(), SECOND // 4) as queried:
            with pytest.raises(PrometheusError) as raised:
                queried.instant("x", 0)
            stop.set()
        server.join(60)
    assert raised.value.divisible


def test_a_file_of_authorities_that_cannot_be_used(tmp_path: Path) -> None:
    """It is named; without one the system's authorities count."""
    missing = HttpClientConfig(tls=ClientTls(ca_file=tmp_path / "ca.pem"))
    with pytest.raises(PrometheusError, match=r"ca\.pem cannot be used: "):
        PrometheusClient("https://prometheus.example", missing, ManualClock(), SECOND)
    PrometheusClient("https://prometheus.example", HttpClientConfig(), ManualClock(), SECOND)


@pytest.mark.parametrize(
    "answer",
    [*(httpx.Response(status, text="busy") for status in (500, 502, 503, 504)), failure(429, "slow down")],
)
def test_what_passes_is_asked_again(answer: httpx.Response) -> None:
    """After one, two and four seconds; then it is an error."""
    clock, left = ManualClock(), [answer] * 2

    def handler(_request: httpx.Request) -> httpx.Response:
        return left.pop() if left else success([])

    assert client(handler, clock=clock).instant("x", 0) == ()
    assert clock.waited == [1 * SECOND, 2 * SECOND]

    clock = ManualClock()
    with pytest.raises(PrometheusError):
        client(lambda _request: answer, clock=clock).instant("x", 0)
    assert clock.waited == [1 * SECOND, 2 * SECOND, 4 * SECOND]


def test_a_connection_that_fails_is_an_error() -> None:
    """After four attempts; the message has the address."""

    def handler(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    with pytest.raises(PrometheusError, match=r"prefix cannot be asked: Connection refused") as raised:
        client(handler).instant("x", 0)
    assert not raised.value.divisible


def test_a_refused_range_is_asked_for_in_halves() -> None:
    """Each instant comes once, whatever the server takes at a time."""
    ranges = []

    def handler(request: httpx.Request) -> httpx.Response:
        requested = form(request)
        start, end, step = (float(requested[name]) for name in ("start", "end", "step"))
        steps = [start + number * step for number in range(int((end - start) // step) + 1)]
        if len(steps) > 3:
            return failure(422, "query processing would load too many samples into memory in query execution")
        ranges.append((start, end))
        return success([{"metric": {"ledger": "l1"}, "values": [[at, "1"] for at in steps]}])

    answer = list(client(handler).range("x", 0, 9 * HOUR, HOUR))

    assert [sample.at // HOUR for series in answer for sample in series.samples] == list(range(10))
    assert len(ranges) == 4


def test_a_refused_instant_is_asked_for_by_ledger() -> None:
    """By the first digits of its id; ids of other forms are requested for as well."""
    ledgers = {"0a": "1", "0b": "2", "f0": "3", "history-x": "4"}
    matchers = []

    def handler(request: httpx.Request) -> httpx.Response:
        matcher = form(request)["query"]
        if matcher == 'ledger=~".+"':
            return failure(422, "query processing would load too many samples into memory in query execution")
        matchers.append(matcher)
        prefix = matcher.removeprefix('ledger=~"')
        if prefix.startswith("["):
            chosen = {name for name in ledgers if name[0] not in "0123456789abcdef"}
        else:
            chosen = {name for name in ledgers if name.startswith(prefix[0])}
        return success([{"metric": {"ledger": name}, "value": [0, ledgers[name]]} for name in sorted(chosen)])

    answer = client(handler).instant_by_ledger(lambda matcher: matcher, 0)

    assert [(series.labels["ledger"], series.samples[0].value) for series in answer] == sorted(
        ledgers.items()
    )
    assert len(matchers) == 17


def test_an_instant_that_is_refused_for_a_256th_of_all_ledgers_is_an_error() -> None:
    """The server takes nothing: its third answer is the last."""
    matchers = []

    def handler(request: httpx.Request) -> httpx.Response:
        matchers.append(form(request)["query"])
        return failure(422, "query processing would load too many samples into memory in query execution")

    with pytest.raises(PrometheusError, match="too many samples"):
        client(handler).instant_by_ledger(lambda matcher: matcher, 0)
    assert matchers == ['ledger=~".+"', 'ledger=~"0.+"', 'ledger=~"00.+"']


def test_a_range_of_many_steps_is_cut() -> None:
    """Prometheus takes 11,000 at a time."""
    starts = []

    def handler(request: httpx.Request) -> httpx.Response:
        requested = form(request)
        starts.append((requested["start"], requested["end"]))
        return success([])

    assert list(client(handler).range("x", 0, 25_000 * SECOND, SECOND)) == []
    assert starts == [("0.000", "9999.000"), ("10000.000", "19999.000"), ("20000.000", "25000.000")]


def test_credentials_come_from_files(tmp_path: Path) -> None:
    """They are sent in every request, and said to be in the clear where they are."""
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "token").write_text("t0k3n\n")
    headers = (("X-Scope-OrgID", Header(("team-a",))), ("X-Token", Header(files=(tmp_path / "token",))))
    sent = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers)
        return success([])

    config = HttpClientConfig(basic_auth=BasicAuth("alice", tmp_path / "password"), headers=headers)
    basic = client(handler, config)
    basic.instant("x", 0)
    client(handler, HttpClientConfig(authorization=Authorization(tmp_path / "token"))).instant("x", 0)

    assert basic.sends_secrets_in_the_clear
    assert client(handler, HttpClientConfig(headers=headers)).sends_secrets_in_the_clear
    assert not client(handler, HttpClientConfig(headers=headers[:1])).sends_secrets_in_the_clear
    assert sent[0]["Authorization"] == "Basic YWxpY2U6aHVudGVyMg=="
    assert (sent[0]["X-Scope-OrgID"], sent[0]["X-Token"]) == ("team-a", "t0k3n")
    assert sent[1]["Authorization"] == "Bearer t0k3n"


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff", b"x" * 70_000])
def test_a_file_without_credentials_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """By name; what it holds is not repeated."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(PrometheusError, match=str(file)) as raised:
        client(lambda _request: success([]), HttpClientConfig(authorization=Authorization(file)))
    assert not raised.value.divisible


def test_a_password_in_the_address_is_not_repeated() -> None:
    """Not in any message."""

    def handler(_request: httpx.Request) -> httpx.Response:
        return failure(400, "no")

    requested = PrometheusClient(
        "http://u:hunter2@a.example", HttpClientConfig(), ManualClock(), SECOND, httpx.MockTransport(handler)
    )
    with pytest.raises(PrometheusError) as raised:
        requested.instant("x", 0)
    assert str(raised.value).startswith("http://a.example:")
    assert "hunter2" not in str(raised.value)


def test_an_endless_answer_is_cut() -> None:
    """By size: it is then requested for in parts. By time: a body that drips is left at the deadline."""
    clock = ManualClock()

    def endless() -> object:
        while True:
            yield b" " * (1 << 20)

    with pytest.raises(PrometheusError) as raised:
        client(lambda _request: httpx.Response(200, content=endless())).instant("x", 0)  # type: ignore[arg-type]
    assert raised.value.divisible

    def dripping() -> object:
        while True:
            clock.now += 20 * SECOND
            yield b" "

    with pytest.raises(PrometheusError) as raised:
        client(lambda _request: httpx.Response(200, content=dripping()), clock=clock).instant("x", 0)  # type: ignore[arg-type]
    assert raised.value.divisible
    assert "--timeout" in str(raised.value)


def test_the_answer_is_plain_json() -> None:
    """As the API documents it: nothing else is needed of the server."""
    body = {"status": "success", "data": {"resultType": "vector", "result": []}, "infos": ["x"]}

    assert client(lambda _request: httpx.Response(200, content=json.dumps(body))).instant("x", 0) == ()
