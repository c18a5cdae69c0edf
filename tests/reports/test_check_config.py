"""check-config says ok and what the file comes to, or everything that is wrong."""

import json
from pathlib import Path

import pytest

from exporter.reports.check_config import check_config

NOW = 1_795_564_800 * 10**9
"""2026-11-25 in UTC."""

CONFIGS = Path(__file__).parents[1] / "configs"


def test_a_good_file_is_ok_and_told_in_words() -> None:
    """The first line is ok; every rule of money is repeated with its unit."""
    status, text = check_config(CONFIGS / "good-design.yaml", NOW)

    lines = [line.strip() for line in text.splitlines()]
    assert status == 0
    assert lines[0] == f"ok: {CONFIGS / 'good-design.yaml'}"
    assert "name chat, product chat, dollars_per_month 27000" in lines
    assert (
        "hardware[0].owned: match (host dc1-*, gpu_model *H100*), pricing (purchase_dollars 280000, gpus 8, "
        "in_service 2026-02-01, life_years 4, residual_ratio 0.1, adders_ratio 0.15, "
        "support_dollars_per_year 22000, insurance_dollars_per_year 0, cost_of_capital_ratio 0.08), "
        "energy (dollars_per_kilowatt_hour 0.12, pue_ratio 1.35, host_factor_ratio 1.8)"
    ) in lines
    assert (
        "hardware[1].rented: match (uuid GPU-5*), pricing (prices "
        "(dollars_per_hour 55.04, gpus 8, since 2026-01-01) and "
        "(dollars_per_hour 41.28, gpus 8, since 2026-11-01, note EDP 25 %), billing while_up)"
    ) in lines
    assert "name network, amount_dollars 1.1, period hour, per host, host dc1-*" in lines
    assert "name staff, amount_dollars 536000, period year, per fleet" in lines
    assert "name chat-8b, url http://127.0.0.1:8000/metrics, gpu_share_ratio 0.7" in lines
    assert (
        "name r1, url https://127.0.0.1:9400/metrics, gpus GPU-5a and 7, namespace ml, "
        "bearer_token_file /etc/ice/token, ca_file /etc/ice/ca.pem"
    ) in lines
    assert "product search, team retrieval, namespace search-*" in lines
    assert "method auto, weights (prompt 1, cached_prompt 0.1, generation 3)" in lines


def test_the_defaults_are_ok() -> None:
    """No file is a supported install, and what is missing is said."""
    status, text = check_config(None, NOW)

    assert status == 0
    assert text.startswith("ok: defaults\ninterval: 10 s\ntime zone: UTC\n")
    assert (
        "hardware: no rule\n"
        "hardware that no rule matches: list price of its instance type, else the nearest price, "
        "marked as an estimate\n"
    ) in text
    assert "name fleet, dollars_per_month 27000\n" in text


@pytest.mark.parametrize(
    ("rented", "unmatched", "expected"),
    [
        # A list has it; the host's own region may be listed.
        ("catalogue: aws, instance_type: p5.48xlarge, region: us-east-1", "estimate", ""),
        ("catalogue: aws, instance_type: p5.48xlarge", "estimate", ""),
        (
            "catalogue: aws, instance_type: p5.48xlarge, region: eu-north-1",
            "estimate",
            (
                "hardware[0].rented: priced by an estimate, scaled aws p5.48xlarge eu-north-1 on demand "
                "(ec2-shop), of 2025-04-05: no list has its price in eu-north-1: it is another region's, "
                "scaled by an older list; write what you pay as dollars_per_host_hour and gpus_per_host"
            ),
        ),
        (
            "catalogue: aws, instance_type: p5.48xlarge, region: mx-central-1",
            "estimate",
            (
                "hardware[0].rented: priced by an estimate, aws p5.48xlarge us-east-1 on demand for want of "
                "mx-central-1 (karpenter-aws), of 2026-07-20: the price of us-east-1 stands in for "
                "mx-central-1; write what you pay as dollars_per_host_hour and gpus_per_host"
            ),
        ),
        (
            "catalogue: gcp, instance_type: a3-ultragpu-8g",
            "estimate",
            (
                "hardware[0].rented: priced by an estimate, lowest large cloud's list price of "
                "H200-SXM-141GB: aws p5en.48xlarge us-east-1 (karpenter-aws), of 2026-07-20: the catalogue "
                "does not help: it lists gcp a3-ultragpu-8g without a price on demand; write what you pay as "
                "dollars_per_host_hour and gpus_per_host"
            ),
        ),
        (
            "catalogue: aws, instance_type: p5.48xlarge, region: eu-north-1",
            "unpriced",
            (
                "hardware[0].rented: its GPUs have no price: no list has its price in eu-north-1: it is "
                "another region's, scaled by an older list "
                "(unmatched_hardware: unpriced takes listed prices only); "
                "write what you pay as dollars_per_host_hour and gpus_per_host"
            ),
        ),
    ],
)
def test_a_list_price_that_no_list_has_is_a_warning(
    rented: str, unmatched: str, expected: str, tmp_path: Path
) -> None:
    """What stands in, of when, and what to write; never beside a price that is listed."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"hardware: [{{rented: {{{rented}}}}}]\nunmatched_hardware: {unmatched}\n")
    status, text = check_config(path, NOW)

    assert status == 0
    assert [line for line in text.splitlines() if line.startswith("warning: ")] == (
        [f"warning: {expected}"] if expected else []
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            "gpus: auto",
            "GPUs: all are charged where NVIDIA_VISIBLE_DEVICES is all or not set, else visible ones",
        ),
        ("gpus: all", "GPUs: all are charged, those included that NVML does not list"),
        ("gpus: visible", "GPUs: those are charged that NVML lists"),
        ("cloud: auto", "cloud: metadata service of the cloud that the firmware names"),
        ("cloud: off", "cloud: no request"),
        ("cloud: oci", "cloud: oci metadata service"),
        (
            "kubernetes: auto",
            (
                "kubernetes: pods of this node from the kubelet's socket, else, like its labels, with a "
                "service account"
            ),
        ),
        (
            "kubernetes: pods_api",
            "kubernetes: pods of this node from the kubelet's socket, its labels from the API server",
        ),
        (
            "kubernetes: kubelet",
            "kubernetes: pods of this node from the kubelet, its labels from the API server",
        ),
        (
            "kubernetes: api_server",
            "kubernetes: pods and labels of this node from the API server",
        ),
        ("kubernetes: off", "kubernetes: no request"),
    ],
)
def test_who_is_asked_where_the_host_runs_is_told(tmp_path: Path, choice: str, expected: str) -> None:
    """A request to somebody is nothing to find out by surprise."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"discovery: {{{choice}}}\n")

    assert expected in check_config(path, NOW)[1].splitlines()


def test_the_labels_that_a_rule_matches_are_told(tmp_path: Path) -> None:
    """With an empty pattern, too."""
    path = tmp_path / "ice.yaml"
    path.write_text(
        'hardware: [{match: {node_label: {pool: "h100-*", gpu: ""}}, rented: {dollars_per_gpu_hour: 2}}]\n'
    )
    text = check_config(path, NOW)[1]
    (rule,) = json.loads(check_config(path, NOW, as_json=True)[1])["hardware"]

    assert ": match (node_label pool=h100-* and gpu=), pricing (" in text
    assert rule["match"]["node_label"] == {"pool": "h100-*", "gpu": ""}


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("warning: ")]


LISTED = "no hardware is given: prices are list prices and estimates of the bundled catalogue"
NOTHING = "no hardware is given: nothing is priced, and the cost of every GPU is absent"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", LISTED),
        ("# nothing yet\n", LISTED),
        ("interval: 10s\n", LISTED),
        ("unmatched_hardware: unpriced\n", NOTHING),
    ],
)
def test_a_file_that_prices_nothing_is_ok_with_warnings(tmp_path: Path, content: str, expected: str) -> None:
    """It can be served, so the status is 0; nobody means it, so it is said."""
    path = tmp_path / "ice.yaml"
    path.write_text(content)
    status, text = check_config(path, NOW)

    assert status == 0
    assert warnings(text) == [f"warning: {expected}"]


def test_without_a_server_and_without_looking_for_one_all_is_unallocated(tmp_path: Path) -> None:
    """Servers are found unless that is switched off."""
    path = tmp_path / "ice.yaml"
    path.write_text("unmatched_hardware: unpriced\ndiscovery: {processes: false}\n")
    status, text = check_config(path, NOW)

    assert status == 0
    (_, warning) = warnings(text)
    assert warning == (
        "warning: no server is configured and process discovery is off: all GPU cost is unallocated"
    )
    assert "servers: none: all GPU time is unallocated" in text


def test_what_is_said_of_servers_that_are_found_is_told(tmp_path: Path) -> None:
    """What they are known by, and what is said of them."""
    path = tmp_path / "ice.yaml"
    path.write_text(
        "servers:\n"
        "  - {match: {port: 8000}, name: chat, gpu_share_ratio: 0.7}\n"
        '  - {match: {workload: "ml/r1-*", process: python3}, spans_hosts: true, role: decode, '
        "namespace: ml, engine: vllm, metrics: {port: 9400, path: /m}}\n"
        '  - {match: {unit: "vllm@*"}, metrics: {scheme: https}}\n'
        '  - {match: {user: "1001"}, name: alice}\n'
    )
    _, text = check_config(path, NOW)

    actual = "\n".join(line.strip() for line in text.splitlines() if line.strip().startswith("match ("))
    assert actual == (
        "match (port 8000), name chat, gpu_share_ratio 0.7\n"
        "match (workload ml/r1-*, process python3), namespace ml, engine vllm, spans_hosts true, "
        "role decode, metrics_port 9400, metrics_path /m\n"
        "match (unit vllm@*), metrics_scheme https\n"
        "match (user 1001, uid 1001), name alice"
    )


ONLY_PRODUCTS = (
    "warning: no budget is without a product: the fleet alerts compare with that one, and they stay "
    "silent; add one like {name: fleet, dollars_per_month: 27000}"
)


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ("{name: chat, match: {product: chat}, dollars_per_month: 9000}", [ONLY_PRODUCTS]),
        (
            "{name: a, match: {product: a}, dollars_per_month: 900}, {name: fleet, dollars_per_month: 27000}",
            [],
        ),
        ("", []),
    ],
)
def test_budgets_of_products_only_leave_the_fleet_alerts_silent(
    tmp_path: Path, budgets: str, expected: list[str]
) -> None:
    """The fleet's alerts compare with the budget without a product. A whole configuration has no warning."""
    path = tmp_path / "ice.yaml"
    path.write_text(
        f"budgets: [{budgets}]\n"
        "ownership: {rules: [{match: {server: c*}, product: chat}, {match: {server: a*}, product: a}]}\n"
        "hardware: [{rented: {dollars_per_gpu_hour: 2}}]\n"
        'servers: [{name: chat, url: "http://127.0.0.1:8000", gpus: all}]\n'
    )
    status, text = check_config(path, NOW)

    assert status == 0
    assert warnings(text) == expected


@pytest.mark.parametrize(
    ("product", "hint"),
    [("chta", "did you mean chat?"), ("payments", "they name chat, search, unassigned")],
)
def test_a_budget_of_a_product_that_nobody_has(tmp_path: Path, product: str, hint: str) -> None:
    """Products are compared letter by letter; what no rule names is no budget that is ever used."""
    path = tmp_path / "ice.yaml"
    path.write_text(
        "budgets:\n"
        "  - {name: fleet, dollars_per_month: 27000}\n"
        "  - {name: nobody, match: {product: unassigned}, dollars_per_month: 100}\n"
        f"  - {{name: ours, match: {{product: {product}}}, dollars_per_month: 9000}}\n"
        "ownership: {rules: [{match: {server: s*}, product: search}, {match: {server: c*}, product: chat}]}\n"
        "hardware: [{rented: {dollars_per_gpu_hour: 2}}]\n"
        'servers: [{name: chat, url: "http://127.0.0.1:8000", gpus: all}]\n'
    )
    status, text = check_config(path, NOW)

    message = (
        f"warning: budget ours is for product {product}, which no ownership rule names: "
        f"nothing is spent from it; {hint}"
    )
    assert (status, warnings(text)) == (0, [message])


def test_rules_by_list_price_are_told_in_words() -> None:
    """Cloud, instance type, region, which price, and the discount; what matches them, too."""
    status, text = check_config(CONFIGS / "good-catalogue.yaml", NOW)

    assert status == 0
    assert [line.strip() for line in text.splitlines() if line.startswith("  hardware[")] == [
        (
            "hardware[0].rented: match (instance_type p5.48xlarge, lifecycle spot), pricing (cloud aws, "
            "discount_ratio 0.3, discount_of on_demand, billing while_up)"
        ),
        (
            "hardware[1].rented: match (instance_type Standard_ND*, region westeurope), pricing "
            "(cloud azure, discount_ratio 0.15, discount_of on_demand, billing always)"
        ),
        (
            "hardware[2].rented: match (host gke-*), pricing (cloud gcp, instance_type a3-highgpu-8g, "
            "region us-central1, discount_ratio 0, discount_of spot, billing while_up)"
        ),
        (
            "hardware[3].rented: match (host bare-*, gpu_model *H100*), pricing (cloud any, "
            "instance_type BM.GPU.H100.8, discount_ratio 0, billing while_up)"
        ),
        (
            "hardware[4].rented: match (instance_type p5e.48xlarge, lifecycle *), pricing (prices "
            "(dollars_per_hour 39.8, gpus 8), billing while_up)"
        ),
        "hardware[5].rented: pricing (cloud any, discount_ratio 0, billing while_up)",
    ]
    assert "hardware that no rule matches: has no price, and its cost is absent\n" in text


def test_a_rent_of_0_is_told(tmp_path: Path) -> None:
    """It is taken all the same: a warning, status 0."""
    path = tmp_path / "ice.yaml"
    path.write_text(
        'hardware: [{match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 0}}]\n'
        'servers: [{name: chat, url: "http://127.0.0.1:8000", gpus: all}]\n'
    )
    status, text = check_config(path, NOW)

    assert status == 0
    assert warnings(text) == [
        "warning: every GPU that hardware[0].rented matches costs 0 dollars an hour because the rent is 0"
    ]


def test_a_bad_file_is_refused_with_its_first_problem(tmp_path: Path) -> None:
    """Status 2 and one line."""
    path = tmp_path / "ice.yaml"
    path.write_text("intervall: 10s\nlimits: {models: 0}\n")
    status, text = check_config(path, NOW)

    assert status == 2
    assert text.splitlines() == [f"{path}:1:1: intervall: unknown key; did you mean interval?"]


def test_the_labels_of_pods_that_say_who_pays_are_told(tmp_path: Path) -> None:
    """Also where nobody named them, since they decide who pays."""
    path = tmp_path / "ice.yaml"
    assert "pod labels: product app.kubernetes.io/part-of, team team\n" in check_config(None, NOW)[1]

    path.write_text('ownership: {pod_labels: {product: example.com/product, team: ""}}\n')
    actual = json.loads(check_config(path, NOW, as_json=True)[1])
    assert "pod labels: product example.com/product, team none\n" in check_config(path, NOW)[1]
    assert actual["pod_labels"] == {"product": "example.com/product", "team": ""}


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://10.0.0.7:8000/metrics", True),
        ("https://10.0.0.7:8000/metrics", False),
        ("http://127.0.0.1:8000/metrics", False),
        ("http://[::1]:8000/metrics", False),
        ("http://localhost:8000/metrics", False),
    ],
)
def test_a_token_that_leaves_the_host_in_the_clear_is_a_warning(
    url: str, tmp_path: Path, *, warns: bool
) -> None:
    """Written out in full it is sent, and who is on the way reads it."""
    actual = (
        f'servers: [{{name: far, url: "{url}", gpus: all, metrics: {{bearer_token_file: /etc/token}}}}]\n'
    )
    (tmp_path / "c.yaml").write_text(actual, encoding="ascii")
    status, text = check_config(tmp_path / "c.yaml", NOW)

    warning = (
        "server far: its token is sent to 10.0.0.7 over plain http, where others may read it; write https"
    )
    assert (status, warning in text) == (0, warns)


@pytest.mark.parametrize(
    ("url", "user", "host"),
    [
        ("http://127.0.0.1:8000/metrics", "", "127.0.0.1"),
        ("http://localhost:8000/metrics", "", "localhost"),
        ("http://localhost:8000/metrics", ", user: 1000", ""),
        ("https://localhost:8000/metrics", "", ""),
    ],
)
def test_a_token_for_whoever_listens_on_this_host_is_a_warning(
    url: str, user: str, host: str, tmp_path: Path
) -> None:
    """Any user may listen at a port once its server ends."""
    metrics = "metrics: {bearer_token_file: /etc/token}"
    config = f'servers: [{{name: near, url: "{url}", gpus: all, {metrics}{user}}}]\n'
    (tmp_path / "c.yaml").write_text(config, encoding="ascii")
    status, text = check_config(tmp_path / "c.yaml", NOW)

    warning = f"server near: its token is sent to any user who listens at {host}; write `user`"
    assert status == 0
    assert (warning in text, "sent to any user" in text) == (bool(host), bool(host))
