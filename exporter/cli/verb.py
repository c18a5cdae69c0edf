"""What every verb has: its words, options, help, examples, exit statuses and errors."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, ParamSpec, TypeAlias

from exporter.cli import flags, logs, status
from exporter.cli.terminal import complain
from exporter.config import ConfigError
from exporter.config.problems import RefusedError
from exporter.ledger.errors import LedgerError

PROGRAM: Final = "inference-cost-exporter"

Example = tuple[str, str]
"""The arguments of a verb, and their effect."""

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class LogFlags:
    """How every verb logs."""

    log_level: str = flags.flag(
        "--log.level",
        default="info",
        choices=logs.LEVELS,
        help="minimum level of log lines on standard error (default info)",
    )
    log_format: str = flags.flag(
        "--log.format", default="logfmt", choices=logs.FORMATS, help="log format (default logfmt)"
    )


@dataclass(frozen=True, slots=True)
class Exits:
    """Meanings of a verb's exit statuses; an empty text: the status is not used."""

    fine: str
    """Meaning of 0."""
    failed: str = ""
    """Meaning of 1."""
    wrong: str = "the configuration or a flag is wrong"
    """Meaning of 2."""
    interrupted: str = "interrupted from the keyboard"
    """Meaning of 130."""

    def rows(self) -> tuple[tuple[int, str], ...]:
        """Code and meaning, those that there are."""
        every = (
            (status.OK, self.fine),
            (status.FAILED, self.failed),
            (status.CONFIGURATION, self.wrong),
            (status.INTERRUPTED, self.interrupted),
        )
        return tuple((code, meaning) for code, meaning in every if meaning)

    def text(self) -> str:
        """For `--help`."""
        return "exit codes:\n" + "".join(f"  {code:<4} {meaning}\n" for code, meaning in self.rows())


DAEMON_EXITS: Final = Exits(
    fine="stopped by SIGTERM or SIGINT",
    failed="it cannot listen or open the ledger, or must be restarted since the driver was replaced under it",
    interrupted="",
)


@dataclass(frozen=True, slots=True)
class Verb(Generic[P]):
    """A verb. A call runs it, prints its errors, and returns the exit status."""

    words: str
    """Its name, like `report month`."""
    text: str
    """Its effect, as a sentence without capital and period."""
    examples: tuple[Example, ...]
    exits: Exits
    options: type
    """The record of its flags, its first argument."""
    run: Callable[P, int]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> int:
        """Run it.

        Raises:
            FlagError: flags do not go together.
        """
        try:
            return self.run(*args, **kwargs)
        except (ConfigError, RefusedError) as error:
            complain(error)
            return status.CONFIGURATION
        except LedgerError as error:
            complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
            return status.FAILED
        except status.VerbFailedError as error:
            complain(error)
            return status.FAILED

    def add(self, verbs: Verbs) -> None:
        """Add its parser to those of the program or of a group."""
        called = f"{PROGRAM} {self.words}"
        lines = "".join(f"  {f'{called} {tail}'.strip()}\n      {what}\n" for tail, what in self.examples)
        parser = verbs.add_parser(
            self.words.rpartition(" ")[2],
            help=self.text,
            description=f"{self.text[0].upper()}{self.text[1:]}.",
            epilog=f"examples:\n{lines}\n{self.exits.text()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        flags.add_fields(parser, LogFlags)
        flags.add_fields(parser, self.options)
        parser.set_defaults(parser=parser, verb=self)


def verb(
    words: str, text: str, *, examples: tuple[Example, ...], exits: Exits, options: type
) -> Callable[[Callable[P, int]], Verb[P]]:
    """Make a function a verb."""

    def declare(run: Callable[P, int]) -> Verb[P]:
        return Verb(words, text, examples, exits, options, run)

    return declare


def names(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """The flags of a parser, in the order of its help."""
    return tuple(flag for action in parser._actions for flag in action.option_strings)  # noqa: SLF001


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs of a parser by name, empty for a verb itself."""
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return {name: verb for group in groups for name, verb in group.choices.items()}
