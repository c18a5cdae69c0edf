"""The table of verbs. Only the module of the verb that is called is imported: a daemon carries no finance."""

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Final

from exporter.cli import flags, logs, status
from exporter.cli.flags import DAEMON_EXITS, PROGRAM
from exporter.cli.terminal import OutputError, complain, standard_output
from exporter.version import VERSION

DAEMON_VERB: Final = "serve"
SIMILAR: Final = 0.7
"""Similarity from which on a flag or a verb is suggested."""

VERBS: Final = {
    DAEMON_VERB: "serve",
    "demo": "demo",
    "init": "init",
    "doctor": "doctor",
    "status": "show_status",
    "check-config": "check_config",
    "ledger": "ledger",
    "adjust": "adjust",
    "explain": "explain",
    "advise": "advise",
    "history": "history",
    "reconcile": "reconcile",
    "report": "report",
    "price": "price",
    "prices": "prices",
    "tco": "tco",
    "record": "record",
    "completion": "completion",
}
"""The module of this package that adds each verb, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status, 1 where its answer cannot be written."""
    if sys.stderr is None:  # closed: the next file that is opened would get its number
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for as long as the process lives
    try:
        with standard_output():
            return _run(arguments)
    except OutputError as error:
        if str(error):
            complain(error)
        return status.FAILED


def _run(arguments: Sequence[str] | None) -> int:
    given = _with_verb(sys.argv[1:] if arguments is None else list(arguments))
    parser = program(given[:1] if given[0] in VERBS else VERBS)
    _check_verbs(parser, given)
    chosen, unknown = parser.parse_known_args(given)
    if unknown:
        chosen.parser.error(f"unknown here: {' '.join(unknown)}{_flag_hint(unknown[0], chosen.parser)}")
    logs.set_up(chosen.log_level, chosen.log_format)
    try:
        code: int = chosen.run(chosen)
    except flags.FlagError as error:
        chosen.parser.error(str(error))
    except KeyboardInterrupt:
        return status.INTERRUPTED
    return code


def _flag_hint(unknown: str, parser: argparse.ArgumentParser) -> str:
    """The flag of the verb that is most similar to an unknown one, or where a verb belongs."""
    if not unknown.startswith("-"):
        return " (put the verb before its flags)"
    known = [flag for flag in flags.names(parser) if flag.startswith("--")]
    similar = difflib.get_close_matches(unknown.partition("=")[0], known, 1, SIMILAR)
    return f" (did you mean {similar[0]}?)" if similar else ""


def _check_verbs(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Exit on a word that is no verb, with the verb that is most similar to it."""
    for word in given:
        verbs = flags.verbs_of(parser)
        if not verbs or word.startswith("-"):
            return
        if word not in verbs:
            similar = difflib.get_close_matches(word, verbs, 1, SIMILAR)
            hint = f"did you mean {similar[0]}?" if similar else f"verbs: {', '.join(verbs)}"
            parser.error(f"invalid choice: {word!r}; {hint}")
        parser = verbs[word]


def _with_verb(arguments: list[str]) -> list[str]:
    """`serve` is the verb when none is named."""
    if any(not argument.startswith("-") for argument in arguments[:1]):
        return arguments
    if {"-h", "--help", "--version"} & set(arguments):
        return arguments
    return [DAEMON_VERB, *arguments]


def program(verbs: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """The parser of the program, with all verbs or some."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [FLAGS OF THE DAEMON]\n       {PROGRAM} VERB [FLAGS OF THE VERB]",
        description="Prometheus exporter for the cost of LLM inference: dollars per server, model and token.",
        epilog=f"flags of the daemon, which runs without a verb:\n{flags.of_the_daemon()}\nexamples:\n"
        f"  {PROGRAM} --config.file=/etc/ice.yaml\n  {PROGRAM} doctor --config.file=/etc/ice.yaml\n\n"
        f"{DAEMON_EXITS.text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    group = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog=PROGRAM)
    for verb in verbs:
        import_module(f"exporter.cli.{VERBS[verb]}").add(group)
    return parser
