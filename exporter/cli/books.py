"""The verbs that ask the books, or correct them. Their code is imported when one of them is called."""

import argparse
from pathlib import Path
from typing import Final

from exporter.cli import explain_flags, flags, reconcile_flags
from exporter.cli import flags as values
from exporter.cli.flags import Exits

BYS: Final = ("product", "team", "server", "model", "component", "gpu")
"""What `report month` can be by; spelled here since a report's code is imported when it is asked for."""


PRINTED: Final = Exits("printed", "no such month, or no ledger that can be read")


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them to the program's parser."""
    _add_ledger(verbs)
    _add_adjust(verbs)
    _add_explain(verbs)
    _add_reconcile(verbs)
    _add_report(verbs)


def _add_ledger(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ledger = flags.add_group(
        verbs, "ledger", "what is done to the books by hand", "adopt --ledger.path=/srv/ice/ledger.db"
    )
    acts = ledger.add_subparsers(dest="act", required=True, metavar="adopt")
    adopt = flags.add_verb(
        acts,
        "adopt",
        "hand the ledger of another machine to this one",
        examples=(
            (
                "--ledger.path=/var/lib/inference-cost-exporter/ledger.db",
                "the next start of the daemon goes on with it, on whatever machine it then is",
            ),
        ),
        exits=Exits("done", "the ledger is in use, is missing or cannot be read"),
        of="ledger",
    )
    flags.books(adopt)
    adopt.set_defaults(run=_adopt)


def _add_adjust(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    adjust = flags.add_verb(
        verbs,
        "adjust",
        "enter a dated correction of what a product owes, which the daemon posts at its next tick",
        examples=(
            (
                "--amount=-12.34 --date=2026-10-31 --product=assistant --reason='invoice 4711: 2 h unused'",
                "take 12.34 dollars off what a product owes for October",
            ),
            (
                "--amount=-12.34 --date=2026-10-31 --product=assistant --reason='invoice 4711' --dry-run",
                "say what that would do, and do nothing",
            ),
            (
                "--proposals --config.file=/etc/ice.yaml",
                "print a line for each correction that prices by date ask for, and enter nothing",
            ),
        ),
        exits=Exits(
            "entered, a dry run that would be, or proposals printed",
            "no ledger that can be written, or read for proposals",
            "the configuration or a flag is wrong, or what is asked makes no sense",
        ),
    )
    flags.books(adjust, use=", the products that it names, and its prices for proposals")
    _adjustment(adjust)


def _add_explain(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    explain = flags.add_verb(
        verbs,
        "explain",
        "say how a server's cost per token comes about",
        examples=(
            ("", "each server over the last hour, as the metrics have it"),
            ("chat-70b --window=24h", "one server over a day"),
            ("chat-70b --window=7d --against=1.10", "and why somebody says 1.10 dollars per million tokens"),
            ("--window=24h --json", "all of it for programs"),
        ),
        exits=Exits("printed", "no ledger that can be read, or it has nothing of that server"),
    )
    explain_flags.add(explain)
    flags.books(
        explain,
        use=" and the prices of now; without one, those are estimates of the bundled catalogue",
    )
    explain.set_defaults(run=_explain)


def _add_reconcile(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    reconcile = flags.add_verb(
        verbs,
        "reconcile",
        "set the books against a bill, by day, and say why they differ",
        examples=(
            ("--invoice=dates.csv", "a CSV of dates and dollars"),
            (
                "--invoice=focus-2026-10.csv.gz --resource=i-0123456789abcdef0",
                "a cloud's FOCUS export, this host's rows alone",
            ),
            ("--invoice=dates.csv --json", "the same for programs"),
        ),
        exits=Exits("printed, whether or not they differ", "a bill or a ledger that cannot be read"),
    )
    reconcile_flags.add(reconcile)
    flags.books(reconcile)
    reconcile.set_defaults(run=_reconcile)


def _add_report(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    reports = flags.add_group(verbs, "report", "what a month cost, and whom", "month --by=team")
    _reports(reports.add_subparsers(dest="report", required=True, metavar="month|chargeback|focus"))


def _adjustment(verb: argparse.ArgumentParser) -> None:
    """What it says is checked by the verb itself."""
    needed = (
        ("--amount", "DOLLARS", "what to add; with a minus, what to take off"),
        ("--date", "YYYY-MM-DD", "the day that it is for, of this month or the twelve before it"),
        ("--product", "PRODUCT", "the product, exactly as reports name it"),
        ("--reason", "TEXT", "why: reports show it"),
    )
    for flag, metavar, text in needed:
        verb.add_argument(flag, metavar=metavar, help=f"{text} (needed)")
    verb.add_argument(
        "--team",
        metavar="TEAM",
        help="the product's team (default: the one that the month was billed to, or its only one)",
    )
    verb.add_argument("--key", metavar="KEY", help="the key of a proposed line, by which it is entered once")
    verb.add_argument(
        "--proposals",
        action="store_true",
        help="print the lines that correct posted money to the prices by date, and enter nothing",
    )
    verb.add_argument(
        "--dry-run", action="store_true", help="say what would be posted, or refused, and enter nothing"
    )
    verb.set_defaults(run=_adjust)


def _reports(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    month = flags.add_verb(
        verbs,
        "month",
        "say what a month cost by product, team, server, model, component or GPU",
        examples=(
            ("", "this month so far, by product"),
            ("--month=2026-10 --by=server", "a month that is over, by server"),
            ("--month=2026-10 --by=team --json", "the same for programs"),
        ),
        exits=PRINTED,
        of="report",
    )
    month.add_argument("--by", choices=BYS, default="product", help="what a row is (default product)")
    chargeback = flags.add_verb(
        verbs,
        "chargeback",
        "say what each product and team owes for a month, with its idle part, GPU-hours and tokens",
        examples=(
            ("--month=2026-10", "whom to bill, and how much"),
            ("--month=2026-10 --csv", "the same for a spreadsheet"),
        ),
        exits=PRINTED,
        of="report",
    )
    focus = flags.add_verb(
        verbs,
        "focus",
        "write a month as CSV of FOCUS 1.2, the common form of bills: by day, server, model and phase",
        examples=(
            ("--month=2026-10 --output=focus-2026-10.csv", "a month that is over, for a warehouse"),
            ("--month=2026-10 --spreadsheet", "the same for a spreadsheet"),
        ),
        exits=Exits("written", "no such month, no ledger that can be read, or no place to write"),
        of="report",
    )
    focus.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: standard output)"
    )
    focus.add_argument(
        "--spreadsheet",
        action="store_true",
        help="put an apostrophe before text that a spreadsheet would run as a formula",
    )
    focus.set_defaults(run=_focus)
    for verb in (month, chargeback, focus):
        flags.books(verb)
        verb.add_argument(
            "--month",
            type=values.month_value,
            metavar="YYYY-MM",
            help="the month (default: the one that goes on)",
        )
    for verb in (month, chargeback):
        form = verb.add_mutually_exclusive_group()
        form.add_argument("--json", dest="form", action="store_const", const="json", help="print JSON")
        form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV")
        verb.set_defaults(run=_report, form="table")


def _adopt(chosen: argparse.Namespace) -> int:
    from exporter.cli.ledger import adopt  # noqa: PLC0415

    return adopt(chosen.config_file, chosen.ledger_path)


def _adjust(chosen: argparse.Namespace) -> int:
    from exporter.cli.adjust import AdjustFlags, adjust, proposed  # noqa: PLC0415

    needed = {f"--{name}": getattr(chosen, name) for name in ("amount", "date", "product", "reason")}
    if chosen.proposals:
        others = {**needed, "--team": chosen.team, "--key": chosen.key, "--dry-run": chosen.dry_run or None}
        if said := [flag for flag, value in others.items() if value is not None]:
            chosen.parser.error(f"--proposals prints lines and enters none: leave out {', '.join(said)}")
        return proposed(chosen.config_file, chosen.ledger_path)
    if missing := [flag for flag, value in needed.items() if value is None]:
        chosen.parser.error(f"the following arguments are required: {', '.join(missing)}")
    told = chosen.amount, chosen.date, chosen.product, chosen.team, chosen.reason
    key = chosen.key or ""
    return adjust(AdjustFlags(chosen.config_file, chosen.ledger_path, *told, key=key, dry_run=chosen.dry_run))


def _report(chosen: argparse.Namespace) -> int:
    from exporter.cli.report import ReportOptions, report  # noqa: PLC0415

    by = getattr(chosen, "by", None)
    return report(ReportOptions(chosen.config_file, chosen.ledger_path, chosen.month, by, chosen.form))


def _focus(chosen: argparse.Namespace) -> int:
    from exporter.cli.focus import focus_file  # noqa: PLC0415

    where = chosen.config_file, chosen.ledger_path, chosen.month, chosen.output
    return focus_file(*where, guarded=chosen.spreadsheet)


def _explain(chosen: argparse.Namespace) -> int:
    from exporter.cli.explain import explained  # noqa: PLC0415

    return explained(explain_flags.question(chosen))


def _reconcile(chosen: argparse.Namespace) -> int:
    from exporter.cli.reconcile import reconciled  # noqa: PLC0415

    return reconciled(reconcile_flags.question(chosen))
