"""The difference of two periods as a table and as JSON. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from exporter.finance import render
from exporter.finance.why import Comparison, CostEffect, EffectName, ServerChange
from exporter.readings import printable
from exporter.reports.rounding import CENT, dollars_text, hundredths, rounded, ruled_table
from exporter.units import Picodollars

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
    shown = [effect for effect in comparison.effects if effect.amount or effect.before or effect.after]
    cents = _cents([effect.amount for effect in shown], comparison.difference)
    rows = [
        [
            effect.name,
            hundredths(amount),
            _quantity(effect.before),
            _quantity(effect.after),
            MEANINGS[effect.name],
        ]
        for effect, amount in zip(shown, cents, strict=True)
    ]
    heading = ["effect", "dollars", comparison.first, comparison.second]
    total = [
        "total",
        hundredths(sum(cents)),
        dollars_text(comparison.before),
        dollars_text(comparison.after),
    ]
    table = ruled_table(heading, [row[:4] for row in rows], total, labels=1)
    meanings = ["", "", *(row[4] for row in rows), "", "dollars"]
    lines = [
        f"{comparison.second} against {comparison.first}{_scope(comparison)}: {_signed(comparison)} dollars",
        *notes,
        "",
        *(f"{line}  {meaning}".rstrip() for line, meaning in zip(table, meanings, strict=True)),
    ]
    if comparison.servers:
        lines += ["", "servers with the largest changes:", *_servers(comparison.servers)]
    return render.lines_text(lines)


def _cents(amounts: Sequence[Picodollars], total: Picodollars) -> list[int]:
    """Whole cents of the effects, which sum to those of the difference."""
    cents = rounded(list(amounts), CENT)
    (whole,) = rounded([total], CENT)
    if cents:
        largest = max(range(len(amounts)), key=lambda number: abs(amounts[number]))
        cents[largest] += whole - sum(cents)
    return cents


def _signed(comparison: Comparison) -> str:
    sign = "+" if comparison.difference >= 0 else ""
    return f"{sign}{dollars_text(comparison.difference)}"


def _scope(comparison: Comparison) -> str:
    scope = comparison.scope
    if scope.product is not None:
        return f", product {printable(scope.product)}"
    if scope.server is not None:
        return f", server {printable(scope.server.name)}"
    return ""


def _quantity(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def _servers(servers: Sequence[ServerChange]) -> list[str]:
    listed = servers[:SERVERS_LISTED]
    lines = []
    for change in listed:
        largest = max(change.effects, key=lambda name: abs(change.effects[name]))
        name = printable(change.server.name)
        part = f"{largest} {dollars_text(change.effects[largest])}"
        lines.append(f"  {dollars_text(change.amount):>14}  {name[:36]}, most of it {part}")
    if rest := servers[SERVERS_LISTED:]:
        amount = dollars_text(sum(change.amount for change in rest))
        lines.append(f"  {amount:>14}  {len(rest)} more")
    return lines


def as_json(comparison: Comparison, missing: Mapping[str, Any]) -> str:
    """For machines. `picodollars` are exact and sum to the difference."""
    document = {
        "period": comparison.second,
        "against": comparison.first,
        "product": comparison.scope.product,
        "server": None if comparison.scope.server is None else comparison.scope.server._asdict(),
        "before_picodollars": comparison.before,
        "after_picodollars": comparison.after,
        "difference_picodollars": comparison.difference,
        "effects": [_effect(effect) for effect in comparison.effects],
        "servers": [
            {**change.server._asdict(), "picodollars": change.amount, "effects": dict(change.effects)}
            for change in comparison.servers
        ],
        **missing,
    }
    return render.json_text(document)


def _effect(effect: CostEffect) -> dict[str, Any]:
    fields = asdict(effect)
    return {"effect": fields.pop("name"), "picodollars": fields.pop("amount"), **fields}
