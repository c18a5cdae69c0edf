"""A key that nobody knows leads to the one that was meant, and to both where it may be either."""

from collections.abc import Callable

import pytest

Refused = Callable[[bytes], list[str]]

RENT = "dollars_per_gpu_hour or dollars_per_host_hour?"
PURCHASE = "purchase_dollars_per_gpu or purchase_dollars_per_host?"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("dollars_per_hour: 2.5", RENT),
        ("dollars_per_month: 1825", RENT),
        ("dollars_per_gpu: 2.5", RENT),
        ("dollars_host_hour: 20, gpus_per_host: 8", "dollars_per_host_hour or dollars_per_gpu_hour?"),
        ("price: 2.5", "prices?"),
        ("price: [{from: 2026-01-01, dollars_per_gpu_hour: 2}]", "prices?"),
    ],
)
def test_a_rent_is_of_a_gpu_or_of_a_host(refused: Refused, key: str, meant: str) -> None:
    """The wrong one of the two would be wrong by the number of GPUs."""
    (line,) = refused(f"hardware: [{{rented: {{{key}}}}}]\n".encode())
    name = key.partition(":")[0]

    assert line == f"ice.yaml:1:22: hardware[0].rented.{name}: unknown key; did you mean {meant}"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("purchase_dollars", PURCHASE),
        ("purchase_dolars", PURCHASE),
        ("purchase_dollars_per_hst", "purchase_dollars_per_host?"),
        ("purchase_dollars_host", "purchase_dollars_per_host or purchase_dollars_per_gpu?"),
        ("purchase_per_gpu", PURCHASE),
    ],
)
def test_a_purchase_is_of_a_gpu_or_of_a_host(refused: Refused, key: str, meant: str) -> None:
    """A word that says which is of that one."""
    owned = f"{{{key}: 30000, in_service: 2026-02-01, life_years: 4}}"
    (line,) = refused(f"hardware: [{{owned: {owned}}}]\n".encode())

    assert line == f"ice.yaml:1:21: hardware[0].owned.{key}: unknown key; did you mean {meant}"


def test_one_price_where_dated_ones_belong(refused: Refused) -> None:
    """It is told where one price goes, not how a list is written."""
    assert refused(b"hardware: [{rented: {prices: 2.5}}]\n") == [
        (
            'ice.yaml:1:30: hardware[0].rented.prices: must be a list (list of mappings), not "2.5"; '
            "one price without a date is dollars_per_gpu_hour or dollars_per_host_hour"
        )
    ]
