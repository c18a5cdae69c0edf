r"""Refresh instance prices from files of public repositories; `python tools/instances.py --help` names them.

No package holds them, so clone the repositories and name the files::

    python tools/instances.py \
        --karpenter-aws karpenter-provider-aws/pkg/providers/pricing/zz_generated.pricing_aws.go \
        --karpenter-aws karpenter-provider-aws/pkg/providers/pricing/zz_generated.pricing_aws_us_gov.go \
        --karpenter-azure karpenter-provider-azure/pkg/providers/pricing/zz_generated.pricing.go \
        --ec2-shop ec2.shop/data/ec2

Of what is not named, nothing changes. Types that the table knows get the prices of all regions that are
listed; which GPUs a new type has is for a person to say, so new types are printed. Rows of a source have the
date that exporter/tariff/data/sources.csv gives it, so set commits and dates there first, and let
tests/tariff/test_catalogue_files.py look at the result.
"""

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

DATA = Path(__file__).parents[1] / "exporter" / "tariff" / "data"
HOME = "us-east-1"
"""The region of Amazon that others are scaled from."""
GPU_FAMILY = {"aws": re.compile(r"(p|g|gr)\d(?!ad)"), "azure": re.compile(r"Standard_N[CDV]\d")}
NOT_QUOTED = re.compile(r"GB200_v6$|^p5e\.")
"""Known without a price: sold in blocks, or at a list price that is no real quote."""

SCALED = {"ec2-shop": "scaled"}
"""Sources whose prices no list has."""

MILLIONTH = Decimal("0.000001")

Prices = dict[tuple[str, str], Decimal]
"""By region and type."""

Line = dict[str, str]


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--karpenter-aws", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--karpenter-azure", type=Path, metavar="FILE")
    parser.add_argument("--ec2-shop", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    table = _table("instances.csv")
    if options.karpenter_aws:
        prices = {key: price for file in options.karpenter_aws for key, price in _go(file)}
        table = _with(table, "aws", "karpenter-aws", prices)
    if options.ec2_shop:
        table = _with(table, "aws", "ec2-shop", _scaled(_shop(options.ec2_shop), table))
    if options.karpenter_azure:
        table = _with(table, "azure", "karpenter-azure", dict(_go(options.karpenter_azure)))
    _write(
        "instances.csv", sorted(table, key=lambda row: (row["cloud"], row["instance_type"], row["region"]))
    )
    return 0


def _with(table: list[Line], cloud: str, source: str, prices: Prices) -> list[Line]:
    """The table with the rows of one source made from prices, for the types that it knows."""
    by_type = {row["instance_type"]: row for row in table if row["cloud"] == cloud}
    new = sorted({name for _, name in prices if GPU_FAMILY[cloud].match(name)} - set(by_type))
    sys.stdout.write(f"{source}: not in the table: {', '.join(new) or 'none'}\n")
    dates = {row["source"]: row["as_of"] for row in _table("sources.csv")}
    made = [
        {
            **by_type[name],
            "region": region,
            "on_demand": _text(price),
            "spot": "",
            "currency": "USD",
            "basis": SCALED.get(source, "listed"),
            "as_of": dates[source],
            "source": source,
        }
        for (region, name), price in prices.items()
        if name in by_type and not NOT_QUOTED.search(name)
    ]
    others = [row for row in table if row["source"] != source or not row["on_demand"]]
    return others + made


def _go(file: Path) -> Iterator[tuple[tuple[str, str], Decimal]]:
    """Prices of one of karpenter's generated maps: a line opens a region, pairs follow."""
    region = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if opened := re.search(r'(?:^\s*|\[)"([a-z0-9-]+)"(?:\]\s*=\s*map.*|:\s*)\{$', line):
            region = opened[1]
        for name, price in re.findall(r'"([\w.-]+)":\s*(\d+\.\d+)', line):
            yield (region, name), Decimal(price)


def _shop(folder: Path) -> Prices:
    """Prices by region as Amazon's pages had them; files without a price list hold an error page."""
    by_region: Prices = {}
    for file in sorted(folder.glob("*-ondemand.json")):
        region = file.name.removesuffix("-ondemand.json").removesuffix("-previousgen")
        text = file.read_text(encoding="utf-8")
        if not re.fullmatch(r"[a-z]+-[a-z]+-\d", region) or not text.startswith("{"):
            continue
        for listing in json.loads(text)["regions"].values():
            for entry in listing.values():
                by_region[region, entry["Instance Type"]] = Decimal(entry["price"])
    return by_region


def _scaled(then: Prices, table: list[Line]) -> Prices:
    """Each region at its ratio of then to us-east-1, at us-east-1's price of now."""
    home = HOME
    now = {row["instance_type"]: row["on_demand"] for row in table if row["region"] == home}
    return {
        (region, name): (Decimal(now[name]) * price / then[home, name]).quantize(MILLIONTH)
        for (region, name), price in then.items()
        if region != home and now.get(name) and (home, name) in then
    }


def _table(file: str) -> list[Line]:
    with (DATA / file).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _write(file: str, table: list[Line]) -> None:
    with (DATA / file).open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def _text(price: Decimal) -> str:
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


if __name__ == "__main__":
    sys.exit(main())
