"""Every page is reached from the README, and the index of the docs names each of them once."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.markdown import LINK, ROOT, links, named, pages, prose

README = ROOT / "README.md"
INDEX = ROOT / "docs" / "README.md"
INDEXED = {"runbooks": "alerts.md", "engines": "engines.md"}
"""Folders of pages of one kind, and the page that lists them."""

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))


def reached(start: Path) -> set[Path]:
    """The pages that links lead to from one page, over any number of others."""
    seen_pages, waiting = {start}, [start]
    while waiting:
        page = waiting.pop()
        new = {target for target in links(page) if target.suffix == ".md" and target.is_file()} - seen_pages
        seen_pages |= new
        waiting += new
    return seen_pages


def test_no_page_is_an_orphan() -> None:
    """Whoever begins at the README comes to each page by links."""
    seen_pages = reached(README)

    assert [named(page) for page in pages() if page not in seen_pages] == []


def test_the_index_names_every_page_once() -> None:
    """Each under one of three headings; decisions, engines and runbooks are listed on pages of their own."""
    listed = Counter(target for target in links(INDEX) if target.suffix == ".md")
    elsewhere = {*DECISIONS, *(page for page in pages() if page.parent.name in INDEXED)}
    expected = set(pages()) - {INDEX, *elsewhere}
    missing = [named(page) for page in expected - set(listed)]
    twice = [page.name for page, times in listed.items() if times > 1]

    assert (missing, twice) == ([], [])
    assert re.findall(r"^## (.+)$", prose(INDEX), re.MULTILINE) == ["Operate", "Understand", "Extend"]


@pytest.mark.parametrize(("folder", "index"), INDEXED.items())
def test_every_page_of_a_folder_is_reached_from_its_index(folder: str, index: str) -> None:
    """A runbook from the page of alerts, an engine from that of engines."""
    listed = set(links(ROOT / "docs" / index))
    inside = [page for page in pages() if page.parent.name == folder]

    assert inside
    assert [named(page) for page in inside if page not in listed] == []


def test_every_line_of_the_index_says_what_its_page_is_for() -> None:
    """A link alone is a riddle."""
    lines = [line for line in prose(INDEX).splitlines() if line.startswith("- [")]

    assert lines
    assert [line for line in lines if not re.match(r"- \[[^\]]+\]\([^)]+\): \S.*\.$", line)] == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_says_why_what_and_at_what_cost(page: Path) -> None:
    """Three parts, in this order, below a title with its number; a replaced one names its successor."""
    lines = prose(page).splitlines()

    assert lines[0].startswith(f"# {int(page.name[:4])}. ")
    if lines[2].startswith("Replaced by ["):
        assert len(lines) == 3
        return
    assert [line for line in lines if line.startswith("#")][1:] == ["## Why", "## Decision", "## Given up"]


def test_decisions_are_numbered_without_a_gap() -> None:
    """And their table has each of them."""
    table = ROOT / "docs" / "decisions" / "README.md"

    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    assert [target for target in links(table) if target in DECISIONS] == DECISIONS


@pytest.mark.parametrize("page", pages(), ids=named)
def test_links_say_where_they_lead(page: Path) -> None:
    """No link is called `here`, or by nothing."""
    texts = [match["text"].strip().lower() for match in LINK.finditer(prose(page)) if match[0][0] != "!"]

    assert [text for text in texts if text in {"", "here", "this", "link", "click here"}] == []


def test_an_orphan_is_found(tmp_path: Path) -> None:
    """The check can fail: a page that only links away is not reached."""
    for name, text in (
        ("a.md", "[b](b.md)"),
        ("b.md", "[a](a.md) [out](https://x.example)"),
        ("c.md", "[a](a.md)"),
    ):
        (tmp_path / name).write_text(text)

    assert reached(tmp_path / "a.md") == {tmp_path / "a.md", tmp_path / "b.md"}
