"""What the keys of good files come to, asserted by hand."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.advice.saving import IgnoredSaving
from exporter.config import Budget, Config, ConfiguredServer, parse
from exporter.cost.policy import CardinalityLimits, OwnershipRule, SplitRule, Weights
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Overhead, Owned, Rented, RentPrice
from tests.kit.units import SECOND

Good = Callable[[str], Config]


def test_the_plain_values(good: Good) -> None:
    """Interval in nanoseconds, the zone, hours, limits and the ledger's path."""
    config = good("good-design.yaml")
    assert config.interval == 10 * SECOND
    assert config.timezone == ZoneInfo("UTC")
    assert config.hours_per_month == Decimal(730)
    assert config.limits == CardinalityLimits(models=50, servers=50, body_bytes=8_388_608)
    assert config.ledger_path == Path("/var/lib/inference-cost-exporter/ledger.db")


def test_owners_and_budgets(good: Good) -> None:
    """Rules keep their order; a budget names its product."""
    config = good("good-design.yaml")
    assert config.ownership == (
        OwnershipRule(product="search", team="retrieval", namespace="search-*", server=None),
        OwnershipRule(product="chat", team="assistants", namespace=None, server="chat*"),
    )
    assert config.budgets == (Budget("chat", "chat", Decimal(27000)),)


def test_owned_hardware(good: Good) -> None:
    """Purchase, life and energy as written; 2026-02-01 in UTC is 1769904000 s after the epoch."""
    assert good("good-design.yaml").hardware[0] == Hardware(
        match=HardwareMatch(host="dc1-*", gpu_model="*H100*"),
        pricing=Owned(
            purchase_dollars=Decimal(280000),
            gpus=8,
            in_service=1_769_904_000 * SECOND,
            in_service_text="2026-02-01",
            life_years=Decimal(4),
            residual_ratio=Decimal("0.10"),
            adders_ratio=Decimal("0.15"),
            support_dollars_per_year=Decimal(22000),
            insurance_dollars_per_year=Decimal(0),
            cost_of_capital_ratio=Decimal("0.08"),
        ),
        source="hardware[0].owned",
        energy=Electricity(Decimal("0.12"), Decimal("1.35"), Decimal("1.8")),
    )


def test_rented_hardware(good: Good) -> None:
    """Dated prices of a host of eight carry the eight; a flat price holds always; rent includes power."""
    hardware = good("good-design.yaml").hardware
    assert hardware[1] == Hardware(
        match=HardwareMatch(uuid="GPU-5*"),
        pricing=Rented(
            (
                RentPrice(Decimal("55.04"), 8, 1_767_225_600 * SECOND, "2026-01-01", ""),
                RentPrice(Decimal("41.28"), 8, 1_793_491_200 * SECOND, "2026-11-01", "EDP 25 %"),
            )
        ),
        source="hardware[1].rented",
        energy=None,
    )
    assert hardware[2] == Hardware(
        HardwareMatch(gpu_model="*L4*"), Rented((RentPrice(Decimal("0.70")),)), "hardware[2].rented"
    )
    assert len(hardware) == 3


def test_overheads(good: Good) -> None:
    """An overhead knows its period, what it is per, its hosts, and where it was told."""
    assert good("good-design.yaml").overheads == (
        Overhead("staff", Decimal(536000), "year", "fleet", "overheads[0]"),
        Overhead("storage", Decimal("9.20"), "month", "gpu", "overheads[1]"),
        Overhead("network", Decimal("1.10"), "hour", "host", "overheads[2]", host="dc1-*"),
    )


def test_servers(good: Good) -> None:
    """`all` is None; a list keeps indices and UUIDs; a URL without a path is read at /metrics."""
    assert good("good-design.yaml").servers == (
        ConfiguredServer("chat-8b", "http://127.0.0.1:8000/metrics", None, gpu_share_ratio=Decimal("0.7")),
        ConfiguredServer("batch", "http://127.0.0.1:8001/metrics", (4, 5), engine="vllm"),
        ConfiguredServer(
            "r1",
            "https://127.0.0.1:9400/metrics",
            ("GPU-5a", 7),
            namespace="ml",
            bearer_token_file=Path("/etc/ice/token"),
            ca_file=Path("/etc/ice/ca.pem"),
        ),
    )


def test_split_rules(good: Good) -> None:
    """Exceptions come first and take from the whole what they do not say; the whole is the last rule."""
    assert good("good-design.yaml").split == (
        SplitRule("batch", "*-70b", "weights", Weights(Decimal(1), Decimal(0), Decimal(3))),
        SplitRule(None, "*-draft", "auto", Weights(Decimal(1), Decimal("0.1"), Decimal(4))),
        SplitRule(None, None, "auto", Weights(Decimal(1), Decimal("0.1"), Decimal(3))),
    )


def test_dates_begin_with_the_local_day(good: Good) -> None:
    """Berlin's 2026-03-29 began at 23:00 UTC; an offset tells which of two 02:30 on 2026-10-25 is meant."""
    (rule,) = good("good-windows.yaml").hardware
    assert isinstance(rule.pricing, Rented)
    assert [price.since for price in rule.pricing.prices] == [
        1_774_738_800 * SECOND,
        1_792_891_800 * SECOND,
        1_796_081_400 * SECOND,
    ]
    assert rule.pricing.prices[2].dollars_per_hour == Decimal("2.5")


def test_an_empty_file_is_all_defaults() -> None:
    """No bytes, only comments, and an explicit null leave every default, and these are the typed ones."""
    for data in (
        b"",
        b"# nothing\n",
        b"---\n",
        b"null\n",
        b"{}\n",
        b"budgets: []\nhardware: []\nlimits: {}\n",
    ):
        assert replace(parse(data), hash="") == Config()


def test_defaults_in_the_schema_are_the_typed_ones() -> None:
    """Writing an empty mapping takes the schema's defaults, and they equal those of the records."""
    config = parse(b"split: {weights: {}}\nlimits: {}\nledger: {}\nownership: {rules: []}\n")
    assert replace(config, hash="", split=()) == Config()
    assert config.split == (SplitRule(),)


def test_the_default_budget_is_the_whole_fleets() -> None:
    """Without budgets there is one of 27000 dollars for everything."""
    assert parse(b"").budgets == (Budget("fleet", "", Decimal(27000)),)


def test_the_hash_is_of_the_bytes() -> None:
    """The hash is SHA-256, so that sha256sum tells which file a daemon runs."""
    assert parse(b"").hash == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_number_is_exact() -> None:
    """Twelve decimals and trailing zeros survive: no float ever held the price."""
    config = parse(b"hardware: [{rented: {dollars_per_gpu_hour: 2.000000000001}}]\nhours_per_month: 730.10\n")
    (rule,) = config.hardware
    assert isinstance(rule.pricing, Rented)
    assert str(rule.pricing.prices[0].dollars_per_hour) == "2.000000000001"
    assert str(config.hours_per_month) == "730.10"


def test_capital_that_costs_nothing_is_a_straight_line() -> None:
    """An annuity at 0 would divide by zero; it is the straight line."""
    data = b"hardware: [{owned: {purchase_dollars_per_gpu: 1, in_service: 2026-01-01, life_years: 4, "
    (rule,) = parse(data + b"cost_of_capital_ratio: 0}}]\n").hardware
    assert isinstance(rule.pricing, Owned)
    assert rule.pricing.cost_of_capital_ratio is None
    assert rule.pricing.gpus == 1


def test_one_component_may_differ_by_host() -> None:
    """The same overhead may cost another amount on other hosts."""
    one = b"{name: network, dollars_per_hour: 1, per: host, match: {host: 'a-*'}}"
    other = b"{name: network, dollars_per_hour: 2, per: host, match: {host: 'b-*'}}"
    assert len(parse(b"overheads: [" + one + b", " + other + b"]\n").overheads) == 2


def test_replicas_have_one_share_of_a_gpu() -> None:
    """Two endpoints of one server on one GPU tell its share twice; it is not twice the share."""
    servers = b"".join(
        b"  - {name: %s, url: 'http://h:%d', gpus: [0], gpu_share_ratio: %s}\n" % row
        for row in ((b"a", 1, b"0.6"), (b"a", 2, b"0.6"), (b"b", 3, b"0.4"))
    )
    assert len(parse(b"servers:\n" + servers).servers) == 3


def test_off_is_a_word_where_a_cloud_is_chosen() -> None:
    """YAML 1.1 reads a bare off as false, and Helm writes that; unnamed, the firmware says whom to ask."""
    assert parse(b"discovery: {cloud: off}\n").cloud == "off"
    assert parse(b"discovery: {cloud: false}\n").cloud == "off"
    assert parse(b"discovery: {cloud: 'off'}\n").cloud == "off"
    assert parse(b"discovery: {cloud: nebius}\n").cloud == "nebius"
    assert parse(b"discovery: {}\n").cloud == "auto"
    assert parse(b"interval: 10s\n").cloud == "auto"


def test_ignored_savings(good: Good) -> None:
    """Until midnight in Berlin, an hour before that in UTC; and any server without a pattern."""
    archive, spare = good("good-advise.yaml").ignored_savings

    assert archive == IgnoredSaving(
        "deserted", "standby for a launch", 1_798_758_000 * SECOND, "2027-01-01", "archive-*"
    )
    assert (spare.kind, spare.server, spare.until) == ("unallocated", None, 1_798_113_600 * SECOND)
