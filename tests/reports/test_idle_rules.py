"""Rules that never match anything are told: whoever wrote them believes that they hold."""

import re
from pathlib import Path

import pytest

from exporter.reports.check_config import check_config

NOW = 1_795_564_800 * 10**9
CONFIGS = Path(__file__).parents[1] / "configs"
SERVERS = 'servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]\n'
H100 = "{match: {gpu_model: '*H100*'}, rented: {dollars_per_gpu_hour: 2.5}}"
ALL = "{rented: {dollars_per_gpu_hour: 2}}"


def warned(tmp_path: Path, content: str) -> list[str]:
    """The warnings about a file, without its name; it is good all the same."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"{content}{SERVERS}")
    status, text = check_config(path, NOW)

    assert status == 0
    lines = (line.removeprefix("warning: ") for line in text.splitlines() if line.startswith("warning: "))
    return [re.sub(rf"^{re.escape(str(path))}:\d+:\d+: ", "", line) for line in lines]


def hidden(later: str, earlier: str) -> str:
    return (
        f"{later} never applies: {earlier} comes first and matches all that it matches; "
        "put it before that, or remove it"
    )


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (f"{H100}, {ALL}", []),
        (f"{ALL}, {H100}", [hidden("hardware[1]", "hardware[0]")]),
        (f"{H100}, {H100}", [hidden("hardware[1]", "hardware[0]")]),
        # The first that hides it is named, and each hidden one once.
        (
            f"{ALL}, {H100}, {ALL}",
            [hidden("hardware[1]", "hardware[0]"), hidden("hardware[2]", "hardware[0]")],
        ),
        # Wider in one pattern and narrower in another hides nothing.
        (
            (
                "{match: {host: 'dc1-*', gpu_model: '*H100*'}, rented: {dollars_per_gpu_hour: 2}}, "
                "{match: {host: 'dc1-a', gpu_model: '*'}, rented: {dollars_per_gpu_hour: 2}}"
            ),
            [],
        ),
        (
            (
                "{match: {host: 'dc?-*'}, rented: {dollars_per_gpu_hour: 2}}, "
                "{match: {host: 'dc1-*', uuid: GPU-5}, rented: {dollars_per_gpu_hour: 2}}"
            ),
            [hidden("hardware[1]", "hardware[0]")],
        ),
        # A rule by instance type holds only where the type is known: what stands behind it applies elsewhere.
        (
            (
                "{match: {instance_type: '*'}, rented: {dollars_per_gpu_hour: 2}}, "
                "{match: {gpu_model: '*H100*'}, rented: {dollars_per_gpu_hour: 2.5}}"
            ),
            [hidden("hardware[1]", "hardware[0]")],
        ),
    ],
)
def test_a_hardware_rule_behind_one_that_takes_all_of_its_gpus(
    tmp_path: Path, rules: str, expected: list[str]
) -> None:
    """The first match decides: the second never gets to."""
    assert warned(tmp_path, f"hardware: [{rules}]\n") == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("{match: {server: 'chat*'}, product: chat}, {product: rest}", []),
        (
            "{product: rest}, {match: {server: 'chat*'}, product: chat}",
            [hidden("ownership.rules[1]", "ownership.rules[0]")],
        ),
        (
            "{match: {namespace: 'ml*'}, product: ml}, {match: {namespace: ml, server: r1}, product: r}",
            [hidden("ownership.rules[1]", "ownership.rules[0]")],
        ),
    ],
)
def test_an_ownership_rule_behind_a_catch_all(tmp_path: Path, rules: str, expected: list[str]) -> None:
    """Its product would never be billed."""
    assert warned(tmp_path, f"hardware: [{ALL}]\nownership: {{rules: [{rules}]}}\n") == expected


def test_a_split_exception_behind_a_wider_one(tmp_path: Path) -> None:
    """The rule that exceptions are from is no exception: it hides none, and none hides it."""
    content = (
        f"hardware: [{ALL}]\nsplit: {{overrides: [{{match: {{server: '*'}}, method: time}}, "
        "{match: {server: batch}, method: weights}]}\n"
    )

    assert warned(tmp_path, content) == [hidden("split.overrides[1]", "split.overrides[0]")]


def matching(**match: str) -> str:
    actual = ", ".join(f'{key}: "{value}"' for key, value in match.items())
    return f"hardware: [{{match: {{{actual}}}, rented: {{dollars_per_gpu_hour: 2}}}}]\n"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("*H100*", None),
        ("NVIDIA H100*", None),
        ("NVIDIA L40S", None),
        ("Tesla V100-SXM2-16GB", None),
        ("*", None),
        # Names that the catalogue does not know may be of models that are newer, or of parts of a card.
        ("*R100*", None),
        ("NVIDIA R100", None),
        ("NVIDIA A10-4Q", None),
        ("NVIDIA B300 SXM6 AC", None),
        ("H100", "NVIDIA H100 SXM"),
        ("h100", "NVIDIA H100 SXM"),
        ("*h100*", "NVIDIA H100 SXM"),
        ("NVIDIA H100", "NVIDIA H100 SXM"),
        ("nvidia h100 80gb hbm3", "NVIDIA H100 80GB HBM3"),
        ("A100 SXM4 80GB", "NVIDIA A100-SXM4-80GB"),
        # An L4 is no L40S.
        ("L4", "NVIDIA L4"),
        ("NVIDIA RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("[HL]100", "NVIDIA H100 SXM"),
        ("R100", "NVIDIA B100"),
    ],
)
def test_a_model_that_no_gpu_is_named(tmp_path: Path, model: str, expected: str | None) -> None:
    """The price is of no GPU then, and it is not held against the prices of the model that was meant."""
    content = matching(gpu_model=model).replace("dollars_per_gpu_hour: 2}", "dollars_per_gpu_hour: 1825}")
    message = (
        f'hardware[0].match.gpu_model: "{model}" matches no GPU: it covers the whole name, and case counts; '
        f'names are like "{expected}", and `doctor` shows those of a host'
    )

    actual = warned(tmp_path, content)
    assert [line for line in actual if "match.gpu_model" in line] == ([] if expected is None else [message])
    assert not expected or len(actual) == 1


@pytest.mark.parametrize(
    ("lifecycle", "expected"),
    [
        ("spot", None),
        ("on_*", None),
        ("*", None),
        ("spto", "spot"),
        ("on-demand", "on_demand"),
        ("Spot", "spot"),
        ("preemptible", "reserved"),
    ],
)
def test_a_lifecycle_that_no_host_has(tmp_path: Path, lifecycle: str, expected: str | None) -> None:
    """Clouds spell it in their own ways; here it is spelled in one."""
    problem = f'no known lifecycle is spelled "{lifecycle}"; names are like "{expected}"'
    message = f"hardware[0].match.lifecycle: {problem}"

    assert warned(tmp_path, matching(lifecycle=lifecycle)) == ([] if expected is None else [message])


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("us-east-1", None),
        ("eu-*", None),
        ("us-ashburn-1", None),
        ("eu-north1", None),
        ("us-est-1", "us-west-1"),
        ("us-eastt-1", "us-east-1"),
        ("US-EAST-1", "us-east-1"),
        ("West Europe", "westeurope"),
        ("frankfurt data center", "francecentral"),
    ],
)
def test_a_region_that_no_cloud_spells_so(tmp_path: Path, region: str, expected: str | None) -> None:
    """Also of clouds whose list prices are the same everywhere, and of regions without GPUs."""
    message = f'hardware[0].match.region: no known region is spelled "{region}"; names are like "{expected}"'

    assert warned(tmp_path, matching(region=region)) == ([] if expected is None else [message])


def test_a_region_of_a_list_price_that_no_cloud_spells_so(tmp_path: Path) -> None:
    """The price of us-east-1 would stand in for it, which is some other price."""
    rented = "{catalogue: aws, instance_type: p5.48xlarge, region: eu-noth-1}"

    assert warned(tmp_path, f"hardware: [{{rented: {rented}}}]\n") == [
        (
            "hardware[0].rented: priced by an estimate, aws p5.48xlarge us-east-1 on demand for want of "
            "eu-noth-1 (karpenter-aws), of 2026-07-20: the price of us-east-1 stands in for eu-noth-1; write "
            "what you pay as dollars_per_host_hour and gpus_per_host"
        ),
        'hardware[0].rented.region: no known region is spelled "eu-noth-1"; names are like "eu-north-1"',
    ]


@pytest.mark.parametrize(
    ("match", "rented", "expected"),
    [
        ("p5*", "{catalogue: aws}", None),
        ("ND*", "{catalogue: azure}", None),
        ("Standard_ND*", "{catalogue: any}", None),
        ("p5*", "{catalogue: gcp}", ("gcp", "a4-highgpu-8g")),
        ("p55.48x*", "{catalogue: aws}", ("aws", "p5.48xlarge")),
        # An instance type is priced whatever its case, and matched only in its own.
        ("P5.48xlarge", "{catalogue: aws}", ("aws", "p5.48xlarge")),
        ("p55*", "{dollars_per_gpu_hour: 2}", None),
    ],
)
def test_instance_types_that_the_catalogue_lacks(
    tmp_path: Path, match: str, rented: str, expected: tuple[str, str] | None
) -> None:
    """Only a list price needs them there."""
    content = f'hardware: [{{match: {{instance_type: "{match}"}}, rented: {rented}}}]\n'
    cloud, nearest = expected or ("", "")
    message = (
        f'hardware[0].match.instance_type: no known instance type of {cloud} is spelled "{match}"; '
        f'names are like "{nearest}"'
    )

    assert warned(tmp_path, content) == ([] if expected is None else [message])


@pytest.mark.parametrize("name", ["good-design.yaml", "good-windows.yaml", "good-comments.yaml"])
def test_the_examples_have_no_such_rule(name: str) -> None:
    """What is shown as good is good."""
    assert "never applies" not in check_config(CONFIGS / name, NOW)[1]


def labeled(**labels: str) -> str:
    actual = ", ".join(f"{name}: '{pattern}'" for name, pattern in labels.items())
    return f"{{match: {{node_label: {{{actual}}}}}, rented: {{dollars_per_gpu_hour: 2}}}}"


@pytest.mark.parametrize(
    ("earlier", "later", "hides"),
    [
        (labeled(pool="*"), labeled(pool="lease"), True),
        (labeled(pool="l*"), labeled(pool="lease", team="a"), True),
        (ALL, labeled(pool="lease"), True),
        (labeled(pool="lease"), labeled(pool="*"), False),
        (labeled(pool="*"), H100, False),
        (labeled(pool="*"), labeled(team="*"), False),
        (labeled(pool="*", team="*"), labeled(pool="lease"), False),
    ],
)
def test_a_rule_by_labels_hides_those_that_ask_for_the_same_more_narrowly(
    tmp_path: Path, earlier: str, later: str, *, hides: bool
) -> None:
    """A rule that does not ask for a label holds for nodes without it as well."""
    expected = [hidden("hardware[1]", "hardware[0]")] if hides else []
    assert warned(tmp_path, f"hardware: [{earlier}, {later}]\n") == expected


def test_a_rule_by_labels_matches_nothing_where_nobody_asks_for_them(tmp_path: Path) -> None:
    """Whoever switched it off may have forgotten the rule."""
    text = f"hardware: [{labeled(pool='*')}]\ndiscovery: {{kubernetes: off}}\n"
    assert warned(tmp_path, text) == [
        "hardware[0].match.node_label: no labels are requested, since discovery.kubernetes is off"
    ]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("{match: {port: 8000}, name: a}, {match: {port: 8001}, name: b}", []),
        # Entries are numbered as the file has them, those with a url between.
        (
            (
                "{match: {port: 8000}, name: a}, {name: x, url: 'http://h:1', gpus: [0]}, "
                "{match: {port: 8000, process: vllm}, name: b}"
            ),
            [hidden("servers[2]", "servers[0]")],
        ),
        # The wider one behind takes what the narrower one leaves.
        ("{match: {port: 8000, process: vllm}, name: b}, {match: {port: 8000}, name: a}", []),
        (
            "{match: {workload: 'ml/*'}, role: decode}, {match: {workload: 'ml/chat-*', port: 80}, name: a}",
            [hidden("servers[1]", "servers[0]")],
        ),
        ("{match: {workload: 'ml/chat'}, name: a}, {match: {unit: 'vllm@*'}, name: b}", []),
        # One port in the networks of two users, then everybody else's.
        (
            (
                "{match: {user: '1001', port: 80}, name: a}, {match: {user: '1002', port: 80}, name: b}, "
                "{match: {port: 80}, name: c}"
            ),
            [],
        ),
        (
            "{match: {user: root}, name: a}, {match: {user: '0'}, name: b}",
            [hidden("servers[1]", "servers[0]")],
        ),
        # The first is of the host's own processes only.
        ("{match: {user: root}, name: a}, {match: {user: root, containers: true}, name: b}", []),
        (
            "{match: {user: root, containers: true}, name: a}, {match: {user: root}, name: b}",
            [hidden("servers[1]", "servers[0]")],
        ),
        # A process that a user starts has no unit, not even one that any pattern matches.
        ("{match: {unit: '*'}, name: a}, {match: {port: 80}, name: b}", []),
        (
            "{match: {unit: '*'}, name: a}, {match: {unit: 'vllm@*'}, name: b}",
            [hidden("servers[1]", "servers[0]")],
        ),
    ],
)
def test_an_entry_for_servers_that_are_found_behind_a_wider_one(
    tmp_path: Path, entries: str, expected: list[str]
) -> None:
    """The first entry that matches decides, so that what the later one says holds of no server."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"servers: [{entries}]\nhardware: [{ALL}]\n")
    _, text = check_config(path, NOW)

    assert [line for line in text.splitlines() if line.startswith("warning: ")] == [
        f"warning: {line}" for line in expected
    ]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (
            "vllm@*",
            ["servers[0].match.unit: no server's unit is known, since discovery.processes is false"],
        ),
        ("*", []),
    ],
)
def test_an_entry_by_unit_where_no_process_is_looked_at(
    tmp_path: Path, unit: str, expected: list[str]
) -> None:
    """A pod that only its cluster tells of has no unit; any unit is one that it need not have."""
    path = tmp_path / "ice.yaml"
    entry = f"{{match: {{unit: '{unit}'}}, role: decode}}, {{name: x, url: 'http://h:1', gpus: [0]}}"
    path.write_text(f"servers: [{entry}]\nhardware: [{ALL}]\ndiscovery: {{processes: false}}\n")
    _, text = check_config(path, NOW)

    assert [line for line in text.splitlines() if line.startswith("warning: ")] == [
        f"warning: {line}" for line in expected
    ]


@pytest.mark.parametrize(("match", "is_noted"), [("user: '990'", True), ("user: root", False)])
def test_an_entry_by_uid_is_told_that_it_matches_no_container(
    tmp_path: Path, match: str, *, is_noted: bool
) -> None:
    """A uid is what is written for a container: what it takes is said, until it is written."""
    path = tmp_path / "ice.yaml"
    noted = (
        "note: servers[0].match.user: 990 matches the host's own processes, no container or pod; add "
        "`containers: true` for other containers, write `workload` for a pod"
    )
    for more, expected in (("", is_noted), (", containers: true", False)):
        path.write_text(f"servers: [{{match: {{{match}{more}}}, name: a}}]\nhardware: [{ALL}]\n")
        _, text = check_config(path, NOW)
        assert (noted in text.splitlines()) == expected
