"""Which resource of a bill is which host: by a list, by ids of nodes, by names."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.finance.fleet.host_resources import (
    HostIdentity,
    HostResources,
    HostsFileError,
    ListedHost,
    NodeName,
    read_hosts_file,
)
from exporter.finance.fleet.record import HostName
from tests.finance.fleet.host_months import host_month


def identity(ledger: str, *names: HostName, short_name: str = "") -> HostIdentity:
    return HostIdentity.of(replace(host_month(ledger), names=names, short_name=short_name))


AZURE_ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/GPU-01"


@pytest.mark.parametrize(
    ("host", "resource", "name"),
    [
        (identity("l", short_name="eu/i-0abc"), "i-0abc", ""),
        (identity("l", short_name="i-0abc"), "arn:aws:ec2:us-east-1:1:instance/i-0abc", ""),
        (identity("l", HostName(node="i-0abc.us-west-2.compute.internal")), "i-0abc", ""),
        (identity("l", HostName(instance="gpu-01:9844")), AZURE_ID, "other"),
        (
            identity("l", HostName(node="gpu-1")),
            "//compute.googleapis.com/projects/p/instances/4711",
            "gpu-1",
        ),
        (identity("l", HostName("east", "10.0.0.7:9844", "gpu-1")), "", "GPU-1"),
    ],
)
def test_by_name(host: HostIdentity, resource: str, name: str) -> None:
    """An id, the last part of it, or a resource's name; letters' case does not count."""
    resources = HostResources([identity("other", short_name="x"), host])

    assert resources.machine(resource, name) == 1
    assert resources.machine("i-0abcd", "gpu-10") is None


def test_a_number_or_an_address_is_no_name() -> None:
    """The seventh machine of a scale set is not the host at 7.0.0.1."""
    resources = HostResources(
        [identity("l", HostName(instance="7.0.0.1:9844")), identity("m", short_name="7")]
    )

    assert resources.machine("/subscriptions/s/virtualMachineScaleSets/gpu/virtualMachines/7", "7") is None


@pytest.mark.parametrize(
    "hosts",
    [
        [identity(ledger, HostName(instance="localhost:9844")) for ledger in "ab"],
        [identity(ledger, HostName(instance="localhost.localdomain:9844")) for ledger in "ab"],
        [identity(ledger, short_name="ledger") for ledger in "ab"],
    ],
)
def test_what_every_host_is_called_makes_no_machine_of_two(hosts: list[HostIdentity]) -> None:
    """An agent beside each exporter scrapes localhost; a ledger alone in its folder has its file's name."""
    resources = HostResources(hosts)

    assert [resources.machine_of(number) for number in range(2)] == [0, 1]
    assert resources.machine("", "localhost") is resources.machine("ledger", "") is None
    listed = HostResources(hosts, [ListedHost("a", "i-0aaa"), ListedHost("b", "i-0bbb")])
    assert (listed.machine("i-0aaa", ""), listed.machine("i-0bbb", "")) == (0, 1)


def test_a_list_counts_before_names() -> None:
    """By name, part of a path, or the first characters of a ledger's id; unknown hosts are named."""
    hosts = [identity("11111111-a", short_name="gpu-1"), identity("22222222-b", short_name="gpu-2")]
    listed = [
        ListedHost("GPU-1", "i-0aaa"),
        ListedHost("22222222", "instances/4711"),
        ListedHost("gpu-3", "i-3"),
    ]
    resources = HostResources(hosts, listed)

    assert resources.machine("i-0aaa", "") == 0
    assert resources.machine("//compute.googleapis.com/projects/p/instances/4711", "gpu-1") == 1
    assert resources.machine("", "gpu-1") is None
    assert resources.unknown == ("gpu-3",)


@pytest.mark.parametrize(
    ("provider_id", "resource", "name"),
    [
        ("aws:///us-east-1a/i-0abc", "i-0abc", ""),
        (
            "gce://example/us-central1-a/gke-gpu-1",
            "//compute.googleapis.com/projects/p/instances/1",
            "gke-gpu-1",
        ),
        (f"azure://{AZURE_ID.lower()}", AZURE_ID, "GPU-01"),
        (
            "azure:///s/virtualMachineScaleSets/gpu/virtualMachines/7",
            "/s/virtualMachineScaleSets/gpu/virtualMachines/7",
            "",
        ),
    ],
)
def test_by_the_ids_of_nodes(provider_id: str, resource: str, name: str) -> None:
    """As Kubernetes has them, of the node's own cluster."""
    hosts = [identity("l", HostName("east", "", "n1")), identity("m", HostName("west", "", "n1"))]
    ids = {NodeName("west", "n1"): frozenset({provider_id})}
    resources = HostResources(hosts, (), ids)

    assert resources.machine(resource, name) == 1
    assert resources.machine("/s/virtualMachineScaleSets/other/virtualMachines/7", "") is None


def test_ids_without_clusters_are_of_any() -> None:
    """A ledger's file that has the name of its node is that node."""
    ids = {NodeName("", "n1"): frozenset({"aws:///us-east-1a/i-0abc"})}

    assert HostResources([identity("l", short_name="n1")], (), ids).machine("i-0abc", "") == 0
    assert HostResources([identity("l", HostName("east", "", "n1"))], (), ids).machine("i-0abc", "") == 0


def test_a_node_of_several_clusters_has_no_id_without_its_cluster() -> None:
    """A ledger's file names the node alone; monitoring, which has the ledger too, names its cluster."""
    files = [identity(ledger, short_name="n1") for ledger in "ab"]
    clusters = [identity(ledger, HostName(name, "", "n1")) for ledger, name in (("a", "east"), ("b", "west"))]
    hosts = [file.known_as(cluster) for file, cluster in zip(files, clusters, strict=True)]
    ids = {
        NodeName("east", "n1"): frozenset({"aws:///us-east-1a/i-0aaa"}),
        NodeName("west", "n1"): frozenset({"aws:///us-west-1a/i-0bbb"}),
    }
    resources = HostResources(hosts, (), ids)

    assert (resources.machine("i-0aaa", ""), resources.machine("i-0bbb", "")) == (0, 1)
    assert HostResources(files[:1], (), ids).machine("i-0bbb", "") is None
    renamed = {NodeName(name, "n1"): frozenset({"aws:///us-east-1a/i-0aaa"}) for name in ("east", "east-1")}
    assert HostResources(files[:1], (), renamed).machine("i-0aaa", "") == 0


def test_ledgers_that_share_a_resource_are_one_machine() -> None:
    """A ledger that was lost and begun again on the same host, and a third one by the list."""
    hosts = [
        identity("a", HostName(node="n1")),
        identity("b", HostName(node="n2")),
        identity("c", HostName(node="n1")),
    ]
    assert [HostResources(hosts).machine_of(number) for number in range(3)] == [0, 1, 0]

    listed = [ListedHost("n1", "pool"), ListedHost("n2", "pool")]
    assert [HostResources(hosts, listed).machine_of(number) for number in range(3)] == [0, 0, 0]


def test_a_list_is_read(tmp_path: Path) -> None:
    """With or without a header, blank lines aside."""
    path = tmp_path / "hosts.csv"
    path.write_text('Host,Resource\r\n\r\ngpu-1, i-0aaa\r\n"gpu-2","i-0bbb"\r\n', encoding="utf-8-sig")

    assert read_hosts_file(path) == (("gpu-1", "i-0aaa"), ("gpu-2", "i-0bbb"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"host,resource\n", r"hosts\.csv: has no host and resource"),
        (b"a,b\nc\n", r"hosts\.csv:2: \"c\" is no host and resource: write host,resource"),
        (b"a,b\nc,\n", r"hosts\.csv:2: \"c,\" is no host"),
        (b"a,\xff\n", r"hosts\.csv: is no UTF-8"),
        (b'a,"b\n', r"hosts\.csv:1: is no CSV"),
    ],
)
def test_what_is_no_list(tmp_path: Path, content: bytes, message: str) -> None:
    """With file and line."""
    path = tmp_path / "hosts.csv"
    path.write_bytes(content)
    with pytest.raises(HostsFileError, match=message):
        read_hosts_file(path)
