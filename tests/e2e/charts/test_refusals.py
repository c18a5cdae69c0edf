"""Values that make no sense are refused before anything reaches a cluster, by both Helms."""

from typing import Any

import pytest

from tests.e2e.charts.chart import HELMS, refused, rendered, values
from tests.nightly import daily

DIGEST = "sha256:" + "0" * 64
PEER = {"namespaceSelector": {}}

REFUSED: list[tuple[str, dict[str, Any]]] = [
    # a key that nobody reads
    ("replicas", {"replicas": 3}),
    ("hostPid", {"access": {"hostPid": True}}),
    ("intervall", {"config": {"intervall": "5s"}}),
    ("ledger", {"config": {"ledger": {"path": "/data/ledger.db"}}}),
    ("enable", {"demo": {"enable": True}}),
    # a word that is none of those that there are
    ("platform", {"platform": "aks"}),
    ("podLookup", {"access": {"podLookup": "api-server"}}),
    ("type", {"ledger": {"type": "persistentVolumeClaim"}}),
    ("visibility", {"gpu": {"visibility": "env"}}),
    ("pullPolicy", {"image": {"pullPolicy": "Sometimes"}}),
    ("kind", {"rules": {"kind": "VMRule"}}),
    ("level", {"log": {"level": "trace"}}),
    ("type", {"updateStrategy": {"type": "Recreate"}}),
    # a value that is none of its kind
    ("hostPID", {"access": {"hostPID": "yes"}}),
    ("port", {"web": {"port": 98440}}),
    ("repository", {"image": {"repository": "Registry.example/ice"}}),
    ("digest", {"image": {"digest": "0123"}}),
    ("fullnameOverride", {"fullnameOverride": "Inference_Cost"}),
    ("interval", {"podMonitor": {"interval": "30 seconds"}}),
    ("for", {"rules": {"alerts": {"InferenceGpuDown": {"for": "soon"}}}}),
    ("dashboardPrefix", {"rules": {"dashboardPrefix": "grafana.example"}}),
    ("memory", {"resources": {"limits": {"memory": "256 MB"}}}),
    ("config", {"config": ["interval"]}),
    ("servers", {"networkPolicy": {"egress": {"servers": ["10.0.0.0"]}}}),
    # what cannot be meant
    ("nvidia.com/gpu", {"resources": {"limits": {"nvidia.com/gpu": 1}}}),
    ("nvidia.com/gpu", {"resources": {"requests": {"nvidia.com/gpu": 1}}}),
    ("hostPath", {"ledger": {"hostPath": "/"}}),
    ("hostPath", {"ledger": {"hostPath": "/var"}}),
    ("hostPath", {"ledger": {"hostPath": "var/lib/ledger"}}),
    ("hostPath", {"ledger": {"hostPath": "/var/lib/../../etc"}}),
    ("terminationGracePeriodSeconds", {"terminationGracePeriodSeconds": 1}),
    ("maxUnavailable", {"updateStrategy": {"maxUnavailable": 0}}),
    ("maxUnavailable", {"updateStrategy": {"maxUnavailable": "0%"}}),
    ("minAvailable", {"podDisruptionBudget": {"minAvailable": "90%"}}),
    ("minAvailable", {"podDisruptionBudget": {"minAvailable": 0}}),
    ("podLabels", {"podLabels": {"app.kubernetes.io/name": "other"}}),
    ("podMonitor", {"podMonitor": {"labels": {"app.kubernetes.io/instance": "other"}}}),
    ("InferenceGpuDown", {"rules": {"alerts": {"InferenceGpuDown": {}}}}),
    ("files", {"files": [{"name": "a", "secret": "b", "configMap": "c"}]}),
    ("files", {"files": [{"name": "a"}]}),
    ("extraArgs", {"extraArgs": ["--ledger.path=/tmp/ledger.db"]}),
    ("extraArgs", {"extraArgs": ["demo"]}),
    ("extraEnv", {"extraEnv": [{"name": "NODE_NAME", "value": "other"}]}),
    ("extraEnv", {"extraEnv": [{"name": "A", "value": "b", "valueFrom": {}}]}),
    ("extraEnvFrom", {"extraEnvFrom": [{"prefix": "A_"}]}),
    ("extraVolumes", {"extraVolumes": [{"name": "a"}]}),
    ("extraVolumes", {"extraVolumes": [{"name": "ledger", "emptyDir": {}}]}),
    ("initContainers", {"initContainers": [{"name": "exporter", "image": "busybox"}]}),
    ("extraVolumeMounts", {"extraVolumeMounts": [{"name": "a", "mountPath": "relative"}]}),
    ("extraContainers", {"extraContainers": [{"name": "a"}]}),
    ("runAsUser", {"podSecurityContext": {"runAsUser": "root"}}),
    ("capabilities", {"podSecurityContext": {"capabilities": {"drop": ["ALL"]}}}),
    ("seLinuxOptions", {"securityContext": {"seLinuxOptions": {"kind": "spc_t"}}}),
    ("type", {"podSecurityContext": {"seccompProfile": {"type": "runtime/default"}}}),
    ("dnsPolicy", {"dnsPolicy": "Cluster"}),
    ("hostAliases", {"hostAliases": [{"ip": "10.0.0.20"}]}),
    ("successThreshold", {"livenessProbe": {"successThreshold": 2}}),
    ("imageRegistry", {"global": {"imageRegistry": "https://mirror.example"}}),
    ("imagePullSecrets", {"global": {"imagePullSecrets": [{"secret": "mirror"}]}}),
    ("do-not-disrupt", {"podAnnotations": {"karpenter.sh/do-not-disrupt": "true"}}),
    ("safe-to-evict", {"podAnnotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}),
    ("do-not-disrupt", {"commonAnnotations": {"karpenter.sh/do-not-disrupt": "true"}}),
    ("instance", {"commonLabels": {"app.kubernetes.io/instance": "other"}}),
    # what contradicts itself
    ("podMonitor", {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}),
    ("basicAuth", {"serviceMonitor": {"basicAuth": {"username": {"name": "scrape", "key": "user"}}}}),
    ("tlsConfig", {"web": {"configSecret": "web"}, "serviceMonitor": {"tlsConfig": {"serverName": "a"}}}),
    ("nodeLabels", {"automountServiceAccountToken": False, "access": {"nodeLabels": True}}),
    ("podLookup", {"automountServiceAccountToken": False, "access": {"podLookup": "kubelet"}}),
    ("allowPrivilegeEscalation", {"securityContext": {"privileged": True}}),
    ("privileged", {"platform": "gke", "securityContext": {"allowPrivilegeEscalation": False}}),
    ("dnsConfig", {"dnsPolicy": "None"}),
    ("visibility", {"platform": "gke", "gpu": {"visibility": "dra"}}),
    ("podResources", {"access": {"root": False}}),
    ("podLookup", {"access": {"root": False, "podResources": False, "podLookup": "socket"}}),
    ("networkPolicy", {"access": {"hostNetwork": True}, "networkPolicy": {"enabled": True, "from": [PEER]}}),
    ("from", {"networkPolicy": {"enabled": True}}),
    ("config", {"existingConfigMap": "prices", "config": {"interval": "5s"}}),
    ("config", {"existingConfigMap": "prices", "config": "interval: 5s"}),
    ("scheme", {"web": {"scheme": "https"}}),
    ("probes", {"web": {"probes": "tcp"}}),
    ("probes", {"web": {"configSecret": "web", "probes": "tcp"}}),
    ("tlsConfig", {"web": {"configSecret": "web"}, "podMonitor": {"tlsConfig": {"serverName": "a"}}}),
    ("basicAuth", {"podMonitor": {"basicAuth": {"username": {"name": "scrape", "key": "user"}}}}),
    ("enableLifecycle", {"web": {"enableLifecycle": "no"}}),
    ("allowedHosts", {"web": {"allowedHosts": ["http://costs.example.com"]}}),
    ("configSecret", {"demo": {"enabled": True}, "web": {"configSecret": "web"}}),
    ("visibility", {"platform": "gke", "gpu": {"visibility": "cdi"}}),
    ("runtimeClassName", {"gpu": {"visibility": "cdi", "runtimeClassName": "nvidia"}}),
]

TAKEN: list[dict[str, Any]] = [
    {"image": {"repository": "registry.example/ice", "digest": DIGEST}},
    {"resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}}},
    {"ledger": {"hostPath": "/var/lib/ice-1.0"}},
    {"global": {"imageRegistry": "registry.example", "storageClass": "another chart's"}},
    {"securityContext": {"privileged": True, "allowPrivilegeEscalation": True}},
    {"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "ice"}}},
    {"automountServiceAccountToken": False, "access": {"podLookup": "socket"}},
    {"serviceMonitor": {"enabled": True}},
    {"platform": "gke", "securityContext": {"privileged": False, "allowPrivilegeEscalation": False}},
    {"extraContainers": [{"name": "proxy", "image": "proxy:1"}]},
    {"priorityClassName": ""},
    {"extraVolumes": [{"name": "a", "csi": {"driver": "d"}}]},
    {"networkPolicy": {"enabled": True, "from": [PEER]}},
    {"existingConfigMap": "prices"},
    {"web": {"configSecret": "web"}, "podMonitor": {"basicAuth": {"username": {"name": "a", "key": "b"}}}},
    {"access": {"nodeLabels": True}},
    {"updateStrategy": {"maxUnavailable": "100%"}},
    {"gpu": {"runtimeClassName": ""}},
    {"platform": "generic", "gpu": {"visibility": "cdi", "runtimeClassName": "nvidia"}},
]
"""Beside what is refused, and fine."""


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
@pytest.mark.parametrize(("word", "settings"), REFUSED, ids=lambda value: str(value)[:60])
def test_it_is_refused(helm: str, word: str, settings: dict[str, Any]) -> None:
    """By the schema, in a message that names the key."""
    message = refused(helm, *values(**settings))

    assert "values don't meet the specifications of the schema" in message
    assert word in message


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
@pytest.mark.parametrize("settings", TAKEN, ids=lambda value: str(value)[:60])
def test_its_neighbor_is_taken(helm: str, settings: dict[str, Any]) -> None:
    """The schema refuses no more than it should."""
    assert "kind: DaemonSet" in rendered(*values(**settings), helm=helm)


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
def test_an_alert_that_does_not_exist_is_refused(helm: str) -> None:
    """By its name, with those that there are; whether the rules are rendered or not."""
    message = refused(helm, *values(rules={"alerts": {"InferenceGpuLost": {"enabled": False}}}))

    assert (
        "rules.alerts: there is no alert InferenceGpuLost; there are: InferenceBooksUnbalanced, " in message
    )


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
def test_an_old_cluster_is_refused(helm: str) -> None:
    """The schemas that it is held against begin with 1.28."""
    assert "kubeVersion" in refused(helm, "--kube-version", "1.27.0")
    assert "kind: DaemonSet" in rendered("--kube-version", "1.28.0-gke.100", helm=helm)


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
@pytest.mark.parametrize("demo", [False, True])
def test_an_image_that_nobody_named_is_told(helm: str, *, demo: bool) -> None:
    """Pods that cannot pull it would be the first to say so; the message has the command that makes it."""
    message = refused(helm, *values(image={"repository": ""}, demo={"enabled": demo}))

    assert (
        "image.repository: build the image and push it where your nodes can pull it "
        "(tools/docker-image registry.example/inference-cost-exporter), "
        "then name it: --set image.repository=registry.example/inference-cost-exporter"
    ) in message
