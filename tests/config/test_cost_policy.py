"""What a host's place means to its prices, and that nothing is priced by a guess while it is being asked."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from exporter.cli.build import lists_all_gpus
from exporter.config import parse
from exporter.config.settings import cost_policy
from exporter.readings import Gpu, HostLocation
from exporter.tariff.calendar import month_of

NOW = 1_795_564_800 * 10**9  # 2026-11-25
MONTH = month_of(NOW, ZoneInfo("UTC"))
H100 = Gpu("GPU-0", "NVIDIA H100 80GB HBM3")
AWS = HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "on_demand", "aws metadata")

RULES = b"""hardware:
  - {match: {gpu_model: "*L4*"}, rented: {dollars_per_gpu_hour: 0.70}}
  - {match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 5}}
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 2}}
"""


def rent(text: bytes, location: HostLocation | None, gpu: Gpu = H100) -> float | None:
    """Dollars of an hour of a GPU; `None` without a price."""
    price = cost_policy(parse(text), "gpu-1", location).tariff.price(gpu, NOW, MONTH, 8)
    assert price.priced == bool(price.rates)
    return price.rates[0].rate.dollars_per_hour() if price.rates else None


def test_an_instance_type_prices_a_host_without_a_configuration() -> None:
    """A p5.48xlarge in us-east-1 has 8 GPUs and costs 55.04 dollars an hour: 6.88 each."""
    assert rent(b"", AWS) == pytest.approx(6.88)


def test_while_a_cloud_is_being_asked_nothing_is_estimated() -> None:
    """The market's price of an H100 for a second would be a price that the host never had."""
    assert rent(b"", None) is None
    assert rent(b"", HostLocation()) is not None


def test_a_rule_that_looks_at_the_place_is_waited_for_and_those_behind_it_too() -> None:
    """5 dollars on that instance and 2 elsewhere: which of them is known with the answer, and not before."""
    assert rent(RULES, None) is None
    assert rent(RULES, AWS) == 5
    assert rent(RULES, HostLocation()) == 2


def test_a_rule_that_holds_anywhere_prices_at_once() -> None:
    """It comes first, so that no answer changes it."""
    l4 = Gpu("GPU-1", "NVIDIA L4")
    assert rent(RULES, None, l4) == pytest.approx(0.70)
    assert rent(RULES, AWS, l4) == pytest.approx(0.70)


@pytest.mark.parametrize(
    ("text", "location", "waits"),
    [
        (RULES, None, True),
        (RULES, AWS, False),  # priced
        (b"", None, True),
        (b"unmatched_hardware: unpriced\n", None, False),
        (b"unmatched_hardware: unpriced\n", HostLocation(), False),
        # Another attempt may tell the instance type.
        (RULES.replace(b"*H100*", b"*H200*") + b"unmatched_hardware: unpriced\n", HostLocation(), True),
        (b"hardware: [{rented: {catalogue: any}}]\n", HostLocation(), True),
        (b"hardware: [{rented: {prices: [{from: 2027-01-01, dollars_per_gpu_hour: 2}]}}]\n", None, False),
    ],
)
def test_which_gpus_wait_for_the_place(text: bytes, location: HostLocation | None, waits: bool) -> None:  # noqa: FBT001
    """Those without a price that may get one by it; a rule that begins later is no such thing."""
    tariff = cost_policy(parse(text), "gpu-1", location).tariff
    priced = tariff.hardware_price(H100, NOW).priced

    assert (not priced and tariff.location_may_price(H100)) == waits


def test_a_list_price_of_the_hosts_own_instance_waits_as_well() -> None:
    """It is looked up by what the cloud tells."""
    listed = b"hardware: [{rented: {catalogue: any, discount_ratio: 0.25}}]\n"
    assert rent(listed, None) is None
    assert rent(listed, AWS) == pytest.approx(5.16)  # 6.88 x 0.75


def test_a_discount_of_0_leaves_a_spot_host_the_spot_price() -> None:
    """It is no discount: the price stays that of the host's lifecycle, 50.60954 / 8, not 88.49 / 8."""
    spot = HostLocation("gcp", "a3-highgpu-8g", "us-central1", lifecycle="spot")
    listed = b"hardware: [{rented: {catalogue: any, discount_ratio: 0}}]\n"
    assert rent(listed, spot) == pytest.approx(50.60954 / 8)
    assert rent(listed.replace(b": 0}", b": 0.1}"), spot) == pytest.approx(88.49 * 0.9 / 8)


LABELED = b"""hardware:
  - {match: {gpu_model: "*L4*"}, rented: {dollars_per_gpu_hour: 0.70}}
  - {match: {node_label: {example.com/billing: lease}}, rented: {dollars_per_gpu_hour: 1.90}}
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 2}}
"""
LEASE = (("example.com/billing", "lease"),)


def test_a_rule_that_goes_by_labels_waits_for_them_and_those_behind_it_too() -> None:
    """While both are being asked, and for as long as the cluster has labels that it does not tell."""
    assert rent(LABELED, None) is None
    assert rent(LABELED, replace(AWS, node_labels=None)) is None
    assert rent(LABELED, replace(AWS, node_labels=LEASE)) == pytest.approx(1.90)
    assert rent(LABELED, AWS) == 2


def test_what_is_priced_before_it_does_not_wait() -> None:
    """No label changes it."""
    assert rent(LABELED, replace(AWS, node_labels=None), Gpu("GPU-1", "NVIDIA L4")) == pytest.approx(0.70)


def test_labels_that_are_not_told_hold_up_only_who_asks_for_them() -> None:
    """Without such a rule a refusal of the cluster changes no price, the list price included."""
    assert rent(b"", replace(AWS, node_labels=None)) == pytest.approx(6.88)
    assert rent(RULES, replace(AWS, node_labels=None)) == 5


def test_nothing_is_estimated_behind_a_rule_that_waits() -> None:
    """The GPU may turn out to be a leased one."""
    leased = b"hardware: [{match: {node_label: {pool: lease}}, rented: {dollars_per_gpu_hour: 1.90}}]\n"
    assert rent(leased, replace(AWS, node_labels=None)) is None
    assert rent(leased, AWS) == pytest.approx(6.88)


def test_a_label_that_no_rule_looks_at_changes_no_tariff() -> None:
    """Labels come and go; under the same tariff what waits for a price is not gone through again."""
    config = parse(LABELED)
    more = (("example.com/billing", "lease"), ("nvidia.com/gpu.deploy.client", "paused-for-driver-upgrade"))
    first, second, third = (
        cost_policy(config, "gpu-1", replace(AWS, node_labels=labels)).tariff for labels in (LEASE, more, ())
    )

    assert first == second
    assert first != third


@pytest.mark.parametrize(
    ("text", "given", "every"),
    [
        (b"", True, True),
        (b"", False, False),
        (b"discovery: {gpus: auto}", False, False),
        (b"discovery: {gpus: all}", False, True),
        (b"discovery: {gpus: visible}", True, False),
        (b"discovery: {cloud: off}", True, True),
    ],
)
def test_whether_all_gpus_are_listed_is_told_or_found(text: bytes, *, given: bool, every: bool) -> None:
    """The configuration decides; with auto what the process was given does."""
    assert cost_policy(parse(text), "gpu-1", all_gpus=given).all_gpus == every


@pytest.mark.parametrize(
    ("value", "every"),
    [
        (None, True),
        ("all", True),
        (" all ", True),
        ("", False),
        ("void", False),
        ("none", False),
        ("0,1,2,3", False),
        ("GPU-1", False),
        ("MIG-1", False),
        ("ALL", False),
    ],
)
def test_a_process_that_was_given_some_gpus_lists_some(
    monkeypatch: pytest.MonkeyPatch, value: str | None, *, every: bool
) -> None:
    """NVIDIA_VISIBLE_DEVICES all or not set is all of them; with void a CDI device may be a part."""
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    if value is not None:
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    assert lists_all_gpus() == every
