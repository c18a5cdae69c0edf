"""The generators of docs fail rather than leave a gap, and write what the program and the pages have."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


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


def test_an_nvml_function_that_is_not_listed_stops_the_generator(
    outbound: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that the package makes is on the page."""
    monkeypatch.setattr(outbound, "NVML_CALLS", outbound.NVML_CALLS[1:])

    with pytest.raises(ValueError, match="nvmlDeviceGetPciInfo"):
        outbound.nvml_calls()


def test_a_page_without_its_region_stops_the_generator(generators: Any) -> None:
    """A region that is missing or there twice is an error."""
    tables = importlib.import_module(generators.__name__.replace("daemon", "tables"))
    region = "<!-- generated: a -->\nold\n<!-- end of a -->\n"

    assert tables.with_region(f"x\n{region}y\n", "a", "new") == f"x\n{region}y\n".replace("old", "new")
    for page in ("", region * 2):
        with pytest.raises(ValueError, match="one region a"):
            tables.with_region(page, "a", "new")


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


def unknown_messages(text: str, table: str) -> list[str]:
    """The messages of log lines in a text that no row of the table of messages covers."""
    documented = re.findall(r"^\| (.+?) \| [a-z, ]+ \|", table, re.MULTILINE)
    patterns = [re.escape(message).replace(re.escape("..."), ".+") for message in documented]
    shown = re.findall(r'level=\w+ msg="([^"]+)"', text)
    return [message for message in shown if not any(re.fullmatch(pattern, message) for pattern in patterns)]


@pytest.mark.parametrize("page", ["daemon.md", "operations.md"])
def test_log_lines_of_a_page_are_those_of_the_daemon(generators: Any, page: str) -> None:
    """An example shows a message that the code writes."""
    text = (DOCS / page).read_text(encoding="utf-8")

    assert 'msg="' in text
    assert unknown_messages(text, generators.messages()) == []


def test_a_log_line_that_the_daemon_does_not_write_is_found() -> None:
    """The check can fail, and a placeholder stands for any text."""
    table = "| gpu ... lost | info, error | `uuid` |\n"

    assert unknown_messages('level=info msg="gpu 7 lost" level=info msg="gpu 7 found"', table) == [
        "gpu 7 found"
    ]


@pytest.mark.parametrize(
    ("module", "described", "region"),
    [
        ("ledger", "MEANINGS", "tables"),
        ("prices", "FILES", "files"),
        ("prices", "FILE_COLUMNS", "columns"),
        ("prices", "SECOND_LISTS", "lists"),
        ("web", "MEANINGS", "web_keys"),
    ],
)
def test_what_the_code_has_and_no_table_describes_stops_the_generator(
    generators: Any, monkeypatch: pytest.MonkeyPatch, module: str, described: str, region: str
) -> None:
    """A table of the ledger, a file or column of prices, a key of the web configuration."""
    named = importlib.import_module(generators.__name__.replace("daemon", module))
    name, *rest = getattr(named, described)
    monkeypatch.setattr(named, described, {key: getattr(named, described)[key] for key in rest})

    with pytest.raises(ValueError, match=name):
        getattr(named, region)()


def test_an_undescribed_alert_stops_the_generator(generators: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert of the rule file has a row, and a row an alert."""
    alerts = importlib.import_module(generators.__name__.replace("daemon", "alerts"))
    rules = alerts.alert_rules()
    monkeypatch.setattr(alerts, "alert_rules", lambda: {name: rules[name] for name in list(rules)[1:]})

    with pytest.raises(ValueError, match="InferenceSpendRunaway"):
        alerts.alerts()


def test_a_runbook_has_its_rule_and_its_cases(generators: Any) -> None:
    """From the rules, and with links to the files of the cases."""
    alerts = importlib.import_module(generators.__name__.replace("daemon", "alerts"))

    assert alerts.rule("InferenceBudgetExhausted") == (
        "| Severity | page, ticket |\n|---|---|\n"
        "| Fires when | the month has reached a budget; a page if eight hours of spend cost 5 % |\n"
        "| For | 5 min |\n| Silent | a raised budget; the next month |\n"
        "| Tests | [budget](../../deploy/prometheus/budget_test.yml): "
        "budget exhausted and run-rate over budget |"
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("b,x,,\na,x,,\n", "sort the terms"),
        ("a,x,,\na,x,,\n", "sort the terms"),
        ("a,,,\n", "give each term a meaning"),
        ("a,x,told,\nb,x,told,\n", "replaced by two terms"),
    ],
)
def test_a_glossary_that_is_not_in_order_stops_the_generator(
    generators: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: str, problem: str
) -> None:
    """Terms in the order of the alphabet, each once and with a meaning; a word has one replacement."""
    glossary = importlib.import_module(generators.__name__.replace("daemon", "glossary"))
    file = tmp_path / "glossary.csv"
    file.write_text(f"word,meaning,instead_of,where\n{rows}")
    monkeypatch.setattr(glossary, "CSV", file)

    with pytest.raises(ValueError, match=problem):
        glossary.terms()


def test_the_index_has_the_titles_of_pages(generators: Any) -> None:
    """Each line is a link by title; a decision has its number."""
    index = importlib.import_module(generators.__name__.replace("daemon", "index"))

    assert "- [Ledger](ledger.md): tables, corrections, moves, troubleshooting." in index.entries(
        index.UNDERSTAND
    )
    assert "| 3 | [Integer picodollars](0003-picodollars.md) |" in index.decisions()
