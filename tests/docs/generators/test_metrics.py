"""The reference page of metrics is the table's."""

import re
from pathlib import Path

from generators.metrics import LABELS, documentation

from exporter.metrics.table import METRICS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_in_the_docs_is_current() -> None:
    """What is checked in is what the table says; `python docs/generate.py` writes it."""
    assert PAGE.read_text(encoding="utf-8") == documentation()


def test_every_metric_has_a_line() -> None:
    """Each name stands once, in the table's order."""
    assert re.findall(r"^\| `(inference_\w+)`", documentation(), re.MULTILINE) == [
        metric.name for metric in METRICS
    ]


def test_labels_are_one_closed_vocabulary() -> None:
    """A label is used exactly where it is explained: none is without a meaning, none is left over."""
    assert {label for metric in METRICS for label in metric.labels} == set(LABELS)


def test_a_line_stays_in_its_table() -> None:
    """Help has nothing in it that Markdown would take for the end of a cell."""
    assert [metric.name for metric in METRICS if "|" in metric.help or "`" in metric.help] == []
