"""Names that are made to break what they are written into: metrics, log and the bill, each read back."""

import csv
import io
import json
import logging
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from exporter.cli.logs import set_up
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.statement import as_csv
from exporter.finance.statements import month_statement
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.metrics.exposition import OPENMETRICS, TEXT, Exposition, Format, Variant
from exporter.readings import LABEL_CHARACTERS, ServerKey, ServerReading, label
from exporter.report import Build, MonthKey, Report
from tests.kit.units import DOLLAR
from tests.web.test_page import HOSTILE

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")


@pytest.mark.parametrize("name", HOSTILE)
def test_they_are_labels_as_they_are(name: str) -> None:
    """None is changed by what cuts labels to 128 characters and takes out what does not print."""
    assert label(name) == name
    assert max(map(len, HOSTILE)) == LABEL_CHARACTERS == 128


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(("form", "parse"), [(TEXT, prometheus), (OPENMETRICS, openmetrics)])
def test_metrics_say_them_whole(
    name: str, form: Format, parse: Callable[..., object], make_report: MakeReport
) -> None:
    """Prometheus' own readers find the server, its model and its pod by their names, and no series more."""
    endpoint = ServerReading(ServerKey("", name), "http://10.0.0.1/metrics", up=True, pod=name)
    report = make_report(rates={CostOwner(name, name, name, name, name): 1.5}, servers=(endpoint,))
    text = Exposition(BUILD).render(report, Variant(form, gzip=False), stale=False).decode()
    samples = [sample for family in parse(text) for sample in family.samples]  # type: ignore[attr-defined]
    rates = [sample for sample in samples if sample.name == "inference_cost_dollars_per_hour"]
    pods = [sample.labels["pod"] for sample in samples if sample.name == "inference_server_endpoint_info"]

    assert [(set(sample.labels.values()), sample.value) for sample in rates] == [({name}, 1.5)]
    assert pods == [name]
    assert {sample.name.split("_")[0] for sample in samples} == {"inference", "process", "python"}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_log_stays_a_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In both forms, and in JSON the name comes back as it was."""
    log, root = logging.getLogger("hostile"), logging.getLogger()
    before = root.handlers[:]
    for style in ("logfmt", "json"):
        set_up("info", style)  # type: ignore[arg-type]
        log.info("server found", extra={"server": f"{name}\n\x1b[2J"})
    logfmt, as_json = capsys.readouterr().err.splitlines()
    root.handlers[:] = before

    assert logfmt.endswith(f"server={json.dumps(f'{name}' + chr(10) + chr(27) + '[2J')}")
    assert json.loads(as_json)["server"] == f"{name}\n\x1b[2J"
    assert "\x1b" not in logfmt + as_json


@pytest.mark.parametrize("name", HOSTILE)
def test_the_bill_has_them_as_text(name: str) -> None:
    """A cell of its own, which a spreadsheet takes for text also where it begins as a formula does."""
    key = MonthKey(name, "t", "configured", "2026-10")
    sums = HistorySums(cost={OwnerPhase(CostOwner(name, "t", "", name, name), "decode"): 5 * DOLLAR})
    record = MonthRecord("0190a1b2", None, "2026-10", ("2026-10",), {key: 5 * DOLLAR}, sums)
    _heading, row = csv.reader(
        io.StringIO(as_csv(month_statement(record, "model", current_month="", zone=ZoneInfo("UTC"))))
    )

    assert row[1:3] == [f"'{name}" if name.startswith("=") else name, "5.00"]
