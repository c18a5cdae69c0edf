"""What the doctor says of rules that match nothing on the host that it looks at."""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.config.settings import Config, ServerMatch, ServerRule
from exporter.cost.policy import CostPolicy, OwnershipRule
from exporter.readings import Gpu, GpuReading, HostLocation, ServerKey, ServerReading
from exporter.reports.diagnosis import Finding, ServerAnswer
from exporter.reports.price_findings import unmatched_rule_findings
from exporter.reports.server_findings import unmatched_server_findings
from exporter.sources.discovery import DiscoveredServer, DiscoveryResult
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice
from tests.reports.test_doctor import HOST

GPUS = (Gpu("GPU-0", "NVIDIA H100 80GB HBM3"), Gpu("GPU-1", "NVIDIA L4"))
P5 = HostLocation(
    cloud="aws",
    instance_type="p5.48xlarge",
    region="us-east-1",
    lifecycle="spot",
    node_labels=(("pool", "gold"),),
)
RENT = Rented((RentPrice(Decimal(2)),))
RULE = " A pattern covers the whole text, and case counts."


def unmatched(
    *matches: HardwareMatch, location: HostLocation = P5, gpus: tuple[Gpu, ...] = GPUS
) -> list[str]:
    rules = tuple(Hardware(match, RENT, f"hardware[{i}].rented") for i, match in enumerate(matches))
    policy = CostPolicy(Tariff("node7", rules, location=location))
    inputs = replace(HOST.inputs, gpus=tuple(GpuReading(gpu, index) for index, gpu in enumerate(gpus)))
    actual = unmatched_rule_findings(replace(HOST, policy=policy, inputs=inputs))
    return [f"{finding.severity}: {finding.text}" for finding in actual]


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (
            HardwareMatch(gpu_model="H100"),
            'gpu_model "H100" is not "NVIDIA H100 80GB HBM3"',
        ),
        (HardwareMatch(gpu_model="*l4"), 'gpu_model "*l4" is not "NVIDIA L4"'),
        (HardwareMatch(host="NODE*"), 'host "NODE*" is not "node7"'),
        (HardwareMatch(host="node"), 'host "node" is not "node7"'),
        (
            HardwareMatch(instance_type="p5"),
            'instance_type "p5" is not "p5.48xlarge"',
        ),
        (HardwareMatch(node_label=(("pool", "Gold"),)), 'node_label pool "Gold" is not "gold"'),
    ],
)
def test_a_rule_that_was_meant_for_what_is_here_is_a_warning(match: HardwareMatch, why: str) -> None:
    """Whoever wrote it believes that it holds."""
    assert unmatched(match) == [f"warning: hardware[0] matches no GPU here: {why}.{RULE}"]


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (HardwareMatch(gpu_model="*A100*"), 'gpu_model "*A100*" is not "NVIDIA H100 80GB HBM3"'),
        (HardwareMatch(host="dc1-*", gpu_model="*L4"), 'host "dc1-*" is not "node7"'),
        # What misses twice was not meant for here, however near it is in one.
        (HardwareMatch(host="dc1-*", gpu_model="l4"), 'host "dc1-*" is not "node7"'),
        (
            HardwareMatch(host="node", gpu_model="*A100*"),
            'host "node" is not "node7"',
        ),
        (HardwareMatch(node_label=(("tier", "*"),)), 'node_label tier "*", and this host reports none'),
        (HardwareMatch(uuid="GPU-9"), 'uuid "GPU-9" is not "GPU-0"'),
    ],
)
def test_a_rule_of_another_host_is_a_note(match: HardwareMatch, why: str) -> None:
    """One file may speak for many hosts."""
    assert unmatched(match) == [f"note: rules that match no GPU here: hardware[0]: {why}."]


def test_a_rule_that_matches_is_silent_also_behind_one_that_takes_its_gpus() -> None:
    """The file is checked for that; a type of Azure is matched with and without its first word."""
    azure = replace(P5, instance_type="Standard_ND96isr_H100_v5")

    assert unmatched(HardwareMatch(), HardwareMatch(gpu_model="*L4")) == []
    assert unmatched(HardwareMatch(instance_type="ND96isr*"), location=azure) == []
    assert unmatched(HardwareMatch(region=""), HardwareMatch(region="*"), location=HostLocation()) == []
    assert unmatched(HardwareMatch(gpu_model="H100"), gpus=()) == []


def test_many_rules_of_other_hosts_are_one_bounded_note() -> None:
    """Eight are named; a long name of a host is cut."""
    (actual,) = unmatched(*(HardwareMatch(host=f"dc{i}-*") for i in range(11)))

    assert actual.count(' is not "node7"') == 8
    assert actual.endswith('hardware[7]: host "dc7-*" is not "node7"; and 3 more.')


RULES = (
    ServerRule(ServerMatch(port=8000), name="chat", source="servers[0]"),
    ServerRule(ServerMatch(workload="ml/r1-*", process="vllm"), name="r1", source="servers[1]"),
)
USERS = (
    ServerRule(ServerMatch(user="vllm", uid=990), name="chat", source="servers[0]"),
    ServerRule(ServerMatch(user="nobody-here", port=8000), name="batch", source="servers[1]"),
)
OWNERS = (OwnershipRule("chat", server="chat*"), OwnershipRule("ml", namespace="ML"))
CONFIG = Config(server_rules=RULES, ownership=OWNERS)
CHAT = DiscoveredServer(ServerKey("", "chat"), engine="vllm", rule="servers[0]")


def unmatched_servers(config: Config, result: DiscoveryResult, keys: tuple[ServerKey, ...]) -> list[Finding]:
    answers = tuple(
        ServerAnswer(ServerReading(key, "http://127.0.0.1:8000/metrics", up=True)) for key in keys
    )
    inputs = replace(HOST.inputs, servers=answers, discovery=result)
    return list(unmatched_server_findings(replace(HOST, config=config, inputs=inputs)))


def test_an_entry_for_a_user_that_this_host_does_not_know_says_so() -> None:
    """In a container the names are the image's: the uid is to be written."""
    (actual,) = unmatched_servers(Config(server_rules=USERS), DiscoveryResult(), ())

    assert actual.text == (
        "entries of `servers` that match nothing found here: servers[0] (user vllm); "
        "servers[1] (port 8000, user nobody-here, not known here)."
    )


def test_entries_and_owners_that_match_nothing_that_was_found() -> None:
    """Notes, since one file may speak for many hosts."""
    actual = [
        f"{one.severity}: {one.text}"
        for one in unmatched_servers(CONFIG, DiscoveryResult(servers=(CHAT,)), ())
    ]

    assert actual == [
        (
            "note: entries of `servers` that match nothing found here: servers[1] (workload ml/r1-*, "
            "process vllm)."
        ),
        "note: rules that match no server here: ownership.rules[1].",
    ]


@pytest.mark.parametrize(
    "partly",
    [
        DiscoveryResult(incomplete=True),
        DiscoveryResult(problems=(("pods", "hung"),)),
        DiscoveryResult(unknown_gpus=frozenset({"GPU-0"})),
    ],
)
def test_where_not_everything_was_looked_at_nothing_is_said(partly: DiscoveryResult) -> None:
    """What would match may be there."""
    assert unmatched_servers(CONFIG, partly, ()) == []


def test_a_configured_server_is_one_that_an_owner_may_match() -> None:
    """With nobody there at all, nothing is said of owners."""
    config = Config(ownership=OWNERS)

    assert [
        one.text for one in unmatched_servers(config, DiscoveryResult(), (ServerKey("ML", "chat"),))
    ] == []
    assert unmatched_servers(config, DiscoveryResult(), ()) == []
