"""The verb `init`: looks at the host, asks what that cannot show, and writes a first configuration."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from exporter.cli import flags, status
from exporter.cli.build import host_name, lists_all_gpus, program_call
from exporter.cli.doctor import inspect_host
from exporter.cli.flags import DEFAULT_ADDRESS, FlagError, flag
from exporter.cli.replacement import replacing
from exporter.cli.status import VerbFailedError, writing
from exporter.cli.terminal import columns, fitted, waiting, write_colored
from exporter.cli.verb import PROGRAM, Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config import Config, load, parse
from exporter.config.problems import RefusedError
from exporter.config.settings import cost_policy
from exporter.readings import printable
from exporter.reports import doctor
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
from exporter.web.listen_address import parse_address

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


def _answer(name: str, form: AnswerForm, metavar: str, text: str) -> Any:
    """The field of a flag that takes an answer of a form."""

    def value(answer: str) -> str:
        try:
            return form.checked(answer.strip())
        except RefusedError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return flag(name, type=value, metavar=metavar, help=text)


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The file, and answers given as flags; those that are missing are asked for on a terminal."""

    config_file: Path = flag(
        "--config.file",
        default=DEFAULT_FILE,
        type=Path,
        metavar="FILE",
        help=f"the file to write (default {DEFAULT_FILE})",
    )
    rent: str | None = _answer("--dollars-per-gpu-hour", RENT, "DOLLARS", "rented: price of one GPU per hour")
    purchase: str | None = _answer(
        "--purchase-dollars",
        PURCHASE,
        "DOLLARS",
        "owned: price of the host, of one GPU where none is visible",
    )
    in_service: str | None = _answer(
        "--in-service", DATE, "DATE", "owned: the day on which amortization begins"
    )
    life_years: str | None = _answer("--life-years", YEARS, "YEARS", "owned: years of amortization")
    budget: str | None = _answer(
        "--budget-dollars-per-month", BUDGET, "DOLLARS", "budget of a calendar month"
    )
    team: str | None = _answer("--team", TEAM_NAME, "NAME", "team that owns the servers")
    force: bool = flags.switch("--force", "replace an existing file")
    dry_run: bool = flags.switch("--dry-run", "print the file, and write nothing")


@verb(
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
    options=InitOptions,
)
def initialized(options: InitOptions, clock: Clock | None = None) -> int:
    """Look, ask and write; returns 0, 1 (not written) or 2 (a price file of the host is wrong)."""
    amortized = options.in_service, options.life_years
    asks = terminal() is not None
    if options.rent and options.purchase:
        raise FlagError("argument --purchase-dollars: not allowed with argument --dollars-per-gpu-hour")
    if any(amortized) and not options.purchase and (options.rent or not asks):
        raise FlagError("--in-service and --life-years go with --purchase-dollars")
    if options.purchase and not all(amortized) and not asks:
        raise FlagError("--purchase-dollars needs --in-service and --life-years")
    clock = clock or SystemClock()
    file, path = options.config_file, options.config_file.absolute()
    exists = f"{file}: exists; --force replaces it, and check-config --config.file={file} checks it"
    if not options.dry_run:  # before anything is asked
        if os.path.isdir(path):
            raise VerbFailedError(f"{file}: is a directory; name the file in it")
        if os.path.lexists(path) and not options.force:
            raise VerbFailedError(exists)
        if not os.path.isdir(path.parent):
            raise VerbFailedError(f"{file}: there is no folder {path.parent}")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise VerbFailedError(
                f"{file}: {path.parent} cannot be written by this user; use sudo, or another --config.file"
            )
    config = load(None)
    with waiting("looking at this host"):
        host = inspect_host(clock, config, config.ledger_path)
    diagnosis = _diagnosis(config, host, clock)
    counts = gpu_counts(diagnosis)
    lines = [
        f"Host {diagnosis.host}, {location_words(diagnosis.place)}",
        f"GPUs: {', '.join(f'{count} x {model}' for model, count in counts.items() if count) or 'none'}",
    ]
    known = (catalogue_price(diagnosis, model) for model in counts)
    lines += [f"Catalogue, not your bill: {price}" for price in known if price]
    if host.gpu_problem:
        lines.append(f"warning: {host.gpu_problem}")
    lines.append("Servers:" if diagnosis.sights else "Servers: none")
    lines += discovered_lines(diagnosis.sights, {gpu.uuid: gpu.index for gpu in diagnosis.gpus})
    _show(lines, sys.stderr)
    answers = collect_answers(options, diagnosis, terminal())
    today = datetime.fromtimestamp(clock.wall() // NANOSECONDS_PER_SECOND, UTC).date().isoformat()
    text = initial_config(diagnosis, answers, today, str(path))
    config = parse(text.encode(), path)
    if options.dry_run:
        sys.stdout.write(text)
        return status.OK
    with writing(path):
        try:
            with replacing(path, mode=MODE, new=not options.force) as file_written:
                file_written.write(text)
        except FileExistsError as error:  # made while the questions were answered
            raise VerbFailedError(exists) from error
    _show([f"ok: {path} is written", *summary(_diagnosis(config, host, clock)), ""])
    _show(_next_steps(path, diagnosis))
    return status.OK


def _show(lines: Iterable[str], stream: TextIO | None = None) -> None:
    write_colored(fitted("".join(f"{line}\n" for line in lines), columns()), stream)


def _diagnosis(config: Config, host: DoctorInput, clock: Clock) -> Diagnosis:
    policy = cost_policy(config, host_name(), host.location, all_gpus=lists_all_gpus())
    return doctor.diagnose(config, policy, host, clock.wall())


def _next_steps(path: Path, diagnosis: Diagnosis) -> Iterator[str]:
    program = PROGRAM if shutil.which(PROGRAM) else program_call()
    # Processes and sockets of other users are seen by root only.
    command = program if os.geteuid() == 0 else f"sudo {program}"
    port = parse_address(DEFAULT_ADDRESS).port
    file = shlex.quote(str(path))
    yield "Job for Prometheus:"
    yield from (f"  {line}" for line in scrape_job(diagnosis.host, port).splitlines())
    yield from ("", "Next:")
    yield "  check GPUs, prices and servers:"
    yield f"    {command} doctor --config.file={file}"
    if not diagnosis.gpus:
        yield "  look around without a GPU:"
        yield f"    {command} demo"
    yield f"  run the daemon; http://127.0.0.1:{port} has its page:"
    yield f"    {command} --config.file={file}"
    if any(server.key.namespace for server in diagnosis.sights):
        yield f"  in Kubernetes, with the chart: --set-file config={file}"
    yield "  as a service: docs/operations.md"


@dataclass(frozen=True, slots=True)
class Question:
    """A question; one with neither a `default` nor words for `skipped` must be answered."""

    text: str
    form: AnswerForm
    default: str = ""
    """The value of an empty answer."""
    skipped: str = ""
    """What an empty answer without a value means, in words."""

    def prompt(self, answers: TextIO, screen: TextIO) -> str:
        """The valid answer as written in the file, empty if it was skipped; asked again after an invalid one.

        Raises:
            VerbFailedError: the answers end, or are no text.
        """
        default = self.default
        while True:
            empty = default or self.skipped
            screen.write(f"{self.text}{f' [{empty}]' if empty else ''}: ")
            screen.flush()
            try:
                line = answers.readline(ANSWER_CHARACTERS)
                rest = line
                while rest and not rest.endswith("\n"):  # a longer one is no answer, and none of its rest is
                    rest = answers.readline(ANSWER_CHARACTERS)
                    line = f"{line[:ANSWER_CHARACTERS]}{rest[-1:]}"
            except UnicodeDecodeError as error:
                raise VerbFailedError(
                    f"an answer is no text in {error.encoding}; nothing is written"
                ) from error
            if not line:
                screen.write("\n")
                raise VerbFailedError(ENDED)
            answer = line.strip()
            if not answer and empty:
                return default
            try:
                return self.form.checked(answer)
            except RefusedError as error:
                write_colored(f"  error: {error}\n", screen)
                default = error.instead or self.default


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
    if options.purchase:
        kind = OWNED
    elif options.rent:
        kind = RENTED
    else:
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
