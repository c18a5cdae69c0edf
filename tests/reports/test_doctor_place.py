"""The doctor tells where the host runs, who told, and what to do where nobody does."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.config.settings import CloudChoice, Config
from exporter.cost.policy import CostPolicy
from exporter.readings import HostLocation, NodeLabels
from exporter.reports.diagnosis import Diagnosis, DoctorInput
from exporter.reports.doctor import as_json, diagnose, text
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice

NOW = 1_795_564_800 * 10**9
AWS = HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "on_demand", "aws metadata")


def examined(location: HostLocation, problem: str = "", cloud: CloudChoice = "auto") -> Diagnosis:
    inputs = DoctorInput((), "", (), "", "", location, problem)
    return diagnose(Config(cloud=cloud), CostPolicy(Tariff("gpu-1")), inputs, NOW)


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (AWS, "gpu-1  p5.48xlarge of aws in us-east-1 (zone us-east-1d), on demand; source: aws metadata"),
        (
            HostLocation("oci", "BM.GPU.H100.8", "us-phoenix-1", "", "spot", "oci metadata"),
            "gpu-1  BM.GPU.H100.8 of oci in us-phoenix-1, spot; source: oci metadata",
        ),
        (
            HostLocation("aws", "p5.48xlarge", source="dmi"),
            "gpu-1  p5.48xlarge of aws in an unknown region, unknown whether on demand or spot; source: dmi",
        ),
        (
            HostLocation("gcp", source="configuration"),
            (
                "gpu-1  an unknown instance type of gcp in an unknown region, "
                "unknown whether on demand or spot; source: configuration"
            ),
        ),
        (HostLocation(), "gpu-1  in no known cloud"),
    ],
)
def test_the_first_line_is_the_host_and_its_place(location: HostLocation, line: str) -> None:
    """What is not known is said to be unknown."""
    assert text(examined(location)).startswith(f"Host\n  {line}\nGPUs\n")


def findings(diagnosis: Diagnosis, word: str) -> list[str]:
    return [f"{actual.severity}: {actual.text}" for actual in diagnosis.findings if word in actual.text]


def test_a_cloud_that_does_not_answer_is_found() -> None:
    """Nothing is priced by an instance type that nobody tells: a warning."""
    actual = findings(examined(HostLocation("gcp", source="dmi"), "gcp metadata at X: ConnectTimeout"), "gcp")

    assert actual == [
        (
            "warning: gcp does not report the host's location: gcp metadata at X: ConnectTimeout. "
            "Let the exporter reach it, or set `discovery: {cloud: off}`."
        )
    ]


def test_firmware_that_tells_the_instance_type_makes_it_a_note() -> None:
    """Region and lifecycle are missing, the price is not."""
    (actual,) = findings(
        examined(HostLocation("aws", "p5.48xlarge", source="dmi"), "aws metadata at X: 401"), "aws"
    )

    assert actual.startswith("note: aws does not report the host's location: aws metadata at X: 401. ")


def test_that_nobody_is_asked_is_told() -> None:
    """Where the configuration says so; on bare metal there is nothing to say."""
    expected = ["note: the host's location is not requested, since `discovery.cloud` is off."]
    assert findings(examined(HostLocation(), cloud="off"), "location is not requested") == expected
    assert findings(examined(HostLocation()), "location is not requested") == []


def test_json_has_the_place() -> None:
    """Field by field."""
    actual = json.loads(as_json(examined(AWS)))

    assert actual["host"] == "gpu-1"
    assert actual["place"] == {
        "cloud": "aws",
        "instance_type": "p5.48xlarge",
        "region": "us-east-1",
        "zone": "us-east-1d",
        "lifecycle": "on_demand",
        "source": "aws metadata",
        "node_labels": [],
    }


LEASED = (Hardware(HardwareMatch(node_label=(("pool", "*"),)), Rented((RentPrice(Decimal(2)),)), "rule"),)


def labeled(problem: str, labels: NodeLabels | None, hardware: tuple[Hardware, ...]) -> list[str]:
    inputs = DoctorInput((), "", (), "", "", replace(AWS, node_labels=labels), label_problem=problem)
    diagnosis = diagnose(Config(hardware=hardware), CostPolicy(Tariff("gpu-1")), inputs, NOW)
    return [f"{each.severity}: {each.text}" for each in diagnosis.findings if "label" in each.text]


def test_labels_that_a_rule_goes_by_and_nobody_tells_make_money_wrong() -> None:
    """What waits for them has no price; without such a rule it is only to look at."""
    expected = "error: node labels: answers 403. What rule and the rules behind it price waits."
    assert labeled("answers 403", None, LEASED) == [expected]
    assert labeled("answers 403", None, ()) == ["warning: node labels: answers 403."]


def test_labels_of_another_place_are_told() -> None:
    """Rules match on them all the same."""
    expected = ["warning: node labels: the node's labels say in gcp, dmi says in aws."]
    assert labeled("the node's labels say in gcp, dmi says in aws", (("pool", "a"),), LEASED) == expected


def test_a_rule_by_labels_where_there_are_none_is_told() -> None:
    """A file of the whole fleet may have it on purpose, so it is a warning."""
    (actual,) = labeled("", (), LEASED)
    assert actual.startswith("warning: rule matches by node_label, and this host has no labels: ")
    assert labeled("", (), ()) == []
    assert labeled("", (("pool", "a"),), LEASED) == []
