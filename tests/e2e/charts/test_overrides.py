"""Each usual override of a chart takes effect, over what the chart sets and beside it."""

from typing import Any

import pytest

from tests.e2e.charts.chart import HELMS, container_of, manifests, of, only, pod_of, pods_of, values
from tests.nightly import daily

PROXY = {"imageRegistry": "mirror.example/proxy"}


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
def test_the_container_is_what_was_asked(helm: str) -> None:
    """Arguments, variables, mounts, contexts, probes."""
    container = container_of(of("overrides", helm))
    variables = {each["name"]: each for each in container["env"]}

    assert container["args"][-1] == "--web.allowed-host=costs.example"
    assert [each["name"] for each in container["env"]].count("LD_LIBRARY_PATH") == 1
    assert variables["LD_LIBRARY_PATH"]["value"] == "/opt/driver/lib64"
    assert variables["HTTPS_PROXY"]["valueFrom"] == {"secretKeyRef": {"name": "proxy", "key": "url"}}
    assert container["envFrom"] == [{"configMapRef": {"name": "exporter-environment", "optional": True}}]
    assert {"name": "driver-root", "mountPath": "/opt/driver", "readOnly": True} in container["volumeMounts"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is False
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["SYS_PTRACE"]}  # the chart's half stays
    probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
    http = [probe.pop("httpGet")["path"] for probe in map(dict, probes)]
    assert http == ["/-/healthy", "/-/healthy", "/-/ready"]
    numbers = [{key: value for key, value in probe.items() if key != "httpGet"} for probe in probes]
    assert numbers == [
        {"periodSeconds": 2, "failureThreshold": 120},
        {
            "periodSeconds": 15,
            "timeoutSeconds": 10,
            "failureThreshold": 4,
            "terminationGracePeriodSeconds": 30,
        },
        {"periodSeconds": 10, "timeoutSeconds": 5, "initialDelaySeconds": 5, "successThreshold": 2},
    ]


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
def test_the_pod_is_what_was_asked(helm: str) -> None:
    """Volumes, containers, DNS, hosts, token, contexts."""
    objects = of("overrides", helm)
    pod = pod_of(objects)

    assert only("DaemonSet", objects)["spec"]["minReadySeconds"] == 30
    assert {"name": "driver-root", "hostPath": {"path": "/opt/driver", "type": "Directory"}} in pod["volumes"]
    assert [each["name"] for each in pod["initContainers"]] == ["wait"]
    assert [each["name"] for each in pod["containers"]] == ["exporter", "proxy"]
    assert pod["dnsPolicy"] == "None"
    assert pod["dnsConfig"]["nameservers"] == ["10.0.0.10"]
    assert pod["hostAliases"] == [{"ip": "10.0.0.20", "hostnames": ["gateway.example"]}]
    assert pod["automountServiceAccountToken"] is True
    assert pod["securityContext"] == {
        "runAsUser": 0,  # the chart's
        "runAsGroup": 0,
        "seLinuxOptions": {"type": "spc_t"},
        "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/exporter.json"},
        "supplementalGroups": [1_000_650_000],
    }


def test_labels_and_annotations_of_all_are_on_all() -> None:
    """On each object and pod; one's own go before them, and selectors have neither."""
    objects = of("overrides")
    template = only("DaemonSet", objects)["spec"]["template"]

    assert {each["metadata"]["labels"]["team"] for each in objects} == {"platform"}
    assert {each["metadata"]["annotations"]["example.com/contact"] for each in objects} == {"finops"}
    assert template["metadata"]["labels"]["team"] == "metering"
    assert template["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/enable-ds-eviction": "false",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
        "example.com/contact": "finops",
    }
    for selecting in (only("DaemonSet", objects)["spec"], only("ServiceMonitor", objects)["spec"]):
        assert "team" not in selecting["selector"]["matchLabels"]
    assert "team" not in only("Service", objects)["spec"]["selector"]


def test_every_kind_of_object_has_the_labels_of_all() -> None:
    """Those of the other scenarios too: hooks, roles, rules, dashboards, policies, the demo."""
    common = values(commonLabels={"team": "platform"}, commonAnnotations={"example.com/contact": "finops"})
    settings: list[dict[str, Any]] = [
        {
            "config": {"interval": "5s"},
            "access": {"podLookup": "kubelet", "nodeLabels": True},
            "podMonitor": {"enabled": True},
            "rules": {"fleet": True},
            "dashboards": {"enabled": True},
            "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
            "podDisruptionBudget": {"minAvailable": 1},
        },
        {"demo": {"enabled": True}},
        {"platform": "openshift", "gpu": {"visibility": "dra"}},
    ]
    objects = [each for one in settings for each in manifests(*common, *values(**one))]

    assert len({each["kind"] for each in objects}) >= 14
    assert [each["kind"] for each in objects if each["metadata"]["labels"].get("team") != "platform"] == []
    assert [
        each["kind"]
        for each in objects
        if each["metadata"].get("annotations", {}).get("example.com/contact") != "finops"
    ] == []


@pytest.mark.parametrize(
    ("settings", "image"),
    [
        ({"image": {"repository": "ice", "tag": "1"}}, "ice:1"),
        ({"image": {"registry": "r.example", "repository": "ml/ice", "tag": "1"}}, "r.example/ml/ice:1"),
        (
            {"image": {"registry": "r.example/", "repository": "old.example/ml/ice", "tag": "1"}},
            "r.example/ml/ice:1",
        ),
        (
            {"global": PROXY, "image": {"repository": "old.example:5000/ice", "tag": "1"}},
            "mirror.example/proxy/ice:1",
        ),
        (
            {"global": PROXY, "image": {"repository": "localhost/ice", "tag": "1"}},
            "mirror.example/proxy/ice:1",
        ),
        (
            {
                "global": PROXY,
                "image": {"registry": "r.example", "repository": "ml/ice", "digest": f"sha256:{'0' * 64}"},
            },
            f"mirror.example/proxy/ml/ice@sha256:{'0' * 64}",
        ),
    ],
)
def test_a_registry_takes_the_place_of_the_repositorys(settings: dict[str, Any], image: str) -> None:
    """The one of all charts first; in every pod that has the image."""
    config = {"config": {"interval": "5s"}}
    pods = [
        *pods_of(manifests(*values(**settings, **config))),
        *pods_of(manifests(*values(**settings, demo={"enabled": True}))),
    ]

    assert len(pods) == 3
    assert {each["image"] for pod in pods for each in pod["containers"]} == {image}


def test_secrets_of_all_charts_pull_the_image() -> None:
    """As names or as in a pod, before the chart's own, each once; in every pod."""
    settings = {
        "global": {"imagePullSecrets": ["mirror", {"name": "shared"}]},
        "image": {"repository": "ice", "pullSecrets": ["own", "mirror"]},
    }
    pods = [
        *pods_of(manifests(*values(**settings, config={"interval": "5s"}))),
        *pods_of(manifests(*values(**settings, demo={"enabled": True}))),
    ]

    wanted = [{"name": name} for name in ("mirror", "shared", "own")]
    assert [pod["imagePullSecrets"] for pod in pods] == [wanted] * 3


def test_both_monitors_read_a_pod_alike() -> None:
    """But for the label that a Service would lend; its Service gives out the pods themselves."""
    (by_pod,) = only("PodMonitor", manifests(*values(podMonitor={"enabled": True})))["spec"][
        "podMetricsEndpoints"
    ]
    objects = manifests(*values(serviceMonitor={"enabled": True}))
    (by_service,) = only("ServiceMonitor", objects)["spec"]["endpoints"]
    service = only("Service", objects)

    rules = [each["relabelings"] for each in (by_pod, by_service)]
    assert rules[0][:-1] == rules[1][:-1]
    assert {**by_pod, "relabelings": []} == {**by_service, "relabelings": []}
    assert [each[-1]["regex"] for each in rules] == [
        "namespace|pod|container|endpoint",
        "namespace|pod|container|endpoint|service",
    ]
    assert service["spec"]["clusterIP"] == "None"
    pod_labels = only("DaemonSet", objects)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= pod_labels.items()
    monitored = only("ServiceMonitor", objects)["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= service["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["name"] == by_service["port"]


@pytest.mark.parametrize(
    ("access", "settings", "policy"),
    [
        ({}, {}, None),
        ({"hostNetwork": True}, {}, "ClusterFirstWithHostNet"),
        ({"hostNetwork": True}, {"dnsPolicy": "Default"}, "Default"),
        ({}, {"dnsPolicy": "Default"}, "Default"),
    ],
)
def test_names_are_resolved_as_asked(
    access: dict[str, Any], settings: dict[str, Any], policy: str | None
) -> None:
    """By Kubernetes's default, and on the node's network still by the cluster's DNS."""
    assert pod_of(manifests(*values(access=access, **settings))).get("dnsPolicy") == policy
