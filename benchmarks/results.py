"""What was measured, as rows with a median and a spread, and where they stand in the docs."""

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Row:
    """One figure of one program: a value for each run."""

    subject: str
    program: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all runs."""
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """The least and the most."""
        return f"{figure(min(self.values))} to {figure(max(self.values))}"


def figure(value: float) -> str:
    """Three digits that count, none that do not."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


TIMES: Final = frozenset({"ms", "s"})
"""Units of what other programs' work changes."""


def table(rows: Iterable[Row], ours: str, load: float | None = None) -> str:
    """Rows as Markdown; a peer's row also has our figure as a multiple of it.

    With a `load` of other programs a time is only that multiple, with the load beside it.
    """
    rows = tuple(rows)
    if all(row.program == ours for row in rows):
        return plain(
            ("what", "median", "least to most", "runs"),
            (
                (row.subject, f"{figure(row.median)} {row.unit}", row.spread, str(len(row.values)))
                for row in rows
            ),
        )
    mine = {row.subject: row.median for row in rows if row.program == ours}
    lines = ["| what | program | median | least to most | runs | ours is |", "|---|---|---:|---:|---:|---:|"]
    for row in rows:
        comparable = row.program != ours and row.subject in mine and row.median > 0
        ratio = f"{mine[row.subject] / row.median:.2g} times it" if comparable else ""
        if load is not None and row.unit in TIMES:
            if comparable:
                ratio += f", at a load of {load:.1f}"
                lines.append(f"| {row.subject} | {row.program} | - | - | {len(row.values)} | {ratio} |")
            continue
        lines.append(
            f"| {row.subject} | {row.program} | {figure(row.median)} {row.unit} | {row.spread} "
            f"| {len(row.values)} | {ratio} |"
        )
    return "\n".join(lines) + "\n"


def plain(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Any table as Markdown, the first column to the left."""
    lines = [
        "| " + " | ".join(headings) + " |",
        "|---|" + "---:|" * (len(headings) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def hardware() -> str:
    """Cores, memory and kernel of this machine."""
    names = re.findall(
        r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, {memory:.0f} GiB, "
        f"Linux {platform.release().partition('-')[0]}"
    )


def machine() -> str:
    """Where this was measured, in a sentence."""
    return (
        f"{hardware()}, Python {platform.python_version()}, "
        f"prometheus-client {version('prometheus-client')}, httpx {version('httpx')}"
    )


def version_of(*command: str) -> str:
    """The first number like 1.9.0 that a program says of itself."""
    output = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\d+\.\d+(\.\d+)?", output.stdout + output.stderr)
    return match[0] if match else "unknown"


def write(section: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between the marks of a section.

    Raises:
        ValueError: the page has no such section.
    """
    whole = page.read_text(encoding="utf-8")
    marks = f"<!-- measured: {section} -->\n", f"<!-- end of {section} -->\n"
    if any(whole.count(mark) != 1 for mark in marks):
        raise ValueError(f"{page} has no section {section!r} between marks")
    before, rest = whole.split(marks[0])
    after = rest.split(marks[1])[1]
    page.write_text(f"{before}{marks[0]}{text}{marks[1]}{after}", encoding="utf-8")
