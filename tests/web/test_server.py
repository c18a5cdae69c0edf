"""What is answered at which path, over real sockets."""

import gzip
import json
import logging
import math
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.report import Build
from exporter.web import page
from exporter.web.limits import WebLimits
from exporter.web.listen_address import AddressError, ListenError
from exporter.web.server import WebServer

Serve = Callable[..., Any]

READERS = ("/", "/metrics", "/cost.json", "/-/healthy", "/-/ready")


def test_metrics_are_the_report_in_text(
    serve: Serve, make_report: Callable[..., Any], text: Callable[..., str]
) -> None:
    """A scraper that asks for nothing special gets the text format, whole."""
    report = make_report()
    status, headers, body = serve(report).request("GET", "/metrics")

    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["content-length"] == str(len(body))
    assert headers["vary"] == "Accept, Accept-Encoding"
    assert "content-encoding" not in headers
    assert body.decode() == text(report)


def test_metrics_are_openmetrics_and_gzip_for_who_asks(serve: Serve, make_report: Callable[..., Any]) -> None:
    """What the client sent is not repeated in the answer's type."""
    status, headers, body = serve(make_report()).request(
        "GET",
        "/metrics",
        Accept="application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
        Accept_Encoding="gzip",
    )

    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert gzip.decompress(body).endswith(b"# EOF\n")


def test_two_scrapes_of_one_report_are_identical(serve: Serve, make_report: Callable[..., Any]) -> None:
    """Two Prometheus servers see the same numbers."""
    site = serve(make_report())

    assert site.request("GET", "/metrics")[2] == site.request("GET", "/metrics")[2]


def test_a_new_report_is_served_at_once(serve: Serve, make_report: Callable[..., Any]) -> None:
    """The page follows the report that is current."""
    site = serve(make_report(run_rate=1.0))
    assert (
        b'inference_monthly_run_rate_dollars{ledger="0190a1b2"} 1.0\n' in site.request("GET", "/metrics")[2]
    )

    site.report = make_report(run_rate=2.0)
    site.server.prepare()
    assert (
        b'inference_monthly_run_rate_dollars{ledger="0190a1b2"} 2.0\n' in site.request("GET", "/metrics")[2]
    )


def test_gauges_are_absent_after_three_missed_intervals(
    serve: Serve, make_report: Callable[..., Any], hand_clock: Any
) -> None:
    """The sampler is stuck: totals go on to be served, what is spent now is not known."""
    site = serve(make_report())
    hand_clock.now += 30 * 10**9
    assert b"inference_cost_dollars_per_hour" in site.request("GET", "/metrics")[2]

    hand_clock.now += 1
    site.server.prepare()
    body = site.request("GET", "/metrics")[2]
    assert b"inference_cost_dollars_per_hour" not in body
    assert b"inference_cost_dollars_total" in body
    assert b"inference_last_tick_timestamp_seconds 1.7955216e+09\n" in body


def test_before_the_first_tick(serve: Serve) -> None:
    """The process answers, says that it is not ready, and names itself to scrapers."""
    site = serve(None)
    site.server.prepare()

    assert site.request("GET", "/-/healthy")[::2] == (200, b"healthy\n")
    assert site.request("GET", "/-/ready")[::2] == (
        503,
        b"not ready: the first tick has not been taken yet\n",
    )
    assert site.request("GET", "/metrics")[0] == 200
    assert site.request("GET", "/metrics")[2].count(b"# TYPE") == 1
    assert json.loads(site.request("GET", "/cost.json")[2]) == {"version": "0.1.0", "host": None}
    assert b"Waiting for the first tick." in site.request("GET", "/")[2]


def test_after_the_first_tick(serve: Serve, make_report: Callable[..., Any]) -> None:
    """One tick makes it ready."""
    site = serve(make_report())

    assert site.request("GET", "/-/ready")[::2] == (200, b"ready\n")
    assert site.request("GET", "/")[1]["content-type"] == "text/html; charset=utf-8"
    assert site.request("GET", "/cost.json")[1]["content-type"] == "application/json"


@pytest.mark.parametrize("path", READERS)
def test_head_is_get_without_the_body(path: str, serve: Serve, make_report: Callable[..., Any]) -> None:
    """Same status and length, no body."""
    site = serve(make_report())
    status, headers, body = site.request("GET", path)
    bare_status, bare_headers, bare = site.request("HEAD", path)

    assert (bare_status, bare) == (status, b"")
    assert bare_headers["content-length"] == headers["content-length"] == str(len(body))


@pytest.mark.parametrize("path", [*READERS, "/nothing"])
def test_answers_are_not_sniffed_or_kept(path: str, serve: Serve, make_report: Callable[..., Any]) -> None:
    """Browsers take an answer for what it says it is, and caches do not keep it."""
    headers = serve(make_report()).request("GET", path)[1]

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["server"] == "inference-cost-exporter"


@pytest.mark.parametrize("path", READERS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_reading_is_get(method: str, path: str, serve: Serve, make_report: Callable[..., Any]) -> None:
    """Any other method is told which ones there are."""
    status, headers, body = serve(make_report()).request(method, path)

    assert (status, headers["allow"], body) == (405, "GET, HEAD", b"use GET, HEAD\n")


def test_an_absolute_target_is_answered(serve: Serve, make_report: Callable[..., Any]) -> None:
    """As a client sends it that takes this server for its proxy."""
    site = serve(make_report())
    answer = site.say(b"GET http://x:9844/metrics HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "path",
    ["/metrics/", "/Metrics", "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/-/quit",
     "//metrics/x", "/\\..\\", "http://127.0.0.1/Metrics",
     "ftp://127.0.0.1/metrics", "http:///metrics", "*", "/metrics%00", "/" + "a" * 4000],
)  # fmt: skip
def test_other_paths_are_not_found(path: str, serve: Serve, make_report: Callable[..., Any]) -> None:
    """Paths are names in a table; none of them reaches a file."""
    site = serve(make_report())
    answer = site.say(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert answer.endswith(b"\r\n\r\nnot found\n")


def test_a_query_is_ignored(serve: Serve, make_report: Callable[..., Any]) -> None:
    """Scrapers may add one."""
    assert serve(make_report()).request("GET", "/metrics?name[]=x&y")[0] == 200


def test_reload_is_asked_of_the_daemon(serve: Serve, make_report: Callable[..., Any]) -> None:
    """One POST, one reload."""
    site = serve(make_report())

    assert site.request("POST", "/-/reload", Content_Length="0")[::2] == (200, b"reloaded\n")
    assert site.reloads == 1


def test_a_reload_says_what_it_means_for_posted_money(serve: Serve, make_report: Callable[..., Any]) -> None:
    """In lines of its own, after the word that scripts look for."""
    site = serve(make_report())
    site.reload_notice = "10.00 dollars are posted\nrun this"

    assert site.request("POST", "/-/reload")[::2] == (200, b"reloaded\n10.00 dollars are posted\nrun this\n")


def test_a_failed_reload_says_why(serve: Serve, make_report: Callable[..., Any]) -> None:
    """The message for people reaches who asked, and the server goes on."""
    site = serve(make_report())
    site.reload_error = ValueError("config.yaml:3: servers[0].prot: unknown key; did you mean port?")

    assert site.request("POST", "/-/reload")[::2] == (
        500,
        b"reload failed: config.yaml:3: servers[0].prot: unknown key; did you mean port?\n",
    )
    assert site.request("GET", "/-/healthy")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_reload_is_post(method: str, serve: Serve) -> None:
    """A link, an image or a prefetch cannot reload."""
    site = serve(None)
    status, headers, _ = site.request(method, "/-/reload")

    assert (status, headers["allow"], site.reloads) == (405, "POST", 0)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[bad"},
        {"Origin": ""},
    ],
    ids=str,
)
def test_another_site_cannot_reload(headers: dict[str, str], serve: Serve) -> None:
    """A form on somebody's page, sent by an operator's browser, is refused."""
    site = serve(None)
    status, _, body = site.request("POST", "/-/reload", **headers)

    assert (status, body) == (403, b"refused: the request comes from another site\n")
    assert site.reloads == 0


def test_the_own_site_can_reload(serve: Serve, hand_clock: Any) -> None:
    """A page of this server, or a person's address bar, is not another site."""
    site = serve(None)
    own = f"http://127.0.0.1:{site.server.port}"

    assert site.request("POST", "/-/reload", Origin=own, Sec_Fetch_Site="same-origin")[0] == 200
    hand_clock.now += 10**9
    assert site.request("POST", "/-/reload", Sec_Fetch_Site="none")[0] == 200
    assert site.reloads == 2


def test_reload_can_be_switched_off(serve: Serve) -> None:
    """Without a reload there is none, and the answer names the other way."""
    status, _, body = serve(None, reloadable=False).request("POST", "/-/reload")

    assert (status, body) == (403, b"reloading over HTTP is switched off; send SIGHUP\n")


@pytest.mark.parametrize(
    ("address", "lifecycle", "status"),
    [
        ("127.0.0.1:0", None, 200),
        ("127.0.0.1:0", False, 403),
        (":0", None, 403),
        ("0.0.0.0:0", None, 403),
        (":0", True, 200),
        (":0", False, 403),
    ],
)
def test_reload_is_off_where_others_reach_the_port(
    address: str,
    lifecycle: bool | None,  # noqa: FBT001
    status: int,
    serve: Serve,
) -> None:
    """Unless it is asked for by Prometheus' own flag; the refusal names what to do, and is counted."""
    site = serve(None, address=address, lifecycle=lifecycle)
    answered, _, body = site.request("POST", "/-/reload")

    assert (answered, site.reloads) == (status, int(status == 200))
    assert status == 200 or b"send SIGHUP" in body
    assert dict(site.server.refused)["reload_off"] == int(status == 403)


def test_reloads_are_one_a_second(serve: Serve, hand_clock: Any) -> None:
    """A thousand requests reload once, log nothing more, and are told when to come again."""
    site = serve(None)
    answers = [site.request("POST", "/-/reload") for _ in range(20)]
    hand_clock.now += 10**9 - 1
    answers.append(site.request("POST", "/-/reload"))

    assert [status for status, _, _ in answers] == [200] + [429] * 20
    assert answers[1][1]["retry-after"] == "1"
    assert answers[1][2] == b"not reloaded: the last reload was less than a second ago\n"
    hand_clock.now += 1
    assert site.request("POST", "/-/reload")[0] == 200
    assert (site.reloads, dict(site.server.refused)["reload_rate"]) == (2, 20)


def test_a_reload_that_failed_counts_as_one(serve: Serve) -> None:
    """What fails is logged by whoever reloads: that is bounded as well."""
    site = serve(None)
    site.reload_error = ValueError("config.yaml:3: no")

    assert [site.request("POST", "/-/reload")[0] for _ in range(3)] == [500, 429, 429]
    assert site.reloads == 1


def test_pages_have_room_of_their_own(
    serve: Serve, make_report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is rendered holds up further ones, which are refused with 503, and no scrape or probe."""
    site = serve(make_report(), limits=WebLimits(pages=1))
    started, go = threading.Event(), threading.Event()
    whole = page.page

    def slow(*arguments: Any) -> bytes:
        started.set()
        assert go.wait(30)
        return whole(*arguments)

    monkeypatch.setattr(page, "page", slow)
    answers: list[int] = []
    reader = threading.Thread(target=lambda: answers.append(site.request("GET", "/")[0]))
    reader.start()
    assert started.wait(10)
    try:
        for path in ("/", "/cost.json", "/explain/"):
            status, headers, body = site.request("GET", path)
            assert (status, headers["retry-after"]) == (503, "1"), path
            assert body == b"too many pages at once; come again\n"
        assert [site.request("GET", path)[0] for path in ("/metrics", "/-/healthy", "/-/ready")] == [200] * 3
    finally:
        go.set()
        reader.join(30)
    assert answers == [200]
    assert site.request("GET", "/")[0] == 200
    assert dict(site.server.refused)["busy"] == 3


def test_a_page_is_made_once_for_a_report(
    serve: Serve, make_report: Callable[..., Any], hand_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of page loads costs one page; a new report and a stale one have pages of their own."""
    site = serve(make_report())
    made: list[str] = []
    whole = page.page

    def counted(*arguments: Any) -> bytes:
        made.append("page")
        return whole(*arguments)

    monkeypatch.setattr(page, "page", counted)
    first: list[bytes] = []
    readers = [threading.Thread(target=lambda: first.append(site.request("GET", "/")[2])) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert (len(first), len(set(first)), len(made)) == (8, 1, 1)
    hand_clock.now += 31 * 10**9
    assert site.request("GET", "/")[2] != first[0]
    site.report = make_report(run_rate=2.0, elapsed=hand_clock.now)
    assert b"2.00" in site.request("GET", "/")[2]
    assert len(made) == 3


class _SlowToLeave:
    """A lock whose first holder goes on only after the next one was answered."""

    def __init__(self) -> None:
        self.next_answered = threading.Event()
        self._lock = threading.Lock()
        self._exits = 0

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._exits += 1
        is_first = self._exits == 1
        self._lock.release()
        if is_first:
            assert self.next_answered.wait(30)


def test_who_waited_for_a_page_is_served_that_page(
    serve: Serve, make_report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is there for the next in line when its maker leaves the lock, however slowly that goes on."""
    site = serve(make_report())
    lock = _SlowToLeave()
    started = threading.Event()
    made: list[str] = []

    def counted(*_arguments: Any) -> bytes:
        made.append("page")
        started.set()
        return b"page"

    monkeypatch.setattr(page, "page", counted)
    monkeypatch.setattr(site.server, "_rendering", lock)
    first = threading.Thread(target=lambda: site.request("GET", "/"))
    first.start()
    assert started.wait(30)
    assert site.request("GET", "/")[2] == b"page"
    lock.next_answered.set()
    first.join(30)

    assert made == ["page"]


def test_pages_of_servers_are_not_kept(serve: Serve, make_report: Callable[..., Any]) -> None:
    """Their names come from the address: whoever asks for many of them fills no memory."""
    site = serve(make_report())
    for path in ("/", "/explain/", "/cost.json", "/explain/chat", "/explain/none"):
        site.request("GET", path)

    assert set(site.server._pages[2]) == {"/", "/explain/", "/cost.json"}
    site.report = make_report()
    site.server.prepare()
    assert site.server._pages[2] == {}


def test_a_rate_that_is_no_number_is_null_and_logged(
    serve: Serve, make_report: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One bad figure costs itself: the document and the page are served, and the log names the metric."""
    site = serve(make_report(rates=dict.fromkeys(make_report().rates, math.nan)))
    status, _, body = site.request("GET", "/cost.json")

    assert (status, json.loads(body)["host"]["dollars_per_hour"]) == (200, None)
    assert b'<dt>Now</dt>\n<dd class="big">not known</dd>' in site.request("GET", "/")[2]
    assert b"inference_cost_dollars_per_hour" not in site.request("GET", "/metrics")[2]
    assert site.server.left_out == (("not_finite", 3),)
    (details,) = [vars(record) for record in caplog.records if record.message == "metric rows omitted"]
    assert (details["metric"], details["problem"]) == ("inference_cost_dollars_per_hour", "not_finite")


def test_an_answer_that_fails_is_500_and_logged(
    serve: Serve, make_report: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong is for the log, not for whoever asks."""
    site = serve(make_report(budgets=(None,)))

    assert site.request("GET", "/cost.json")[::2] == (500, b"internal error; the log says more\n")
    assert site.request("GET", "/metrics")[0] == 200
    assert site.server.left_out == (("raised", 2),)
    (details,) = [vars(record) for record in caplog.records if record.message == "request failed"]
    assert (details["method"], details["path"]) == ("GET", "/cost.json")


def test_an_address_that_is_none_is_told_before_anything_starts() -> None:
    """A typo is found while the command line is read."""
    with pytest.raises(AddressError):
        WebServer("9844", lambda: None, SystemClock(), None, Build("", "", ""))


def test_a_port_in_use_is_told_at_start(serve: Serve) -> None:
    """Two daemons on one port: the second says so."""
    taken = serve(None).server.port

    with pytest.raises(ListenError, match="the port is in use"):
        serve(None, address=f"127.0.0.1:{taken}")


def test_port_and_url_are_those_of_the_socket(serve: Serve) -> None:
    """Port 0 takes a free one, and the URL works on this machine."""
    site = serve(None, address=":0")

    assert site.server.port > 0
    assert site.server.url == f"http://127.0.0.1:{site.server.port}/"
    assert site.request("GET", "/-/healthy")[0] == 200


@pytest.mark.parametrize(
    ("address", "hosts"),
    [(":0", {"[::]", "0.0.0.0"}), ("0.0.0.0:0", {"0.0.0.0"}), ("127.0.0.1:0", {"127.0.0.1"})],  # noqa: S104
)
def test_the_log_says_which_interfaces_are_listened_on(
    serve: Serve, caplog: pytest.LogCaptureFixture, address: str, hosts: set[str]
) -> None:
    """It is the socket's own address, never loopback where every interface answers; links stay links."""
    caplog.set_level(logging.INFO)
    site = serve(None, address=address)

    (address_shown,) = [vars(record)["address"] for record in caplog.records if record.message == "listening"]
    assert address_shown in {f"http://{host}:{site.server.port}/" for host in hosts}
    assert site.server.url == f"http://127.0.0.1:{site.server.port}/"


def test_closing_frees_the_port(serve: Serve) -> None:
    """Open connections are cut, the port is free at once, and closing twice is closing."""
    site = serve(None)
    port = site.server.port
    with site.connect() as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).endswith(b"healthy\n")
        site.server.close()
        site.server.close()

        assert client.recv(1) == b""
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        again.listen()


def test_an_address_can_be_taken_before_anybody_is_answered() -> None:
    """Nobody else gets it, and closing gives it back although nothing was served."""
    web = WebServer("127.0.0.1:0", lambda: None, SystemClock(), None, Build("0", "", "3"))
    web.bind()
    other = WebServer(f"127.0.0.1:{web.port}", lambda: None, SystemClock(), None, Build("0", "", "3"))

    with pytest.raises(ListenError):
        other.bind()
    web.close()
    other.start()
    other.close()
    other.close()


def test_the_explanation_without_its_slash_is_where_it_belongs(
    serve: Serve, make_report: Callable[..., Any]
) -> None:
    """Links on it are relative, so the address has to end with one; behind a proxy's prefix as well."""
    status, headers, _body = serve(make_report()).request("GET", "/explain")

    assert (status, headers["location"]) == (301, "explain/")


@pytest.mark.parametrize(
    ("second", "text"),
    [
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),  # the example of RFC 9110
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
    ],
)
def test_the_date_of_a_response(second: int, text: str, serve: Serve, hand_clock: Any) -> None:
    """In whole seconds that have begun."""
    site = serve(None)
    for instant in (second * 10**9, (second + 1) * 10**9 - 1):
        hand_clock.start = instant - hand_clock.now
        assert site.request("GET", "/-/healthy")[1]["date"] == text
