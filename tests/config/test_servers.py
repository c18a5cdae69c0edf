"""What is said of servers: those told outright, and those that are found."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config import Config, ConfigError, parse
from exporter.config.settings import ConfiguredServer, ServerMatch, ServerRule


def test_entries_are_servers_or_rules_for_what_is_found(good: Callable[[str], Config]) -> None:
    """An entry with a URL is a server; one with a match leaves as it was found what it does not say."""
    config = good("good-servers-found.yaml")

    assert config.server_rules == (
        ServerRule(ServerMatch(port=8000), name="chat-8b", gpu_share_ratio=Decimal("0.7")),
        ServerRule(
            ServerMatch(workload="ml/r1-*"),
            name="r1",
            spans_hosts=True,
            metrics_scheme="https",
            metrics_port=9400,
            metrics_path="/metrics",
            bearer_token_file=Path("/etc/ice/token"),
            ca_file=Path("/etc/ice/ca.pem"),
            server_name="r1.example.com",
        ),
        ServerRule(ServerMatch(unit="vllm@*.service", process="python*"), namespace="search", role="decode"),
        ServerRule(
            ServerMatch(port=8002, user="990", uid=990), name="docs", bearer_token_file=Path("/etc/ice/token")
        ),
        ServerRule(ServerMatch(process="vllm", user="root", uid=0, containers=True), name="mine"),
        ServerRule(ServerMatch(user="nobody-of-this-host"), name="theirs"),
    )
    assert config.servers == (
        ConfiguredServer("batch", "http://127.0.0.1:8001/metrics", (4, 5), engine="vllm", role="prefill"),
        ConfiguredServer("far", "https://10.0.0.5:8443/metrics", (6,), server_name="10.0.0.6"),
    )


def test_what_is_looked_for_can_be_switched_off(good: Callable[[str], Config]) -> None:
    """Without a word processes are looked at; `false` stops that."""
    assert Config().processes
    assert not good("good-servers-found.yaml").processes


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/chat",
        "/metrics/v1",
        "/metrics/v1/completions",
        "/v1/metrics",
        "/v1/metrics/chat",
        "/chat",
        "/docs",
        "/models",
        "/infer",
        "/health/chat",
        "/proxy/generate",
        "/chat/v1",
    ],
)
def test_where_metrics_may_be_is_read(path: str) -> None:
    """A page of metrics may have any path but an engine's own, and below `metrics` every one."""
    url = f"servers: [{{name: a, url: 'http://proxy:9000{path}', gpus: [0]}}]\n"
    matched = f"servers: [{{match: {{port: 8000}}, metrics: {{path: '{path}'}}}}]\n"

    assert parse(url.encode(), Path("ice.yaml")).servers[0].url == f"http://proxy:9000{path}"
    assert parse(matched.encode(), Path("ice.yaml")).server_rules[0].metrics_path == path


@pytest.mark.parametrize(("user", "uid"), [("root", 0), ("990", 990), ("nobody-of-this-host", -1)])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "10.0.0.5"])
def test_a_url_is_bound_to_the_user_who_listens_there(host: str, user: str, uid: int) -> None:
    """As is a gateway's; of a name that this machine does not know nobody's socket is."""
    gateway = f'divide: {{by: team, gateway: "http://{host}:4000", user: {user}}}'
    config = parse(
        f'servers: [{{name: a, url: "http://{host}:8000", gpus: all, user: {user}, {gateway}}}]'.encode()
    )

    assert [server.uid for server in config.servers] == [uid]
    assert [divide.uid for divide in config.divides()] == [uid]


def test_a_url_without_a_user_is_anybodys() -> None:
    """It is the operator's word."""
    config = parse(b'servers: [{name: a, url: "http://127.0.0.1:8000", gpus: all}]')

    assert config.servers[0].uid is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            'name: a, url: "http://gpu-1:8000", gpus: all, user: root',
            "servers[0].user: goes with localhost or an IP address in url",
        ),
        (
            "match: {port: 8000}, name: a, user: root",
            "servers[0].user: goes with url only; write it in match",
        ),
        (
            'match: {port: 8000}, divide: {by: team, gateway: "http://gw:4000", user: root}',
            "servers[0].divide.user: goes with localhost or an IP address in gateway",
        ),
        ('name: a, url: "http://127.0.0.1:8000", gpus: all, user: "*"', 'servers[0].user: "*" is no user'),
    ],
)
def test_a_user_goes_with_an_address_of_this_host(entry: str, problem: str) -> None:
    """Of a name it is not known where it leads."""
    with pytest.raises(ConfigError) as error:
        parse(f"servers: [{{{entry}}}]".encode())

    assert problem in str(error.value)


def test_a_gateway_has_one_user() -> None:
    """It is read once."""
    divide = 'divide: {by: team, gateway: "http://127.0.0.1:4000"'
    entries = f"{{match: {{port: 1}}, {divide}, user: root}}}}, {{match: {{port: 2}}, {divide}}}}}"
    with pytest.raises(ConfigError, match=r"its gateway is read for another user by servers\[0\]; give both"):
        parse(f"servers: [{entries}]".encode())
