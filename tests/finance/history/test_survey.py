"""What a server has: GPUs, servers, pods and nodes by label sets as exporters write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporter.config import Config
from exporter.finance.history.exporter_series import uuid_of
from exporter.finance.history.kube_state import KubeState, NodeKey, PodName, sanitized
from exporter.finance.history.survey import EngineTarget, Survey, SurveyReader, target_of
from exporter.readings import ServerKey
from tests.finance.history.answers import FakePrometheus
from tests.finance.history.chunks import configured
from tests.kit.units import HOUR

DCGM = {
    "__name__": "DCGM_FI_DEV_GPU_UTIL",
    "UUID": "GPU-5f0c0a3e-0000-4000-8000-000000000001",
    "gpu": "0",
    "modelName": "NVIDIA H100 80GB HBM3",
    "Hostname": "node-1",
    "instance": "10.0.0.1:9400",
    "job": "dcgm",
}
VLLM = {"__name__": "vllm:prompt_tokens_total", "model_name": "llama", "job": "vllm", "engine": "0"}


def surveyed(series: Sequence[Mapping[str, str]], config: Config | None = None) -> Survey:
    server = FakePrometheus({}, series)
    return SurveyReader(server.client(), config or Config(), 0, 24 * HOUR).read(lambda _what, _part: None)


def hosts(series: Sequence[Mapping[str, str]]) -> list[str]:
    return sorted(host.host for host in surveyed(series).hosts)


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        ("GPU-5F0C0A3E-0000-4000-8000-000000000001", "GPU-5f0c0a3e-0000-4000-8000-000000000001"),
        ("5f0c0a3e-0000-4000-8000-000000000001", "GPU-5f0c0a3e-0000-4000-8000-000000000001"),
        ("MIG-5f0c0a3e", "MIG-5f0c0a3e"),
        ("", ""),
    ],
)
def test_a_uuid_has_one_spelling(text: str, uuid: str) -> None:
    """nvidia_gpu_exporter leaves out the prefix: beside dcgm-exporter it is the same GPU."""
    assert uuid_of(text) == uuid


def test_a_host_is_its_node_else_its_host_name_else_its_address() -> None:
    """`node` is a relabeling's; an address is that of the scrape."""
    assert hosts([DCGM]) == ["node-1"]
    assert hosts([{**DCGM, "node": "ip-10-0-0-1"}]) == ["ip-10-0-0-1"]
    assert hosts([{name: value for name, value in DCGM.items() if name != "Hostname"}]) == ["10.0.0.1"]


def test_a_host_keeps_its_name_where_a_label_went_or_was_renamed() -> None:
    """The same GPU without a host name, and with the new spelling of its label, is on the same host."""
    without = {name: value for name, value in DCGM.items() if name != "Hostname"}

    assert hosts([without, DCGM]) == ["node-1"]
    assert hosts([{**without, "hostname": "node-1", "instance": "10.9.9.9:9400"}, DCGM]) == ["node-1"]


def test_a_host_name_that_is_an_exporters_pod_is_no_host() -> None:
    """In a DaemonSet without NODE_NAME dcgm-exporter says its pod's name: the pod's node is the host."""
    series = {**DCGM, "Hostname": "dcgm-exporter-6ldbb", "pod": "dcgm-exporter-6ldbb", "namespace": "gpu"}
    info = {"__name__": "kube_pod_info", "namespace": "gpu", "pod": "dcgm-exporter-6ldbb", "node": "gpu-7"}

    assert hosts([series, info]) == ["gpu-7"]


def test_a_host_name_that_is_an_address_is_the_name_of_the_scrape() -> None:
    """nvitop-exporter has the machine's address as `hostname` unless a flag names it."""
    series = {
        "__name__": "gpu_utilization_Percentage",
        "uuid": "GPU-1",
        "index": "0",
        "devicename": "NVIDIA L4",
        "hostname": "10.1.0.9",
        "instance": "gpu-9:5050",
    }

    assert hosts([series]) == ["gpu-9"]


def test_series_without_a_uuid_are_said_and_not_guessed() -> None:
    """Which GPU they are of is not known."""
    survey = surveyed([{name: value for name, value in DCGM.items() if name != "UUID"}])

    assert survey.gpus == {}
    assert survey.unnamed == {
        "dcgm-exporter": ("Hostname", "gpu", "instance", "job", "modelName"),
    }


def test_a_model_that_an_info_series_has_is_joined() -> None:
    """nvidia_gpu_exporter's measures have the UUID alone."""
    survey = surveyed(
        [
            {"__name__": "nvidia_smi_utilization_gpu_ratio", "uuid": "aa", "instance": "gpu-1:9835"},
            {"__name__": "nvidia_smi_gpu_info", "uuid": "aa", "name": "NVIDIA L4", "index": "3"},
        ]
    )
    series = survey.gpu_series(1, {"uuid": "aa", "instance": "gpu-1:9835"})

    assert series is not None
    assert (series.gpu.uuid, series.gpu.gpu_model, series.number) == ("GPU-aa", "NVIDIA L4", 3)


def test_engines_are_recognized_by_their_own_series_and_gateways_left_out() -> None:
    """The router of the vLLM production stack counts what its engines count: its series have `server`."""
    survey = surveyed(
        [
            {**VLLM, "instance": "gpu-1:8000"},
            {**VLLM, "__name__": "vllm:num_requests_running", "instance": "router:80", "server": "http://a"},
        ]
    )

    assert {target.address: engine.name for target, engine in survey.engines.items()} == {"gpu-1": "vllm"}


def test_a_server_in_kubernetes_is_its_workload() -> None:
    """By kube-state-metrics the Deployment, else the pod's name without its hashes."""
    pod = {**VLLM, "namespace": "llm", "pod": "chat-7d9f8b6c5d-x2k4z", "instance": "10.1.0.5:8000"}
    owned = [
        {
            "__name__": "kube_pod_owner",
            "namespace": "llm",
            "pod": "chat-7d9f8b6c5d-x2k4z",
            "owner_kind": "ReplicaSet",
            "owner_name": "chat-7d9f8b6c5d",
        },
        {
            "__name__": "kube_replicaset_owner",
            "namespace": "llm",
            "replicaset": "chat-7d9f8b6c5d",
            "owner_kind": "Rollout",
            "owner_name": "chat-rollout",
        },
    ]
    for series, name in (([pod], "chat"), ([pod, *owned[:1]], "chat"), ([pod, *owned], "chat-rollout")):
        survey = surveyed(series)
        (target,) = survey.engines

        assert survey.server(target) == ServerKey("llm", name)


def test_a_server_outside_kubernetes_is_named_by_the_configuration_or_its_port(tmp_path: Path) -> None:
    """An entry of loopback is of that port on any host; a rule by port names it too."""
    target = EngineTarget("", "", "", "gpu-1", 8000)
    for text, name in (
        ("{}\n", "vllm:8000"),
        ('servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]\n', "chat"),
        ('servers: [{name: chat, url: "http://gpu-1:8000/metrics", gpus: all}]\n', "chat"),
        ('servers: [{name: chat, url: "http://gpu-2:8000/metrics", gpus: all}]\n', "vllm:8000"),
        ("servers: [{match: {port: 8000}, name: answers}]\n", "answers"),
    ):
        survey = surveyed([{**VLLM, "instance": "gpu-1:8000"}], configured(tmp_path, text))

        assert survey.server(target).server == name


def test_a_rule_renames_a_pods_server_in_its_namespace_or_in_another(tmp_path: Path) -> None:
    """The namespace is the pod's unless the rule has one."""
    for rule, server in (
        ("match: {port: 8000}, name: answers", ServerKey("llm", "answers")),
        ("match: {port: 8000}, namespace: lab, name: answers", ServerKey("lab", "answers")),
    ):
        series = {**VLLM, "instance": "10.1.0.5:8000", "namespace": "llm", "pod": "chat-0"}
        survey = surveyed([series], configured(tmp_path, f"servers: [{{{rule}}}]\n"))
        (target,) = survey.engines

        assert survey.server(target) == server


def test_a_target_is_on_the_host_of_its_node_pod_or_address() -> None:
    """Short and long names of one host are the same host."""
    info = {"__name__": "kube_pod_info", "namespace": "llm", "pod": "chat-0", "node": "node-1"}
    for labels, host in (
        ({"instance": "10.1.0.5:8000", "pod": "chat-0", "namespace": "llm"}, "node-1"),
        ({"instance": "10.1.0.5:8000", "pod": "other-0", "namespace": "llm"}, None),
        ({"instance": "10.0.0.1:8000"}, "node-1"),
        ({"instance": "node-1.example.com:8000"}, "node-1"),
        ({"instance": "elsewhere:8000"}, None),
        ({"instance": "elsewhere:8000", "node": "node-1"}, "node-1"),
    ):
        series = {**VLLM, **labels}
        survey = surveyed([DCGM, series, info])
        (target,) = survey.engines
        home = survey.host_of(target, series)

        assert (home and home.host) == host


def test_node_labels_give_the_instance_type_and_its_cloud(tmp_path: Path) -> None:
    """The cloud is that of a label's prefix or of the provider's id, else the one that lists the type."""
    labels = {
        "label_node_kubernetes_io_instance_type": "p5.48xlarge",
        "label_topology_kubernetes_io_region": "eu-west-1",
        "label_eks_amazonaws_com_capacity_type": "SPOT",
        "label_pool": "blue",
    }
    config = configured(
        tmp_path,
        "hardware: [{match: {node_label: {pool: blue}}, rented: {dollars_per_gpu_hour: 1}}]\n",
    )
    node = NodeKey("", "node-1")
    for info in ([], [{"node": "node-1", "provider_id": "aws:///eu-west-1a/i-1"}]):
        state = KubeState()
        state.add_nodes([{"node": "node-1", **labels}], info)
        location = state.location(node, config)

        assert (location.cloud, location.instance_type) == ("aws", "p5.48xlarge")
        assert (location.region, location.lifecycle) == ("eu-west-1", "spot")
        assert ("pool", "blue") in (location.node_labels or ())


def test_a_label_is_looked_for_as_kube_state_metrics_writes_it() -> None:
    """Small letters, underscores for other characters and before capitals."""
    assert sanitized("app.kubernetes.io/part-of") == "label_app_kubernetes_io_part_of"
    assert sanitized("eks.amazonaws.com/capacityType") == "label_eks_amazonaws_com_capacity_type"


def test_a_pod_that_moved_has_no_node_by_its_name_alone() -> None:
    """A StatefulSet's pod was on two nodes: which at what time, its labels do not say."""
    state = KubeState()
    pod = {"namespace": "llm", "pod": "chat-0"}
    state.add_pods([{**pod, "node": "a"}, {**pod, "node": "b"}], [], [], [])

    assert state.node_of(PodName("", "llm", "chat-0")) == ""


@pytest.mark.parametrize(
    ("instance", "host", "port"),
    [
        ("gpu-1:8000", "gpu-1", 8000),
        ("[fd00::1]:8000", "fd00::1", 8000),
        ("http://gpu-1:8000/metrics", "gpu-1", 8000),
        ("gpu-1", "gpu-1", 0),
        ("[::", "[::", 0),
        ("gpu-1:99999", "gpu-1", 0),
        ("", "", 0),
    ],
)
def test_any_instance_is_a_target(instance: str, host: str, port: int) -> None:
    """A label may hold anything; what is no address is a name."""
    target = target_of({"instance": instance})

    assert (target.address, target.port) == (host, port)


def test_an_engine_that_the_configuration_describes_is_found(tmp_path: Path) -> None:
    """As the daemon finds it; its name may be written with an underscore for the colon."""
    text = """\
engines:
  - name: acme
    counters: [{name: "acme:prompt_total", quantity: prompt}, {name: "acme:out_total", quantity: generation}]
    models: [model]
"""
    for name in ("acme:prompt_total", "acme_prompt_total"):
        series = {"__name__": name, "model": "llama", "instance": "gpu-1:9000", "job": "acme"}
        survey = surveyed([DCGM, series], configured(tmp_path, text))

        assert {target.address: engine.name for target, engine in survey.engines.items()} == {"gpu-1": "acme"}
        assert survey.series.keys() == {DCGM["__name__"], name}


def last_labels(name: str, label: str, names: str) -> str:
    """The query for labels by the hour."""
    return f'last_over_time({name}{{{label}=~"{names}"}}[3599999ms])'


def test_labels_of_a_pod_count_in_their_time() -> None:
    """A StatefulSet's pod keeps its name: it is of nlp until its labels name search.

    The allowlist came in the second hour, and the last series is of a pod that is gone.
    """
    pod = {"namespace": "llm", "pod": "chat-0", "uid": "1"}
    nlp, search = {**pod, "label_team": "nlp"}, {**pod, "label_team": "search", "uid": "2"}
    series = [
        {**VLLM, **pod, "instance": "10.1.0.5:8000"},
        *({"__name__": "kube_pod_labels", **each} for each in (search, nlp, pod)),
    ]
    server = FakePrometheus(
        {
            last_labels("kube_pod_labels", "pod", "chat-0"): [
                (pod, [(0, 1)]),
                (nlp, [(1, 1), (2, 1)]),
                (search, [(2, 1), (3, 1)]),
            ]
        },
        series,
    )
    config = Config()
    kube = SurveyReader(server.client(), config, 0, 24 * HOUR).read(lambda _what, _part: None).kube

    owners = [kube.ownership(PodName("", "llm", "chat-0"), config, hour) for hour in range(6)]
    assert [owner and owner.team for owner in owners] == ["nlp"] * 3 + ["search"] * 3


def test_labels_of_a_pod_that_name_one_owner_are_not_asked_for_again() -> None:
    """A hash of the controller's revision changes with every rollout."""
    pod = {"__name__": "kube_pod_labels", "namespace": "llm", "pod": "chat-0", "label_team": "nlp"}
    server = FakePrometheus(
        {},
        [
            {**VLLM, "namespace": "llm", "pod": "chat-0"},
            {**pod, "label_hash": "a"},
            {**pod, "label_hash": "b"},
        ],
    )
    SurveyReader(server.client(), Config(), 0, 24 * HOUR).read(lambda _what, _part: None)

    assert server.ranges == []


def test_a_person_sees_what_is_looked_for() -> None:
    """With the part of it that is done."""
    shown: list[tuple[str, float]] = []
    reader = SurveyReader(FakePrometheus({}, [DCGM]).client(), Config(), 0, 24 * HOUR)
    reader.read(lambda what, part: shown.append((what, part)))

    pods = "looking for pods and nodes"
    assert shown == [("looking for GPUs", 0), ("looking for inference servers", 0.2), (pods, 0.6), (pods, 1)]


def test_labels_of_a_node_count_in_their_time() -> None:
    """A cloud gives the name of a node that went, which is its address, to one of another type."""
    node = {"node": "node-1", "label_topology_kubernetes_io_region": "eu-west-1"}
    earlier = {**node, "label_node_kubernetes_io_instance_type": "p4d.24xlarge"}
    later = {**node, "label_node_kubernetes_io_instance_type": "p5.48xlarge"}
    server = FakePrometheus(
        {
            last_labels("kube_node_labels", "node", "node-1"): [
                (later, [(9, 1), (10, 1)]),
                (earlier, [(1, 1), (2, 1), (3, 1)]),
            ]
        },
        [DCGM, *({"__name__": "kube_node_labels", **each} for each in (earlier, later))],
    )
    config = Config()
    kube = SurveyReader(server.client(), config, 0, 24 * HOUR).read(lambda _what, _part: None).kube

    types = [kube.location(NodeKey("", "node-1"), config, hour).instance_type for hour in (0, 3, 8, 9, 20)]
    assert types == ["p4d.24xlarge"] * 3 + ["p5.48xlarge"] * 2


def test_pods_whose_labels_are_not_exported_have_none() -> None:
    """kube-state-metrics writes a series of each pod without any allowlist: no product, and a remedy."""
    pod = {"__name__": "kube_pod_labels", "namespace": "llm", "pod": "chat-0", "uid": "1"}
    survey = surveyed([{**VLLM, "namespace": "llm", "pod": "chat-0", "instance": "10.1.0.5:8000"}, pod])

    assert survey.kube.pod_labels == {}


def seen_by(agent: Mapping[str, str], number: int = 1) -> list[dict[str, str]]:
    """A GPU and a server of one host, which its own agent scrapes at loopback, with the agent's labels."""
    gpu = {**DCGM, "UUID": f"GPU-{number}", "Hostname": f"gpu-{number}", "instance": "localhost:9400"}
    page = {**VLLM, "instance": "127.0.0.1:8000"}
    return [{**each, **agent} for each in (gpu, page, {"__name__": "up", "instance": page["instance"]})]


@pytest.mark.parametrize("label", ["host", "hostname", "node", "nodename", "agent_hostname"])
def test_agents_of_each_host_scrape_loopback(label: str) -> None:
    """Their label tells the hosts apart: the instance of each target is the same."""
    survey = surveyed([each for n in (1, 2) for each in seen_by({label: f"gpu-{n}"}, n)])

    homes = [survey.host_of(target, {}) for target in sorted(survey.engines)]
    assert [home and home.host for home in homes] == ["gpu-1", "gpu-2"]


def test_an_address_of_several_hosts_is_of_none() -> None:
    """Loopback, or a collector that passes on what it scraped: whose server it is, nothing says."""
    for instance in ("127.0.0.1:8000", "collector:8889"):
        hosts = [{**DCGM, "UUID": f"GPU-{n}", "Hostname": f"gpu-{n}", "instance": instance} for n in (1, 2)]
        page = {**VLLM, "instance": instance}
        (target,) = surveyed([*hosts, page]).engines

        assert surveyed([*hosts, page]).host_of(target, page) is None
        alone = surveyed([hosts[0], page]).host_of(target, page)
        assert alone == NodeKey("", "gpu-1")


def test_an_address_that_another_engine_took_over_has_both() -> None:
    """VLLM was replaced by SGLang at one address: the tokens of both are read, each in its time."""
    other = {"__name__": "sglang:prompt_tokens_total", "model_name": "llama", "job": "vllm"}
    survey = surveyed([{**each, "instance": "gpu-1:8000"} for each in (VLLM, other)])
    (target,) = survey.engines

    assert [engine.name for engine in survey.engines_of(target)] == ["vllm", "sglang"]
    assert survey.engine_of(target, {"sglang:prompt_tokens_total"}).name == "sglang"
    assert survey.engine_of(target, {"vllm:prompt_tokens_total", "sglang:prompt_tokens_total"}).name == "vllm"
    assert survey.engine_of(target, set()).name == "vllm"
    assert "sglang:prompt_tokens_total" in survey.series
