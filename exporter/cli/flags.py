"""The flags that verbs share, and what every verb's parser has."""

import argparse
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from inspect import signature
from pathlib import Path
from typing import Final, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from exporter.cli import logs, status
from exporter.cli.terminal import help_columns
from exporter.config.settings import DEFAULT_LEDGER
from exporter.tariff.period import Period
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)
from exporter.web.hosts import host_of
from exporter.web.listener import AddressError, parse_address


def absolute_path_value(text: str) -> Path:
    """An absolute path, as the configuration requires: the working folder of a daemon is arbitrary."""
    path = Path(text)
    if not path.is_absolute():
        raise argparse.ArgumentTypeError(f"{text!r} is no absolute path; write {path.absolute()}")
    return path


def address_value(text: str) -> str:
    """An address of valid form to listen on."""
    try:
        parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def host_value(text: str) -> str:
    """A host name that browsers may request."""
    try:
        return host_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def month_value(text: str) -> str:
    """A month like 2026-10."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no month: expected one like 2026-10")
    return _of_calendar(text)


def month_or_quarter_value(text: str) -> str:
    """A month like 2026-10 or a quarter like 2026-Q3."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2]|Q[1-4])", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no month: expected one like 2026-10, or a quarter like 2026-Q3"
        )
    return _of_calendar(text)


def _of_calendar(name: str) -> str:
    """The name of a month or quarter, unless it lies in no year that a calendar has."""
    try:
        return Period.named(name).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def date_value(text: str) -> date:
    """A day like 2026-10-31."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no date: expected one like 2026-10-31")


_UNITS: Final = {
    "s": NANOSECONDS_PER_SECOND,
    "m": NANOSECONDS_PER_MINUTE,
    "h": NANOSECONDS_PER_HOUR,
    "d": NANOSECONDS_PER_DAY,
}


def duration(text: str, units: str) -> Nanoseconds:
    """A whole number of one of some units, like 30s; 0 for a text of another form."""
    match = re.fullmatch(rf"([0-9]{{1,5}})([{units}])", text)
    return int(match[1]) * _UNITS[match[2]] if match else 0


DEFAULT_ADDRESS: Final = ":9844"
DEMO_ADDRESS: Final = "127.0.0.1:9844"
"""Loopback: the dollars are invented."""

PROGRAM: Final = "inference-cost-exporter"

Example = tuple[str, str]
"""The arguments of a verb, and their effect."""

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

Options = TypeVar("Options")


def chosen(kind: type[Options], parsed: argparse.Namespace, **others: object) -> Options:
    """The options of a verb, from its parsed flags, which have the names of the fields, and from others."""
    names = signature(kind).parameters.keys() - others.keys()
    return kind(**{name: getattr(parsed, name) for name in names}, **others)


def of_files(config_file: Path | None, ledger_path: Path | None) -> tuple[str, ...]:
    """The flags by which a printed command, run anywhere, reads the same configuration and ledger."""
    files = (("--config.file", config_file), ("--ledger.path", ledger_path))
    return tuple(f"{flag}={path.absolute()}" for flag, path in files if path is not None)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. Each flag makes one: without a width it would load `shutil`, 0.5 MiB."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=help_columns() - 2)


@dataclass(frozen=True, slots=True)
class Exits:
    """Meanings of a verb's exit statuses; an empty text: the status is not used."""

    fine: str
    failed: str = ""
    wrong: str = "the configuration or a flag is wrong"
    interrupted: str = "interrupted from the keyboard"

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


def add_verb(
    verbs: Verbs,
    name: str,
    text: str,
    *,
    examples: tuple[Example, ...],
    exits: Exits,
    of: str = "",
) -> argparse.ArgumentParser:
    """A verb's parser, with what all have: help, examples, exit codes, and how to log.

    `of` is the verb that it stands under, like `report`.
    """
    called = " ".join(filter(None, (PROGRAM, of, name)))
    lines = "".join(f"  {f'{called} {tail}'.strip()}\n      {what}\n" for tail, what in examples)
    verb = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{lines}\n{exits.text()}",
        formatter_class=HelpFormatter,
    )
    _logs(verb)
    verb.set_defaults(parser=verb, examples=examples, exits=exits)
    return verb


def names(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """The flags of a parser, in the order of its help."""
    return tuple(flag for action in parser._actions for flag in action.option_strings)  # noqa: SLF001


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs of a parser by name, empty for a verb itself."""
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return {name: verb for group in groups for name, verb in group.choices.items()}


def add_group(verbs: Verbs, name: str, text: str, example: str) -> argparse.ArgumentParser:
    """The parser of a word that verbs stand behind."""
    return verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {PROGRAM} {name} {example}\n\n{PROGRAM} {name} VERB --help shows its flags.",
        formatter_class=HelpFormatter,
    )


def of_the_daemon() -> str:
    """The flags of the daemon, as the lines of its help."""
    flags = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    daemon(flags)
    _logs(flags)
    return flags.format_help().partition("\n")[2]


def daemon(verb: argparse.ArgumentParser) -> None:
    """The flags of the daemon."""
    sources(verb)
    verb.add_argument(
        "--config.watch",
        dest="watch",
        action="store_true",
        help="reload the configuration when its file changes, for example in a mounted ConfigMap",
    )
    listen(verb)
    lifecycle(verb)


def sources(verb: argparse.ArgumentParser) -> None:
    """The flags of configuration and ledger of a verb that meters."""
    config(verb, "configuration in YAML; without one, prices are estimates of the bundled catalogue")
    _ledger(verb, "file of the ledger, an absolute path; its folder is created if missing")


def daemon_ledger(verb: argparse.ArgumentParser, *, use: str = "") -> None:
    """The flags of configuration and ledger of a verb that reads or corrects the daemon's ledger.

    `use` is what else the verb takes from the configuration, as a sentence's end.
    """
    config(verb, f"the daemon's configuration in YAML, for its ledger.path{use}")
    _ledger(verb, "the daemon's ledger, a path from / on")


def config(verb: argparse.ArgumentParser, text: str, *, required: bool = False) -> None:
    """The flag of the configuration, with its purpose."""
    verb.add_argument(
        "--config.file", dest="config_file", type=Path, required=required, metavar="FILE", help=text
    )


def _ledger(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument(
        "--ledger.path",
        dest="ledger_path",
        type=absolute_path_value,
        metavar="FILE",
        help=f"{text} (default: ledger.path of the configuration, else {DEFAULT_LEDGER})",
    )


def listen(verb: argparse.ArgumentParser, address: str = DEFAULT_ADDRESS) -> None:
    """The flags of the web server."""
    verb.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=address,
        type=address_value,
        metavar="ADDRESS",
        help=f"address to serve on (default {address})",
    )
    web_config(verb)
    verb.add_argument(
        "--web.allowed-host",
        dest="allowed_hosts",
        action="append",
        default=[],
        type=host_value,
        metavar="NAME",
        help="additional host name for browsers; repeatable",
    )


def as_json(verb: argparse.ArgumentParser, text: str = "print JSON") -> None:
    """The flag of an answer for programs."""
    verb.add_argument("--json", dest="as_json", action="store_true", help=text)


def forms(verb: argparse.ArgumentParser) -> None:
    """The flags of an answer as JSON or CSV in place of a table."""
    group = verb.add_mutually_exclusive_group()
    for form in ("json", "csv"):
        group.add_argument(
            f"--{form}", dest="form", action="store_const", const=form, help=f"print {form.upper()}"
        )
    verb.set_defaults(form="table")


def period(verb: argparse.ArgumentParser) -> None:
    """The flags of a month, a quarter, or the days from one date to another."""
    verb.add_argument(
        "--month",
        type=month_or_quarter_value,
        metavar="YYYY-MM",
        help="the month, or a quarter like 2026-Q3 (default: the current month)",
    )
    verb.add_argument("--since", type=date_value, metavar="DATE", help="the first day, in place of --month")
    verb.add_argument(
        "--until", type=date_value, metavar="DATE", help="the last day, with --since (default: today)"
    )


def check_period(options: argparse.Namespace) -> None:
    """Exit on flags of a period that clash."""
    month, since, until = options.month, options.since, options.until
    if month is not None and (since is not None or until is not None):
        options.parser.error("--month takes the place of --since and --until")
    if until is not None and since is None:
        options.parser.error("--until needs --since")
    if since is not None and until is not None and until < since:
        options.parser.error(f"--until={until} is before --since={since}")


def named_period(
    zone: ZoneInfo,
    now: Instant,
    *,
    month: str | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Period:
    """The period of these flags in a time zone; without any, the current month.

    Raises:
        VerbFailedError: it ends before it begins, or lies in no year that a calendar has.
    """
    today = datetime.fromtimestamp(now // NANOSECONDS_PER_SECOND, UTC).astimezone(zone).date()
    with status.failing(ValueError):
        if since is not None:
            return Period.between(since, until or today)
        return Period.named(month or f"{today:%Y-%m}")


def web_config(verb: argparse.ArgumentParser) -> None:
    """The flag of TLS and passwords."""
    verb.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=Path,
        metavar="FILE",
        help="exporter-toolkit web configuration file with TLS and passwords "
        "(default: plain HTTP without authentication)",
    )


def lifecycle(verb: argparse.ArgumentParser) -> None:
    """The flag of reloads over HTTP; `--no-web.enable-lifecycle` forbids them."""
    verb.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="enable POST /-/reload (default: on loopback addresses and where every client authenticates; "
        "SIGHUP always works)",
    )


def _logs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--log.level",
        dest="log_level",
        choices=logs.LEVELS,
        default="info",
        help="minimum level of log lines on standard error (default info)",
    )
    verb.add_argument(
        "--log.format",
        dest="log_format",
        choices=logs.FORMATS,
        default="logfmt",
        help="log format (default logfmt)",
    )
