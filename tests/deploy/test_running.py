"""docs/daemon.md and docs/outbound-requests.md list every path, variable and request, and no other."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from exporter.sources.cloud.metadata import BODY_BYTES_MAX, LINK_LOCAL, SERVICES
from exporter.sources.cloud.source import TIMEOUT_SECONDS
from exporter.sources.kubernetes import api
from exporter.sources.kubernetes.api import REFUSALS
from exporter.sources.location import FIRST_PAUSE, LABELS_RENEWAL, LONGEST_PAUSE

DOCS = Path(__file__).parents[2] / "docs"
PAGES = "\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("daemon.md", "outbound-requests.md"))


def section(heading: str) -> str:
    """The text below a heading."""
    return PAGES.partition(f"## {heading}\n")[2].partition("\n## ")[0]


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that generates the tables of docs/daemon.md."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("generators.daemon")


@pytest.fixture
def outbound(generators: Any) -> Any:
    """The module that generates the tables of docs/outbound-requests.md."""
    return importlib.import_module(generators.__name__.replace("daemon", "outbound"))


def test_a_reason_that_no_source_has_stops_the_generator(
    outbound: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelled reason is an error, not a row."""
    monkeypatch.setattr(outbound, "SOURCE_ERRORS", (("`pods`", "no_such_reason", ""),))

    with pytest.raises(ValueError, match="no_such_reason"):
        outbound.source_errors()


def test_a_page_without_its_region_stops_the_generator(generators: Any) -> None:
    """A region that is missing or there twice is an error."""
    tables = importlib.import_module(generators.__name__.replace("daemon", "tables"))
    region = "<!-- generated: a -->\nold\n<!-- end of a -->\n"

    assert tables.with_region(f"x\n{region}y\n", "a", "new") == f"x\n{region}y\n".replace("old", "new")
    for page in ("", region * 2):
        with pytest.raises(ValueError, match="one region a"):
            tables.with_region(page, "a", "new")


def test_every_path_is_in_the_table() -> None:
    """The table has each path that the web server serves."""
    server = (Path(__file__).parents[2] / "exporter" / "web" / "server.py").read_text(encoding="utf-8")
    served = set(re.findall(r'^ +"(/[^"]*)": \(', server, re.MULTILINE))
    listed = re.findall(r"^\| `(/[^`]*)` \|", section("Listen address"), re.MULTILINE)

    assert set(listed) == served


def test_every_variable_is_in_the_table() -> None:
    """The table has each variable that the package reads from its environment."""
    sources = (Path(__file__).parents[2] / "exporter").rglob("*.py")
    read = {
        name
        for file in sources
        for name in re.findall(r'environ\.get\("([^"]+)"', file.read_text(encoding="utf-8"))
    }

    assert set(re.findall(r"^\| `([A-Z_]+)` \|", section("Environment variables"), re.MULTILINE)) == read


@pytest.mark.parametrize("table", ["environment", "paths"])
def test_an_undescribed_name_stops_the_generator(
    generators: Any, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """A variable or path without a description is an error, not a missing row."""
    described = {"environment": "VARIABLES", "paths": "PATHS"}[table]
    monkeypatch.setattr(generators, described, {})

    with pytest.raises(ValueError, match=r"^docs/generators/daemon\.py: describe "):
        getattr(generators, table)()


def test_log_messages_are_in_the_table(
    generators: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each constant message once, with its levels and keys; other calls and the demo are left out."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "a.py").write_text('log.info("invented")')
    (tmp_path / "b.py").write_text(
        'log.info("gpu %s lost", 1, extra={"uuid": 1})\n_LOG.exception("gpu %s lost", 2, extra={"why": 2})\n'
        'log.log(logging.WARNING if x else logging.INFO, "stopped")\nlog.debug("%s", error)\n'
        'other.info("no log")\nlog.error(what)\n'
    )
    monkeypatch.setattr(generators, "EXPORTER", tmp_path)

    assert generators.messages().splitlines()[2:] == [
        "| gpu ... lost | info, error | `uuid`, `why` |",
        "| stopped | warning, info |  |",
    ]


def test_everything_that_is_asked_of_a_cloud_is_told() -> None:
    """Paths, address, sizes and times of each request are on the page, as network policies need them."""
    page = section("Cloud metadata")
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", page, re.MULTILINE))

    assert set(rows) == set(SERVICES)
    for cloud, service in SERVICES.items():
        expected = [question.path for question in service.questions.values()]
        if service.token is not None:
            expected.insert(0, f"PUT {service.token.path}")
        assert re.findall(r"`([^`]+)`", rows[cloud]) == expected
    assert f"`{LINK_LOCAL.removeprefix('http://')}`, port 80" in page
    assert f"read {BODY_BYTES_MAX // 1024} KiB at most" in page
    assert (TIMEOUT_SECONDS, "one second at most" in page) == (1.0, True)
    assert (FIRST_PAUSE, LONGEST_PAUSE) == (5 * 10**9, 3600 * 10**9)


def test_everything_that_is_asked_of_a_cluster_is_told() -> None:
    """Request, bounds and renewal stand on the page, and each reason of a failure."""
    page = section("Kubernetes node labels")

    assert "`GET /api/v1/nodes/NODE_NAME`" in page
    assert f"takes {api.TIMEOUT_SECONDS:g} seconds and {api.BODY_BYTES_MAX >> 20} MiB at most" in page
    assert f"every {LABELS_RENEWAL // 60 // 10**9} minutes" in page
    reasons = {*REFUSALS.values(), "node_name", "token_file", "tls", "connection", "timeout", "redirect"}
    reasons |= {"http_status", "encoding", "too_large", "not_recognized"}
    assert reasons <= set(re.findall(r"`([a-z_]+)`", section("Source errors by reason")))


def unknown_messages(text: str, table: str) -> list[str]:
    """The messages of log lines in a text that no row of the table of messages covers."""
    known = re.findall(r"^\| (.+?) \| [a-z, ]+ \|", table, re.MULTILINE)
    patterns = [re.escape(message).replace(re.escape("..."), ".+") for message in known]
    shown = re.findall(r'level=\w+ msg="([^"]+)"', text)
    return [message for message in shown if not any(re.fullmatch(pattern, message) for pattern in patterns)]


@pytest.mark.parametrize("page", ["daemon.md", "operations.md"])
def test_log_lines_of_a_page_are_those_of_the_daemon(page: str) -> None:
    """An example shows a message that the code writes."""
    text = (DOCS / page).read_text(encoding="utf-8")

    assert 'msg="' in text
    assert unknown_messages(text, section("Logs")) == []


def test_a_log_line_that_the_daemon_does_not_write_is_found() -> None:
    """The check can fail, and a placeholder stands for any text."""
    table = "| gpu ... lost | info, error | `uuid` |\n"

    assert unknown_messages('level=info msg="gpu 7 lost" level=info msg="gpu 7 found"', table) == [
        "gpu 7 found"
    ]
