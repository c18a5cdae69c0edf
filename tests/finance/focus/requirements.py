"""MUST rules of FOCUS 1.3 and 1.4 for the columns that are written, each with a change that breaks it.

A rule's source is its column's page, like `datasets/cost_and_usage/columns/billedcost.md`, or an attribute's,
in the folder `specification` of https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec at the tags
v1.3 and v1.4. Rules on columns that are not written have no effect: they are for those who publish price
lists, issue invoices, or have commitments and regions.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

Value = str | Decimal | datetime | None
Row = Mapping[str, Value]

BOTH: Final = ("1.3", "1.4")

_CELL: Final = re.compile(r'("(?:[^"]|"")*"|[^,"\n]*)([,\n])')
_NUMBER: Final = re.compile(r"-?\d+\.\d+")
_INSTANT: Final = "%Y-%m-%dT%H:%M:%SZ"

PLACEHOLDERS: Final = frozenset({"NULL", "null", "N/A", "Not Applicable", ""})
CHARGE_CATEGORIES: Final = {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
FREQUENCIES: Final = {"One-Time", "Recurring", "Usage-Based"}
PRICING_CATEGORIES: Final = {"Standard", "Dynamic", "Committed", "Other"}
AI_SUBCATEGORIES: Final = {
    "AI Platforms",
    "Bots",
    "Generative AI",
    "Machine Learning",
    "Natural Language Processing",
    "Other (AI and Machine Learning)",
}


def parsed(line: str) -> list[Value]:
    """The values of a line: text is in quotation marks, nothing at all is null.

    Raises:
        ValueError: a bare value is neither a number (NumericFormat) nor an instant in UTC (DateTimeFormat).
    """
    return [_value(cell) for cell, _end in _CELL.findall(line)]


def _value(cell: str) -> Value:
    if not cell:
        return None
    if cell.startswith('"'):
        return cell[1:-1].replace('""', '"')
    if _NUMBER.fullmatch(cell):
        return Decimal(cell)
    return datetime.strptime(cell, _INSTANT)  # noqa: DTZ007 - all are UTC


@dataclass(frozen=True)
class Requirement:
    """A rule of a column or an attribute. `broken` are values with which a row of `example` breaks it."""

    source: str
    rule: str
    holds: Callable[[Row], bool]
    broken: Mapping[str, Value]
    example: Callable[[Row], bool] = field(default=lambda _row: True)
    versions: tuple[str, ...] = BOTH

    def __str__(self) -> str:
        return f"{self.source}: {self.rule}"


def _is_part(row: Row) -> bool:
    """Whether a charge is related to split cost allocation: here all GPU time that is itemized."""
    return row["ConsumedUnit"] == "GPU-Hours"


def _has_server(row: Row) -> bool:
    return row["x_Server"] not in (None, "unallocated")


def _is_usage(row: Row) -> bool:
    return row["ChargeCategory"] == "Usage"


def _is_adjustment(row: Row) -> bool:
    return row["ChargeCategory"] == "Adjustment"


def _is(column: str, kind: type) -> Callable[[Row], bool]:
    return lambda row: row[column] is None or isinstance(row[column], kind)


def _text(column: str) -> Requirement:
    return Requirement(column, "is a string, and none is empty", _full_text(column), {column: Decimal(1)})


def _full_text(column: str) -> Callable[[Row], bool]:
    def holds(row: Row) -> bool:
        value = row[column]
        return value is None or (isinstance(value, str) and value.strip() != "")

    return holds


def _decimal(column: str) -> Requirement:
    return Requirement(column, "is a decimal", _is(column, Decimal), {column: "1.0"})


def _instant(column: str) -> Requirement:
    return Requirement(column, "is an instant", _is(column, datetime), {column: "2026-11-01"})


def _not_null(column: str) -> Requirement:
    return Requirement(column, "is not null", lambda row: row[column] is not None, {column: None})


def _together(column: str, other: str, value: Value) -> tuple[Requirement, Requirement]:
    """Null where another column is null, and only there."""
    return (
        Requirement(
            column,
            f"is null when {other} is null",
            lambda row: row[other] is not None or row[column] is None,
            {column: value},
            lambda row: row[other] is None,
        ),
        Requirement(
            column,
            f"is not null when {other} is not null",
            lambda row: row[other] is None or row[column] is not None,
            {column: None},
            lambda row: row[other] is not None,
        ),
    )


def _equals(column: str, other: str, condition: Callable[[Row], bool], when: str) -> Requirement:
    return Requirement(
        column,
        f"equals {other} {when}".strip(),
        lambda row: not condition(row) or row[column] == row[other],
        {column: Decimal("0.123")},
        condition,
    )


def _one_of(column: str, allowed: set[str], broken: str) -> Requirement:
    return Requirement(
        column, "is one of the allowed values", lambda row: row[column] in {*allowed, None}, {column: broken}
    )


def _usage_only(column: str, value: Value) -> tuple[Requirement, ...]:
    return (
        Requirement(
            column,
            "is null when the charge is no usage",
            lambda row: _is_usage(row) or row[column] is None,
            {column: value},
            _is_adjustment,
        ),
        Requirement(
            column,
            "is not null for usage that is no correction",
            lambda row: not _is_usage(row) or row["ChargeClass"] == "Correction" or row[column] is not None,
            {column: None},
            _is_usage,
        ),
    )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _value in pairs}) < len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _object(row: Row, column: str) -> dict[str, Any] | None:
    """The JSON object of a cell; an empty one where it is no object with unique keys."""
    value = row[column]
    if value is None:
        return None
    try:
        read = json.loads(str(value), object_pairs_hook=_unique_keys, parse_float=Decimal)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _details_conform(row: Row) -> bool:
    """As `schemas/datasets/cost_and_usage/allocatedmethoddetailsobjectschema.json` has it."""
    details = _object(row, "AllocatedMethodDetails")
    if details is None:
        return True
    elements = details.get("Elements")
    if not isinstance(elements, list) or not elements or not _known(details, {"Elements"}):
        return False
    return all(map(_element_conforms, elements))


def _element_conforms(element: Any) -> bool:
    if not isinstance(element, dict) or not _known(element, {"AllocatedRatio", "UsageUnit", "UsageQuantity"}):
        return False
    ratio, quantity = element.get("AllocatedRatio"), element.get("UsageQuantity")
    return (
        isinstance(ratio, int | Decimal)
        and 0 <= ratio <= 1
        and (
            quantity is None
            or (isinstance(quantity, int | Decimal) and isinstance(element["UsageUnit"], str))
        )
    )


def _known(properties: Mapping[str, Any], names: set[str]) -> bool:
    return all(key in names or re.fullmatch(r"x_[A-Z][a-zA-Z0-9]*", key) for key in properties)


_LABELS: Final = {
    f"inference/{name.lower()}": f"x_{name}" for name in ("Product", "Team", "Namespace", "Model")
}


def _tags(column: str) -> tuple[Requirement, ...]:
    return (
        Requirement(
            column,
            "is an object of unique keys and plain values (KeyValueFormat)",
            lambda row: (
                all(isinstance(value, str) for value in (_object(row, column) or {"": ""}).values())
                and _object(row, column) != {}
            ),
            {column: '{"inference/team": ["a"]}'},
        ),
        Requirement(
            column,
            "has the prefix of the data generator in each key",
            lambda row: all(key.startswith("inference/") for key in _object(row, column) or ()),
            {column: '{"team": "a"}'},
        ),
        Requirement(
            column,
            "has all tags, and their values unaltered",
            lambda row: (
                row[column] is None
                or _object(row, column)
                == {key: row[name] for key, name in _LABELS.items() if row[name] is not None}
            ),
            {column: '{"inference/team": "altered"}'},
        ),
    )


_SHARED_NAMES: Final = ("HostProviderName", "InvoiceIssuerName", "ServiceProviderName")

REQUIREMENTS: Final[tuple[Requirement, ...]] = (
    # Split cost allocation.
    _text("AllocatedMethodDetails"),
    *_together("AllocatedMethodDetails", "AllocatedMethodId", '{"Elements":[{"AllocatedRatio":1}]}'),
    Requirement(
        "AllocatedMethodDetails",
        "conforms to AllocatedMethodDetailsObject, with a ratio from 0 to 1 and a unit with each quantity",
        _details_conform,
        {"AllocatedMethodDetails": '{"Elements":[{"AllocatedRatio":1.1}]}'},
    ),
    Requirement(
        "AllocatedMethodDetails",
        "has the quantity that the ratio is determined by",
        lambda row: (
            not _is_part(row)
            or (_object(row, "AllocatedMethodDetails") or {})["Elements"][0]["UsageQuantity"]
            == row["ConsumedQuantity"]
        ),
        {"ConsumedQuantity": Decimal("0.5")},
        _is_part,
    ),
    _text("AllocatedMethodId"),
    Requirement(
        "AllocatedMethodId",
        "is null for a charge that is no part, and not null for one that is",
        lambda row: (row["AllocatedMethodId"] is not None) == _is_part(row),
        {"AllocatedMethodId": None},
        _is_part,
    ),
    _text("AllocatedResourceId"),
    Requirement(
        "AllocatedResourceId",
        "is null for a charge that is no part",
        lambda row: _is_part(row) or row["AllocatedResourceId"] is None,
        {"AllocatedResourceId": "chat"},
        lambda row: not _is_part(row),
    ),
    Requirement(
        "AllocatedResourceId",
        "is null for the unallocated part",
        lambda row: _has_server(row) or row["AllocatedResourceId"] is None,
        {"AllocatedResourceId": "unallocated"},
        lambda row: _is_part(row) and not _has_server(row),
    ),
    Requirement(
        "AllocatedResourceId",
        "is not null for an allocated part",
        lambda row: not (_is_part(row) and _has_server(row)) or row["AllocatedResourceId"] is not None,
        {"AllocatedResourceId": None},
        lambda row: _is_part(row) and _has_server(row),
    ),
    _text("AllocatedResourceName"),
    *_together("AllocatedResourceName", "AllocatedResourceId", "chat"),
    _text("AllocatedTags"),
    *_tags("AllocatedTags"),
    Requirement(
        "AllocatedTags",
        "is null for a charge that is no part",
        lambda row: _is_part(row) or row["AllocatedTags"] is None,
        {"AllocatedTags": '{"inference/team":"a"}'},
        lambda row: not _is_part(row),
    ),
    Requirement(
        "AllocatedTags",
        "has no tag that is in Tags",
        lambda row: (
            row["AllocatedTags"] is None
            or not {*(_object(row, "AllocatedTags") or {})} & {*(_object(row, "Tags") or {})}
        ),
        {"Tags": '{"inference/product":"chat"}'},
        lambda row: row["AllocatedTags"] is not None,
    ),
    # Costs.
    *(_decimal(name) for name in ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")),
    *(_not_null(name) for name in ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")),
    _equals("EffectiveCost", "BilledCost", _is_usage, "for usage that is covered by nothing"),
    _equals("ContractedCost", "BilledCost", lambda _row: True, "where there is no ContractedUnitPrice"),
    _equals("ListCost", "BilledCost", lambda _row: True, "where there is no ListUnitPrice"),
    # Account and period.
    *(_text(name) for name in ("BillingAccountId", "BillingAccountName", "BillingCurrency")),
    *(_not_null(name) for name in ("BillingAccountId", "BillingAccountName", "BillingCurrency")),
    Requirement(
        "BillingCurrency",
        "is a national currency of ISO 4217 (CurrencyFormat)",
        lambda row: row["BillingCurrency"] == "USD",
        {"BillingCurrency": "Dollars"},
    ),
    *(
        rule
        for name in ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
        for rule in (_instant(name), _not_null(name))
    ),
    Requirement(
        "BillingPeriodEnd",
        "is the exclusive end bound of what starts at BillingPeriodStart",
        lambda row: row["BillingPeriodStart"] < row["BillingPeriodEnd"],  # type: ignore[operator]
        {"BillingPeriodEnd": datetime(2026, 1, 1)},  # noqa: DTZ001 - as parsed
    ),
    Requirement(
        "ChargePeriodEnd",
        "is the exclusive end bound of what starts at ChargePeriodStart, within the billing period",
        lambda row: (
            row["BillingPeriodStart"]  # type: ignore[operator]
            <= row["ChargePeriodStart"]
            < row["ChargePeriodEnd"]
            <= row["BillingPeriodEnd"]
        ),
        {"ChargePeriodEnd": datetime(2026, 1, 1)},  # noqa: DTZ001 - as parsed
    ),
    # The charge.
    *(_text(name) for name in ("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency")),
    *(_not_null(name) for name in ("ChargeCategory", "ChargeDescription", "ChargeFrequency")),
    _one_of("ChargeCategory", CHARGE_CATEGORIES, "Rent"),
    Requirement(
        "ChargeCategory",
        "is Usage for consumption, and Adjustment for a modification of what was billed",
        lambda row: row["ChargeCategory"] == ("Adjustment" if row["ConsumedUnit"] is None else "Usage"),
        {"ChargeCategory": "Credit"},
    ),
    Requirement(
        "ChargeClass",
        "is null, or Correction for a correction of a closed billing period",
        lambda row: row["ChargeClass"] in (None, "Correction"),
        {"ChargeClass": "Refund"},
    ),
    _one_of("ChargeFrequency", FREQUENCIES, "Daily"),
    Requirement(
        "ChargeFrequency",
        "is not Usage-Based for a purchase",
        lambda row: row["ChargeCategory"] != "Purchase" or row["ChargeFrequency"] != "Usage-Based",
        {"ChargeCategory": "Purchase"},
        _is_usage,
    ),
    Requirement(
        "CommitmentDiscountStatus",
        "is null when CommitmentDiscountId is null",
        lambda row: row["CommitmentDiscountStatus"] is None,
        {"CommitmentDiscountStatus": "Used"},
    ),
    # Quantities.
    _decimal("ConsumedQuantity"),
    *_usage_only("ConsumedQuantity", Decimal(1)),
    _text("ConsumedUnit"),
    *_together("ConsumedUnit", "ConsumedQuantity", "Tokens"),
    _decimal("PricingQuantity"),
    _usage_only("PricingQuantity", Decimal(1))[1],
    _text("PricingUnit"),
    *_together("PricingUnit", "PricingQuantity", "Tokens"),
    *(
        Requirement(
            name,
            "is plural units, with a hyphen in a compound one (UnitFormat)",
            lambda row, name=name: row[name] in (None, "GPU-Hours", "Tokens"),  # type: ignore[misc]
            {name: "gpu hours"},
        )
        for name in ("ConsumedUnit", "PricingUnit")
    ),
    _text("PricingCategory"),
    _usage_only("PricingCategory", "Other")[1],
    _one_of("PricingCategory", PRICING_CATEGORIES, "Spot"),
    Requirement(
        "PricingCategory",
        "is Standard where the rate was agreed on, and Other where no value applies",
        lambda row: (
            row["PricingCategory"]
            == ("Standard" if row["x_PriceBasis"] in ("configured", "catalogue", "mixed") else "Other")
        ),
        {"PricingCategory": "Dynamic"},
    ),
    # Who provides what.
    *(_text(name) for name in _SHARED_NAMES),
    *(_not_null(name) for name in _SHARED_NAMES),
    Requirement(
        "HostProviderName",
        "matches ServiceProviderName where no other host is named",
        lambda row: row["HostProviderName"] == row["ServiceProviderName"],
        {"HostProviderName": "A cloud"},
    ),
    *(
        Requirement(
            name,
            "is not null",
            lambda row, name=name: isinstance(row[name], str),  # type: ignore[misc]
            {name: None},
            versions=("1.3",),
        )
        for name in ("ProviderName", "PublisherName")
    ),
    *(
        Requirement(
            name,
            "is null for a charge of no invoice",
            lambda row, name=name: row[name] is None,  # type: ignore[misc]
            {name: "invoice-1"},
            versions=versions,
        )
        for name, versions in (("InvoiceId", BOTH), ("InvoiceDetailId", ("1.4",)))
    ),
    # The resource.
    *(_text(name) for name in ("ResourceId", "ResourceName", "ResourceType")),
    Requirement(
        "ResourceId",
        "is not null for a charge that is related to a resource",
        lambda row: not _is_usage(row) or row["ResourceId"] is not None,
        {"ResourceId": None},
        _is_usage,
    ),
    Requirement(
        "ResourceId",
        "is unique within the service provider: the id of a ledger",
        lambda row: row["ResourceId"] in (None, row["x_LedgerId"]),
        {"ResourceId": "GPU-0"},
    ),
    _together("ResourceName", "ResourceId", "node-7")[0],
    Requirement(
        "ResourceName",
        "is not the id once more",
        lambda row: row["ResourceName"] is None or row["ResourceName"] != row["ResourceId"],
        {"ResourceName": "ledger-1"},
        lambda row: row["ResourceId"] == "ledger-1",
    ),
    *_together("ResourceType", "ResourceId", "GPU Host"),
    # The service.
    *(
        rule
        for name in ("ServiceCategory", "ServiceName", "ServiceSubcategory")
        for rule in (_text(name), _not_null(name))
    ),
    _one_of("ServiceCategory", {"AI and Machine Learning"}, "Inference"),
    _one_of("ServiceSubcategory", AI_SUBCATEGORIES, "Containers"),
    _text("Tags"),
    *_tags("Tags"),
    # NullHandling.
    Requirement(
        "NullHandling",
        "has no placeholder for an absent value",
        lambda row: not PLACEHOLDERS.intersection(map(str, row.values())),
        {"ChargeClass": "Not Applicable"},
    ),
)

MANDATORY: Final = {
    "AllocatedMethodDetails",
    "AllocatedMethodId",
    "AllocatedResourceId",
    "AllocatedResourceName",
    "AllocatedTags",
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "Tags",
}
"""Columns that the dataset of both versions has to have, by `datasets/cost_and_usage/dataset.md` of 1.4 and
the columns' pages of 1.3: mandatory ones, those of split cost allocation, several pricing categories,
measured usage, resources with types, and tags; and the recommended ones that are written."""


def split_breaches(dataset: list[Row]) -> list[str]:
    """Breaches of DataGeneratorCalculatedSplitCostAllocationHandling.

    Parts of one origin charge share all dimensions of FOCUS, their ratios sum to 1, and each is the part of
    the cost that its ratio says.
    """
    origins: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in dataset:
        if row["AllocatedMethodId"] is not None:
            key = "AllocatedMethodId", "ResourceId", "ChargePeriodStart", "PricingCategory"
            origins[tuple(row[name] for name in key)].append(row)
    breaches = []
    for key, parts in origins.items():
        for name, value in parts[0].items():
            allocated = name.startswith(("Allocated", "x_"))
            if not allocated and not isinstance(value, Decimal) and {part[name] for part in parts} != {value}:
                breaches.append(f"{key}: {name} differs")
        ratios = [_ratio(part) for part in parts]
        if sum(ratios) != 1:
            breaches.append(f"{key}: ratios sum to {sum(ratios)}")
        total = sum((_cost(part) for part in parts), Decimal(0))
        for part, ratio in zip(parts, ratios, strict=True):
            if abs(_cost(part) - ratio * total) > abs(total) / 10**12:
                breaches.append(f"{key}: {ratio} of {total} is not {_cost(part)}")
    return breaches


def _ratio(part: Row) -> Decimal:
    (ratio,) = re.findall(r'"AllocatedRatio":([0-9.]+)', str(part["AllocatedMethodDetails"]))
    return Decimal(ratio)


def _cost(part: Row) -> Decimal:
    assert isinstance(part["BilledCost"], Decimal)
    return part["BilledCost"]
