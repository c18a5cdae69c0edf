"""The flags that verbs share, and what every verb's parser has."""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from inspect import signature
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from exporter.cli import logs, status
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
    with _refusing(AddressError):
        parse_address(text)
    return text


def host_value(text: str) -> str:
    """A host name that browsers may request."""
    with _refusing(ValueError):
        return host_of(text)


@contextmanager
def _refusing(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds, as those of a flag's value."""
    try:
        yield
    except kinds as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def month_value(text: str) -> str:
    """A month like 2026-10."""
    return _period_name(text, "(0[1-9]|1[0-2])", "one like 2026-10")


def month_or_quarter_value(text: str) -> str:
    """A month like 2026-10 or a quarter like 2026-Q3."""
    return _period_name(text, "(0[1-9]|1[0-2]|Q[1-4])", "one like 2026-10, or a quarter like 2026-Q3")


def _period_name(text: str, form: str, expected: str) -> str:
    """The name of a period of a form, in a year that a calendar has."""
    if not re.fullmatch(f"[0-9]{{4}}-{form}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no month: expected {expected}")
    with _refusing(ValueError):
        return Period.named(text).name


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


class FlagError(Exception):
    """Flags that do not go together; the message says what to do."""


def flag(*names: str, default: Any = None, **words: Any) -> Any:
    """A field of a verb's options, and the flag that sets it; `words` are those of `add_argument`.

    Without names it is a word that stands by itself.
    """
    return field(default=default, metadata={"names": names, "words": words})


def switch(name: str, text: str) -> Any:
    """A field that a flag without a value sets."""
    return flag(name, default=False, action="store_true", help=text)


def config_flag(text: str) -> Any:
    """The field of the configuration, with its purpose."""
    return flag("--config.file", type=Path, metavar="FILE", help=text)


def daemon_config_flag(use: str = "") -> Any:
    """The field of the daemon's configuration of a verb that reads its ledger.

    `use` is what else the verb takes from it, as a sentence's end.
    """
    return config_flag(f"the daemon's configuration in YAML, for its ledger.path{use}")


def ledger_flag(text: str = "the daemon's ledger, a path from / on") -> Any:
    """The field of the ledger's file."""
    default = f"(default: ledger.path of the configuration, else {DEFAULT_LEDGER})"
    return flag("--ledger.path", type=absolute_path_value, metavar="FILE", help=f"{text} {default}")


def json_flag(text: str = "print JSON") -> Any:
    """The field of an answer for programs."""
    return switch("--json", text)


def listen_flag(address: str) -> Any:
    """The field of the web server's address."""
    text = f"address to serve on (default {address})"
    return flag("--web.listen-address", default=address, type=address_value, metavar="ADDRESS", help=text)


def web_config_flag() -> Any:
    """The field of TLS and passwords."""
    text = "exporter-toolkit web configuration file with TLS and passwords"
    default = "(default: plain HTTP without authentication)"
    return flag("--web.config.file", type=Path, metavar="FILE", help=f"{text} {default}")


def allowed_hosts_flag() -> Any:
    """The field of host names for browsers."""
    text = "additional host name for browsers; repeatable"
    return flag("--web.allowed-host", default=(), action="append", type=host_value, metavar="NAME", help=text)


def add_field(verb: "argparse._ActionsContainer", name: str, option: Any) -> None:
    """Add the flag of a field to a parser."""
    names, words = option.metadata["names"], option.metadata["words"]
    default = list(option.default) if isinstance(option.default, tuple) else option.default
    if names:
        verb.add_argument(*names, dest=name, **{"default": default, **words})
    else:
        verb.add_argument(name, default=default, **words)


def add_fields(verb: "argparse._ActionsContainer", options: type) -> None:
    """Add the flags of a verb's options, in the order of their fields."""
    for option in fields(options):
        if option.metadata:
            add_field(verb, option.name, option)


def chosen(kind: type[Options], parsed: argparse.Namespace, **others: object) -> Options:
    """The options of a verb, from its parsed flags, which have the names of the fields, and from others."""
    names = signature(kind).parameters.keys() - others.keys()
    return kind(**{name: getattr(parsed, name) for name in names}, **others)


def of_files(config_file: Path | None, ledger_path: Path | None) -> tuple[str, ...]:
    """The flags by which a printed command, run anywhere, reads the same configuration and ledger."""
    files = (("--config.file", config_file), ("--ledger.path", ledger_path))
    return tuple(f"{flag}={path.absolute()}" for flag, path in files if path is not None)


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
    options: type[Options] | None = None,
    run: Callable[[Options], int | None] | None = None,
) -> argparse.ArgumentParser:
    """A verb's parser, with what all have: help, examples, exit codes, and how to log.

    `of` is the verb that it stands under, like `report`; `options` are its flags, which `run` is called with.
    """
    called = " ".join(filter(None, (PROGRAM, of, name)))
    lines = "".join(f"  {f'{called} {tail}'.strip()}\n      {what}\n" for tail, what in examples)
    verb = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{lines}\n{exits.text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_fields(verb, LogFlags)
    if options is not None:
        add_fields(verb, options)
    if options is not None and run is not None:
        verb.set_defaults(run=lambda parsed: run(chosen(options, parsed)))
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
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@dataclass(frozen=True, slots=True)
class LogFlags:
    """How every verb logs."""

    log_level: str = flag(
        "--log.level",
        default="info",
        choices=logs.LEVELS,
        help="minimum level of log lines on standard error (default info)",
    )
    log_format: str = flag(
        "--log.format", default="logfmt", choices=logs.FORMATS, help="log format (default logfmt)"
    )


@dataclass(frozen=True, slots=True)
class LedgerFlags:
    """The daemon's configuration, and its ledger."""

    config_file: Path | None = daemon_config_flag()
    ledger_path: Path | None = ledger_flag()


@dataclass(frozen=True, slots=True)
class ServeFlags:
    """Flags of the daemon; a flag wins over the file."""

    config_file: Path | None = config_flag(
        "configuration in YAML; without one, prices are estimates of the bundled catalogue"
    )
    listen_address: str = listen_flag(DEFAULT_ADDRESS)
    ledger_path: Path | None = ledger_flag(
        "file of the ledger, an absolute path; its folder is created if missing"
    )
    web_config_file: Path | None = web_config_flag()
    lifecycle: bool | None = flag(
        "--web.enable-lifecycle",
        action=argparse.BooleanOptionalAction,
        help="enable POST /-/reload (default: on loopback addresses and where every client authenticates; "
        "SIGHUP always works)",
    )
    """`--no-web.enable-lifecycle` forbids reloads over HTTP."""
    allowed_hosts: Sequence[str] = allowed_hosts_flag()
    watch: bool = switch(
        "--config.watch",
        "reload the configuration when its file changes, for example in a mounted ConfigMap",
    )


def of_the_daemon() -> str:
    """The flags of the daemon, as the lines of its help."""
    daemon = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    add_fields(daemon, ServeFlags)
    add_fields(daemon, LogFlags)
    return daemon.format_help().partition("\n")[2]


def daemon_ledger(verb: argparse.ArgumentParser, *, use: str = "") -> None:
    """The flags of configuration and ledger of a verb that reads or corrects the daemon's ledger."""
    add_field(verb, "config_file", daemon_config_flag(use))
    add_field(verb, "ledger_path", ledger_flag())


def config(verb: argparse.ArgumentParser, text: str, *, required: bool = False) -> None:
    """The flag of the configuration, with its purpose."""
    add_field(
        verb, "config_file", flag("--config.file", type=Path, required=required, metavar="FILE", help=text)
    )


def as_json(verb: argparse.ArgumentParser, text: str = "print JSON") -> None:
    """The flag of an answer for programs."""
    add_field(verb, "as_json", json_flag(text))


def forms(verb: argparse.ArgumentParser) -> None:
    """The flags of an answer as JSON or CSV in place of a table."""
    group = verb.add_mutually_exclusive_group()
    for form in ("json", "csv"):
        group.add_argument(
            f"--{form}", dest="form", action="store_const", const=form, help=f"print {form.upper()}"
        )
    verb.set_defaults(form="table")


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
