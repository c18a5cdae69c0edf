"""docs/daemon.md and docs/outbound-requests.md list every path, variable and request, and no other."""

import re
from pathlib import Path

from exporter.sources.cloud.metadata import BODY_BYTES_MAX, LINK_LOCAL, SERVICES
from exporter.sources.cloud.source import TIMEOUT_SECONDS
from exporter.sources.location import BACKOFF_MAX, BACKOFF_MIN

DOCS = Path(__file__).parents[2] / "docs"
PAGES = "\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("daemon.md", "outbound-requests.md"))


def section(heading: str) -> str:
    """The text below a heading."""
    return PAGES.partition(f"## {heading}\n")[2].partition("\n## ")[0]


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
