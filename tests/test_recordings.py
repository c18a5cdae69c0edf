"""Recordings of real servers, made by `make test-vllm`: what they said, and what the daemon made of it."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.engines import EVERYTHING, interpret, read, recognize, wanted
from exporter.readings import KINDS

RECORDINGS = Path(__file__).parent / "recordings"
FOLDERS = sorted(path for path in RECORDINGS.iterdir() if path.is_dir())


def told(page: Path) -> dict[str, float]:
    """Tokens by kind that our engines read on a page."""
    body = page.read_bytes()
    engine = recognize(read(body, EVERYTHING))
    assert engine is not None
    counters = interpret(engine, read(body, wanted(engine))).counters
    return {
        kind: sum(counter.sign * counter.value for counter in counters if counter.quantity == kind)
        for kind in KINDS
    }


def metered(page: Path) -> dict[str, float]:
    """Tokens by kind on a page of the daemon."""
    return {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(page.read_text(encoding="utf-8"))
        for sample in family.samples
        if sample.name == "inference_tokens_total"
    }


def test_there_are_recordings() -> None:
    """An empty folder would pass every other test here."""
    assert FOLDERS != []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_was_served_is_what_was_metered(folder: Path) -> None:
    """The rise of a server's counters, read again today, is what the daemon had counted live."""
    cold, served = told(folder / "cold.prom"), told(folder / "served.prom")
    rise = {kind: served[kind] - cold[kind] for kind in KINDS}
    assert rise == metered(folder / "metrics.prom")
    assert min(rise.values()) > 1000
