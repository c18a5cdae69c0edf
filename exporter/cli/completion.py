"""The verb `completion`: completion of verbs, flags and values for bash and zsh, from the parsers."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from exporter.cli import status
from exporter.cli.arguments import program
from exporter.cli.flags import flag
from exporter.cli.verb import PROGRAM, Exits, names, verb, verbs_of

FUNCTION: Final = "_inference_cost_exporter"
SHELLS: Final = ("bash", "zsh")

ZSH: Final = "autoload -U +X compinit && compinit -i\nautoload -U +X bashcompinit && bashcompinit\n"
"""zsh runs completions of bash (zshcompsys(1), bashcompinit)."""

# bash splits --flag=value at the equals sign, since COMP_WORDBREAKS has it; zsh does not.
BODY: Final = r"""
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="" word="" verb="" flag="" before="" children="" flags=""
    local index=1
    COMPREPLY=()
    if [ "$COMP_CWORD" -gt 0 ]; then prev="${COMP_WORDS[COMP_CWORD-1]}"; fi
    while [ "$index" -lt "$COMP_CWORD" ]; do
        word="${COMP_WORDS[index]}"
        index=$((index + 1))
        case "$verb/$word" in
%(verbs)s
        esac
    done
    case "$cur" in
        --*=*) flag="${cur%%%%=*}"; before="$flag="; cur="${cur#*=}" ;;
        =) flag="$prev"; cur="" ;;
        *) if [ "$prev" = "=" ]; then flag="${COMP_WORDS[COMP_CWORD-2]}"; else flag="$prev"; fi ;;
    esac
    case "$verb $flag" in
%(values)s
    esac
    case "$verb" in
%(flags)s
    esac
    case "$cur" in
        -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W "$children" -- "$cur")) ;;
    esac
"""


@dataclass(frozen=True, slots=True)
class CompletionFlags:
    """The shell that completes."""

    shell: str = flag(choices=SHELLS, metavar="SHELL", help="bash or zsh")


@verb(
    "completion",
    "print a script that completes verbs, flags and values in a shell",
    examples=(
        ("bash", f"for ~/.local/share/bash-completion/completions/{PROGRAM}"),
        ("zsh", "for a file that ~/.zshrc sources"),
    ),
    exits=Exits("printed", wrong="a flag is wrong"),
    options=CompletionFlags,
)
def completion(options: CompletionFlags) -> int:
    """Print the script; returns the exit status."""
    sys.stdout.write(script(program(), options.shell))
    return status.OK


def script(program_parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell."""
    parts: dict[str, list[str]] = {"verbs": [], "values": [], "flags": []}
    for path, parser in _parsers(program_parser):
        if path:
            above, _, name = path.rpartition(" ")
            parts["verbs"].append(f'            "{above}/{name}") verb="{path}" ;;')
        # The daemon runs without a verb, with the flags of `serve`.
        takes = parser if path else verbs_of(parser)["serve"]
        taken = " ".join(dict.fromkeys(names(takes) + names(parser)))
        words = [
            str(choice)
            for action in parser._actions  # noqa: SLF001
            if not action.option_strings
            for choice in action.choices or ()
        ]
        parts["flags"].append(f'        "{path}") children="{" ".join(words)}"; flags="{taken}" ;;')
        for action in takes._actions:  # noqa: SLF001
            if action.nargs == 0:
                continue
            if action.choices:
                values = " ".join(map(str, action.choices))
                reply = f'COMPREPLY=($(compgen -P "$before" -W "{values}" -- "$cur"))'
            elif action.metavar in {"FILE", "FOLDER", "SOURCE"}:
                reply = 'COMPREPLY=($(compgen -P "$before" -f -- "$cur"))'
            else:
                reply = "COMPREPLY=()"
            parts["values"] += [
                f'        "{path} {name}") {reply}; return ;;' for name in action.option_strings
            ]
    body = BODY % {name: "\n".join(lines) for name, lines in parts.items()}
    head = f"# Completion of {PROGRAM}, as it prints it with `completion {shell}`.\n"
    setup = ZSH if shell == "zsh" else ""
    return f"{head}{setup}{FUNCTION}() {{{body}}}\ncomplete -F {FUNCTION} {PROGRAM}\n"


def _parsers(
    parser: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each parser with its words: none, `report`, `report month`."""
    yield path, parser
    for name, below in verbs_of(parser).items():
        yield from _parsers(below, f"{path} {name}".strip())
