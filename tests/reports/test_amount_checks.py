"""Each mistake of unit: check-config and doctor name its key, reason, question and replacement."""

import re
from pathlib import Path

import pytest

from exporter.config import parse
from exporter.cost.policy import CostPolicy
from exporter.readings import Gpu, GpuReading
from exporter.reports.check_config import check_config
from exporter.reports.diagnosis import DoctorInput
from exporter.reports.doctor import diagnose
from exporter.tariff.tariff import Tariff

NOW = 1_795_564_800 * 10**9
"""2026-11-25 in UTC."""

SERVERS = 'servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]\n'
H100 = 'match: {gpu_model: "*H100*"}, '
LIVES = "in_service: 2026-02-01, life_years: 4"
OWNED = f"purchase_dollars_per_gpu: 30000, {LIVES}"
LIST = "the hourly list prices of H100-SXM5-80GB (3.49 to 11.06125)"
ALL_LIST = "the hourly list prices of all GPUs (0.42 to 18)"


def of_host(gpus: int, price: str) -> str:
    return (
        f"is it the price of a host of {gpus}? Write dollars_per_host_hour: {price} and gpus_per_host: {gpus}"
    )


RENT = [
    # 55.04 / 8 = 6.88, the list price of a p5.48xlarge; the type alone says GPU and count.
    (
        "hardware: [{match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 55.04}}]",
        "hardware[0].rented.dollars_per_gpu_hour",
        f"55.04 dollars is above {LIST}: {of_host(8, '55.04')}",
    ),
    # Only the model is known: H100s come by 8, 4, 2 and 1, and 28 / 8 = 3.5 is nearest to 3.875.
    (
        f"hardware: [{{{H100}rented: {{dollars_per_gpu_hour: 28}}}}]",
        "hardware[0].rented.dollars_per_gpu_hour",
        f"28 dollars is above {LIST}: {of_host(8, '28')}",
    ),
    # Nothing is known: 55.04 / 8 = 6.88 is the price of a GPU, 55.04 of none.
    (
        "hardware: [{rented: {dollars_per_gpu_hour: 55.04}}]",
        "hardware[0].rented.dollars_per_gpu_hour",
        f"55.04 dollars is above {ALL_LIST}: {of_host(8, '55.04')}",
    ),
    # L4: 0.70683 to 0.8048. 13.3504 / 8 = 1.6688 in a g6.48xlarge, whose processors are in it.
    (
        "hardware: [{match: {instance_type: g6.48xlarge}, rented: {dollars_per_gpu_hour: 13.3504}}]",
        "hardware[0].rented.dollars_per_gpu_hour",
        f"13.3504 dollars is above the hourly list prices of L4 (0.70683 to 0.8048): {of_host(8, '13.3504')}",
    ),
    # A dated price is examined like any other.
    (
        (
            "hardware: [{match: {instance_type: p5.48xlarge}, rented: {prices: "
            "[{from: 2026-01-01, dollars_per_gpu_hour: 41.28}]}}]"
        ),
        "hardware[0].rented.prices[0].dollars_per_gpu_hour",
        f"41.28 dollars is above {LIST}: {of_host(8, '41.28')}",
    ),
    # 6.88 / 8 = 0.86 is less than half of 3.49, and 6.88 is a list price of one.
    (
        f"hardware: [{{{H100}rented: {{dollars_per_host_hour: 6.88, gpus_per_host: 8}}}}]",
        "hardware[0].rented.dollars_per_host_hour",
        (
            f"6.88 dollars, 0.86 per GPU, is below {LIST}: is it the price of one GPU? "
            "Write dollars_per_gpu_hour: 6.88 without gpus_per_host"
        ),
    ),
    # 1825 = 730 x 2.50
    (
        "hardware: [{match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 1825}}]",
        "hardware[0].rented.dollars_per_gpu_hour",
        f"1825 dollars is above {LIST}: is it the price of a month? Write dollars_per_gpu_hour: 2.5",
    ),
    # Which A100 is not known, and whatever it is, 1825 / 730 = 2.50 is a price and 1825 is none.
    (
        'hardware: [{match: {gpu_model: "*A100*"}, rented: {dollars_per_gpu_hour: 1825}}]',
        "hardware[0].rented.dollars_per_gpu_hour",
        f"1825 dollars is above {ALL_LIST}: is it the price of a month? Write dollars_per_gpu_hour: 2.5",
    ),
    # 5000 / 2 = 2500 a GPU; 5000 / 730 = 6.84932, and 3.42 a GPU.
    (
        f"hardware: [{{{H100}rented: {{dollars_per_host_hour: 5000, gpus_per_host: 2}}}}]",
        "hardware[0].rented.dollars_per_host_hour",
        (
            f"5000 dollars, 2500 per GPU, is above {LIST}: is it the price of a month? "
            "Write dollars_per_host_hour: 6.84932"
        ),
    ),
    # 2000 / 8 = 250; over 730 hours that is 0.34, less than a tenth of 3.49.
    (
        f"hardware: [{{{H100}rented: {{dollars_per_host_hour: 2000, gpus_per_host: 8}}}}]",
        "hardware[0].rented.dollars_per_host_hour",
        f"2000 dollars, 250 per GPU, is above {LIST}: check its unit",
    ),
    # 1 - 0.9 = 0.1
    (
        "hardware: [{rented: {catalogue: aws, discount_ratio: 0.9}}]",
        "hardware[0].rented.discount_ratio",
        (
            "0.9 is above the discounts of commitments, as a part of the list price (0 to 0.65): "
            "is it the part that you pay? Write discount_ratio: 0.1"
        ),
    ),
    (
        "hardware: [{rented: {catalogue: aws, discount_ratio: 0.003}}]",
        "hardware[0].rented.discount_ratio",
        (
            "0.003 is below the discounts of commitments, as a part of the list price (0 to 0.65): "
            "is it 0.3 as a part, divided by 100 twice? Write discount_ratio: 0.3"
        ),
    ),
    # Rent includes power.
    (
        "hardware: [{rented: {dollars_per_gpu_hour: 2.5}, energy: {dollars_per_kilowatt_hour: 0.12}}]",
        "hardware[0].energy",
        (
            "rent usually includes power, which is then charged twice: "
            "does the landlord bill power on its own? If not, remove energy"
        ),
    ),
    (
        (
            "hardware: [{rented: {prices: [{from: 2027-01-01, dollars_per_gpu_hour: 2.5}, "
            "{from: 2027-06-01, dollars_per_gpu_hour: 2}]}}]"
        ),
        "hardware[0].rented.prices[0].from",
        "2027-01-01 is in the future, and nothing is charged until then",
    ),
    # The 28th of November 2026 is to come: the last one was in 2025.
    (
        "hardware: [{rented: {prices: [{from: 2027-11-28T09:00, dollars_per_gpu_hour: 2.5}]}}]",
        "hardware[0].rented.prices[0].from",
        "2027-11-28T09:00 is in the future, and nothing is charged until then",
    ),
]

PURCHASES = [
    (
        f"hardware: [{{owned: {{purchase_dollars_per_gpu: 30, {LIVES}}}}}]",
        "hardware[0].owned.purchase_dollars_per_gpu",
        (
            "30 dollars is below the prices of all GPUs (400 to 81250): is it 30 thousand? "
            "Write purchase_dollars_per_gpu: 30000"
        ),
    ),
    (
        f"hardware: [{{{H100}owned: {{purchase_dollars_per_gpu: 30, {LIVES}}}}}]",
        "hardware[0].owned.purchase_dollars_per_gpu",
        (
            "30 dollars is below the prices of H100-SXM5-80GB (22000 to 35000): is it 30 thousand? "
            "Write purchase_dollars_per_gpu: 30000"
        ),
    ),
    # 280 thousand / 8 = 35,000
    (
        f"hardware: [{{owned: {{purchase_dollars_per_host: 280, gpus_per_host: 8, {LIVES}}}}}]",
        "hardware[0].owned.purchase_dollars_per_host",
        (
            "280 dollars, 35 per GPU, is below the prices of data center GPUs (10000 to 81250): "
            "is it 280 thousand? Write purchase_dollars_per_host: 280000"
        ),
    ),
    # 30,000 / 8 = 3,750: the price of an L4, unless 30,000 is that of an H100.
    (
        f"hardware: [{{owned: {{purchase_dollars_per_host: 30000, gpus_per_host: 8, {LIVES}}}}}]",
        "hardware[0].owned.purchase_dollars_per_host",
        (
            "30000 dollars, 3750 per GPU, is below the prices of data center GPUs (10000 to 81250): "
            "is it the price of one GPU? Write purchase_dollars_per_gpu: 30000 without gpus_per_host, "
            "or name the GPU with match: {gpu_model: ...}"
        ),
    ),
    (
        f"hardware: [{{{H100}owned: {{purchase_dollars_per_host: 30000, gpus_per_host: 8, {LIVES}}}}}]",
        "hardware[0].owned.purchase_dollars_per_host",
        (
            "30000 dollars, 3750 per GPU, is below the prices of H100-SXM5-80GB (22000 to 35000): "
            "is it the price of one GPU? Write purchase_dollars_per_gpu: 30000 without gpus_per_host"
        ),
    ),
    # 280,000 / 8 = 35,000
    (
        f"hardware: [{{owned: {{purchase_dollars_per_gpu: 280000, {LIVES}}}}}]",
        "hardware[0].owned.purchase_dollars_per_gpu",
        (
            "280000 dollars is above the prices of all GPUs (400 to 81250): is it the price of a host of 8? "
            "Write purchase_dollars_per_host: 280000 and gpus_per_host: 8"
        ),
    ),
    # No H200 is in the catalogue with a price: its figures are cited.
    (
        (
            'hardware: [{match: {gpu_model: "*H200*"}, '
            f"owned: {{purchase_dollars_per_gpu: 280000, {LIVES}}}}}]"
        ),
        "hardware[0].owned.purchase_dollars_per_gpu",
        (
            "280000 dollars is above the prices of H200-SXM-141GB (28000 to 35000): is it the price of a "
            "host of 8? Write purchase_dollars_per_host: 280000 and gpus_per_host: 8"
        ),
    ),
    (
        "hardware: [{owned: {purchase_dollars_per_gpu: 30000, in_service: 2026-02-01, life_years: 48}}]",
        "hardware[0].owned.life_years",
        "48 years is above the usual life of GPU servers (3 to 6): is it 48 months? Write life_years: 4",
    ),
    (
        "hardware: [{owned: {purchase_dollars_per_gpu: 30000, in_service: 2026-02-01, life_years: 0.4}}]",
        "hardware[0].owned.life_years",
        "0.4 years is below the usual life of GPU servers (3 to 6): check its unit",
    ),
    (
        "hardware: [{owned: {purchase_dollars_per_gpu: 30000, in_service: 2027-02-01, life_years: 4}}]",
        "hardware[0].owned.in_service",
        "2027-02-01 is in the future, and nothing is charged until then",
    ),
    # A leap day of the future has none in 2026.
    (
        "hardware: [{owned: {purchase_dollars_per_gpu: 30000, in_service: 2028-02-29, life_years: 4}}]",
        "hardware[0].owned.in_service",
        "2028-02-29 is in the future, and nothing is charged until then",
    ),
    # 1 - 0.9 = 0.1
    (
        f"hardware: [{{owned: {{{OWNED}, residual_ratio: 0.9}}}}]",
        "hardware[0].owned.residual_ratio",
        (
            "0.9 is above the usual residual value, as a part of the purchase (0 to 0.5): "
            "is it the part that is written off? Write residual_ratio: 0.1"
        ),
    ),
    (
        f"hardware: [{{owned: {{{OWNED}, adders_ratio: 1.15}}}}]",
        "hardware[0].owned.adders_ratio",
        (
            "1.15 is above the usual cost of network and racks, as a part of the purchase (0 to 0.5): "
            "is the purchase itself in it? Write adders_ratio: 0.15"
        ),
    ),
    (
        f"hardware: [{{owned: {{{OWNED}, adders_ratio: 10}}}}]",
        "hardware[0].owned.adders_ratio",
        (
            "10 is above the usual cost of network and racks, as a part of the purchase (0 to 0.5): "
            "is it 10 %? Write adders_ratio: 0.1"
        ),
    ),
    (
        f"hardware: [{{owned: {{{OWNED}, cost_of_capital_ratio: 0.8}}}}]",
        "hardware[0].owned.cost_of_capital_ratio",
        (
            "0.8 is above the usual cost of capital per year (0.03 to 0.15): is it 8 %? "
            "Write cost_of_capital_ratio: 0.08"
        ),
    ),
    (
        f"hardware: [{{owned: {{{OWNED}, cost_of_capital_ratio: 0.0008}}}}]",
        "hardware[0].owned.cost_of_capital_ratio",
        (
            "0.0008 is below the usual cost of capital per year (0.03 to 0.15): is it 8 %? "
            "Write cost_of_capital_ratio: 0.08"
        ),
    ),
    # 3 to 15 % of 280,000 are 8,400 and 42,000. 8 x 2,750 = 22,000.
    (
        (
            f"hardware: [{{owned: {{purchase_dollars_per_host: 280000, gpus_per_host: 8, {LIVES}, "
            "support_dollars_per_year: 2750}}]"
        ),
        "hardware[0].owned.support_dollars_per_year",
        (
            "2750 dollars is below the usual support for a purchase of 280000 (8400 to 42000): "
            "is it for one GPU? Write support_dollars_per_year: 22000"
        ),
    ),
    # 12 x 1,800 = 21,600; 8 x 1,800 = 14,400 is farther from 8 %, which is 22,400.
    (
        (
            f"hardware: [{{owned: {{purchase_dollars_per_host: 280000, gpus_per_host: 8, {LIVES}, "
            "support_dollars_per_year: 1800}}]"
        ),
        "hardware[0].owned.support_dollars_per_year",
        (
            "1800 dollars is below the usual support for a purchase of 280000 (8400 to 42000): "
            "is it the amount of a month? Write support_dollars_per_year: 21600"
        ),
    ),
    # 3 to 15 % of 30,000 are 900 and 4,500. 22,000 / 8 = 2,750.
    (
        f"hardware: [{{owned: {{{OWNED}, support_dollars_per_year: 22000}}}}]",
        "hardware[0].owned.support_dollars_per_year",
        (
            "22000 dollars is above the usual support for a purchase of 30000 (900 to 4500): "
            "is it for a host of 8? Write support_dollars_per_year: 2750"
        ),
    ),
    # 0.2 to 3 % of 30,000 are 60 and 900. 5,000 / 8 = 625, and 5,000 / 4 = 1,250 is more than 900.
    (
        f"hardware: [{{owned: {{{OWNED}, insurance_dollars_per_year: 5000}}}}]",
        "hardware[0].owned.insurance_dollars_per_year",
        (
            "5000 dollars is above the usual insurance for a purchase of 30000 (60 to 900): "
            "is it for a host of 8? Write insurance_dollars_per_year: 625"
        ),
    ),
    # 100,000 / 4 years = 25,000
    (
        (
            f"hardware: [{{owned: {{purchase_dollars_per_host: 280000, gpus_per_host: 8, {LIVES}, "
            "support_dollars_per_year: 100000}}]"
        ),
        "hardware[0].owned.support_dollars_per_year",
        (
            "100000 dollars is above the usual support for a purchase of 280000 (8400 to 42000): "
            "is it for its life of 4 years? Write support_dollars_per_year: 25000"
        ),
    ),
]


def powered(energy: str) -> str:
    return f"hardware: [{{owned: {{{OWNED}}}, energy: {{{energy}}}}}]"


PER_KILOWATT_HOUR = "dollars_per_kilowatt_hour"
USUAL_ENERGY = "the usual price of a kilowatt-hour (0.03 to 0.5)"

OTHERS = [
    (
        powered(f"{PER_KILOWATT_HOUR}: 12"),
        f"hardware[0].energy.{PER_KILOWATT_HOUR}",
        f"12 dollars is above {USUAL_ENERGY}: is it 12 cents? Write {PER_KILOWATT_HOUR}: 0.12",
    ),
    # 0.80 a kilowatt-hour is dear, 80 a megawatt-hour is what a large customer pays.
    (
        powered(f"{PER_KILOWATT_HOUR}: 80"),
        f"hardware[0].energy.{PER_KILOWATT_HOUR}",
        (
            f"80 dollars is above {USUAL_ENERGY}: is it the price of a megawatt-hour? "
            f"Write {PER_KILOWATT_HOUR}: 0.08"
        ),
    ),
    (
        powered(f"{PER_KILOWATT_HOUR}: 0.0012"),
        f"hardware[0].energy.{PER_KILOWATT_HOUR}",
        (
            f"0.0012 dollars is below {USUAL_ENERGY}: is it 0.12 dollars, divided by 100 twice? "
            f"Write {PER_KILOWATT_HOUR}: 0.12"
        ),
    ),
    (
        powered(f"{PER_KILOWATT_HOUR}: 0.12, pue_ratio: 10"),
        "hardware[0].energy.pue_ratio",
        (
            "10 is above the usual power usage effectiveness (1 to 1.6): is it an overhead of 10 %? "
            "Write pue_ratio: 1.1"
        ),
    ),
    (
        powered(f"{PER_KILOWATT_HOUR}: 0.12, host_factor_ratio: 8"),
        "hardware[0].energy.host_factor_ratio",
        (
            "8 is above the usual power of a host over that of its GPUs (1 to 2.5): "
            "is it an overhead of 8 %? Write host_factor_ratio: 1.08"
        ),
    ),
    # 500 / 730 = 0.68
    (
        "overheads: [{name: storage, dollars_per_hour: 500, per: gpu}]",
        "overheads[0].dollars_per_hour",
        (
            "500 dollars is above the usual overhead of a GPU per hour (0 to 1.5): "
            "is it the amount of a month? Write dollars_per_month: 500"
        ),
    ),
    # 9,000 / 8766 = 1.03
    (
        "overheads: [{name: storage, dollars_per_month: 9000, per: gpu}]",
        "overheads[0].dollars_per_month",
        (
            "9000 dollars is above the usual overhead of a GPU per month (0 to 1095): "
            "is it the amount of a year? Write dollars_per_year: 9000"
        ),
    ),
    # 100,000 / 8766 / 8 = 1.43
    (
        "overheads: [{name: storage, dollars_per_year: 100000, per: gpu}]",
        "overheads[0].dollars_per_year",
        (
            "100000 dollars is above the usual overhead of a GPU per year (0 to 13149): "
            "is it for the whole host? Write per: host"
        ),
    ),
    (
        "overheads: [{name: network, dollars_per_hour: 800, per: host}]",
        "overheads[0].dollars_per_hour",
        (
            "800 dollars is above the usual overhead of a host per hour (0 to 12): "
            "is it the amount of a month? Write dollars_per_month: 800"
        ),
    ),
    # 45,000 is refused: it is above 10,000 an hour.
    (
        "overheads: [{name: staff, dollars_per_hour: 9000, per: fleet}]",
        "overheads[0].dollars_per_hour",
        (
            "9000 dollars is above the usual overhead of a fleet per hour (0 to 500): "
            "is it the amount of a month? Write dollars_per_month: 9000"
        ),
    ),
    (
        "budgets: [{name: fleet, dollars_per_month: 27}]",
        "budgets[0].dollars_per_month",
        (
            "27 dollars is below the usual budget of a month (1000 to 10000000): is it 27 thousand? "
            "Write dollars_per_month: 27000"
        ),
    ),
    (
        "budgets: [{name: fleet, dollars_per_month: 270000000}]",
        "budgets[0].dollars_per_month",
        (
            "270000000 dollars is above the usual budget of a month (1000 to 10000000): is it in cents? "
            "Write dollars_per_month: 2700000"
        ),
    ),
    (
        (
            "compare: [{name: turbo, prompt_dollars_per_million_tokens: 0.00104, "
            "generation_dollars_per_million_tokens: 1.04}]"
        ),
        "compare[0].prompt_dollars_per_million_tokens",
        (
            "0.00104 dollars is below the list prices of hosted models (0.01 to 5): "
            "is it the price of a thousand tokens? Write prompt_dollars_per_million_tokens: 1.04"
        ),
    ),
    (
        (
            "compare: [{name: turbo, prompt_dollars_per_million_tokens: 1, "
            "cached_prompt_dollars_per_million_tokens: 0.0001, generation_dollars_per_million_tokens: 1}]"
        ),
        "compare[0].cached_prompt_dollars_per_million_tokens",
        (
            "0.0001 dollars is below the list prices of hosted models (0.003 to 0.52): "
            "is it the price of a thousand tokens? Write cached_prompt_dollars_per_million_tokens: 0.1"
        ),
    ),
    (
        (
            "compare: [{name: turbo, prompt_dollars_per_million_tokens: 1, "
            "generation_dollars_per_million_tokens: 0.000002}]"
        ),
        "compare[0].generation_dollars_per_million_tokens",
        (
            "0.000002 dollars is below the list prices of hosted models (0.02 to 22.5): "
            "is it the price of one token? Write generation_dollars_per_million_tokens: 2"
        ),
    ),
    (
        (
            "compare: [{name: turbo, prompt_dollars_per_million_tokens: 15, "
            "generation_dollars_per_million_tokens: 3}]"
        ),
        "compare[0].generation_dollars_per_million_tokens",
        "3 dollars is below the price of prompts (15)",
    ),
    (
        "timezone: EST",
        "timezone",
        ("EST does not move with daylight saving: write a region like Europe/Berlin or America/New_York"),
    ),
    (
        "timezone: MST",
        "timezone",
        ("MST does not move with daylight saving: write a region like Europe/Berlin or America/New_York"),
    ),
    (
        "timezone: Etc/GMT+5",
        "timezone",
        (
            "Etc/GMT+5 does not move with daylight saving: write a region like Europe/Berlin or "
            "America/New_York"
        ),
    ),
    (
        "timezone: Etc/GMT-5",
        "timezone",
        (
            "Etc/GMT-5 does not move with daylight saving: write a region like Europe/Berlin or "
            "America/New_York"
        ),
    ),
]


def warnings(tmp_path: Path, content: str) -> list[str]:
    """The warnings of check-config on amounts, which name a position; the status is 0."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"{content}\n{SERVERS}")
    status, text = check_config(path, NOW)

    assert status == 0
    lines = (line for line in text.splitlines() if line.startswith(f"warning: {path}:"))
    return [line for line in lines if ".match." not in line]


def position(content: str, key: str) -> str:
    """Line and column of the value of a key, or of the mapping, as an editor counts them."""
    name = key.rpartition(".")[2]
    if key.endswith("].from"):
        return f"1:{content.index('from: ') + 7}"
    return f"1:{content.index(f'{name}: ') + len(name) + 3}"


@pytest.mark.parametrize(("content", "key", "message"), [*RENT, *PURCHASES, *OTHERS])
def test_check_config_warns_of_a_mistake_of_unit(
    tmp_path: Path, content: str, key: str, message: str
) -> None:
    """The file is taken: one warning with position, key, reason, question and replacement, and status 0."""
    at = f"{tmp_path / 'ice.yaml'}:{position(content, key)}"

    assert warnings(tmp_path, content) == [f"warning: {at}: {key}: {message}"]


def doctor(content: str, gpus: int, model: str = "NVIDIA H100 80GB HBM3") -> list[str]:
    host = tuple(GpuReading(Gpu(f"GPU-{i}", model), i) for i in range(gpus))
    config = parse(f"{content}\n{SERVERS}".encode(), Path("ice.yaml"))
    policy = CostPolicy(Tariff("h1", config.hardware))
    actual = diagnose(config, policy, DoctorInput(host, "", (), "", ""), NOW).findings
    return [finding.text for finding in actual if finding.text.startswith("ice.yaml:")]


@pytest.mark.parametrize(("content", "key", "message"), OTHERS)
def test_the_doctor_warns_of_the_same(content: str, key: str, message: str) -> None:
    """The amounts of the file are examined wherever it is read."""
    assert doctor(content, 8) == [f"ice.yaml:{position(content, key)}: {key}: {message}"]


REPLACED = [
    case for case in (*RENT, *PURCHASES, *OTHERS) if f"Write {case[1].rpartition('.')[2]}: " in case[2]
]


@pytest.mark.parametrize(("content", "key", "message"), REPLACED)
def test_the_line_to_write_has_no_warning(tmp_path: Path, content: str, key: str, message: str) -> None:
    """What is proposed loads, and is plausible itself."""
    name = key.rpartition(".")[2]
    value = re.escape(content[int(position(content, key)[2:]) - 1 :].partition(",")[0].rstrip("}]"))
    line = re.match(r"[^ ]+: [^ ]+", message.partition("Write ")[2])
    assert line is not None

    assert warnings(tmp_path, re.sub(rf"{name}: {value}", line[0], content, count=1)) == []
