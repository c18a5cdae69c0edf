"""The flags of `tco`, and what they ask for."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from exporter.cli import flags


@dataclass(frozen=True, slots=True)
class TcoOptions:
    """What is asked: a scenario's file or the name of an example, or neither to list them."""

    scenario: Path | None
    example: str | None
    show: bool
    measured: bool
    config_file: Path | None
    ledger_path: Path | None
    json: bool
    svg: Path | None


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the program's parser."""
    verb = flags.add_verb(
        verbs,
        "tco",
        "say what serving costs over years: owned, rented, hosted and hybrid",
        examples=(
            ("--list", "the examples that come with the program"),
            ("--example=four-ways", "one of them, worked out"),
            ("--example=four-ways --show", "its file, to begin from"),
            ("--example=four-ways --svg=four-ways.svg", "a chart of it"),
            ("--example=four-ways --measured --json", "with what this host really served and cost"),
        ),
        exits=flags.Exits(
            "printed or written",
            "the ledger cannot tell, or the chart cannot be written",
            "the scenario, the configuration or a flag is wrong",
        ),
    )
    flags.books(verb, use="; only --measured reads it")
    verb.add_argument(
        "scenario", nargs="?", type=Path, metavar="SCENARIO.yaml", help="what to compare; see docs/tco.md"
    )
    verb.add_argument("--list", action="store_true", help="list the examples that come with the program")
    verb.add_argument("--example", metavar="NAME", help="take one of them instead of a file")
    verb.add_argument("--show", action="store_true", help="print the example's file, to begin from")
    verb.add_argument(
        "--measured",
        action="store_true",
        help="take the load from the ledger's last 30 days, and what they cost as one more option",
    )
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--svg", type=Path, metavar="FILE", help="write a chart to a file")
    verb.set_defaults(run=_tco)


def question(chosen: argparse.Namespace) -> TcoOptions:
    """What the flags ask for; a contradiction ends the program as a wrong flag does."""
    named = [chosen.scenario is not None, chosen.example is not None, chosen.list]
    if sum(named) != 1:
        chosen.parser.error("give one of SCENARIO.yaml, --example NAME and --list")
    if chosen.show and chosen.example is None:
        chosen.parser.error("--show goes with --example")
    return TcoOptions(
        scenario=chosen.scenario,
        example=chosen.example,
        show=chosen.show,
        measured=chosen.measured,
        config_file=chosen.config_file,
        ledger_path=chosen.ledger_path,
        json=chosen.json,
        svg=chosen.svg,
    )


def _tco(chosen: argparse.Namespace) -> int:
    from exporter.cli.tco import tco  # noqa: PLC0415 - only when it is asked

    return tco(question(chosen))
