"""The README answers within a screen or three, and what it says of other tools has a source in each cell."""

import re

from tests.docs.markdown import LINK, ROOT, prose, read, rows

README = ROOT / "README.md"
MOST_LINES = 150
MOST_WORDS = 850


def section(heading: str) -> str:
    """The text below a heading."""
    return read(README).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def cells_without_source(table: list[list[str]]) -> list[str]:
    """Cells below the heading and behind the tool's name that lead nowhere."""
    return [f"{row[0]}: {cell}" for row in table[1:] for cell in row[1:] if not LINK.search(cell)]


def test_it_is_short() -> None:
    """A reader reaches its end."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert len(prose(README).split()) <= MOST_WORDS


def test_it_answers_first_and_then_shows() -> None:
    """The subject, two commands, and then the ways to install, in this order."""
    text = read(README)
    positions = [
        text.index(words)
        for words in (
            "A Prometheus exporter for the cost of LLM inference",
            "make demo",
            "make test",
            "## What you get",
            "## Metrics and commands",
            "## Install on a GPU host",
            "honor_labels: true",
            "## Kubernetes",
            "## Limits",
            "## Comparison",
            "LICENSE",
        )
    ]

    assert positions == sorted(positions)


def test_every_cell_about_another_tool_has_a_source() -> None:
    """A claim about somebody else's program is theirs, and can be looked up."""
    table = rows(section("Comparison"))

    assert len(table) > 5
    assert cells_without_source(table) == []
    assert {len(row) for row in table} == {len(table[0])}


def test_sources_in_repositories_do_not_move() -> None:
    """A link to a file of another project names a commit, so that it says tomorrow what it said when read."""
    targets = [match["target"] for match in LINK.finditer(section("Comparison"))]
    files = [target for target in targets if "github.com" in target]

    assert files
    assert [target for target in files if not re.search(r"/blob/[0-9a-f]{40}/", target)] == []


def test_each_commit_is_dated() -> None:
    """Whoever reads it in a year sees how old the claim is: a commit, and behind it a date in brackets."""
    text = section("Comparison")
    commits = {commit[:7] for commit in re.findall(r"/blob/([0-9a-f]{40})/", text)}

    assert len(commits) > 4
    dated = r" \([^()]*\d{1,2} [A-Z][a-z]+ 20\d\d\)"
    assert [commit for commit in sorted(commits) if not re.search(commit + dated, text)] == []


def test_a_cell_without_a_source_is_found() -> None:
    """The check can fail."""
    assert cells_without_source([["", "a"], ["x", "[yes](y)"], ["z", "no"]]) == ["z: no"]
