"""DNS rebinding: a browser is answered under names that no stranger can register, a program under any."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.web.connection import Request
from exporter.web.hosts import Hosts, host_of, is_browser
from tests.web.test_passwords import basic, hashed

Serve = Callable[..., Any]

READERS = ("/", "/metrics", "/cost.json", "/explain/")
CHROME = {
    "User_Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
    "Accept_Language": "en-US,en;q=0.9",
}
"""What Chrome sends to plain HTTP: no Sec-Fetch header there, and no Origin with a GET of the same site."""

PROGRAMS = (
    {"User_Agent": "Prometheus/3.5.0", "Accept": "application/openmetrics-text;version=1.0.0"},
    {"User_Agent": "kube-probe/1.34", "Accept": "*/*"},
    {"User_Agent": "curl/8.14.1", "Accept": "*/*"},
    {"User_Agent": "Go-http-client/1.1", "Accept_Encoding": "gzip"},
    {"User_Agent": "python-requests/2.32.5", "Accept_Encoding": "gzip, deflate"},
    {},
)


def browsed(host: str, **headers: str) -> Request:
    """A browser's request for a host without its port."""
    names = {"accept-language": "en", **headers}
    return Request("GET", "/cost.json", names, host=host)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Those of a machine called gpu-7, which looks for names in two domains."""
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-7")
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 10.0.0.1\nsearch dc1.example.com Example.net.\noptions ndots:5\n")
    return Hosts(("Costs.example.com",), resolver)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "[::1]", "[fe80::1]", "localhost", "localhost.", "app.localhost", "gpu-7",
     "gpu-7.dc1.example.com", "gpu-7.example.net", "costs.example.com", "exporter", "exporter.monitoring.svc",
     "exporter.monitoring.svc.cluster.local", "gpu-7.internal", "gpu-7.home.arpa"],
)  # fmt: skip
def test_names_that_nobody_can_register_are_answered(host: str, hosts: Hosts) -> None:
    """Addresses, names without a dot, reserved ones, the machine's own and those that were allowed."""
    assert hosts.reject(browsed(host)) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.nip.io", "localhost.evil.example", "gpu-7.evil.example", "svc.evil.example",
     "evilcosts.example.com", "a.costs.example.com", "0x7f.1.evil.example", "[evil]", "", ".", "1.2.3"],
)  # fmt: skip
def test_other_names_are_refused_to_browsers(host: str, hosts: Hosts) -> None:
    """A registered name, or one that looks like an address or like ours and is none."""
    rejection = hosts.reject(browsed(host))

    assert rejection is not None
    assert (rejection.status, rejection.refused) == (421, "unknown_host")
    assert hosts.reject(Request("GET", "/cost.json", {"user-agent": "Prometheus/3"}, host=host)) is None


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("gpu-7.local", "http://gpu-7.local", None),
        ("gpu-7.internal", "http://gpu-7.internal", None),
        ("gpu-7.local", "http://evil.example", 421),
        ("gpu-7.local", "http://evil.local", 421),
        ("gpu-7.internal", "null", 421),
        ("gpu-7.internal", "http://[", 421),
        ("exporter.monitoring.svc.cluster.local", "http://grafana.example.com", 421),
        ("gpu-7.home.arpa", "http://evil.example", None),
        ("localhost", "http://evil.example", None),
        ("gpu-7.local.", "http://evil.example", 421),
    ],
)
def test_a_name_that_a_neighbor_can_announce_needs_its_own_origin(
    host: str, origin: str, status: int | None, hosts: Hosts
) -> None:
    """By mDNS anybody in the network says where a name below .local is, and a minute later: here."""
    request = Request("GET", "/cost.json", {"host": host, "origin": origin}, host=host)
    rejection = hosts.reject(request)

    assert (None if rejection is None else rejection.status) == status


@pytest.mark.parametrize(
    "headers",
    [
        {"accept-language": "en"},
        {"accept-language": ""},
        {"user-agent": "Mozilla/5.0 (Macintosh)"},
        {"sec-fetch-mode": "cors"},
        {"sec-websocket-key": "x"},
        {"sec-gpc": "1"},
        {"origin": "http://evil.example"},
        {"referer": "http://evil.example/"},
        {"cookie": "a=b"},
        {"upgrade-insecure-requests": "1"},
    ],
    ids=str,
)
def test_what_shows_a_browser(headers: dict[str, str]) -> None:
    """Each of these alone; a script can change the first one's value and not leave it out."""
    assert is_browser(Request("GET", "/", headers))


@pytest.mark.parametrize("headers", PROGRAMS, ids=str)
@pytest.mark.parametrize("path", READERS)
def test_a_program_may_ask_by_any_name(
    path: str, headers: dict[str, str], serve: Serve, make_report: Callable[..., Any]
) -> None:
    """A scrape by a DNS name of the operator's needs no configuration."""
    assert serve(make_report()).request("GET", path, Host="gpu-7.corp.example.com:9844", **headers)[0] == 200


@pytest.mark.parametrize("path", READERS)
def test_a_rebound_page_reads_nothing(path: str, serve: Serve, make_report: Callable[..., Any]) -> None:
    """The answer has no figure, says why, and what to start with where the name is the operator's."""
    site = serve(make_report())
    status, _, body = site.request("GET", path, Host=f"evil.example:{site.server.port}", **CHROME)

    assert status == 421
    assert body == (
        b"refused: a browser asks for the host evil.example, which is not known to be this server's. "
        b"If it is, start with --web.allowed-host=evil.example; an address or localhost works always.\n"
    )
    assert dict(site.server.refused)["unknown_host"] == 1


def test_a_rebound_page_cannot_reload(serve: Serve) -> None:
    """Its Origin is the Host that it asks for, so that only the name gives it away."""
    site = serve(None)
    host = f"evil.example:{site.server.port}"
    answer = site.request("POST", "/-/reload", Host=host, Origin=f"http://{host}", **CHROME)

    assert (answer[0], site.reloads) == (421, 0)


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_probes_are_answered_under_any_name(path: str, serve: Serve, make_report: Callable[..., Any]) -> None:
    """They tell nothing of money."""
    assert serve(make_report()).request("GET", path, Host="evil.example", **CHROME)[0] == 200


def test_an_allowed_name_is_answered(serve: Serve, make_report: Callable[..., Any]) -> None:
    """Behind an ingress, say, and whatever its port."""
    site = serve(make_report(), allowed_hosts=("costs.example.com",))

    for host in ("costs.example.com", "COSTS.example.com:443", "costs.example.com.:9844"):
        assert site.request("GET", "/", Host=host, **CHROME)[0] == 200


def test_the_name_that_is_listened_on_is_answered(serve: Serve, make_report: Callable[..., Any]) -> None:
    """`--web.listen-address=NAME:9844` says that the name is this machine's."""
    site = serve(make_report(), address="localhost:0")

    assert "localhost" in site.server._hosts._allowed


def test_a_password_makes_names_free(serve: Serve, make_report: Callable[..., Any], tmp_path: Path) -> None:
    """A browser sends it to the site that it was typed for, never to another one's name."""
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{grafana: {hashed('secret')}}}\n")
    site = serve(make_report(), web=web)

    assert site.request("GET", "/", Host="evil.example", **CHROME)[0] == 401
    right = basic("grafana", "secret")
    assert site.request("GET", "/", Host="costs.example.com", Authorization=right, **CHROME)[0] == 200


@pytest.mark.parametrize(
    ("text", "name"), [("Costs.Example.com", "costs.example.com"), ("a.", "a"), ("gpu_7", "gpu_7")]
)
def test_a_name_is_taken_in_any_case(text: str, name: str) -> None:
    """And without the dot of the root."""
    assert host_of(text) == name


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "-a", "a b", "http://a", "a:1", "*.a", "ä.example", "a" * 254]
)
def test_a_name_that_is_none(text: str) -> None:
    """A URL, a port, a pattern: the message says what is meant."""
    with pytest.raises(ValueError, match="is no host name: write it without scheme and port"):
        host_of(text)


def test_a_machine_without_a_resolver_has_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file, and one that is none, say nothing."""
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-7.example.org")
    (tmp_path / "odd").write_bytes(b"search\n\xff\xfe search a\nsearch .\n")

    for resolver in (tmp_path / "none", tmp_path / "odd", tmp_path):
        hosts = Hosts((), resolver)
        assert hosts._allowed == {"gpu-7.example.org"}
