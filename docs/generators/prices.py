"""Tables of docs/prices.md: the bundled catalogue, columns of a price file, usual amounts."""

import csv
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Final

from exporter.reports import amount_checks as checks
from exporter.reports.price_list import summary
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import BUNDLED, COLUMNS
from exporter.tariff.price_file import HEADER
from generators.tables import table

CHECKS: Final = Path(__file__).with_name("price_checks.csv")
"""Rows of a second list, compared by hand with those of the catalogue."""

SECOND_LISTS: Final = {
    "aws-gpu": "tsaol/aws-gpu 77fcd9fe, `data/all_gpu_instances.js`, from instances.vantage.sh,"
    " of 2025-11-30",
    "data-receipts": "datareceipts/data-receipts, `109-gpu-pricing/hyperscalers.json`, of 2026-11-09",
    "skypilot": "skypilot-org/skypilot-catalog, undated, read on 2026-11-28:"
    " `catalogs/v5/azure/vms.csv` 3f5f6971, `catalogs/v8/gcp/vms.csv` 8427bbff,"
    " `catalogs/v8/oci/vms.csv` 05887511, `catalogs/v8/nebius/vms.csv` 0082b043",
    "rtx6000": "davychens-svg/rtx6000_pro_blackwell, `G4_INSTANCE_PRICING_BREAKDOWN.md`, of"
    " 2025-10-29: sums of vCPUs, memory and GPUs",
    "silybench": "tgarg01/silybench-data, `prices/gpu_hourly.yaml`, checked on 2026-09-26, without"
    " the machine's local SSD",
}
"""The origin and date of each second list."""

FILES: Final = {
    "instances.csv": "dollars per instance-hour by cloud, type and region (Linux, shared tenancy, no"
    " commitment), and the number of GPUs",
    "market.csv": "list prices of one GPU for an hour at GPU clouds, by model and vendor",
    "gpu_models.csv": "a model's names in NVML and Kubernetes, memory, power and purchase price",
    "hosted.csv": "dollars per million tokens at hosts of open weights",
    "regions.csv": "regions without instance prices, so that their spelling is known",
    "sources.csv": "source, date and licence of each row",
}
"""The content of each file of the catalogue."""

FILE_COLUMNS: Final = {
    "cloud": "`aws`, `azure`, `gcp`, `nebius` or `oci`",
    "instance_type": "the cloud's spelling",
    "gpu_model": "name in `gpu_models.csv`; instances of another name are priced by type only",
    "gpus": "GPUs of the instance, or a fraction of one, like `1/8`",
    "region": "the cloud's spelling, or `*` for one price everywhere",
    "on_demand": "dollars an hour of the whole instance, Linux, no commitment; empty where unlisted",
    "spot": "the same for spot, below `on_demand`; empty if unknown",
    "currency": "`USD`",
    "basis": "`listed` if a list has this row, `scaled` if derived from another; empty without a price",
    "as_of": "day or month of the list, like 2026-11-24; of two dates the older; not in the future",
    "source": "short name of the list, shown in labels",
}
"""The meaning of each column of a price file."""


def _bounds(check: checks.AmountCheck, *, ends: str) -> tuple[str, str]:
    """The usual range of a check, and the amounts that it warns of."""
    low = f"below {check.tolerated.low.normalize():,f}"
    high = f"above {check.tolerated.high.normalize():,f}"
    return _grouped(str(check.usual)), {"both": f"{low}, {high}", "high": high}[ends]


def _grouped(text: str) -> str:
    """A text whose whole numbers have commas between thousands."""
    return re.sub(r"\d{4,}", lambda number: f"{int(number[0]):,}", text)


def _amounts() -> list[tuple[str, str, str, str]]:
    """Key, usual amounts, amounts that are warned of, and the probable mistake."""
    model, factor = "list prices of the GPU model", "10 times off; twice off if a mistake explains it"
    discount, limit = _bounds(checks.DISCOUNT, ends="both")
    support, insurance = (checks.YEARLY[f"{name}_dollars_per_year"] for name in ("support", "insurance"))
    overheads = [checks.OVERHEAD[per] for per in ("gpu", "host", "fleet")]
    usual = [str(overhead.usual.high) for overhead in overheads]
    tolerated = [str(overhead.tolerated.high) for overhead in overheads]
    prompt, generation = checks.PER_MILLION["prompt"], checks.PER_MILLION["generation"]
    return [
        ("`dollars_per_gpu_hour`, `dollars_per_host_hour`", model, factor, "per month, per host, per GPU"),
        (
            "`purchase_dollars_per_gpu`, `purchase_dollars_per_host`",
            "prices of the GPU model",
            factor,
            "thousands, per host, per GPU",
        ),
        ("`life_years`", *_bounds(checks.LIFE, ends="both"), "months"),
        ("`residual_ratio`", *_bounds(checks.RESIDUAL, ends="high"), "the part that is written off"),
        ("`adders_ratio`", *_bounds(checks.ADDERS, ends="high"), "percent, the purchase included"),
        ("`cost_of_capital_ratio`", *_bounds(checks.CAPITAL, ends="both"), "percent"),
        (
            "`support_dollars_per_year`",
            _percent(support.usual),
            _outside(support.tolerated),
            "per month, for the whole life, per GPU, per host, thousands",
        ),
        (
            "`insurance_dollars_per_year`",
            _percent(insurance.usual),
            _outside(insurance.tolerated),
            "the same",
        ),
        (
            "`dollars_per_kilowatt_hour`",
            *_bounds(checks.KILOWATT_HOUR, ends="both"),
            "cents, per megawatt-hour, per watt-hour",
        ),
        ("`pue_ratio`", *_bounds(checks.PUE, ends="high"), "percent"),
        ("`host_factor_ratio`", *_bounds(checks.HOST_FACTOR, ends="high"), "percent"),
        ("`energy` with `rented`", "", "always; a note with `billing: always`", "power in the rent"),
        (
            "`discount_ratio`",
            f"{discount}, spot to {checks.SPOT_DISCOUNT.usual.high}",
            f"{limit}, spot above {checks.SPOT_DISCOUNT.tolerated.high}",
            "the part that you pay",
        ),
        ("`from` of the first price, `in_service`", "", "in the future", ""),
        (
            "overheads per hour",
            "up to {} per GPU, {} per host, {} per fleet".format(*usual),
            "above {}, {}, {}".format(*map(_grouped, tolerated)),
            "per month, per year, for the whole host",
        ),
        ("budgets", *_bounds(checks.BUDGET, ends="both"), "thousands, cents"),
        (
            "`compare`",
            "list prices of hosted models",
            (
                f"below {prompt.tolerated.low}, above {prompt.tolerated.high} for prompts and"
                f" {generation.tolerated.high} for generation"
            ),
            "per thousand tokens, per token, cents, per billion tokens",
        ),
        ("`timezone`", "", "`EST`, `MST`, `Etc/GMT+5` and similar", "a zone with daylight saving"),
    ]


def _percent(part: checks.Range) -> str:
    low, high = ((end * 100).normalize() for end in (part.low, part.high))
    return f"{low:f} to {high:f} % of the purchase"


def _outside(part: checks.Range) -> str:
    return f"below {(part.low * 100).normalize():f} %, above {(part.high * 100).normalize():f} %"


def amounts() -> str:
    """The table of amounts that are checked for mistakes of unit."""
    return table(("key", "usual", "warned of", "probable mistake"), _amounts())


def columns() -> str:
    """The table of columns of a price file.

    Raises:
        ValueError: a column is not described, or is described and not there.
    """
    if set(HEADER) != set(FILE_COLUMNS):
        raise ValueError(f"docs/generators/prices.py: describe {set(HEADER) ^ set(FILE_COLUMNS)}")
    return table(("column", "meaning"), [(f"`{name}`", FILE_COLUMNS[name]) for name in HEADER])


def files() -> str:
    """The table of the catalogue's files.

    Raises:
        ValueError: a file is not described, or is described and not there.
    """
    if set(COLUMNS) != set(FILES):
        raise ValueError(f"docs/generators/prices.py: describe {set(COLUMNS) ^ set(FILES)}")
    return table(("file", "content"), [(f"`{name}`", text) for name, text in FILES.items()])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sources() -> str:
    """The table of the catalogue's sources."""
    rows = [
        (f"`{row['source']}`", row["name"], row["as_of"], row["licence"], row["notice"])
        for row in _rows(BUNDLED / "sources.csv")
    ]
    return table(("source", "origin", "as of", "licence", "note"), rows)


def coverage() -> str:
    """The table of listed and scaled rows by cloud."""
    rows = []
    for cloud, count in json.loads(summary(CATALOGUE, None, 0, as_json=True))["clouds"].items():
        dates = " to ".join(dict.fromkeys((count["oldest"], count["newest"])))
        numbers = [str(count[key]) for key in ("types", "listed", "scaled", "without_price")]
        rows.append((cloud, *numbers, dates))
    return table(("cloud", "types", "rows listed", "rows scaled", "types without a price", "dates"), rows)


def second_list() -> str:
    """The table of catalogue rows that were compared with a second list."""
    bundled = {
        (row["cloud"], row["instance_type"], row["region"]): row for row in _rows(BUNDLED / "instances.csv")
    }
    rows = []
    for check in _rows(CHECKS):
        row = bundled[check["cloud"], check["instance_type"], check["region"]]
        difference = (Decimal(row["on_demand"]) / Decimal(check["second"]) - 1) * 100
        region = "all" if check["region"] == "*" else check["region"]
        rows.append(
            (
                check["cloud"],
                f"`{check['instance_type']}`",
                region,
                row["basis"],
                row["on_demand"],
                check["second"],
                f"{difference:+.2f} %",
                f"{check['list']}, {check['date']}",
            )
        )
    heading = ("cloud", "instance type", "region", "basis", "catalogue", "second list", "difference", "list")
    return table(heading, rows)


def lists() -> str:
    """The table of second lists.

    Raises:
        ValueError: a list is compared and not described, or described and not compared.
    """
    compared = {row["list"] for row in _rows(CHECKS)}
    if compared != set(SECOND_LISTS):
        raise ValueError(f"docs/generators/prices.py: describe {compared ^ set(SECOND_LISTS)}")
    return table(("second list", "origin"), [(f"`{name}`", text) for name, text in SECOND_LISTS.items()])


REGIONS: Final = {
    ("prices.md", "amounts"): amounts,
    ("prices.md", "columns"): columns,
    ("prices.md", "files"): files,
    ("prices.md", "sources"): sources,
    ("prices.md", "coverage"): coverage,
    ("prices.md", "second list"): second_list,
    ("prices.md", "lists"): lists,
}
"""The function for each region, by page and name."""
