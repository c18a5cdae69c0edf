"""Usual amounts and shipped examples have no warning, and the doctor examines with the GPUs of the host."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import parse
from exporter.config.problems import Position
from exporter.reports.check_config import check_config
from exporter.reports.plausibility import plausibility_findings
from exporter.tariff.catalogue import CATALOGUE
from tests.deploy.test_config import EXAMPLE
from tests.depth import examples
from tests.docs.markdown import blocks, pages
from tests.reports.test_amount_checks import H100, LIST, LIVES, NOW, SERVERS, doctor, of_host, warnings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "content",
    [
        # A host's part is one already: 220 / 8 = 27.5 is dear, and the key is right.
        (
            "hardware: [{match: {instance_type: p5.48xlarge}, "
            "rented: {dollars_per_host_hour: 220, gpus_per_host: 8}}]"
        ),
        "hardware: [{match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 22}}]",
        # A p5.4xlarge has one GPU: what it costs is what its GPU costs.
        "hardware: [{match: {instance_type: p5.4xlarge}, rented: {dollars_per_gpu_hour: 55.04}}]",
        # Spot prices are cheap, and so is the smallest GPU.
        f"hardware: [{{{H100}rented: {{dollars_per_gpu_hour: 1.2}}}}]",
        "hardware: [{rented: {dollars_per_gpu_hour: 0.21}}]",
        "hardware: [{match: {lifecycle: spot}, rented: {catalogue: aws, discount_ratio: 0.9}}]",
        "hardware: [{match: {uuid: GPU-5}, rented: {dollars_per_gpu_hour: 0}}]",
        # A model that there is none of is a warning of its own.
        "hardware: [{match: {gpu_model: H100}, rented: {dollars_per_gpu_hour: 1825}}]",
        # A lease may be of a bare host, whose power is billed on its own: a note.
        (
            "hardware: [{rented: {dollars_per_gpu_hour: 2.5, billing: always}, "
            "energy: {dollars_per_kilowatt_hour: 0.12}}]"
        ),
        # Eight L4 for 30,000 dollars with their server, an RTX 5060 Ti for 420, an eighth of a B200 server.
        (
            'hardware: [{match: {gpu_model: "*L4"}, '
            f"owned: {{purchase_dollars_per_host: 30000, gpus_per_host: 8, {LIVES}}}}}]"
        ),
        f"hardware: [{{owned: {{purchase_dollars_per_gpu: 420, {LIVES}}}}}]",
        f"hardware: [{{owned: {{purchase_dollars_per_gpu: 81000, {LIVES}}}}}]",
        # A gift, whose support is paid.
        f"hardware: [{{owned: {{purchase_dollars_per_gpu: 0, {LIVES}, support_dollars_per_year: 3000}}}}]",
        (
            "hardware: [{owned: {purchase_dollars_per_gpu: 30000, in_service: 2026-02-01, life_years: 6, "
            "residual_ratio: 0.25, adders_ratio: 0.5, cost_of_capital_ratio: 0.12, "
            "support_dollars_per_year: 3000, insurance_dollars_per_year: 300}, "
            "energy: {dollars_per_kilowatt_hour: 0.42, pue_ratio: 2, host_factor_ratio: 4.9}}]"
        ),
        (
            "overheads: [{name: a, dollars_per_year: 536000, per: fleet}, "
            "{name: b, dollars_per_month: 250, per: gpu}, {name: c, dollars_per_hour: 1.10, per: host}]"
        ),
        "budgets: [{name: fleet, dollars_per_month: 2500000}]",
        (
            "compare: [{name: dear, prompt_dollars_per_million_tokens: 150, "
            "generation_dollars_per_million_tokens: 600}, {name: cheap, "
            "prompt_dollars_per_million_tokens: 0.01, generation_dollars_per_million_tokens: 0.02}]"
        ),
        # They move with daylight saving; Hawaii has none.
        "timezone: CET",
        "timezone: America/New_York",
        "timezone: Asia/Kolkata",
        "timezone: HST",
        "timezone: UTC",
    ],
)
def test_what_is_usual_passes_without_a_warning(tmp_path: Path, content: str) -> None:
    """A warning that is mostly wrong would hide those that are right."""
    assert warnings(tmp_path, content) == []


def test_a_suspicious_purchase_hides_what_is_compared_with_it(tmp_path: Path) -> None:
    """Support of 3,000 is no mistake beside 30 thousand dollars that were written as 30."""
    content = (
        f"hardware: [{{owned: {{purchase_dollars_per_gpu: 30, {LIVES}, support_dollars_per_year: 3000}}}}]"
    )

    (only,) = warnings(tmp_path, content)
    assert "purchase_dollars_per_gpu: 30 dollars" in only


def test_power_beside_a_lease_is_a_note(tmp_path: Path) -> None:
    """Some landlords bill it on its own."""
    path = tmp_path / "ice.yaml"
    path.write_text(
        "hardware: [{rented: {dollars_per_gpu_hour: 2.5, billing: always}, "
        f"energy: {{dollars_per_kilowatt_hour: 0.12}}}}]\n{SERVERS}"
    )

    assert f"note: {path}:1:75: hardware[0].energy: rent usually includes power" in check_config(path, NOW)[1]


@pytest.mark.parametrize(
    ("content", "gpus", "model", "message"),
    [
        # 55.04 / 8 = 6.88
        (
            "hardware: [{rented: {dollars_per_gpu_hour: 55.04}}]",
            8,
            "NVIDIA H100 80GB HBM3",
            f"dollars_per_gpu_hour: 55.04 dollars is above {LIST}: {of_host(8, '55.04')}",
        ),
        # 28 / 4 = 7
        (
            "hardware: [{rented: {dollars_per_gpu_hour: 28}}]",
            4,
            "NVIDIA H100 80GB HBM3",
            f"dollars_per_gpu_hour: 28 dollars is above {LIST}: {of_host(4, '28')}",
        ),
        ("hardware: [{rented: {dollars_per_gpu_hour: 55.04}}]", 1, "NVIDIA H100 80GB HBM3", ""),
        (
            "hardware: [{rented: {dollars_per_host_hour: 220, gpus_per_host: 8}}]",
            8,
            "NVIDIA H100 80GB HBM3",
            "",
        ),
        # The rule does not name the GPU, the host shows it: eight L4 may cost 30,000, eight H100 do not.
        (
            f"hardware: [{{owned: {{purchase_dollars_per_host: 30000, gpus_per_host: 8, {LIVES}}}}}]",
            8,
            "NVIDIA L4",
            "",
        ),
        (
            f"hardware: [{{owned: {{purchase_dollars_per_host: 30000, gpus_per_host: 8, {LIVES}}}}}]",
            8,
            "NVIDIA H100 80GB HBM3",
            (
                "purchase_dollars_per_host: 30000 dollars, 3750 per GPU, is below the prices of "
                "H100-SXM5-80GB (22000 to 35000): is it the price of one GPU? "
                "Write purchase_dollars_per_gpu: 30000 without gpus_per_host"
            ),
        ),
    ],
)
def test_the_doctor_knows_the_gpus_of_the_host(content: str, gpus: int, model: str, message: str) -> None:
    """Model and count are of the GPUs that a rule prices here."""
    actual = [
        text.partition(".owned." if ".owned." in text else ".rented.")[2]
        for text in doctor(content, gpus, model)
    ]

    assert actual == ([message] if message else [])


AMOUNTS = ("hardware", "overheads", "budgets", "compare")


def shipped() -> Iterator[tuple[str, str]]:
    """Every YAML text that ships: blocks of README and docs, files of deploy, demo and tests."""
    for page in pages():
        for example in blocks(page):
            if example.language == "yaml":
                yield example.where, example.text
    for pattern in ("tests/configs/good-*.yaml", "exporter/demo/*.yaml", "deploy/**/*.yaml"):
        for path in sorted(ROOT.glob(pattern)):
            if "templates" not in path.parts:
                text = Template(path.read_text(encoding="utf-8"))
                dates = {"lease": "", "trial": "", "begins": "2026-01-01", "repriced": "2026-06-01"}
                yield str(path.relative_to(ROOT)), text.safe_substitute(dates)


def configurations(text: str) -> Iterator[str]:
    """The configurations in a text: itself, or what Helm values and ConfigMaps hold, examples uncommented."""
    stack: list[Any] = list(yaml.safe_load_all(text))
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if any(isinstance(node.get(key), list) for key in AMOUNTS):
                yield yaml.safe_dump(node)
            stack += node.values()
        elif isinstance(node, list):
            stack += node
        elif isinstance(node, str) and any(f"{key}:" in node for key in AMOUNTS):
            yield "\n".join(EXAMPLE.sub("", line) for line in node.splitlines())


def test_no_shipped_example_is_suspicious() -> None:
    """An example is copied: README, docs, deploy and the files of the tests have no warning."""
    actual = [(name, config) for name, text in shipped() for config in configurations(text)]
    warned = [
        f"{name}: {finding.text}"
        for name, text in actual
        for finding in plausibility_findings(parse(text.encode(), Path(name)), NOW)
        if finding.severity == "warning"
    ]

    assert warned == []
    assert len({name for name, _ in actual}) >= 10


@pytest.mark.parametrize(
    ("model", "counts"),
    [("H100-SXM5-80GB", (2, 4, 8)), ("A10G", (4, 8)), ("no such GPU", ())],
)
def test_the_catalogue_has_the_gpu_counts_of_hosts(model: str, counts: tuple[int, ...]) -> None:
    """Those with several: of p5.48xlarge and a3-highgpu, of g5.12xlarge and g5.48xlarge."""
    assert CATALOGUE.gpus_per_host(model) == counts


DOLLARS = st.decimals("0", "9999", places=6)
RATIOS = st.decimals("0", "1", places=6)


@examples(60)
@given(
    amounts=st.fixed_dictionaries(
        dict.fromkeys(("rent", "purchase", "support", "insurance", "overhead", "token"), DOLLARS)
    ),
    ratios=st.fixed_dictionaries(dict.fromkeys(("residual", "capital", "discount"), RATIOS)),
    gpus=st.integers(1, 1024),
    period=st.sampled_from(["hour", "month", "year"]),
    per=st.sampled_from(["gpu", "host", "fleet"]),
    model=st.sampled_from(["", "*H100*", "*L4*", "NVIDIA T4", "*GB10*", "none"]),
)
def test_any_amounts_are_examined(
    amounts: dict[str, Decimal],
    ratios: dict[str, Decimal],
    gpus: int,
    period: str,
    per: str,
    model: str,
) -> None:
    """Whatever the file allows, there is a list of warnings, each with a key of the file."""
    match = f'match: {{gpu_model: "{model}"}}, ' if model else ""
    config = parse(
        f"""
hardware:
  - {{{match}rented: {{dollars_per_host_hour: {amounts["rent"]:f}, gpus_per_host: {gpus}}}}}
  - {{{match}rented: {{catalogue: aws, discount_ratio: {ratios["discount"]:f}}}}}
  - {match and "match: {gpu_model: '*H100*'}"}
    owned: {{purchase_dollars_per_host: {amounts["purchase"] * 1000:f}, gpus_per_host: {gpus},
      in_service: 2027-02-01, life_years: {1 + ratios["capital"]:f}, residual_ratio: {ratios["residual"]:f},
      cost_of_capital_ratio: {ratios["capital"]:f}, adders_ratio: {10 * ratios["residual"]:f},
      support_dollars_per_year: {amounts["support"]:f}, insurance_dollars_per_year: {amounts["insurance"]:f}}}
    energy: {{dollars_per_kilowatt_hour: {100 * ratios["residual"]:f},
      pue_ratio: {1 + 9 * ratios["capital"]:f}, host_factor_ratio: {10 - 9 * ratios["capital"]:f}}}
overheads: [{{name: storage, dollars_per_{period}: {amounts["overhead"]:f}, per: {per}}}]
budgets: [{{name: fleet, dollars_per_month: {1 + amounts["support"]:f}}}]
compare: [{{name: a, prompt_dollars_per_million_tokens: {amounts["token"]:f},
  generation_dollars_per_million_tokens: {amounts["rent"]:f}}}]
""".encode(),
        Path("ice.yaml"),
    )

    for finding in plausibility_findings(config, NOW):
        position, _, rest = finding.text.removeprefix("ice.yaml:").partition(": ")
        line, column = map(int, position.split(":"))
        key = rest.partition(": ")[0]
        assert config.positions[key] == Position(line, column)
