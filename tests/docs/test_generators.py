"""The generators of docs fail rather than leave a gap, and write what the program and the pages have."""

import importlib
import re
import subprocess
import sys
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


def test_every_generated_page_is_current() -> None:
    """What is checked in is what the code says; `python docs/generate.py` writes it."""
    command = [sys.executable, DOCS / "generate.py", "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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


@pytest.mark.parametrize("table", ["environment", "paths"])
def test_an_undescribed_name_stops_the_generator(
    generators: Any, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """A variable or path without a description is an error, not a missing row."""
    described = {"environment": "VARIABLES", "paths": "PATHS"}[table]
    monkeypatch.setattr(generators, described, {})

    with pytest.raises(ValueError, match=r"^docs/generators/daemon\.py: describe "):
        getattr(generators, table)()


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
