"""The cost model says of each formula what it takes for granted; CONTRIBUTING names each target and tool."""

import re

from tests.docs.markdown import ROOT, read, rows

COST_MODEL = read(ROOT / "docs" / "cost-model.md")
HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)

EXACT = {"Exact sums", "Hours"}
"""Formulas that are arithmetic alone, or definitions."""


def sections(text: str) -> dict[str, str]:
    """Each heading's own text, up to the next heading."""
    parts = HEADING.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def formulas_without_assumptions(text: str) -> list[str]:
    """Sections with arithmetic or a formula in code, and no line that says what is assumed."""
    return [
        heading
        for heading, body in sections(text).items()
        if ("```arithmetic" in body or re.search(r"`[a-z ]+ = [^`]+`", body))
        and not re.search(r"^Assumed: [a-z].*\.$", body, re.MULTILINE)
        and heading not in EXACT
    ]


def test_every_formula_says_what_it_assumes() -> None:
    """In plain words, beside it."""
    assert formulas_without_assumptions(COST_MODEL) == []
    assert COST_MODEL.count("\nAssumed: ") >= 15


def test_a_formula_without_assumptions_is_found() -> None:
    """The check can fail, by arithmetic and by a formula in code."""
    page = (
        "## A\n```arithmetic a\n1 = 1\n```\n## B\n`rent = dollars x hours`\n## C\n`x = y`\nAssumed: much.\n"
    )

    assert formulas_without_assumptions(page) == ["A", "B"]


PLUMBING = {"charts", "e2e", "editable", "environment", "in_memory", "need", "python", "rootfs"}
"""Tools that others call."""


def test_every_target_and_tool_is_told_to_contributors() -> None:
    """`make help` lists targets as well; the page says what each is good for."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):[^#\n]*## ", makefile, re.MULTILINE)) - {"help"}
    tools = {
        path.name for path in (ROOT / "tools").iterdir() if path.is_file() and not path.suffix
    } - PLUMBING
    suites = {path.parent.name for path in (ROOT / "tests").glob("*/run")}
    commands = [row[0].strip("`").split(" ") for row in rows(read(ROOT / "CONTRIBUTING.md"))]
    documented = {" ".join(words[:2]) if words[0] in {"make", "git"} else words[0] for words in commands}

    assert documented - {"command", "git clean"} == {
        *(f"make {target}" for target in targets),
        *(f"tools/{tool}" for tool in tools),
        *(f"tests/{suite}/run" for suite in suites),
    }
