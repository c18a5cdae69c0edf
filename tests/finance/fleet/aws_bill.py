"""A bill of AWS for a fleet, in the columns of tests/finance/invoices/aws.csv."""

import csv
from collections.abc import Iterable
from pathlib import Path

TEMPLATE = Path(__file__).parents[1] / "invoices" / "aws.csv"
PLAN = "arn:aws:savingsplans::123456789012:savingsplan/0f1e2d3c"
RESERVATION = "cr-0123456789abcdef0"

Row = dict[str, str]


def day(number: int) -> tuple[str, str]:
    """Start and end of a day of October by UTC."""
    following = f"2026-10-{number + 1:02d}" if number < 31 else "2026-11-01"
    return f"2026-10-{number:02d}T00:00:00.000Z", f"{following}T00:00:00.000Z"


def row(cost: str, period: tuple[str, str] | int, category: str = "Usage", **cells: str) -> Row:
    """A row; effective cost is billed cost unless said otherwise."""
    start, end = day(period) if isinstance(period, int) else period
    return {
        "BilledCost": cost,
        "EffectiveCost": cost,
        "BillingCurrency": "USD",
        "ChargeCategory": category,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        **cells,
    }


def instance(cost: str, number: int, hours: str, resource: str, **cells: str) -> Row:
    """An instance on one day of October."""
    quantity = {"ConsumedQuantity": hours, "ConsumedUnit": "Hours", "PricingQuantity": hours}
    names = {"ResourceId": resource, "ServiceName": "Amazon Elastic Compute Cloud", "SkuId": "2PXYHKEUDZGS"}
    return row(cost, number, **{**quantity, **names, **cells})


def covered(effective: str, number: int, hours: str, resource: str) -> Row:
    """A day of an instance that the savings plan pays for."""
    plan = {"CommitmentDiscountId": PLAN, "CommitmentDiscountName": "three years"}
    status = {"CommitmentDiscountStatus": "Used", "CommitmentDiscountType": "Compute Savings Plan"}
    return instance("0.0", number, hours, resource, EffectiveCost=effective, **plan, **status)


OCTOBER_WHOLE = ("2026-10-01T00:00:00.000Z", "2026-11-01T00:00:00.000Z")


def story() -> list[Row]:
    """Savings plan, capacity block, interrupted spot instance, support; 15,281.01 dollars of October."""
    plan = {
        "CommitmentDiscountId": PLAN,
        "CommitmentDiscountName": "three years",
        "CommitmentDiscountType": "Compute Savings Plan",
    }
    reservation = {"CapacityReservationId": RESERVATION}
    blocked = {**reservation, "CapacityReservationStatus": "Used"}
    spot = ((5, "100.80", "24"), (6, "100.80", "24"), (7, "100.80", "24"), (8, "100.80", "24"))
    return [
        row("7500.0", OCTOBER_WHOLE, "Purchase", **{**plan, "EffectiveCost": "0.0", "ResourceId": PLAN}),
        *(covered("168.0", number, "24", "i-0aaa") for number in range(1, 32)),
        *(covered("168.0", number, "24", "i-0bbb") for number in range(1, 13)),
        covered("84.0", 13, "12", "i-0bbb"),
        instance("132.0", 13, "12", "i-0bbb"),
        *(instance("264.0", number, "24", "i-0bbb") for number in range(14, 32)),
        row(
            "0.0",
            OCTOBER_WHOLE,
            **{**plan, "CommitmentDiscountStatus": "Unused", "EffectiveCost": "192.0", "ResourceId": PLAN},
        ),
        row(
            "1500.0",
            10,
            "Purchase",
            ResourceId=f"arn:aws:ec2:us-east-1:123456789012:capacity-reservation/{RESERVATION}",
        ),
        *(instance("0.0", number, "24", "i-0ccc", **blocked) for number in (10, 11)),
        row("0.0", 12, **reservation, CapacityReservationStatus="Unused", PricingQuantity="24"),
        *(instance(cost, number, hours, "i-0ddd", PricingCategory="Dynamic") for number, cost, hours in spot),
        instance("13.65", 9, "3.25", "i-0ddd", PricingCategory="Dynamic"),
        instance("-10.0", 3, "-1", "i-0aaa", ChargeClass="Correction"),
        row("3.21", 20, ResourceId="i-0bbb", ConsumedQuantity="35.7", ConsumedUnit="GB"),
        instance("288.0", 21, "24", "i-0eee"),
        row("25.5", OCTOBER_WHOLE, ResourceId="vol-0fff", ServiceName="Amazon Elastic Block Store"),
        row(
            "650.0",
            OCTOBER_WHOLE,
            ServiceName="AWS Support (Business)",
            ServiceCategory="Management and Governance",
            ServiceSubcategory="Support",
        ),
        row("123.45", OCTOBER_WHOLE, "Tax", ServiceName="Amazon Elastic Compute Cloud"),
        row("-100.0", 31, "Credit", ServiceName="Amazon Elastic Compute Cloud"),
        row("5.0", ("2026-09-30T00:00:00.000Z", "2026-10-01T00:00:00.000Z"), ResourceId="i-0aaa"),
    ]


def written(rows: Iterable[Row], path: Path) -> Path:
    """A file of rows, with all columns of an export of AWS."""
    with TEMPLATE.open(encoding="utf-8", newline="") as template:
        columns = next(csv.reader(template))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path
