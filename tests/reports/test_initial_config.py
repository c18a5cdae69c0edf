"""The first configuration of a host is valid as written, and valid with its examples in force."""

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.config import Config, parse
from exporter.config.problems import RefusedError
from exporter.readings import FailureReason, Gpu, HostLocation, ServerKey
from exporter.reports.diagnosis import Diagnosis, DoctorGpu, Finding, PriceLine
from exporter.reports.initial_config import (
    BUDGET,
    DATE,
    KIND,
    PURCHASE,
    RENT,
    TEAM_NAME,
    YEARS,
    AnswerForm,
    InitialAnswers,
    Purchase,
    initial_config,
    scrape_job,
    summary,
)
from exporter.sources.discovery import DiscoveredServer
from exporter.tariff.terms import Owned, Rented
from tests.reports.test_sights import CHAT, MUTE

H100 = "NVIDIA H100 80GB HBM3"
L4 = "NVIDIA L4"
LIST = PriceLine(
    "rent", 6.88, "aws p5.48xlarge us-east-1 on demand (ec2-shop)", "2026-07-20", "", "catalogue"
)
AWS = HostLocation("aws", "p5.48xlarge", "us-east-1", "us-east-1d", "on_demand", "aws metadata")


def gpu(index: int, model: str = H100, *prices: PriceLine) -> DoctorGpu:
    return DoctorGpu(index, model, f"GPU-{'abcdefgh'[index]}", True, (), prices, bool(prices))


def host(*gpus: DoctorGpu, servers: tuple[DiscoveredServer, ...] = ()) -> Diagnosis:
    return Diagnosis(gpus, (), (), (), "", "gpu-7", AWS, servers)


EIGHT = host(*(gpu(index, H100, LIST) for index in range(8)), servers=(CHAT, MUTE))
PURCHASED = Purchase("280000", "2025-03-01", "4")

RENTED = """\
# Inference Cost Exporter on gpu-7, written by `init` on 2026-11-29.
# Host: 8 x NVIDIA H100 80GB HBM3; p5.48xlarge of aws in us-east-1 (zone us-east-1d), on demand;
# source: aws metadata.
# Check a change:
#   inference-cost-exporter check-config --config.file=/etc/ice.yaml
# A line that begins with # and no space is an example: remove the # to use it.

# Price of the GPUs. The first rule that matches a GPU prices it.
hardware:
# Catalogue, for comparison: 6.88 dollars per GPU-hour (aws p5.48xlarge us-east-1 on demand
# (ec2-shop), as of 2026-07-20).
- {match: {gpu_model: "NVIDIA H100 80GB HBM3"}, rented: {dollars_per_gpu_hour: 2.50}}

# Alerts and the page compare the month with it.
budgets:
- {name: fleet, dollars_per_month: 15000}

# Owners of the servers' cost. The first rule that matches decides.
ownership:
  rules:
  - {team: "search"}

# Servers are discovered; an entry gives one a name. A renamed server restarts at 0.
# Found on this host:
#   ml/chat  vllm, model llama-8b, in ml/chat  GPUs 0, 1
#        read at http://10.0.0.7:8000/metrics
#   llamacpp:8080  llamacpp, in llama.service  GPUs 2
#        not read (not_listening): nothing of its own listens where its metrics should be
#servers:
#- {match: {port: 8000}, name: chat}

# Zone in which months begin; without one, UTC.
#timezone: Europe/Berlin
# Every key: docs/configuration.md.
"""


def written(diagnosis: Diagnosis, answers: InitialAnswers | None = None) -> str:
    return initial_config(diagnosis, answers or InitialAnswers(), "2026-11-29", "/etc/ice.yaml")


def with_examples(text: str) -> Config:
    """The configuration with every example in force."""
    return parse(re.sub(r"^#(?! )", "", text, flags=re.MULTILINE).encode())


def test_a_rented_host_byte_for_byte() -> None:
    """Answers are in force; the catalogue's price stands above the answer with source and date."""
    assert written(EIGHT, InitialAnswers({H100: "2.50"}, None, "15000", '"search"')) == RENTED

    config = parse(RENTED.encode())
    (rule,) = config.hardware
    assert isinstance(rule.pricing, Rented)
    assert rule.pricing.prices[0].dollars_per_hour == Decimal("2.50")
    assert [budget.dollars_per_month for budget in config.budgets] == [Decimal(15000)]
    assert [rule.team for rule in config.ownership] == ["search"]


def test_without_answers_nothing_is_in_force() -> None:
    """The price of the catalogue is an example: that of the host by its own list is not copied."""
    text = written(EIGHT)

    assert parse(text.encode()).hardware == ()
    assert "# Estimate in force, not your bill: 6.88 dollars per GPU-hour (aws p5.48xlarge" in text
    assert '#- {match: {gpu_model: "NVIDIA H100 80GB HBM3"}, rented: {dollars_per_gpu_hour: 6.88}}\n' in text
    (rule,) = with_examples(text).hardware
    assert isinstance(rule.pricing, Rented)
    assert rule.pricing.prices[0].dollars_per_hour == Decimal("6.88")


def test_no_price_is_guessed() -> None:
    """A GPU that no list has gets a place for the price, and no number."""
    text = written(host(gpu(0, "NVIDIA X999")))

    assert "# NVIDIA X999 has no price and no cost until a rule gives one in place of PRICE:\n" in text
    assert '# - {match: {gpu_model: "NVIDIA X999"}, rented: {dollars_per_gpu_hour: PRICE}}\n' in text
    assert not re.search(r"rented: \{dollars_per_gpu_hour: \d", text)
    assert parse(text.encode()).hardware == ()


def test_an_owned_host() -> None:
    """The purchase is of the whole host, divided among its GPUs."""
    (rule,) = parse(written(EIGHT, InitialAnswers({}, PURCHASED)).encode()).hardware

    assert isinstance(rule.pricing, Owned)
    owned = rule.pricing
    assert (owned.purchase_dollars, owned.gpus, owned.in_service_text) == (Decimal(280000), 8, "2025-03-01")
    assert owned.life_years == 4


def test_an_owned_host_whose_gpus_are_not_visible() -> None:
    """Nothing says how many share the host's price: it is that of one GPU."""
    text = written(host(), InitialAnswers({}, PURCHASED))
    (rule,) = parse(text.encode()).hardware

    assert isinstance(rule.pricing, Owned)
    assert rule.pricing.gpus == 1
    assert "# Host: no GPU was visible; " in text
    assert "    purchase_dollars_per_gpu: 280000\n" in text


def test_without_a_gpu_a_price_is_of_every_model() -> None:
    """As for somebody who writes the file at a desk."""
    (rule,) = parse(written(host(), InitialAnswers({"": "2.50"})).encode()).hardware

    assert rule.match.gpu_model is None
    parse(written(host()).encode())


def test_one_model_may_be_answered_and_another_estimated() -> None:
    """The rule of the other stays an example in the same list."""
    text = written(
        host(gpu(0), gpu(1), gpu(2, L4, replace(LIST, dollars_per_hour=0.7))), InitialAnswers({H100: "2"})
    )

    assert [rule.match.gpu_model for rule in parse(text.encode()).hardware] == [H100]
    assert [rule.match.gpu_model for rule in with_examples(text).hardware] == [H100, L4]


@pytest.mark.parametrize(
    "model", ['a"b\\c', "x*y?[z]", "\x1b[2J\nhardware: []", "null", "#", "\u2028", "x" * 300, "100%: {}"]
)
def test_a_hostile_name_of_a_gpu_is_text(model: str) -> None:
    """It opens no rule, ends no comment, and matches itself alone."""
    hostile = replace(CHAT, key=ServerKey("\n- a: b", 'c"\x07'), program=model, engine="")
    text = written(host(gpu(0, model, LIST), servers=(hostile,)), InitialAnswers({model: "2"}, None, "3"))
    (rule,) = parse(text.encode()).hardware

    assert isinstance(rule.pricing, Rented)
    if rule.match.gpu_model is not None:
        assert next(rule.match.mismatches("h", AWS, gpu_named(model)), None) is None
        assert next(rule.match.mismatches("h", AWS, gpu_named("xAyB[z]")), None) is not None
    with_examples(text)


def gpu_named(model: str) -> Gpu:
    return Gpu(uuid="GPU-a", gpu_model=model)


def test_a_rule_of_every_gpu_comes_last() -> None:
    """A name that no pattern can hold would else take the price of the other model."""
    text = written(
        host(gpu(0, "x" * 300), gpu(1, "x" * 300), gpu(2)), InitialAnswers({H100: "2", "x" * 300: "1"})
    )

    assert [rule.match.gpu_model for rule in parse(text.encode()).hardware] == [H100, None]


def test_a_long_list_of_servers_is_cut() -> None:
    """The doctor has the rest."""
    many = tuple(replace(CHAT, key=ServerKey("", f"s{number}")) for number in range(18))
    text = written(host(gpu(0), servers=many))

    assert "#   s15  vllm" in text
    assert "s16" not in text
    assert "#   and 2 more; `doctor` lists them\n" in text
    assert "#   none was found; docs/unread.md has the reasons\n" in written(host())
    assert MUTE.skip_reason is FailureReason.NOT_LISTENING


@pytest.mark.parametrize(
    ("form", "answer", "message", "instead"),
    [
        (RENT, "$2.50", 'must be a number (dollars per hour, 0 to 10000), not "$2.50"; write 2.50', "2.50"),
        (RENT, "2,50", 'not "2,50"; write the digits only, with a point for decimals', None),
        (RENT, "-1", '"-1" is out of range: dollars per hour, 0 to 10000', None),
        (RENT, "", "an answer is needed: dollars per hour, 0 to 10000", None),
        (RENT, "null", "must be a number (dollars per hour, 0 to 10000), not nothing", None),
        (BUDGET, "27k", 'not "27k"; write 27000', "27000"),
        (BUDGET, "0", '"0" is out of range', None),
        (PURCHASE, "280 000 USD", 'not "280 000 USD"; write the digits only', None),
        (PURCHASE, "280_000", 'not "280_000"; write 280000', "280000"),
        (YEARS, "four", 'must be a number (years, 0.1 to 100), not "four"', None),
        (DATE, "2025/3/1", '"2025/3/1" is no date; write 2025-03-01', "2025-03-01"),
        (DATE, "01.03.2025", '"01.03.2025" is no date; write year-month-day only, like 2026-02-01', None),
        (DATE, "2025-02-30", "2025-02-30", None),
        (TEAM_NAME, "a\x07b", "has control characters", None),
        (KIND, "leased", '"leased" is not one of rented, owned', None),
    ],
)
def test_an_answer_is_checked_as_its_key_is(
    form: AnswerForm, answer: str, message: str, instead: str | None
) -> None:
    """With the error and the correction that the file would get."""
    with pytest.raises(RefusedError) as refused:
        form.checked(answer)
    assert message in str(refused.value)
    assert refused.value.instead == instead


@pytest.mark.parametrize(
    ("form", "answer", "written_as"),
    [
        (RENT, "2.50", "2.50"),
        (RENT, "0", "0"),
        (DATE, "2025-03-01", "2025-03-01"),
        (TEAM_NAME, "null", '"null"'),
        (TEAM_NAME, 'a"b', '"a\\"b"'),
        (KIND, "O", "owned"),
        (KIND, "Rented", "rented"),
    ],
)
def test_a_valid_answer_is_yaml(form: AnswerForm, answer: str, written_as: str) -> None:
    """Text is quoted; the kind of a price may be spelled by its first letter."""
    assert form.checked(answer) == written_as


def test_the_summary_has_the_sum_and_what_is_wrong() -> None:
    """Notes are the doctor's."""
    findings = (Finding("note", "n"), Finding("warning", "w"), Finding("error", "e"))

    assert list(summary(replace(EIGHT, sums=("8 x a",), findings=findings))) == [
        "8 x a",
        "warning: w",
        "error: e",
    ]
    assert list(summary(EIGHT)) == ["nothing is priced"]


def test_the_scrape_job_quotes_its_host() -> None:
    """Whatever the host calls itself."""
    assert scrape_job('g"', 9844).endswith('static_configs: [{targets: ["g\\":9844"]}]\n')
