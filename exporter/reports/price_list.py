"""The verbs `prices show` and `prices update`: list prices in use, one of them, a file that was taken.

Pure but for the tables that it asks.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from exporter.config.values import plain
from exporter.readings import HostLocation
from exporter.reports.amount_checks import HOURS_PER_MONTH
from exporter.tariff import quotes
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import Row
from exporter.tariff.instances import CLOUDS
from exporter.tariff.price_file import Plausible, PriceFile, age_warning, instant
from exporter.tariff.quotes import NoQuote
from exporter.tariff.terms import Listed
from exporter.units import NANOSECONDS_PER_DAY, Instant

BUNDLED: Final = "bundled"

BELOW: Final = 10
ABOVE: Final = 50
"""An instance with one small GPU and many processors costs up to 15 times that GPU; cents are 100 times."""


def summary(catalogue: Catalogue, path: Path | None, now: Instant, *, as_json: bool) -> str:
    """What is in use and how old it is, and how much of each cloud it has.

    Args:
        catalogue: the list prices in use.
        path: the price file that they are from; `None` for the bundled ones.
        now: for the age.
        as_json: for programs.

    Raises:
        CatalogueError: the table is damaged.
    """
    counts = _counts(catalogue.instances())
    newest = catalogue.newest()
    date = instant(newest)
    days = None if date is None else (now - date) // NANOSECONDS_PER_DAY
    if as_json:
        return _json(
            {
                "file": BUNDLED if path is None else str(path),
                "newest": newest,
                "age_days": days,
                "clouds": counts,
            }
        )
    lines = [
        f"list prices: {BUNDLED if path is None else path}",
        f"newest list: {newest or 'none'}{'' if days is None else f', {days} days old'}",
    ]
    if old := age_warning(date, now):
        lines.append(f"note: {old}")
    lines.append("")
    lines.append(f"{'cloud':<8}{'types':>7}{'listed':>9}{'scaled':>9}{'no price':>10}  dates")
    for cloud, count in counts.items():
        dates = f"{count['oldest']} to {count['newest']}" if count["newest"] else "none"
        lines.append(
            f"{cloud:<8}{count['types']:>7}{count['listed']:>9}{count['scaled']:>9}"
            f"{count['without_price']:>10}  {dates}"
        )
    lines.append("")
    lines.append("listed: a list has the row; scaled: made from another region's, an estimate where charged")
    return "\n".join(lines) + "\n"


def _counts(table: Iterable[Row]) -> dict[str, dict[str, Any]]:
    types: dict[str, set[str]] = {cloud: set() for cloud in CLOUDS}
    counts: dict[str, dict[str, Any]] = {
        cloud: {"types": 0, "listed": 0, "scaled": 0, "without_price": 0, "oldest": "", "newest": ""}
        for cloud in CLOUDS
    }
    for row in table:
        count = counts.setdefault(row["cloud"], {})
        types[row["cloud"]].add(row["instance_type"])
        count[row["basis"] or "without_price"] += 1
        if row["on_demand"]:
            count["oldest"] = min(filter(None, (count["oldest"], row["as_of"])))
            count["newest"] = max(count["newest"], row["as_of"])
    for cloud, names in types.items():
        counts[cloud]["types"] = len(names)
    return counts


def price(catalogue: Catalogue, location: HostLocation, *, as_json: bool) -> tuple[bool, str]:
    """Whether an instance type has a price, and what to print: as a host in that location would have it."""
    quote = quotes.find_quote(catalogue, location, Listed(cloud=location.cloud))
    name = " ".join(filter(None, (location.cloud, location.instance_type, location.region)))
    if isinstance(quote, NoQuote):
        if as_json:
            return False, _json({"asked": name, "reason": quote.reason})
        return False, f"{name}: no price: {quote.reason}\n"
    per_gpu = quote.dollars_per_hour / quote.devices
    if as_json:
        return True, _json({"asked": name, **asdict(quote), "dollars_per_gpu_hour": per_gpu})
    lines = [
        f"{name}: {plain(quote.dollars_per_hour)} dollars per hour"
        + (f" / {quote.devices} GPUs = {plain(per_gpu)} dollars per GPU-hour" if quote.devices > 1 else ""),
        f"  price basis: {quote.price_basis}",
        f"  source:      {quote.source}",
        f"  as of:       {quote.as_of}",
    ]
    if quote.instance_gpu:
        lines.append(f"  GPU:         {quote.instance_gpu}")
    if quote.caveat:
        lines.append(f"  note:        {quote.caveat}")
    return True, "\n".join(lines) + "\n"


def far_off(catalogue: Catalogue) -> Plausible:
    """Refuses a price that is far off the list prices that are known of the GPU: a month's, or in cents."""

    def why(gpu_model: str, dollars_per_hour: Decimal) -> str:
        market = catalogue.market(gpu_model)
        if market is None or market.low / BELOW <= dollars_per_hour <= market.high * ABOVE:
            return ""
        prices = f"{plain(market.low)} to {plain(market.high)} dollars for one {gpu_model}"
        hint = "check its unit"
        if dollars_per_hour > market.high and not market.far_off(dollars_per_hour / HOURS_PER_MONTH):
            hint = f"is it the price of a month? Divide by {HOURS_PER_MONTH}"
        return f"far off the list prices that are known ({prices}): {hint}"

    return why


def written(checked: PriceFile, target: Path, bundled: Catalogue, *, dry_run: bool) -> str:
    """What was taken, where it is, and what to do next."""
    replaced = Catalogue(price_file=checked)
    missing = [
        cloud
        for cloud, count in _counts(replaced.instances()).items()
        if not count["listed"] + count["scaled"]
    ]
    names = {row["gpu_model"] for row in replaced.instances()}
    unknown = sorted(names - {row["gpu_model"] for row in bundled.gpu_models()})
    lines = [f"ok: {checked.rows} rows, newest list {checked.newest or 'none'}"]
    if missing:
        lines.append(f"warning: it has no price of {', '.join(missing)}: their hosts would be estimated")
    if unknown:
        lines.append(
            f"note: GPU models without a known name, priced by instance type only: {', '.join(unknown)}"
        )
    lines.append(
        f"nothing written; it would be {target}"
        if dry_run
        else f"written to {target}; the daemon uses it after a reload (SIGHUP or POST /-/reload) or a restart"
    )
    return "\n".join(lines) + "\n"


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, default=float) + "\n"
