"""Flags and verbs. A verb's code is imported when it is called: the daemon carries nothing of the others."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exporter import __version__
from exporter.cli import logs, values

PROGRAM: Final = "inference-cost-exporter"
DEFAULT_ADDRESS: Final = ":9844"

BYS: Final = ("product", "team", "server", "model", "component", "gpu")
"""What `report month` can be by; spelled here since a report's code is imported when it is asked for."""

EXIT_CODES: Final = """\
exit codes:
  0  fine
  1  the daemon failed or must be restarted, or the verb could not do it; for doctor: warnings
  2  the configuration or a flag is wrong; for doctor: money would be wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    chosen, unknown = _parser().parse_known_args(
        _with_verb(sys.argv[1:] if arguments is None else list(arguments))
    )
    if unknown:
        hint = "" if unknown[0].startswith("-") else " (a verb stands before its flags)"
        chosen.parser.error(f"unknown here: {' '.join(unknown)}{hint}")
    logs.set_up(chosen.log_level, chosen.log_format)
    try:
        status: int = chosen.run(chosen)
    except KeyboardInterrupt:
        return 130
    return status


def _with_verb(arguments: list[str]) -> list[str]:
    """`serve` is the verb when none is named."""
    if any(not argument.startswith("-") for argument in arguments[:1]):
        return arguments
    if {"-h", "--help", "--version"} & set(arguments):
        return arguments
    return ["serve", *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [FLAGS OF THE DAEMON]\n       {PROGRAM} VERB [FLAGS OF THE VERB]",
        description="What your own LLM inference costs: dollars per server, model and token, for Prometheus.",
        epilog=f"flags of the daemon, which runs without a verb:\n{_flags_of_the_daemon()}\nexamples:\n"
        f"  {PROGRAM} --config.file=/etc/ice.yaml\n  {PROGRAM} doctor --config.file=/etc/ice.yaml\n\n"
        f"{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog=PROGRAM)

    serve = _verb(verbs, "serve", "run the daemon (the default)", "--config.file=/etc/ice.yaml")
    _daemon(serve)
    serve.set_defaults(run=_serve)

    demo = _verb(verbs, "demo", "run on a simulated host of 8 GPUs: no GPU, no configuration", "")
    _listen(demo)
    demo.set_defaults(run=_demo)

    doctor = _verb(
        verbs, "doctor", "say what would be metered, at which price, and whether the money is right", ""
    )
    _common(doctor)
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)

    check = _verb(verbs, "check-config", "check a configuration file", "--config.file=/etc/ice.yaml")
    _config(check, required=True)
    check.set_defaults(run=_check_config)

    ledger = verbs.add_parser("ledger", help="what is done to the books by hand")
    acts = ledger.add_subparsers(dest="act", required=True, metavar="VERB")
    adopt = _verb(
        acts,
        "adopt",
        "hand the ledger of another machine to this one",
        "--ledger.path=/var/lib/inference-cost-exporter/ledger.db",
        of="ledger",
    )
    _common(adopt)
    adopt.set_defaults(run=_adopt)

    adjust = _verb(
        verbs,
        "adjust",
        "enter a dated correction of what a product owes, which the daemon posts at its next tick",
        '--amount=-12.34 --date=2026-10-31 --product=chat --reason="invoice 4711: 2 h that never started"',
    )
    _common(adjust)
    _adjustment(adjust)

    reports = verbs.add_parser("report", help="what a month cost, and whom")
    _reports(reports.add_subparsers(dest="report", required=True, metavar="VERB"))
    return parser


def _adjustment(verb: argparse.ArgumentParser) -> None:
    """What it says is checked by the verb itself."""
    needed = (
        ("--amount", "DOLLARS", "what to add; with a minus, what to take off"),
        ("--date", "YYYY-MM-DD", "the day that it is for, of this month or the twelve before it"),
        ("--product", "PRODUCT", "the product, exactly as reports name it"),
        ("--reason", "TEXT", "why: reports show it"),
    )
    for flag, metavar, text in needed:
        verb.add_argument(flag, required=True, metavar=metavar, help=text)
    verb.add_argument(
        "--team",
        metavar="TEAM",
        help="the product's team (default: the one that the month was billed to, or its only one)",
    )
    verb.set_defaults(run=_adjust)


def _reports(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    month = _verb(
        verbs,
        "month",
        "say what a month cost by product, team, server, model, component or GPU",
        "--month 2026-10 --by server",
        of="report",
    )
    month.add_argument("--by", choices=BYS, default="product", help="what a row is (default product)")
    chargeback = _verb(
        verbs,
        "chargeback",
        "say what each product and team owes for a month, with its idle part, GPU-hours and tokens",
        "--month 2026-10 --csv",
        of="report",
    )
    focus = _verb(
        verbs,
        "focus",
        "write a month as CSV of FOCUS 1.2, the common form of bills: by day, server, model and phase",
        "--month 2026-10 --output focus-2026-10.csv",
        of="report",
    )
    focus.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: standard output)"
    )
    focus.set_defaults(run=_focus)
    for verb in (month, chargeback, focus):
        _common(verb)
        verb.add_argument(
            "--month", type=values.month, metavar="YYYY-MM", help="the month (default: the one that goes on)"
        )
    for verb in (month, chargeback):
        form = verb.add_mutually_exclusive_group()
        form.add_argument("--json", dest="form", action="store_const", const="json", help="print JSON")
        form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV")
        verb.set_defaults(run=_report, form="table")


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    example: str,
    *,
    of: str = "",
) -> argparse.ArgumentParser:
    command = " ".join(filter(None, ("inference-cost-exporter", of, name, example)))
    verb = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {command}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _logs(verb)
    verb.set_defaults(parser=verb)
    return verb


def _flags_of_the_daemon() -> str:
    """The lines of its help that tell its flags."""
    flags = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    _daemon(flags)
    _logs(flags)
    return flags.format_help().partition("\n")[2]


def _daemon(verb: argparse.ArgumentParser) -> None:
    _common(verb)
    _listen(verb)


def _logs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--log.level", dest="log_level", choices=logs.LEVELS, default="info")
    verb.add_argument("--log.format", dest="log_format", choices=logs.FORMATS, default="logfmt")


def _config(verb: argparse.ArgumentParser, *, required: bool = False) -> None:
    verb.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        required=required,
        metavar="FILE",
        help="configuration in YAML; without one, GPUs are metered and unpriced",
    )


def _common(verb: argparse.ArgumentParser) -> None:
    _config(verb)
    verb.add_argument(
        "--ledger.path",
        dest="ledger_path",
        type=values.absolute,
        metavar="FILE",
        help="where the books are kept: a path from / on",
    )


def _listen(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=DEFAULT_ADDRESS,
        type=values.address,
        metavar="ADDRESS",
        help=f"address to serve on (default {DEFAULT_ADDRESS})",
    )


def _serve(chosen: argparse.Namespace) -> int:
    from exporter.cli.serve import Flags, serve  # noqa: PLC0415 - see the module's first line

    return serve(Flags(chosen.config_file, chosen.listen_address, chosen.ledger_path))


def _demo(chosen: argparse.Namespace) -> int:
    from exporter.cli.demo import demo  # noqa: PLC0415

    return demo(chosen.listen_address)


def _doctor(chosen: argparse.Namespace) -> int:
    from exporter.cli.doctor import doctor  # noqa: PLC0415

    return doctor(chosen.config_file, chosen.ledger_path, as_json=chosen.json)


def _adopt(chosen: argparse.Namespace) -> int:
    from exporter.cli.ledger import adopt  # noqa: PLC0415

    return adopt(chosen.config_file, chosen.ledger_path)


def _adjust(chosen: argparse.Namespace) -> int:
    from exporter.cli.adjust import Flags, adjust  # noqa: PLC0415

    said = chosen.amount, chosen.date, chosen.product, chosen.team, chosen.reason
    return adjust(Flags(chosen.config_file, chosen.ledger_path, *said))


def _report(chosen: argparse.Namespace) -> int:
    from exporter.cli.report import Question, report  # noqa: PLC0415

    by = getattr(chosen, "by", None)
    return report(Question(chosen.config_file, chosen.ledger_path, chosen.month, by, chosen.form))


def _focus(chosen: argparse.Namespace) -> int:
    from exporter.cli.focus import focus_file  # noqa: PLC0415

    return focus_file(chosen.config_file, chosen.ledger_path, chosen.month, chosen.output)


def _check_config(chosen: argparse.Namespace) -> int:
    from exporter.reports.check_config import check_config  # noqa: PLC0415

    status, text = check_config(chosen.config_file)
    (sys.stdout if status == 0 else sys.stderr).write(text if text.endswith("\n") else f"{text}\n")
    return status
