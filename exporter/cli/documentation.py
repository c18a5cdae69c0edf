"""docs/cli.md, written from the parsers: verbs, flags, examples and exit codes."""

import argparse
import re
from collections.abc import Iterator

from exporter.cli.arguments import program
from exporter.cli.flags import PROGRAM, Example, Exits

Verb = tuple[str, argparse.ArgumentParser]
"""How a verb is called, like `report month`, and its parser."""


def verbs(parser: argparse.ArgumentParser, before: str = "") -> Iterator[Verb]:
    """Each verb that does something, in the order of `--help`."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    if not groups:
        yield before, parser
    for group in groups:
        for name, inner in group.choices.items():
            yield from verbs(inner, f"{before} {name}".strip())


def documentation() -> str:
    """The page, in Markdown."""
    every = list(verbs(program()))
    lines = [
        "# The command line",
        "",
        "Written by `python docs/generate.py` from the flags themselves; do not edit.",
        "",
        "```console",
        f"$ {PROGRAM} [VERB] [FLAGS]",
        "```",
        "",
        "`serve` is the verb when none is named.",
        "`--version` prints the version, `VERB --help` what is below.",
        "A flag wins over the [configuration](configuration.md), and is read at the start only.",
        "What a verb answers goes to standard output; what is wrong and the log go to standard error.",
        "Colors and progress are for terminals, never in a file or a pipe; `NO_COLOR` switches colors off.",
        "A supervisor restarts at 1 and need not at 2.",
        "Where standard output cannot be written, as on a full disk, every verb ends with 1 and says why.",
        "What it did by then, such as an adjustment that it entered, is done.",
        "A reader that has seen enough (`| head`) ends a verb with 1 as well, and nothing is said.",
        "",
        "| verb | what it does |",
        "|---|---|",
        *(f"| [`{name}`](#{_anchor(name)}) | {_text(verb)} |" for name, verb in every),
    ]
    for name, verb in every:
        lines += ["", f"## {name}", "", *_verb(name, verb)]
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _text(verb: argparse.ArgumentParser) -> str:
    text = (verb.description or "").rstrip(".")
    return text[0].lower() + text[1:]


def _verb(name: str, verb: argparse.ArgumentParser) -> Iterator[str]:
    yield f"{verb.description}"
    yield ""
    yield "```sh"
    examples: tuple[Example, ...] = verb.get_default("examples")
    for tail, what in examples:
        yield f"# {what}"
        yield f"{PROGRAM} {name} {tail}".strip()
    yield "```"
    yield ""
    yield "| flag | meaning |"
    yield "|---|---|"
    taken = [action for action in verb._actions if action.dest != "help"]  # noqa: SLF001  # no other way
    for of_all in (False, True):
        for action in (action for action in taken if action.dest.startswith("log_") == of_all):
            yield f"| {_flag(action)} | {_meaning(action)} |"
    yield ""
    yield "| exit code | meaning |"
    yield "|---|---|"
    exits: Exits = verb.get_default("exits")
    for code, meaning in exits.rows():
        yield f"| {code} | {meaning} |"


def _flag(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    flag = action.option_strings[-1]
    if action.choices is not None:
        return f"`{flag}` " + ", ".join(f"`{choice}`" for choice in action.choices)
    if action.nargs == 0:
        return ", ".join(f"`{each}`" for each in action.option_strings if each.startswith("--"))
    return f"`{flag}={action.metavar}`"


def _meaning(action: argparse.Action) -> str:
    """Its help; paths of our documentation become links."""
    text = re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", (action.help or "").replace("|", "\\|"))
    return f"required: {text}" if action.required else text
