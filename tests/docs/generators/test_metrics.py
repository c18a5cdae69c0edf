"""The reference page of metrics is the table's."""

from pathlib import Path

from generators.metrics import LABELS

from exporter.metrics.table import METRICS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_labels_are_one_closed_vocabulary() -> None:
    """A label is used exactly where it is explained: none is without a meaning, none is left over."""
    assert {label for metric in METRICS for label in metric.labels} == set(LABELS)


def test_a_line_stays_in_its_table() -> None:
    """Help has nothing in it that Markdown would take for the end of a cell."""
    assert [metric.name for metric in METRICS if "|" in metric.help or "`" in metric.help] == []
