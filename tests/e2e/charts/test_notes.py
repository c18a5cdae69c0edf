"""What Helm says after an install: how to see that it works, and what the chosen values lose."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.e2e.charts.chart import CHART, HELMS, IMAGE, NAMESPACE, RELEASE, run, scenario, values
from tests.nightly import daily

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: told}
data:
  notes: |
    {{- tpl (.Files.Get "files/NOTES.txt") . | nindent 4 }}
"""
"""A template that holds the notes: Helm itself prints them only where it has a cluster."""

CDI = {"gpu": {"visibility": "cdi"}}

Notes = Callable[..., str]


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    """The text that Helm would print for some arguments."""
    chart = tmp_path_factory.mktemp("notes") / "chart"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "files" / "NOTES.txt")
    (chart / "templates" / "told.yaml").write_text(TEMPLATE)

    def render_notes(*arguments: str, helm: str = "helm-4") -> str:
        show = ("--show-only", "templates/told.yaml", "--namespace", NAMESPACE)
        process = run(helm, "template", RELEASE, str(Path(chart)), *show, *IMAGE, *arguments)
        assert process.returncode == 0, process.stderr
        return str(yaml.safe_load(process.stdout)["data"]["notes"])

    return render_notes


@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
def test_they_say_how_to_see_that_it_works(notes: Notes, helm: str) -> None:
    """Two lines that can be pasted, and the label that admission may ask for."""
    text = notes(helm=helm)

    assert "\n  kubectl -n inference-cost rollout status daemonset/inference-cost-exporter\n" in text
    assert " exec daemonset/inference-cost-exporter -- inference-cost-exporter doctor " in text
    assert (
        "\n  kubectl label namespace inference-cost pod-security.kubernetes.io/enforce=privileged\n" in text
    )
    assert "No prices are configured" in text


LOSSES = {
    "unprivileged": [
        "THE LEDGER IS IN AN emptyDir. With each new pod (an upgrade, a node drain, an eviction):",
        "totals and month to date restart at 0",
        "the time between the two pods is not charged",
        "history for reports, adjustments and unpriced time are lost",
        "inference_ledger_persistent is 0",
        "Without hostPID no process is seen",
        "Without root the kubelet's list of GPUs is not read",
    ],
    "gke": ["The container is privileged"],
    "dra": ["kubectl label namespace inference-cost resource.kubernetes.io/admin-access=true"],
    "eks": ["insufficient quota to match these scopes"],
    "openshift": ["Each pod needs RuntimeClass nvidia"],
    "client-certificates": ["a pod counts as ready before its first tick"],
    "demo": ["Its dollars are invented", "port-forward service/inference-cost-exporter-demo 9844"],
    "existing": ["The configuration in ConfigMap inference-cost-prices is not checked"],
    "text": ["The configuration is not checked: with an error in it every pod exits with 2."],
    "gpu-operator": [
        "Pods are not looked up",
        "Every client that reaches port 9844 can read your inference cost",
    ],
}


@pytest.mark.parametrize(("name", "sentences"), LOSSES.items())
def test_they_say_what_is_lost(notes: Notes, name: str, sentences: list[str]) -> None:
    """In the words of docs/kubernetes.md."""
    text = notes("--values", str(scenario(name)))

    assert [sentence for sentence in sentences if sentence not in text] == []


def test_they_do_not_cry_wolf(notes: Notes) -> None:
    """Where nothing is lost nothing is said of it."""
    text = notes("--values", str(scenario("configured"))) + notes("--values", str(scenario("pods-kubelet")))

    for sentence in ("emptyDir", "Without", "privileged,", "is not checked"):
        assert sentence not in text
    assert "No prices are configured" not in notes("--values", str(scenario("configured")))
    assert "Pods are not looked up" not in notes("--values", str(scenario("pods-kubelet")))


NO_NAME = "Prometheus scrapes pods by address, which certificates rarely contain"
NO_CERTIFICATE = "Prometheus has no client certificate, and clients need one"
REFUSED = "web.scheme is http: if web-config.yml in Secret web has tls_server_config, every probe is refused"


@pytest.mark.parametrize(
    ("web", "tls", "sentences"),
    [
        ({}, {}, [REFUSED]),
        ({"scheme": "https"}, {}, [NO_NAME]),
        ({"scheme": "https"}, {"serverName": "a"}, []),
        ({"scheme": "https"}, {"insecureSkipVerify": True}, []),
        ({"scheme": "https", "probes": "tcp"}, {"serverName": "a"}, [NO_CERTIFICATE]),
        (
            {"scheme": "https", "probes": "tcp"},
            {"serverName": "a", "cert": {"secret": {"name": "a", "key": "b"}}, "keySecret": {"name": "a"}},
            [],
        ),
    ],
)
def test_what_tls_still_lacks_is_told(
    notes: Notes, web: dict[str, str], tls: dict[str, object], sentences: list[str]
) -> None:
    """Each by itself: what Prometheus needs cannot be read from the Secret."""
    text = notes(*values(web={"configSecret": "web", **web}, podMonitor={"enabled": True, "tlsConfig": tls}))

    assert [sentence for sentence in (REFUSED, NO_NAME, NO_CERTIFICATE) if sentence in text] == sentences


def test_a_selector_that_blocks_driver_upgrades_is_told(notes: Notes) -> None:
    """With gpu-operator, where nodes are chosen without its label."""
    text = notes(*values(nodeSelector={"node.example/gpu": "true"}))

    assert "gpu-operator evicts only pods that select nodes by its labels" in text


def test_what_the_nri_plugin_needs_is_told(notes: Notes) -> None:
    """Without it the default pods start; with it they need another value, and the namespace an allowance."""
    default, cdi, generic = (notes(*values(**settings)) for settings in ({}, CDI, {"platform": "generic"}))

    assert "Where `kubectl get runtimeclass nvidia` finds none, no pod is created" in default
    assert "gpu.visibility=cdi" in default
    assert "env: [{name: NRI_MANAGEMENT_CDI_DEVICE_NAMESPACES, value: inference-cost}]" in cdi
    assert "runtimeclass" not in cdi
    assert "runtimeclass" not in generic


@pytest.mark.parametrize(("lookup", "old", "new"), [("kubelet", "1.32", "1.33"), ("socket", "1.35", "1.36")])
def test_a_look_up_that_the_cluster_is_too_old_for_is_told(
    notes: Notes, lookup: str, old: str, new: str
) -> None:
    """Before anybody looks for pods that never start, or that are forbidden what they ask."""
    arguments = values(access={"podLookup": lookup})

    assert "THIS CLUSTER'S KUBELETS" in notes(*arguments, "--kube-version", f"{old}.4")
    assert "THIS CLUSTER'S KUBELETS" not in notes(*arguments, "--kube-version", f"{new}.0")
