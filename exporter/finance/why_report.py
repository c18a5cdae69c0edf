"""The difference of two periods as a table and as JSON. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from exporter.finance import render
from exporter.finance.why import Comparison, EffectName
from exporter.readings import printable
from exporter.reports.rounding import CENT, dollars_text, hundredths, rounded, ruled_table

SERVERS_LISTED: Final = 10

MEANINGS: Final[Mapping[EffectName, str]] = {
    "hours": "length of the period",
    "idle": "idle GPUs, mean",
    "tokens": "million tokens an hour",
    "mix": "models served",
    "gpus": "working GPUs, mean",
    "hardware mix": "GPU models",
    "price": "dollars a GPU-hour",
    "overheads": "overheads of hosts",
    "corrections": "adjustments",
    "fleet overheads": "overheads of the fleet",
    "not itemized": "without rows",
}


def text(comparison: Comparison, notes: Sequence[str] = ()) -> str:
    """For people, within 80 columns. Cents sum to the difference."""
    lines: list[str] = []
    scope = comparison.scope
    of = ""
    if scope.product is not None:
        of = f", product {printable(scope.product)}"
    elif scope.server is not None:
        of = f", server {printable(scope.server.name)}"
    sign = "+" if comparison.difference >= 0 else ""
    difference = f"{sign}{dollars_text(comparison.difference)} dollars"
    lines.append(f"{comparison.second} against {comparison.first}{of}: {difference}")
    lines += notes
    lines.append("")
    effects = [effect for effect in comparison.effects if effect.amount or effect.before or effect.after]
    amounts = [effect.amount for effect in effects]
    cents = rounded(amounts, CENT)
    (whole,) = rounded([comparison.difference], CENT)
    if cents:
        largest = max(range(len(amounts)), key=lambda number: abs(amounts[number]))
        cents[largest] += whole - sum(cents)
    rows = [
        [effect.name, hundredths(amount), *map(_quantity, (effect.before, effect.after))]
        for effect, amount in zip(effects, cents, strict=True)
    ]
    heading = ["effect", "dollars", comparison.first, comparison.second]
    totals = (dollars_text(comparison.before), dollars_text(comparison.after))
    table = ruled_table(heading, rows, ["total", hundredths(sum(cents)), *totals], labels=1)
    meanings = ["", "", *(MEANINGS[effect.name] for effect in effects), "", "dollars"]
    lines += (f"{line}  {meaning}".rstrip() for line, meaning in zip(table, meanings, strict=True))
    if not comparison.servers:
        return render.lines_text(lines)
    lines.append("")
    lines.append("servers with the largest changes:")
    for change in comparison.servers[:SERVERS_LISTED]:
        effect = max(change.effects, key=lambda name: abs(change.effects[name]))
        part = f"{effect} {dollars_text(change.effects[effect])}"
        name = printable(change.server.name)[:36]
        lines.append(f"  {dollars_text(change.amount):>14}  {name}, most of it {part}")
    if rest := comparison.servers[SERVERS_LISTED:]:
        lines.append(f"  {dollars_text(sum(change.amount for change in rest)):>14}  {len(rest)} more")
    return render.lines_text(lines)


def _quantity(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def as_json(comparison: Comparison, missing: Mapping[str, Any]) -> str:
    """For machines. `picodollars` are exact and sum to the difference."""
    effects = [asdict(effect) for effect in comparison.effects]
    document = {
        "period": comparison.second,
        "against": comparison.first,
        "product": comparison.scope.product,
        "server": None if comparison.scope.server is None else comparison.scope.server._asdict(),
        "before_picodollars": comparison.before,
        "after_picodollars": comparison.after,
        "difference_picodollars": comparison.difference,
        "effects": [
            {"effect": effect.pop("name"), "picodollars": effect.pop("amount"), **effect}
            for effect in effects
        ],
        "servers": [
            {**change.server._asdict(), "picodollars": change.amount, "effects": dict(change.effects)}
            for change in comparison.servers
        ],
        **missing,
    }
    return render.json_text(document)
