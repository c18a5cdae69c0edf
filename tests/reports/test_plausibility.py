"""A host's price in a GPU's key, and a month's in an hour's: doubted, with what was probably meant."""

from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config import parse
from exporter.cost.policy import Terms
from exporter.readings import Gpu, GpuReading
from exporter.reports.check_config import check_config
from exporter.reports.diagnosis import Asked
from exporter.reports.doctor import diagnose
from exporter.reports.plausibility import doubt
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.tariff import Tariff

NOW = 1_795_564_800 * 10**9
SERVERS = 'servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]\n'
BAND = "the list prices that are known (3.49 to 11.06125 dollars for H100-SXM5-80GB)"


def host_of(gpus: int, price: str, part: str) -> str:
    return (
        f"is it the price of a host of {gpus}? Then write dollars_per_host_hour: {price} and "
        f"gpus_per_host: {gpus}, {part} dollars per GPU-hour"
    )


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        # 55.04 / 8 = 6.88, the list price of a p5.48xlarge; the type alone tells GPU and count.
        (
            "{match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 55.04}}",
            [f"55.04 dollars per GPU-hour is more than twice {BAND}: {host_of(8, '55.04', '6.8800')}"],
        ),
        # Only the model is known: H100s come by 8, 4, 2 and 1, and 28 / 8 = 3.5 is nearest to 3.875.
        (
            '{match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 28}}',
            [f"28 dollars per GPU-hour is more than twice {BAND}: {host_of(8, '28', '3.5000')}"],
        ),
        # L4: 0.70683 to 0.8048. 13.3504 / 8 = 1.6688 in a g6.48xlarge, whose processors are in it.
        (
            "{match: {instance_type: g6.48xlarge}, rented: {dollars_per_gpu_hour: 13.3504}}",
            [
                (
                    "13.3504 dollars per GPU-hour is more than ten times the list prices that are known "
                    f"(0.70683 to 0.8048 dollars for L4): {host_of(8, '13.3504', '1.6688')}"
                )
            ],
        ),
        # A dated price is doubted like any other.
        (
            (
                "{match: {instance_type: p5.48xlarge}, rented: {prices: "
                "[{from: 2026-01-01, dollars_per_gpu_hour: 41.28}]}}"
            ),
            [
                (
                    "41.28 dollars per GPU-hour from 2026-01-01 is more than twice "
                    f"{BAND}: {host_of(8, '41.28', '5.1600')}"
                )
            ],
        ),
        # A host's part is one already: 220 / 8 = 27.5 is dear, and the key is right.
        (
            "{match: {instance_type: p5.48xlarge}, rented: {dollars_per_host_hour: 220, gpus_per_host: 8}}",
            [],
        ),
        ("{match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 22}}", []),
        # A p5.4xlarge has one GPU: what it costs is what its GPU costs.
        ("{match: {instance_type: p5.4xlarge}, rented: {dollars_per_gpu_hour: 55.04}}", []),
        # A pattern of types may be any host.
        ('{match: {instance_type: "p5*"}, rented: {dollars_per_gpu_hour: 55.04}}', []),
        # 1825 = 730 x 2.50
        (
            "{match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 1825}}",
            [
                (
                    f"1825 dollars per GPU-hour is more than ten times {BAND}: "
                    "is it the price of a month? Divide by 730: 2.5000 dollars per hour"
                )
            ],
        ),
        # 5000 / 8 = 625 a GPU; over 730 hours 0.8562.
        (
            "{match: {instance_type: p5.48xlarge}, rented: {dollars_per_host_hour: 5000, gpus_per_host: 8}}",
            [
                (
                    f"625 dollars per GPU-hour is more than ten times {BAND}: "
                    "is it the price of a month? Divide by 730: 0.8562 dollars per hour"
                )
            ],
        ),
    ],
)
def test_check_config_doubts_a_price_in_the_wrong_key(tmp_path: Path, rule: str, told: list[str]) -> None:
    """It is taken all the same: a warning, status 0."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"hardware: [{rule}]\n{SERVERS}")
    status, text = check_config(path, NOW)

    assert status == 0
    assert [line for line in text.splitlines() if line.startswith("warning: ")] == [
        f"warning: hardware[0].rented: {line}" for line in told
    ]


@pytest.mark.parametrize(
    ("gpus", "rented", "told"),
    [
        # 55.04 / 8 = 6.88
        (
            8,
            "dollars_per_gpu_hour: 55.04",
            [
                (
                    "warning: 8 x NVIDIA H100 80GB HBM3: 55.04 dollars per GPU-hour by hardware[0].rented is "
                    f"more than twice {BAND}: {host_of(8, '55.04', '6.8800')}."
                )
            ],
        ),
        (1, "dollars_per_gpu_hour: 55.04", []),
        (8, "dollars_per_host_hour: 220, gpus_per_host: 8", []),
    ],
)
def test_the_doctor_knows_how_many_gpus_the_host_has(gpus: int, rented: str, told: list[str]) -> None:
    """A price that only one GPU carries is no host's price."""
    host = tuple(GpuReading(Gpu(f"GPU-{i}", "NVIDIA H100 80GB HBM3"), i) for i in range(gpus))
    config = parse(f"hardware: [{{rented: {{{rented}}}}}]\n{SERVERS}".encode(), Path("ice.yaml"))
    terms = Terms(Tariff("h1", config.hardware))
    diagnosis = diagnose(config, terms, Asked(host, "", (), "", ""), NOW)

    found = [f"{finding.severity}: {finding.text}" for finding in diagnosis.findings]
    assert [line for line in found if "dollars per GPU-hour" in line] == told


@pytest.mark.parametrize(
    ("model", "counts"),
    [("H100-SXM5-80GB", (2, 4, 8)), ("A10G", (4, 8)), ("no such GPU", ())],
)
def test_the_catalogue_tells_how_many_gpus_hosts_of_a_model_have(model: str, counts: tuple[int, ...]) -> None:
    """Those with several: of p5.48xlarge and a3-highgpu, of g5.12xlarge and g5.48xlarge."""
    assert CATALOGUE.gpus_per_host(model) == counts


def test_without_hosts_only_the_magnitude_counts() -> None:
    """Five times the market is dear; without the word of a host it is nobody's mistake."""
    assert doubt(CATALOGUE, "H100", Decimal("55.04")) is None
