"""Captured pages, changed in ways that must not matter: they say the same."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.engines import EVERYTHING, Interpretation, interpret, read, recognize, wanted
from tests.engines.test_captures import RECOGNIZED, expected_of

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)\{(.*)\}(\s+\S+)$")
LABEL = re.compile(r'[a-zA-Z_]\w*="(?:[^"\\]|\\.)*"')
ONE_MODEL = [path for path in RECOGNIZED if len(list(filter(None, expected_of(path)["models"]))) == 1]
"""Pages that name a model; several would become one."""

STRANGE = 'we, "say" {x=1} \\ é'
"""A model's name with everything in it that labels escape or that ends them."""


def reordered(page: str) -> str:
    """Labels in the reverse order, with a comma after the last one, as some writers put it."""

    def line(text: str) -> str:
        match = SAMPLE.match(text)
        labels = LABEL.findall(match[2]) if match else []
        if match is None or ",".join(labels) != match[2].rstrip(","):
            return text
        return f"{match[1]}{{{','.join(reversed(labels))},}}{match[3]}"

    return "\n".join(map(line, page.split("\n")))


def openmetrics(page: str) -> str:
    """As asked for by OpenMetrics: underscores for colons in names, timestamps, exemplars, an end."""
    lines = []
    for line in page.split("\n"):
        if line and not line.startswith("#"):
            name = re.split(r"[{\s]", line, maxsplit=1)[0]
            line = name.replace(":", "_", 1) + line[len(name) :] + " 1795560999.5"  # noqa: PLW2901 of the copy
            line += ' # {trace_id="a"} 1.0 1795560999.4' if "_bucket" in name or "_total" in name else ""  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines).rstrip("\n") + "\n# EOF\n"


def crlf(page: str) -> str:
    """Lines of Windows."""
    return page.replace("\n", "\r\n")


def stripped(page: str) -> str:
    """Samples alone, without the types and the help that some writers leave out."""
    return "".join(f"{line}\n" for line in page.split("\n") if line and not line.startswith("#"))


def shuffled(page: str) -> str:
    """The lines in reverse: no family is found by its place."""
    return "\n".join(reversed(page.split("\n")))


def renamed(page: str, models: list[str]) -> str:
    """Another model."""
    escaped = STRANGE.replace("\\", r"\\").replace('"', r"\"")
    for model in models:
        page = page.replace(f'="{model}"', f'="{escaped}"') if model else page
    return page


def interpret_page(page: str) -> Interpretation:
    body = page.encode()
    page_read = read(body, EVERYTHING)
    engine = recognize(page_read)
    assert engine is not None
    assert (page_read.malformed, page_read.duplicates) == (0, 0)
    return interpret(engine, read(body, wanted(engine)))


def sums(interpretation: Interpretation) -> dict[tuple[str, str], float]:
    counted: Counter[tuple[str, str]] = Counter()
    for counter in interpretation.counters:
        counted[counter.model, counter.quantity] += counter.sign * counter.value
    return dict(counted)


@pytest.mark.parametrize("mutation", [reordered, openmetrics, crlf, stripped, shuffled])
@pytest.mark.parametrize("path", RECOGNIZED, ids=lambda path: path.stem)
def test_how_a_page_is_written_does_not_matter(path: Path, mutation: Callable[[str], str]) -> None:
    """The same engine, series and values: a proxy in between or another writer moves no mark."""
    page = path.read_text(encoding="utf-8")
    changed = mutation(page)
    assert changed != page or (mutation is reordered and '="' not in stripped(page))
    before, after = interpret_page(page), interpret_page(changed)
    assert {(c.series, c.model, c.quantity, c.value, c.sign) for c in before.counters} == {
        (c.series, c.model, c.quantity, c.value, c.sign) for c in after.counters
    }
    assert (before.loads, before.models, before.identity, before.role) == (
        after.loads,
        after.models,
        after.identity,
        after.role,
    )


@pytest.mark.parametrize("path", ONE_MODEL, ids=lambda path: path.stem)
def test_a_model_of_any_name_is_told_by_that_name(path: Path) -> None:
    """Commas, quotes, braces and backslashes in it change nothing else."""
    models = [model for model in expected_of(path)["models"] if model]
    page = path.read_text(encoding="utf-8")
    before, after = interpret_page(page), interpret_page(renamed(page, models))
    assert after.models == (STRANGE,)
    assert {quantity: value for (_, quantity), value in sums(before).items()} == pytest.approx(
        {quantity: value for (_, quantity), value in sums(after).items()}
    )
    assert [(load.running, load.waiting) for load in before.loads] == [
        (load.running, load.waiting) for load in after.loads
    ]
