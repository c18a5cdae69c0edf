"""The tables of what is recorded, for docs/records.md: a table for each group of rules."""

from pathlib import Path
from typing import Final

from statement import Group, Record

PAGE: Final = Path(__file__).parents[2] / "docs" / "records.md"
BEGIN: Final = "<!-- records: written by deploy/rules/generate.py -->\n"
END: Final = "<!-- end of records -->\n"

INTERVALS: Final = {
    "1m": "every minute",
    "4m": "every four minutes",
    "10m": "every ten minutes",
    "15m": "every 15 minutes",
    "1h": "hourly",
}


def section(files: dict[str, tuple[Group, ...]]) -> str:
    """The tables of both files.

    Raises:
        ValueError: a group has no title, or a record says not what it means.
    """
    lines: list[str] = []
    for name, groups in files.items():
        for group in groups:
            records = [rule for rule in group.rules if isinstance(rule, Record)]
            if not records:
                continue
            if not group.title:
                raise ValueError(f"deploy/rules has no title for the group {group.name}")
            lines += [
                f"## {group.title}",
                "",
                f"`{group.name}` of [{name}](../deploy/prometheus/{name}), {INTERVALS[group.interval]}.",
                "",
                "| record | labels | meaning |",
                "|---|---|---|",
                *(row(rule) for rule in records),
                "",
            ]
    return "\n".join(lines)


def row(rule: Record) -> str:
    """One record's line."""
    if not rule.meaning:
        raise ValueError(f"{rule.name} has no meaning")
    labels = ", ".join(f"`{label}`" for label in rule.labels) or "none"
    return f"| `{rule.name}` | {labels} | {rule.meaning.replace('|', chr(92) + '|')} |"


def page(files: dict[str, tuple[Group, ...]]) -> str:
    """docs/records.md with its tables as the rules are now."""
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{PAGE}: no place for the records, between {BEGIN.strip()} and {END.strip()}")
    return f"{before}{mark}\n{section(files)}{end}{after}"
