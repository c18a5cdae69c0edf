"""Scenario files: each bad one is refused with the words that it begins with."""

from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from exporter.config import ConfigError, document
from exporter.config.document import FILE_BYTES
from exporter.finance.options import scenario as scenario_file
from exporter.finance.options.option import Hosted, Hybrid, OwnedHosts, RentedHosts

SCENARIOS = Path(__file__).parent / "scenarios"
BAD = sorted(SCENARIOS.glob("bad-*.yaml"))


def expected_error(path: Path) -> str:
    head = takewhile(
        lambda line: line.startswith(f"# {path.name}"), path.read_text(encoding="utf-8").split("\n")
    )
    return "\n".join(line.removeprefix("# ") for line in head)


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        scenario_file.scenario(path)
    return str(caught.value)


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_every_problem_told(
    path: Path, loader: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each problem: file, line, column, path, and what to do."""
    monkeypatch.setattr(document, "_LOADER", loader)
    with pytest.raises(ConfigError) as caught:
        scenario_file.parsed(path.read_bytes(), path.name)

    assert expected_error(path) == str(caught.value)


def test_there_are_files() -> None:
    """Without files the test above would pass by saying nothing."""
    assert len(BAD) > 45


def test_what_is_no_file(tmp_path: Path) -> None:
    """A folder, nothing at all, a file of another kind, and one that is too large."""
    assert refused(tmp_path) == f"{tmp_path}: cannot be read: it is a directory; name the file in it"
    missing = tmp_path / "none.yaml"
    assert refused(missing) == f"{missing}: cannot be read: No such file or directory"
    assert refused(Path("/dev/null")) == "/dev/null: cannot be read: it is no regular file"
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (FILE_BYTES + 1))
    assert refused(large) == f"{large}: is larger than 1048576 bytes; no configuration is"
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff")
    assert refused(binary) == f"{binary}:1:7: is not UTF-8; save the file as UTF-8"


def test_every_key_of_a_scenario_arrives(tmp_path: Path) -> None:
    """Amounts per GPU are multiplied by the GPUs of a host; a cached token costs a prompt token's price."""
    path = tmp_path / "all.yaml"
    path.write_text(
        """
name: all
about: everything
currency: USD
horizon_years: 2
hours_per_month: 730.5
load: {prompt_tokens_per_day: 7, cached_prompt_tokens_per_day: 8, generation_tokens_per_day: 9,
       growth_ratio_per_year: 0.25, source: s, as_of: 2026-11-24}
options:
  - name: own
    owned: {purchase_dollars_per_gpu: 100, gpus_per_host: 8, hosts: 3, life_years: 2.5, residual_ratio: 0.1,
            adders_ratio: 0.2, support_dollars_per_year: 10, insurance_dollars_per_year: 1, refresh: false,
            cost_of_capital_ratio: 0.08, tokens_per_second_per_gpu: 50, utilization_ratio: 0.6}
    energy: {dollars_per_kilowatt_hour: 0.12, kilowatts_per_host: 10, idle_kilowatts_per_host: 3,
             pue_ratio: 1.4, price_change_ratio_per_year: 0.03, source: e, as_of: 2026-11-23}
    prompt_tokens_ratio: 2
    generation_tokens_ratio: 0.5
    price_change_ratio_per_year: -0.1
    source: o
    as_of: 2026-11-22
  - {name: rent, rented: {dollars_per_gpu_hour: 2.5, gpus_per_host: 4, hours_ratio: 0.5,
                          tokens_per_second_per_host: 90, utilization_ratio: 1}}
  - {name: api, hosted: {prompt_dollars_per_million_tokens: 1, generation_dollars_per_million_tokens: 3}}
  - {name: cached, hosted: {prompt_dollars_per_million_tokens: 1, cached_prompt_dollars_per_million_tokens: 2,
                            generation_dollars_per_million_tokens: 3}}
  - {name: both, hybrid: {base: rent, rest: api, base_tokens_per_day: 5}}
items:
  - {component: data, what: w, dollars: 5, month: 3, every_months: 4, count: 2, options: [own, measured]}
  - {component: storage, dollars_per_month: 6, per: gpu, price_change_ratio_per_year: 0.5, source: i}
  - {component: staff, dollars_per_year: 7}
"""
    )
    given = scenario_file.scenario(path)
    assert (given.name, given.description, given.horizon_years, float(given.hours_per_month)) == (
        "all",
        "everything",
        2,
        730.5,
    )
    assert given.load is not None
    assert {kind: int(count) for kind, count in given.load.tokens.items()} == {
        "prompt": 7,
        "cached_prompt": 8,
        "generation": 9,
    }
    assert float(given.load.growth_ratio_per_year) == 0.25
    own, rent, api, cached, both = given.options
    assert isinstance(own.serving, OwnedHosts)
    ownership = own.serving.ownership
    assert [
        float(value) for value in (ownership.purchase_dollars, ownership.life_years, ownership.residual_ratio)
    ] == [
        800,
        2.5,
        0.1,
    ]
    assert [float(value) for value in (ownership.adders_ratio, ownership.cost_of_capital_ratio or 0)] == [
        0.2,
        0.08,
    ]
    assert (ownership.support_dollars_per_year, ownership.insurance_dollars_per_year) == (80, 8)
    assert (own.serving.refresh, own.serving.life_months) == (False, 30)
    assert own.fleet is not None
    assert (own.fleet.hosts, own.fleet.gpus, own.fleet.tokens_per_second) == (
        3,
        8,
        400,
    )
    assert float(own.fleet.utilization_ratio) == 0.6
    assert own.power is not None
    assert [float(v) for v in (own.power.kilowatts_per_host, own.power.idle_kilowatts)] == [10, 3]
    assert float(own.power.price_change_ratio_per_year) == 0.03
    assert (own.power.dollars_per_kilowatt_hour, own.power.pue_ratio) == (Decimal("0.12"), Decimal("1.4"))
    assert [float(v) for v in (own.prompt_ratio, own.generation_ratio, own.change_ratio_per_year)] == [
        2,
        0.5,
        -0.1,
    ]
    assert (own.source, own.as_of, own.power.source) == ("o", "2026-11-22", "e")
    assert isinstance(rent.serving, RentedHosts)
    assert rent.fleet is not None
    assert (rent.serving.dollars_per_host_hour, rent.fleet.tokens_per_second) == (10, 90)
    assert float(rent.fleet.hours_ratio) == 0.5
    assert isinstance(api.serving, Hosted)
    assert api.serving.dollars_per_million == {"prompt": 1, "cached_prompt": 1, "generation": 3}
    assert cached.serving == Hosted(
        {"prompt": Fraction(1), "cached_prompt": Fraction(2), "generation": Fraction(3)}
    )
    assert both.serving == Hybrid("rent", "api", None, Fraction(5))
    data, storage, staff = given.items
    assert (data.dollars, data.month, data.every_months, data.count) == (5, 3, 4, 2)
    assert (data.what, data.options) == ("w", ("own", "measured"))
    assert (storage.per, storage.dollars_per_month, storage.source) == ("gpu", 6, "i")
    assert float(storage.price_change_ratio_per_year) == 0.5
    assert (staff.dollars_per_year, staff.options, staff.count) == (7, None, 1)


def test_a_hosted_option_can_take_its_load_from_the_ledger() -> None:
    """With `measured` the file needs none."""
    path = SCENARIOS / "bad-hosted-without-load.yaml"
    assert scenario_file.scenario(path, measured=True).load is None
