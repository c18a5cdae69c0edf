"""Questions in a terminal, and answers that are checked as values of the configuration."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TextIO

from exporter.cli.status import VerbFailedError
from exporter.cli.terminal import write_colored
from exporter.config.problems import RefusedError
from exporter.readings import printable
from exporter.reports.diagnosis import Diagnosis
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
)

ANSWER_CHARACTERS: Final = 4096
"""As much as a terminal passes on as one line (termios(3), canonical mode)."""

QUESTIONS_MAX: Final = 5

MODELS_ASKED_MAX: Final = 2
"""GPU models whose price is asked for; others keep their estimates."""

ENDED: Final = "the answers have ended; nothing is written"


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
            screen.write(question._words())
            screen.flush()
            answer = _line(answers, screen)
            if not answer and (question.default or question.skipped):
                return question.default
            try:
                return self.form.checked(answer)
            except RefusedError as error:
                write_colored(f"  error: {error}\n", screen)
                question = replace(question, default=error.instead or self.default)

    def _words(self) -> str:
        empty = self.default or self.skipped
        return f"{self.text}{f' [{empty}]' if empty else ''}: "


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


class _Prompter:
    """Asks on a terminal, up to so many questions; the answer to others is empty."""

    def __init__(self, streams: Streams | None) -> None:
        self._streams = streams
        self._left = QUESTIONS_MAX if streams is not None else 0

    def prompt(self, question: Question, given: str | None = None) -> str:
        """The answer that a flag gave, else that to the question."""
        if given or self._streams is None or not self._left:
            return given or ""
        self._left -= 1
        return question.prompt(*self._streams)


def collect_answers(options: InitOptions, diagnosis: Diagnosis, streams: Streams | None) -> InitialAnswers:
    """The answers of flags, and of the terminal where there is one.

    Raises:
        VerbFailedError: the answers end.
    """
    prompt = _Prompter(streams).prompt
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
