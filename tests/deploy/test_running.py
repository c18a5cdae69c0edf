"""docs/daemon.md and docs/outbound-requests.md list every path, variable and request, and no other."""

import re
from pathlib import Path

from exporter.sources.cloud.metadata import BODY_BYTES_MAX, LINK_LOCAL, SERVICES
from exporter.sources.cloud.source import TIMEOUT_SECONDS
from exporter.sources.kubernetes import api
from exporter.sources.kubernetes.api import REFUSALS
from exporter.sources.location import BACKOFF_MAX, BACKOFF_MIN, LABELS_RENEWAL

DOCS = Path(__file__).parents[2] / "docs"
PAGES = "\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("daemon.md", "outbound-requests.md"))


def section(heading: str) -> str:
    """The text below a heading."""
    return PAGES.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_every_path_is_told() -> None:
    """What the web server answers to is on the page."""
    server = (Path(__file__).parents[2] / "exporter" / "web" / "server.py").read_text(encoding="utf-8")
    served = set(re.findall(r'^ +"(/[^"]*)": \(', server, re.MULTILINE))
    paths = re.findall(r"^\| `(/[^`]*)` \|", section("Listen address"), re.MULTILINE)

    assert set(paths) == served


def test_every_variable_is_told() -> None:
    """What is read from the environment is on the page."""
    sources = (Path(__file__).parents[2] / "exporter").rglob("*.py")
    read = {
        name
        for file in sources
        for name in re.findall(r'environ\.get\("([^"]+)"', file.read_text(encoding="utf-8"))
    }

    assert set(re.findall(r"^\| `([A-Z_]+)` \|", section("Environment variables"), re.MULTILINE)) == read


def test_everything_that_is_asked_of_a_cloud_is_told() -> None:
    """Paths, address, sizes and times of each request are on the page, as network policies need them."""
    page = section("Cloud metadata")
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", page, re.MULTILINE))

    assert set(rows) == set(SERVICES)
    for cloud, service in SERVICES.items():
        expected = [*service.location.paths.values()]
        if service.token is not None:
            expected.insert(0, f"PUT {service.token.path}")
        if service.notice is not None:
            expected += service.notice.paths.values()
        assert re.findall(r"`([^`]+)`", rows[cloud]) == expected
    assert f"`{LINK_LOCAL.removeprefix('http://')}`, port 80" in page
    assert f"read {BODY_BYTES_MAX // 1024} KiB at most" in page
    assert (TIMEOUT_SECONDS, "one second at most" in page) == (1.0, True)
    assert (BACKOFF_MIN, BACKOFF_MAX) == (5 * 10**9, 3600 * 10**9)


def test_everything_that_is_asked_of_a_cluster_is_told() -> None:
    """Request, bounds and renewal stand on the page, and each reason of a failure."""
    page = section("Kubernetes node labels")

    assert "`GET /api/v1/nodes/NODE_NAME`" in page
    assert f"takes {api.TIMEOUT_SECONDS:g} seconds and {api.BODY_BYTES_MAX >> 20} MiB at most" in page
    assert f"every {LABELS_RENEWAL // 60 // 10**9} minutes" in page
    reasons = {*REFUSALS.values(), "node_name", "token_file", "tls", "connection", "timeout", "redirect"}
    reasons |= {"http_status", "encoding", "too_large", "not_recognized"}
    assert reasons <= set(re.findall(r"`([a-z_]+)`", section("Source errors by reason")))
