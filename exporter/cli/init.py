"""The verb `init`: looks at the host, asks what that cannot show, and writes a first configuration."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from exporter.cli import flags, status
from exporter.cli.build import host_name, lists_all_gpus
from exporter.cli.doctor import inspect_host
from exporter.cli.flags import DEFAULT_ADDRESS, PROGRAM, Exits
from exporter.cli.replacement import replace_file
from exporter.cli.status import VerbFailedError, with_exit_status, writing
from exporter.cli.terminal import columns, fitted, waiting, write_colored
from exporter.clock import Clock, SystemClock
from exporter.config import Config, load, parse
from exporter.config.problems import RefusedError
from exporter.config.settings import cost_policy
from exporter.readings import printable
from exporter.reports import doctor
from exporter.reports import initial_config as forms
from exporter.reports.diagnosis import Diagnosis, DoctorInput
from exporter.reports.doctor import location_words
from exporter.reports.initial_config import (
    BUDGET,
    DATE,
    KIND,
    OWNED,
    PURCHASE,
    RENT,
    RENTED,
    TEAM_NAME,
    YEARS,
    AnswerForm,
    InitialAnswers,
    Purchase,
    catalogue_price,
    gpu_counts,
    initial_config,
    scrape_job,
    summary,
)
from exporter.reports.server_findings import discovered_lines
from exporter.units import NANOSECONDS_PER_SECOND
from exporter.web.listener import parse_address

ANSWER_CHARACTERS: Final = 4096
"""As much as a terminal passes on as one line (termios(3), canonical mode)."""

QUESTIONS_MAX: Final = 5

MODELS_ASKED_MAX: Final = 2
"""GPU models whose price is asked for; others keep their estimates."""

ENDED: Final = "the answers have ended; nothing is written"

DEFAULT_FILE: Final = Path("/etc/inference-cost-exporter.yaml")
"""The file that the systemd unit names."""

MODE: Final = 0o644
"""It holds no secrets, and the daemon may run as another user."""


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The file, and answers given as flags; those that are missing are asked for on a terminal."""

    config_file: Path
    rent: str | None = None
    purchase: str | None = None
    in_service: str | None = None
    life_years: str | None = None
    budget: str | None = None
    team: str | None = None
    force: bool = False
    dry_run: bool = False


def add(verbs: flags.Verbs) -> None:
    """Add it to the program's parser."""
    verb = flags.add_verb(
        verbs,
        "init",
        "look at this host and write its first configuration, with at most five questions",
        examples=(
            ("--config.file=ice.yaml", "ask, and write ice.yaml"),
            (
                "--config.file=ice.yaml --dollars-per-gpu-hour=2.50 --budget-dollars-per-month=15000",
                "without these two questions",
            ),
            ("--dry-run", "print the configuration, and write nothing"),
        ),
        exits=Exits("written, or printed", "the file exists or cannot be written, or the answers end"),
    )
    verb.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        default=DEFAULT_FILE,
        metavar="FILE",
        help=f"the file to write (default {DEFAULT_FILE})",
    )
    price = verb.add_mutually_exclusive_group()
    _add_answer(price, "--dollars-per-gpu-hour", "rent", "RENT", "rented: price of one GPU per hour")
    _add_answer(
        price,
        "--purchase-dollars",
        "purchase",
        "PURCHASE",
        "owned: price of the host, of one GPU where none is visible",
    )
    _add_answer(verb, "--in-service", "in_service", "DATE", "owned: the day on which amortization begins")
    _add_answer(verb, "--life-years", "life_years", "YEARS", "owned: years of amortization")
    _add_answer(verb, "--budget-dollars-per-month", "budget", "BUDGET", "budget of a calendar month")
    _add_answer(verb, "--team", "team", "TEAM_NAME", "team that owns the servers")
    verb.add_argument("--force", action="store_true", help="replace an existing file")
    verb.add_argument("--dry-run", action="store_true", help="print the file, and write nothing")
    verb.set_defaults(run=run)


def _add_answer(
    group: "argparse.ArgumentParser | argparse._MutuallyExclusiveGroup",
    flag: str,
    name: str,
    form: str,
    text: str,
) -> None:
    """A flag that takes an answer of a form of `reports.initial_config`."""

    def value(answer: str) -> str:
        checked: AnswerForm = getattr(forms, form)
        try:
            return checked.checked(answer.strip())
        except RefusedError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    metavar = {"DATE": "DATE", "YEARS": "YEARS", "TEAM_NAME": "NAME"}.get(form, "DOLLARS")
    group.add_argument(flag, dest=name, type=value, metavar=metavar, help=text)


def run(options: argparse.Namespace) -> int:
    """Write a configuration; returns the exit status."""
    amortized = options.in_service, options.life_years
    asks = terminal() is not None
    if any(amortized) and not options.purchase and (options.rent or not asks):
        options.parser.error("--in-service and --life-years go with --purchase-dollars")
    if options.purchase and not all(amortized) and not asks:
        options.parser.error("--purchase-dollars needs --in-service and --life-years")
    return initialized(flags.chosen(InitOptions, options))


@with_exit_status
def initialized(options: InitOptions, clock: Clock | None = None) -> int:
    """Look, ask and write; returns 0, 1 (not written) or 2 (a price file of the host is wrong)."""
    clock = clock or SystemClock()
    if not options.dry_run:
        _check_place(options)
    config = load(None)
    with waiting("looking at this host"):
        host = inspect_host(clock, config, config.ledger_path)
    diagnosis = _diagnosis(config, host, clock)
    write_colored(
        fitted("".join(f"{line}\n" for line in _host_lines(diagnosis, host)), columns()), sys.stderr
    )
    answers = collect_answers(options, diagnosis, terminal())
    today = datetime.fromtimestamp(clock.wall() // NANOSECONDS_PER_SECOND, UTC).date().isoformat()
    path = options.config_file.absolute()
    text = initial_config(diagnosis, answers, today, str(path))
    config = parse(text.encode(), path)
    if options.dry_run:
        sys.stdout.write(text)
        return status.OK
    with writing(path):
        try:
            replace_file(path, text.encode(), mode=MODE, new=not options.force)
        except FileExistsError as error:  # made while the questions were answered
            raise VerbFailedError(_exists(path)) from error
    lines = [
        f"ok: {path} is written",
        *summary(_diagnosis(config, host, clock)),
        "",
        *_next_steps(path, diagnosis),
    ]
    write_colored(fitted("".join(f"{line}\n" for line in lines), columns()))
    return status.OK


def _check_place(options: InitOptions) -> None:
    """Whether the file may be written, before anything is asked.

    Raises:
        VerbFailedError: it exists, or its folder cannot be written.
    """
    file, folder = options.config_file, options.config_file.absolute().parent
    if os.path.isdir(file):
        raise VerbFailedError(f"{file}: is a directory; name the file in it")
    if os.path.lexists(file) and not options.force:
        raise VerbFailedError(_exists(file))
    if not os.path.isdir(folder):
        raise VerbFailedError(f"{file}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise VerbFailedError(
            f"{file}: {folder} cannot be written by this user; use sudo, or another --config.file"
        )


def _exists(file: Path) -> str:
    return f"{file}: exists; --force replaces it, and check-config --config.file={file} checks it"


def _diagnosis(config: Config, host: DoctorInput, clock: Clock) -> Diagnosis:
    policy = cost_policy(config, host_name(), host.location, all_gpus=lists_all_gpus())
    return doctor.diagnose(config, policy, host, clock.wall())


def _host_lines(diagnosis: Diagnosis, host: DoctorInput) -> Iterator[str]:
    """What was found, for somebody who answers questions on it."""
    yield f"Host {diagnosis.host}, {location_words(diagnosis.place)}"
    counts = gpu_counts(diagnosis)
    yield f"GPUs: {', '.join(f'{count} x {model}' for model, count in counts.items() if count) or 'none'}"
    for model in counts:
        if known := catalogue_price(diagnosis, model):
            yield f"Catalogue, not your bill: {known}"
    if host.gpu_problem:
        yield f"warning: {host.gpu_problem}"
    yield f"Servers: {'' if diagnosis.sights else 'none'}".rstrip()
    yield from discovered_lines(diagnosis.sights, {gpu.uuid: gpu.index for gpu in diagnosis.gpus})


def _next_steps(path: Path, diagnosis: Diagnosis) -> Iterator[str]:
    port = parse_address(DEFAULT_ADDRESS).port
    yield "Job for Prometheus:"
    yield from (f"  {line}" for line in scrape_job(diagnosis.host, port).splitlines())
    yield ""
    yield "Next:"
    yield "  check GPUs, prices and servers:"
    yield f"    {_command()} doctor --config.file={shlex.quote(str(path))}"
    if not diagnosis.gpus:
        yield "  look around without a GPU:"
        yield f"    {_command()} demo"
    yield f"  run the daemon; http://127.0.0.1:{port} has its page:"
    yield f"    {_command()} --config.file={shlex.quote(str(path))}"
    if any(server.key.namespace for server in diagnosis.sights):
        yield f"  in Kubernetes, with the chart: --set-file config={shlex.quote(str(path))}"
    yield "  as a service: docs/operations.md"


def _command() -> str:
    """How this program is called again; processes and sockets of other users are seen by root only."""
    called = Path(sys.argv[0])
    if shutil.which(PROGRAM):
        name = PROGRAM
    elif called.name == PROGRAM:
        name = shlex.quote(str(called.absolute()))
    else:
        name = f"{shlex.quote(sys.executable)} -m exporter"
    return name if os.geteuid() == 0 else f"sudo {name}"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the meaning of an empty answer: `default` is its value, and `skipped` says it in words.

    One without both must be answered.
    """

    text: str
    form: AnswerForm
    default: str = ""
    skipped: str = ""

    def prompt(self, answers: TextIO, screen: TextIO) -> str:
        """The valid answer as written in the file, empty if it was skipped; asked again after an invalid one.

        Raises:
            VerbFailedError: the answers end, or are no text.
        """
        question = self
        while True:
            empty = question.default or question.skipped
            screen.write(f"{question.text}{f' [{empty}]' if empty else ''}: ")
            screen.flush()
            answer = _line(answers, screen)
            if not answer and (question.default or question.skipped):
                return question.default
            try:
                return self.form.checked(answer)
            except RefusedError as error:
                write_colored(f"  error: {error}\n", screen)
                question = replace(question, default=error.instead or self.default)


def _line(answers: TextIO, screen: TextIO) -> str:
    """One line without its end and the spaces around it."""
    try:
        line = answers.readline(ANSWER_CHARACTERS)
    except UnicodeDecodeError as error:
        raise VerbFailedError(f"an answer is no text in {error.encoding}; nothing is written") from error
    if not line:
        screen.write("\n")
        raise VerbFailedError(ENDED)
    while not line.endswith("\n") and (rest := answers.readline(ANSWER_CHARACTERS)):
        line = f"{line[:ANSWER_CHARACTERS]}{rest[-1:]}"
    return line.strip()


Streams = tuple[TextIO, TextIO]
"""Where answers are read, and questions shown."""


def terminal() -> Streams | None:
    """The terminal of this process; `None` without one."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    return sys.stdin, sys.stderr


def collect_answers(options: InitOptions, diagnosis: Diagnosis, streams: Streams | None) -> InitialAnswers:
    """The answers of flags, and of the terminal where there is one.

    Raises:
        VerbFailedError: the answers end.
    """
    left = QUESTIONS_MAX

    def prompt(question: Question, given: str | None = None) -> str:
        """The answer that a flag gave, else that to the question, while any may be asked."""
        nonlocal left
        if given or streams is None or not left:
            return given or ""
        left -= 1
        return question.prompt(*streams)

    counts = gpu_counts(diagnosis)
    rents: dict[str, str] = {}
    purchase = None
    kind = OWNED if options.purchase else RENTED if options.rent else ""
    if not kind:
        kind = prompt(Question("Are the GPUs rented or owned?", KIND, RENTED))
    if kind == OWNED:
        gpus = sum(counts.values())
        what = f"of the host with {gpus} GPUs" if gpus else "of one GPU with its part of the host"
        purchase = Purchase(
            prompt(Question(f"Purchase price {what}, in dollars", PURCHASE), options.purchase),
            prompt(Question("In service since, like 2026-02-01", DATE), options.in_service),
            prompt(Question("Years of amortization", YEARS), options.life_years),
        )
    else:
        for model in list(counts)[:MODELS_ASKED_MAX] if not options.rent else counts:
            known = catalogue_price(diagnosis, model)
            skipped = f"keep the estimate of {known.partition(' ')[0]}" if known else "not known"
            text = f"Dollars per hour of one {printable(model) or 'GPU'}"
            rents[model] = prompt(Question(text, RENT, skipped=skipped), options.rent)
    return InitialAnswers(
        {model: rent for model, rent in rents.items() if rent},
        purchase,
        prompt(Question("Budget of all hosts per month, in dollars", BUDGET, skipped="none"), options.budget),
        prompt(Question("Team that owns the servers", TEAM_NAME, skipped="none"), options.team),
    )
