"""check-config says what each hardware rule comes to, in words and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.check_config import checked
from exporter.reports.check_config import check_config

NOW = 1_795_564_800 * 10**9
"""2026-11-25 in UTC."""

CONFIGS = Path(__file__).parents[1] / "configs"
P5 = "list price 55.04 (aws p5.48xlarge us-east-1 on demand (karpenter-aws), of 2026-07-20)"
UP = "billed while the host is up"


def amounts(text: str) -> list[str]:
    """The line below each rule."""
    lines = text.splitlines()
    return [lines[index + 1].strip() for index, line in enumerate(lines) if line.startswith("  hardware[")]


def written(tmp_path: Path, hardware: str, more: str = "") -> Path:
    path = tmp_path / "ice.yaml"
    path.write_text(f"hardware: [{hardware}]\n{more}")
    return path


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{rented: {dollars_per_gpu_hour: 2.50}}", f"2.5 dollars per GPU-hour; {UP}"),
        # 55.04 / 8
        (
            "{rented: {dollars_per_host_hour: 55.04, gpus_per_host: 8, billing: always}}",
            "55.04 / 8 GPUs = 6.88 dollars per GPU-hour; billed always",
        ),
        # The price of November is in force, not that of January or of next year.
        (
            (
                "{rented: {gpus_per_host: 8, prices: [{from: 2026-01-01, dollars_per_host_hour: 55.04}, "
                "{from: 2026-11-01, dollars_per_host_hour: 41.28}, "
                "{from: 2027-01-01, dollars_per_host_hour: 40}]}}"
            ),
            f"41.28 / 8 GPUs = 5.16 dollars per GPU-hour; {UP}",
        ),
        (
            "{rented: {prices: [{from: 2027-01-01, dollars_per_gpu_hour: 2}]}}",
            f"no price before 2027-01-01; {UP}",
        ),
        # 55.04 x 0.7 / 8
        (
            (
                "{match: {instance_type: p5.48xlarge, region: us-east-1}, "
                "rented: {catalogue: aws, discount_ratio: 0.30}}"
            ),
            (f"{P5} less 30 % / 8 GPUs = 4.816 dollars per GPU-hour; {UP}"),
        ),
        # The whole list price is off, and 0 is said.
        (
            "{rented: {catalogue: aws, instance_type: p5.48xlarge, region: us-east-1, discount_ratio: 1}}",
            (f"{P5} less 100 % / 8 GPUs = 0 dollars per GPU-hour; {UP}"),
        ),
        (
            "{rented: {catalogue: any, discount_ratio: 0.1}}",
            f"list price less 10 %: depends on the host's instance type; {UP}",
        ),
        ("{rented: {catalogue: any}}", f"depends on the host's instance type; {UP}"),
        # 280,000 / 4 / 8766 / 8 = 0.9981748; 22,000 / 8766 / 8 = 0.3137121; 0.12 x 1.35 x 1.8 = 0.2916
        (
            (
                "{owned: {purchase_dollars_per_host: 280000, gpus_per_host: 8, in_service: 2026-02-01, "
                "life_years: 4, support_dollars_per_year: 22000}, "
                "energy: {dollars_per_kilowatt_hour: 0.12, pue_ratio: 1.35, host_factor_ratio: 1.8}}"
            ),
            (
                "amortization 0.998175 + support 0.313712 = 1.311887 dollars per GPU-hour, "
                "and 0.2916 per kWh measured at the GPU; billed always"
            ),
        ),
        (
            "{owned: {purchase_dollars_per_gpu: 30000, in_service: 2027-02-01, life_years: 4}}",
            "no price before 2027-02-01; billed always",
        ),
        (
            "{owned: {purchase_dollars_per_gpu: 30000, in_service: 2021-02-01, life_years: 4}}",
            "amortization 0 = 0 dollars per GPU-hour; billed always",
        ),
    ],
)
def test_what_a_rule_comes_to(tmp_path: Path, rule: str, expected: str) -> None:
    """List amount, discount, dollars per GPU-hour, and when it accrues; worked by hand."""
    status, text = check_config(written(tmp_path, rule), NOW)

    assert status == 0
    assert amounts(text) == [expected]


def test_an_annuity_comes_to_its_yearly_payment() -> None:
    """(322,000 - 28,000 x 1.08^-4) x 0.08 / (1 - 1.08^-4) a year, over 8766 hours and 8 GPUs."""
    first, *_ = document(CONFIGS / "good-design.yaml")["hardware"]
    returned = 1.08**-4
    yearly = (322_000 - 28_000 * returned) * 0.08 / (1 - returned)

    assert first["components"] == {
        "amortization": pytest.approx(yearly / 8766 / 8, abs=1e-6),
        "support": pytest.approx(22_000 / 8766 / 8, abs=1e-6),
    }
    assert first["dollars_per_gpu_hour"] == pytest.approx(sum(first["components"].values()), abs=1e-9)


OFFERS = """
compare:
  - name: turbo
    match: {model: "*llama*"}
    prompt_dollars_per_million_tokens: 0.88
    generation_dollars_per_million_tokens: 1.20
    as_of: 2026-11-01
  - name: cached
    match: {server: chat}
    prompt_dollars_per_million_tokens: 3
    cached_prompt_dollars_per_million_tokens: 0.30
    generation_dollars_per_million_tokens: 15
"""


def test_references_and_budgets_are_told(tmp_path: Path) -> None:
    """By the terms that are written; the default budget says that it is one."""
    path = written(tmp_path, "{rented: {dollars_per_gpu_hour: 2}}", OFFERS)
    text = check_config(path, NOW)[1]

    assert (
        "compare in dollars per million tokens:\n"
        "  reference turbo, prompt 0.88, generation 1.2, model *llama*, as_of 2026-11-01\n"
        "  reference cached, prompt 3, generation 15, cached_prompt 0.3, server chat\n"
    ) in text
    assert (
        "budgets (the default, since none is configured):\n  name fleet, dollars_per_month 27000\n"
    ) in text
    same = written(tmp_path, "", "budgets: [{name: fleet, dollars_per_month: 27000}]\n")
    assert "budgets:\n  name fleet, dollars_per_month 27000\n" in check_config(same, NOW)[1]


def document(path: Path) -> dict[str, Any]:
    status, text = check_config(path, NOW, as_json=True)
    actual: dict[str, Any] = json.loads(text)

    assert actual["status"] == status
    return actual


def test_the_same_as_json(tmp_path: Path) -> None:
    """Amounts are numbers, what is open is null, and every finding has its severity."""
    rules = (
        "{match: {instance_type: p5.48xlarge, region: us-east-1}, "
        "rented: {catalogue: aws, discount_ratio: 0.30}}, {rented: {catalogue: any}}"
    )
    actual = document(written(tmp_path, rules, OFFERS))

    assert actual["hardware"][0] == {
        "rule": "hardware[0].rented",
        "match": {
            "host": None,
            "gpu_model": None,
            "uuid": None,
            "instance_type": "p5.48xlarge",
            "lifecycle": None,
            "region": "us-east-1",
            "node_label": {},
        },
        "billing": "while_up",
        "dollars_per_gpu_hour": 4.816,
        "components": {"rent": 4.816},
        "list_dollars_per_hour": 55.04,
        "gpus": 8,
        "discount_ratio": 0.3,
        "price_basis": "catalogue",
        "source": "aws p5.48xlarge us-east-1 on demand (karpenter-aws)",
        "as_of": "2026-07-20",
        "reason": "",
        "dollars_per_kilowatt_hour": None,
    }
    assert actual["hardware"][1]["dollars_per_gpu_hour"] is None
    assert actual["hardware"][1]["reason"] == "depends on the host's instance type"
    assert actual["compare"][1] == {
        "reference": "cached",
        "server": "chat",
        "model": None,
        "as_of": "",
        "dollars_per_million_tokens": {"prompt": 3.0, "cached_prompt": 0.3, "generation": 15.0},
    }
    assert actual["budgets"] == [{"name": "fleet", "product": "", "dollars_per_month": 27000.0}]
    assert actual["budgets_are_default"] is True
    assert actual["findings"] == []


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("good-*.yaml")))
def test_every_good_file_has_a_document(name: str) -> None:
    """Each thing that can be configured has a form in JSON."""
    actual = document(CONFIGS / name)

    assert actual["file"] == str(CONFIGS / name)
    assert len(actual["sha256"]) == 64


def test_what_is_wrong_is_told_as_json_where_a_program_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard output, with place, key and message; the exit status is the same."""
    path = tmp_path / "ice.yaml"
    path.write_text("intervall: 10s\nlimits: {models: 0}\n")

    assert checked(path, as_json=True) == 2
    actual = capsys.readouterr()
    assert actual.err == ""
    assert json.loads(actual.out) == {
        "status": 2,
        "file": str(path),
        "problems": [
            {
                "file": str(path),
                "line": 1,
                "column": 1,
                "key": "intervall",
                "message": "unknown key; did you mean interval?",
                "correction": "interval",
            },
        ],
    }
    assert checked(path, as_json=False) == 2
    actual = capsys.readouterr()
    assert (actual.out, actual.err.count("\n")) == ("", 2)  # the last one names --fix


@pytest.mark.parametrize("value", ["bearer_token:S3cret", "bearer_token S3cret", "bearer_token: %S3cret"])
def test_the_json_of_a_file_that_is_not_yaml_repeats_no_value(tmp_path: Path, value: str) -> None:
    """It may be a secret; the correction is a space at most."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"servers:\n  - metrics:\n      {value}\n      port: 8000\n")

    (problem,) = document(path)["problems"]

    assert problem["message"].startswith("is not YAML: ")
    assert problem["correction"] in (None, " ")
    assert "S3cret" not in json.dumps(problem)


def test_a_file_that_is_not_there_is_told_as_json(tmp_path: Path) -> None:
    """There is no place in a file that cannot be read."""
    (problem,) = document(tmp_path / "none.yaml")["problems"]

    assert problem == {
        "file": str(tmp_path / "none.yaml"),
        "line": None,
        "column": None,
        "key": "",
        "message": "cannot be read: No such file or directory",
        "correction": None,
    }
