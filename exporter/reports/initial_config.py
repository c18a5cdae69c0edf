"""The first configuration of a host, as commented YAML, from what the doctor sees and a few answers. Pure."""

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any, Final
from zoneinfo import ZoneInfo

from exporter.config import hardware as config_hardware
from exporter.config.document import Scalar
from exporter.config.keys import BUDGET_DOLLARS, TEAM
from exporter.config.problems import Position, RefusedError
from exporter.config.times import DATE as A_DATE
from exporter.config.values import PATTERN, Choice, Context, Validator
from exporter.readings import FailureReason, printable
from exporter.reports.diagnosis import Diagnosis
from exporter.reports.doctor import location_words
from exporter.reports.server_findings import discovered_lines

COLUMNS: Final = 100
SERVERS_LISTED: Final = 16


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The form of an answer: that of a value of the configuration."""

    validator: Validator[Any]
    text: bool = False
    """Whether it is written in quotes."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Other answers in lower case, and what they stand for."""

    def checked(self, answer: str) -> str:
        """The answer as YAML.

        Raises:
            RefusedError: it is no such value; the message has the reason and the remedy.
        """
        answer = self.spellings.get(answer.lower(), answer)
        if not answer:
            raise RefusedError(f"an answer is needed: {self.validator.expected}")
        written = Scalar(Position(1, 1), answer, plain=not self.text)
        self.validator.read(written, Context(ZoneInfo("UTC")))
        return json.dumps(answer, ensure_ascii=False) if self.text else answer


RENTED: Final = "rented"
OWNED: Final = "owned"
KIND: Final = AnswerForm(
    Choice((RENTED, OWNED)),
    spellings={
        **dict.fromkeys(("r", "rent", RENTED), RENTED),
        **dict.fromkeys(("o", "own", OWNED), OWNED),
    },
)
RENT: Final = AnswerForm(config_hardware.DOLLARS_PER_HOUR)
PURCHASE: Final = AnswerForm(config_hardware.PURCHASE)
DATE: Final = AnswerForm(A_DATE)
YEARS: Final = AnswerForm(config_hardware.YEARS)
BUDGET: Final = AnswerForm(BUDGET_DOLLARS)
TEAM_NAME: Final = AnswerForm(TEAM, text=True)


@dataclass(frozen=True, slots=True)
class Purchase:
    """Terms of owned GPUs; the price is of the whole host, or of one GPU where none is visible."""

    dollars: str
    in_service: str
    life_years: str


@dataclass(frozen=True, slots=True)
class InitialAnswers:
    """What the host cannot know, as YAML; empty is unknown. `rents` are dollars per GPU-hour by model."""

    rents: Mapping[str, str] = field(default_factory=dict)
    purchase: Purchase | None = None
    budget: str = ""
    team: str = ""


def gpu_counts(diagnosis: Diagnosis) -> dict[str, int]:
    """GPUs of the host by model, the most frequent first; any model (an empty name) where none is visible."""
    counts = Counter(gpu.gpu_model for gpu in diagnosis.gpus)
    return dict(counts.most_common()) or {"": 0}


def catalogue_price(diagnosis: Diagnosis, gpu_model: str) -> str:
    """The catalogue's price of a GPU of a model, with its source and date; empty without one."""
    gpu = next((gpu for gpu in diagnosis.gpus if gpu.gpu_model == gpu_model), None)
    for price in () if gpu is None else gpu.prices:
        if price.dollars_per_hour is not None and price.price_basis != "configured":
            whole, _, decimals = f"{price.dollars_per_hour:.6f}".partition(".")
            digits = f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
            dated = f", as of {price.as_of}" if price.as_of else ""
            return f"{digits} dollars per GPU-hour ({price.source}{dated})"
    return ""


def initial_config(diagnosis: Diagnosis, answers: InitialAnswers, written: str, name: str) -> str:
    """The text of a configuration. `written` is its date, and `name` its file.

    An example begins with `#` and no space: without that character it is in force.
    """
    counts = gpu_counts(diagnosis)
    gpus = ", ".join(f"{count} x {model}" for model, count in counts.items() if count) or "no GPU was visible"
    head = [
        *_comment(f"Inference Cost Exporter on {diagnosis.host}, written by `init` on {written}."),
        *_comment(f"Host: {gpus}; {location_words(diagnosis.place)}."),
        *_comment("Check a change:"),
        f"#   inference-cost-exporter check-config --config.file={shlex.quote(printable(name))}",
        *_comment("A line that begins with # and no space is an example: remove the # to use it."),
    ]
    if answers.budget:
        budgets = [
            *_comment("Alerts and the page compare the month with it."),
            f"budgets:\n- {{name: fleet, dollars_per_month: {answers.budget}}}",
        ]
    else:
        default = "No budget: tickets compare with 27000 dollars a month, and nobody is paged. Set yours:"
        budgets = [*_comment(default), "#budgets:\n#- {name: fleet, dollars_per_month: 27000}"]
    owners = '#ownership: {rules: [{match: {server: "chat*"}, product: assistant, team: search}]}'
    if answers.team:
        owners = f"ownership:\n  rules:\n  - {{team: {answers.team}}}"
    sections = (
        head,
        _hardware(diagnosis, answers),
        budgets,
        [*_comment("Owners of the servers' cost. The first rule that matches decides."), owners],
        _servers(diagnosis),
        (
            "# Zone in which months begin; without one, UTC.",
            "#timezone: Europe/Berlin",
            "# Every key: docs/configuration.md.",
        ),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _hardware(diagnosis: Diagnosis, answers: InitialAnswers) -> Iterator[str]:
    yield from _comment("Price of the GPUs. The first rule that matches a GPU prices it.")
    counts = gpu_counts(diagnosis)
    if answers.purchase is not None:
        gpus = sum(counts.values())
        yield "hardware:\n- owned:"
        yield f"    purchase_dollars_per_{'host' if gpus else 'gpu'}: {answers.purchase.dollars}"
        if gpus:
            yield f"    gpus_per_host: {gpus}"
        yield f"    in_service: {answers.purchase.in_service}"
        yield f"    life_years: {answers.purchase.life_years}"
        yield from _comment(
            "Electricity is charged with `energy: {dollars_per_kilowatt_hour: PRICE}` in this rule."
        )
        return
    yield "hardware:" if answers.rents else "#hardware:"
    for model in sorted(counts, key=_is_matched, reverse=True):  # a rule without a match comes last
        known = catalogue_price(diagnosis, model)
        rent = answers.rents.get(model, "")
        match = ""
        if _is_matched(model):
            pattern = "".join(f"[{character}]" if character in "*?[" else character for character in model)
            match = f"match: {{gpu_model: {json.dumps(pattern, ensure_ascii=False)}}}, "
        if rent:
            if known:
                yield from _comment(f"Catalogue, for comparison: {known}.")
            yield f"- {{{match}rented: {{dollars_per_gpu_hour: {rent}}}}}"
        elif known:
            yield from _comment(f"Estimate in force, not your bill: {known}.")
            yield f"#- {{{match}rented: {{dollars_per_gpu_hour: {known.partition(' ')[0]}}}}}"
        else:
            what = f"{model} has" if model else "Without an estimate, a GPU has"
            yield from _comment(f"{what} no price and no cost until a rule gives one in place of PRICE:")
            yield from _comment(f"- {{{match}rented: {{dollars_per_gpu_hour: PRICE}}}}")


def _servers(diagnosis: Diagnosis) -> Iterator[str]:
    yield from _comment("Servers are discovered; an entry gives one a name. A renamed server restarts at 0.")
    yield from _comment("Found on this host:")
    # Those of a host without a GPU hold none on the host with GPUs that the file is for.
    discovered = [one for one in diagnosis.sights if one.skip_reason is not FailureReason.GPU_UNKNOWN]
    indices = {gpu.uuid: gpu.index for gpu in diagnosis.gpus}
    for line in discovered_lines(discovered[:SERVERS_LISTED], indices):
        yield f"#   {printable(line.removeprefix('  '))}"
    if len(discovered) > SERVERS_LISTED:
        yield f"#   and {len(discovered) - SERVERS_LISTED} more; `doctor` lists them"
    if not discovered:
        yield "#   none was found; docs/unread.md has the reasons"
    yield "#servers:\n#- {match: {port: 8000}, name: chat}"


def _comment(text: str) -> Iterator[str]:
    """Lines of a comment."""
    start = "# "
    yield from wrap(
        printable(text), COLUMNS, initial_indent=start, subsequent_indent=start, break_long_words=False
    )


def _is_matched(model: str) -> bool:
    """Whether a rule can name a model: what a driver reports may be no pattern."""
    try:
        AnswerForm(PATTERN).checked(model)
    except RefusedError:
        return False
    return True


def summary(diagnosis: Diagnosis) -> Iterator[str]:
    """What the host costs by a configuration, and what is wrong with that."""
    yield from diagnosis.sums or ("nothing is priced",)
    for finding in diagnosis.findings:
        if finding.severity != "note":
            yield f"{finding.severity}: {finding.text}"


def scrape_job(host: str, port: int) -> str:
    """The job for Prometheus."""
    target = json.dumps(f"{printable(host)}:{port}")
    return (
        "scrape_configs:\n"
        "  - job_name: inference-cost-exporter\n"
        "    honor_labels: true\n"
        f"    static_configs: [{{targets: [{target}]}}]\n"
    )
