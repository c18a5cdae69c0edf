"""The part of a card that each MIG instance is. Memory is as NVML reports it, in round numbers."""

import csv
from pathlib import Path
from typing import Any

import pytest

from exporter.cost.attribution import mig_slices
from exporter.cost.money import WHOLE
from exporter.readings import Gpu, GpuReading, MigInstance
from exporter.tariff.csv_tables import BUNDLED, rows
from exporter.tariff.gpu_models import slices_of_gpu

GB = 10**9


def instance(size: str, number: int, gigabytes: float, compute: int = 0, **fields: Any) -> MigInstance:
    """An instance of a size like 3g, at this number; 1c.3g is a compute instance of it."""
    slices_of = [int(part[:-1]) for part in size.split(".")]
    facts = {
        "gpu_slices": slices_of[-1],
        "compute_slices": slices_of[0],
        "memory_bytes": round(gigabytes * GB),
        **fields,
    }
    return MigInstance(f"MIG-{number}-{compute}", number, compute, **facts)


def parts(model: str, gigabytes: float | None, *instances: MigInstance) -> dict[str, float]:
    """Parts of a card, rounded; in the order of its instances."""
    memory = None if gigabytes is None else round(gigabytes * GB)
    actual = mig_slices(GpuReading(Gpu("GPU-0", model), 0, memory_total_bytes=memory, instances=instances))
    assert actual is not None
    assert sum(actual.values()) <= WHOLE
    return {uuid: round(part / WHOLE, 6) for uuid, part in actual.items()}


A100 = "NVIDIA A100-SXM4-40GB"


def test_a_card_that_is_not_cut_has_no_parts() -> None:
    """MIG off is not a card cut into nothing."""
    assert mig_slices(GpuReading(Gpu("GPU-0", A100), 0)) is None
    assert mig_slices(GpuReading(Gpu("GPU-0", A100), 0, instances=())) == {}


def test_the_larger_of_compute_and_memory_counts() -> None:
    """A100: 3g.20gb is half of the memory, 2g.10gb two of seven slices, 1g.5gb one; 1/14 is left."""
    actual = parts(A100, 40, instance("3g", 1, 20), instance("2g", 2, 10), instance("1g", 3, 5))
    assert actual == {"MIG-1-0": 0.5, "MIG-2-0": 0.285714, "MIG-3-0": 0.142857}
    assert round(1 - 0.5 - 2 / 7 - 1 / 7, 6) == round(1 / 14, 6)


def test_a_small_instance_with_much_memory() -> None:
    """1g.10gb of 40 GB: a quarter, not a seventh."""
    assert parts(A100, 40, instance("1g", 1, 10)) == {"MIG-1-0": 0.25}


@pytest.mark.parametrize("model", ["NVIDIA A30", "NVIDIA RTX PRO 6000 Blackwell Server Edition"])
def test_cards_of_four_slices(model: str) -> None:
    """A30: 2g.12gb is half, 1g.6gb a quarter, not two and one of seven."""
    assert parts(model, 24, instance("2g", 1, 12), instance("1g", 2, 6)) == {"MIG-1-0": 0.5, "MIG-2-0": 0.25}


def test_shares_that_pass_one_are_divided_by_their_sum() -> None:
    """4g.20gb is 4/7 by compute, 3g.20gb 1/2 by memory: 15/14, so 8/15 and 7/15, and nothing is left."""
    actual = parts(A100, 40, instance("4g", 1, 20), instance("3g", 2, 20))
    assert actual == {"MIG-1-0": round(8 / 15, 6), "MIG-2-0": round(7 / 15, 6)}


def test_seven_sevenths_are_the_card() -> None:
    """No rounding leaves a part that nobody holds."""
    seven = tuple(instance("1g", number, 5) for number in range(7))
    actual = mig_slices(GpuReading(Gpu("GPU-0", A100), 0, memory_total_bytes=40 * GB, instances=seven))
    assert actual is not None
    assert sum(actual.values()) == WHOLE
    assert max(actual.values()) - min(actual.values()) <= 1


def test_compute_instances_divide_their_gpu_instance_by_slices() -> None:
    """1c and 2c of a 3g.20gb that is half of the card: a third and two thirds of the half."""
    actual = parts(A100, 40, instance("1c.3g", 1, 20, 0), instance("2c.3g", 1, 20, 1))
    assert actual == {"MIG-1-0": round(1 / 6, 6), "MIG-1-1": round(1 / 3, 6)}


def test_a_compute_instance_alone_has_the_whole_gpu_instance() -> None:
    """Nobody else can use its memory while it is there."""
    assert parts(A100, 40, instance("1c.3g", 1, 20)) == {"MIG-1-0": 0.5}


def test_compute_slices_that_are_not_reported_are_equal() -> None:
    """Halves of the half."""
    reported = (instance("1c.3g", 1, 20, 0), instance("2c.3g", 1, 20, 1, compute_slices=None))
    assert parts(A100, 40, *reported) == {"MIG-1-0": 0.25, "MIG-1-1": 0.25}


def test_memory_that_is_not_reported_leaves_compute() -> None:
    """3 of 7, whether the card's or the instance's is missing."""
    assert parts(A100, None, instance("3g", 1, 20)) == {"MIG-1-0": round(3 / 7, 6)}
    assert parts(A100, 40, instance("3g", 1, 0, memory_bytes=None)) == {"MIG-1-0": round(3 / 7, 6)}


def test_a_profile_stands_in_for_slices() -> None:
    """Its name says 2 of 7, and 1 and 2 of the 3; memory would say less."""
    nothing = {"gpu_slices": None, "compute_slices": None}
    assert parts(A100, 40, instance("2g", 1, 10, profile="2g.10gb", **nothing)) == {
        "MIG-1-0": round(2 / 7, 6)
    }
    reported = (
        instance("1c.3g", 1, 20, 0, profile="1c.3g.20gb", **nothing),
        instance("2c.3g", 1, 20, 1, profile="2c.3g.20gb", **nothing),
    )
    assert parts(A100, 40, *reported)["MIG-1-0"] == round(1 / 6, 6)


def test_an_instance_of_which_nothing_is_reported_is_one_slice() -> None:
    """The smallest that there is."""
    assert parts(A100, 40, MigInstance("MIG-x", 1)) == {"MIG-x": round(1 / 7, 6)}
    assert parts("NVIDIA A30", 24, MigInstance("MIG-x", 1)) == {"MIG-x": 0.25}


def test_more_than_the_card_is_the_card() -> None:
    """Memory of an instance above the card's own is a reading gone wrong."""
    assert parts(A100, 40, instance("7g", 1, 44)) == {"MIG-1-0": 1.0}


def test_the_catalogue_counts_the_same_slices() -> None:
    """Every profile of every card, under each name of the card that NVML may tell."""
    names = {row["gpu_model"]: row["names"].split("|") for row in rows(BUNDLED, "gpu_models.csv")}
    observed = 0
    # config-default.yaml of NVIDIA/mig-parted at bd7160f4 (Apache-2.0), of 2026-08-21.
    with (Path(__file__).parent / "mig_profiles.csv").open(encoding="utf-8") as file:
        profiles = list(csv.DictReader(file))
    for row in profiles:
        for name in names[row["gpu_model"]]:
            assert slices_of_gpu(f"NVIDIA {name.removesuffix('*')}") == int(row["slices_of_gpu"])
            observed += 1
    assert observed > 100


@pytest.mark.parametrize("name", ["NVIDIA A300", "NVIDIA RTX PRO 60000", "NVIDIA A100-SXM4-40GB"])
def test_other_names_have_seven(name: str) -> None:
    """A name that only begins like one of the four-slice cards is none of them."""
    assert slices_of_gpu(name) == 7
