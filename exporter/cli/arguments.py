"""The table of verbs. Only the module of the verb that is called is imported: a daemon carries no finance."""

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Final

from exporter.cli import flags, logs, status
from exporter.cli.terminal import OutputError, complain, standard_output
from exporter.cli.verb import PROGRAM, LogFlags, Verb, names, verbs_of
from exporter.version import VERSION

DAEMON_VERB: Final = "serve"
SIMILAR: Final = 0.7
"""Similarity from which on a flag or a verb is suggested."""

VERBS: Final = {
    DAEMON_VERB: ("serve",),
    "demo": ("demo",),
    "init": ("init",),
    "doctor": ("doctor",),
    "status": ("show_status",),
    "check-config": ("check_config",),
    "ledger": ("ledger",),
    "adjust": ("adjust",),
    "explain": ("explain",),
    "advise": ("advise",),
    "history": ("history",),
    "reconcile": ("reconcile",),
    "report": ("report", "focus"),
    "price": ("price",),
    "prices": ("prices",),
    "tco": ("tco",),
    "record": ("record",),
    "completion": ("completion",),
}
"""The modules of this package that declare each verb, in the order of the help."""

GROUPS: Final = {
    "ledger": ("ledger maintenance", "adopt --ledger.path=/srv/ice/ledger.db"),
    "report": ("monthly cost reports", "month --by=team"),
    "prices": (
        "show the list prices in use, or replace them (cost of requests: `price`)",
        "show --cloud=aws",
    ),
}
"""Text and example of each word that verbs stand behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status, 1 where its answer cannot be written."""
    if sys.stderr is None:  # closed: the next file that is opened would get its number
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for as long as the process lives
    try:
        with standard_output():
            return _run(sys.argv[1:] if arguments is None else list(arguments))
    except OutputError as error:
        if str(error):
            complain(error)
        return status.FAILED


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        asks_only = not {"-h", "--help", "--version"}.isdisjoint(arguments)
        arguments = arguments if asks_only else [DAEMON_VERB, *arguments]
    parser = program(arguments[:1] if arguments[0] in VERBS else VERBS)
    level = parser
    for word in arguments:
        verbs = verbs_of(level)
        if not verbs or word.startswith("-"):
            break
        if word not in verbs:
            hint = _nearest(word, verbs) or f"verbs: {', '.join(verbs)}"
            level.error(f"invalid choice: {word!r}; {hint}")
        level = verbs[word]
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = "put the verb before its flags"
        if unknown[0].startswith("-"):
            known = [flag for flag in names(parsed.parser) if flag.startswith("--")]
            hint = _nearest(unknown[0].partition("=")[0], known)
        parsed.parser.error(f"unknown here: {' '.join(unknown)}{hint and f' ({hint})'}")
    logs.set_up(parsed.log_level, parsed.log_format)
    try:
        code: int = parsed.verb(flags.chosen(parsed.verb.options, parsed))
    except flags.FlagError as error:
        parsed.parser.error(str(error))
    except KeyboardInterrupt:
        return status.INTERRUPTED
    return code


def _nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the most similar of some words; empty where none is similar."""
    similar = difflib.get_close_matches(word, known, 1, SIMILAR)
    return f"did you mean {similar[0]}?" if similar else ""


def program(words: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """The parser of the program, with all verbs or those that begin with some words."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [FLAGS OF THE DAEMON]\n       {PROGRAM} VERB [FLAGS OF THE VERB]",
        description="Prometheus exporter for the cost of LLM inference: dollars per server, model and token.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    top = parser.add_subparsers(required=True, metavar="VERB", prog=PROGRAM)
    for word in words:
        modules = [import_module(f"exporter.cli.{name}") for name in VERBS[word]]
        verbs = [verb for module in modules for verb in vars(module).values() if isinstance(verb, Verb)]
        level = top
        if word in GROUPS:
            text, example = GROUPS[word]
            group = top.add_parser(
                word,
                help=text,
                description=f"{text[0].upper()}{text[1:]}.",
                epilog=f"example:\n  {PROGRAM} {word} {example}\n\n"
                f"{PROGRAM} {word} VERB --help shows its flags.",
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            choices = "|".join(verb.words.removeprefix(f"{word} ") for verb in verbs)
            level = group.add_subparsers(required=True, metavar=choices)
        for verb in verbs:
            verb.add(level)
            if word == DAEMON_VERB:
                daemon = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
                flags.add_fields(daemon, verb.options)
                flags.add_fields(daemon, LogFlags)
                taken = daemon.format_help().partition("\n")[2]
                parser.epilog = (
                    f"flags of the daemon, which runs without a verb:\n{taken}\nexamples:\n"
                    f"  {PROGRAM} --config.file=/etc/ice.yaml\n"
                    f"  {PROGRAM} doctor --config.file=/etc/ice.yaml\n\n{verb.exits.text()}"
                )
    return parser
