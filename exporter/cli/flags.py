"""The options of a verb are a record, whose fields are its flags; and the values that flags take."""

import argparse
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from exporter.cli.status import failing
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
from exporter.web.listen_address import AddressError, parse_address

DEFAULT_ADDRESS: Final = ":9844"

HISTORY_HOURS_MAX: Final = 40 * 24
"""History by the hour is kept for 40 days."""

Options = TypeVar("Options")

Parser: TypeAlias = "argparse._ActionsContainer"  # noqa: SLF001
"""A parser, or a group of its flags."""


class FlagError(Exception):
    """Flags that do not go together; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag, or a word that stands by itself."""

    names: tuple[str, ...]
    """Spellings of the flag; none for a word."""
    group: str
    """Title in the help of the flags that it is shown with; empty: those of the verb."""
    words: Mapping[str, Any]
    """Arguments of `add_argument`."""

    def add(self, parser: Parser, name: str, default: Any) -> None:
        """Add the flag."""
        if self.group:
            titled = (group for group in parser._action_groups if group.title == self.group)  # noqa: SLF001
            parser = next(titled, None) or parser.add_argument_group(self.group)
        if isinstance(default, tuple):
            default = list(default)  # to which `append` adds
        spelling: dict[str, Any] = {"dest": name} if self.names else {}
        parser.add_argument(*(self.names or (name,)), default=default, **spelling, **self.words)

    def value(self, parsed: argparse.Namespace, name: str) -> Any:
        """The value of the flag."""
        return getattr(parsed, name)


@dataclass(frozen=True, slots=True)
class NestedOptions:
    """A record of options within another's."""

    options: type
    left_out: Collection[str]
    """Fields of the record whose flags the verb lacks."""
    build: Callable[[argparse.Namespace], Any]
    """Makes the record of what was parsed."""

    def add(self, parser: Parser, name: str, default: Any) -> None:  # noqa: ARG002
        """Add its flags."""
        add_fields(parser, self.options, self.left_out)

    def value(self, parsed: argparse.Namespace, name: str) -> Any:  # noqa: ARG002
        """The record."""
        return self.build(parsed)


class FormAction(argparse.Action):
    """Takes the form of an answer from the name of its flag; two forms exclude each other."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ARG002
        option_string: str | None = None,
    ) -> None:
        """Set the form."""
        flag_of_form = option_string or ""
        other = getattr(namespace, self.dest)
        if f"--{other}" != flag_of_form and other != self.default:
            parser.error(f"argument {flag_of_form}: not allowed with argument --{other}")
        setattr(namespace, self.dest, flag_of_form.removeprefix("--"))


OptionField: TypeAlias = Flag | NestedOptions


def flag(*names: str, default: Any = None, group: str = "", **words: Any) -> Any:
    """A field of a verb's options, and the flag that sets it; `words` are those of `add_argument`.

    Without names it is a word that stands by itself.
    """
    return field(default=default, metadata={"option": Flag(names, group, words)})


def switch(name: str, text: str, group: str = "") -> Any:
    """A field that a flag without a value sets."""
    return flag(name, default=False, group=group, action="store_true", help=text)


def file_flag(name: str, text: str, **words: Any) -> Any:
    """A field of a file's path."""
    return flag(name, type=Path, metavar="FILE", help=text, **words)


def form_flags() -> Any:
    """The field of the form of an answer, by default a table."""
    text = "print JSON or CSV in place of a table"
    return flag("--json", "--csv", default="table", action=FormAction, nargs=0, help=text)


def nested(options: type, build: Callable[[argparse.Namespace], Any], left_out: Collection[str] = ()) -> Any:
    """A field of a record of options that is made of what was parsed; `None` by default."""
    return field(default=None, metadata={"option": NestedOptions(options, left_out, build)})


def daemon_config_flag(use: str = "") -> Any:
    """The field of the daemon's configuration of a verb that reads its ledger.

    `use` is what else the verb takes from it, as a sentence's end.
    """
    return file_flag("--config.file", f"the daemon's configuration in YAML, for its ledger.path{use}")


def ledger_flag(text: str = "the daemon's ledger, a path from / on") -> Any:
    """The field of the ledger's file."""
    default = f"(default: ledger.path of the configuration, else {DEFAULT_LEDGER})"
    return flag("--ledger.path", type=absolute_path_value, metavar="FILE", help=f"{text} {default}")


def json_flag(text: str = "print JSON") -> Any:
    """The field of an answer for programs."""
    return switch("--json", text)


def month_flag(text: str, *, quarters: bool = False, group: str = "") -> Any:
    """The field of a month, or also of a quarter."""
    value = month_or_quarter_value if quarters else month_value
    return flag("--month", type=value, metavar="YYYY-MM", help=text, group=group)


def listen_flag(address: str) -> Any:
    """The field of the web server's address."""
    text = f"address to serve on (default {address})"
    return flag("--web.listen-address", default=address, type=address_value, metavar="ADDRESS", help=text)


def web_config_flag() -> Any:
    """The field of TLS and passwords."""
    text = "exporter-toolkit web configuration file with TLS and passwords"
    return file_flag("--web.config.file", f"{text} (default: plain HTTP without authentication)")


def allowed_hosts_flag() -> Any:
    """The field of host names for browsers."""
    text = "additional host name for browsers; repeatable"
    return flag("--web.allowed-host", default=(), action="append", type=host_value, metavar="NAME", help=text)


def option_fields(options: type, left_out: Collection[str] = ()) -> Iterator[tuple[Field[Any], OptionField]]:
    """The fields of options that flags set, in their order."""
    for each in fields(options):
        if "option" in each.metadata and each.name not in left_out:
            yield each, each.metadata["option"]


def add_fields(parser: Parser, options: type, left_out: Collection[str] = ()) -> None:
    """Add the flags of options to a parser, in the order of their fields."""
    for each, option in option_fields(options, left_out):
        option.add(parser, each.name, each.default)


def chosen(options: type[Options], parsed: argparse.Namespace, left_out: Collection[str] = ()) -> Options:
    """Options of what was parsed.

    Raises:
        FlagError: flags do not go together.
    """
    values = {each.name: option.value(parsed, each.name) for each, option in option_fields(options, left_out)}
    return options(**values)


def of_files(config_file: Path | None, ledger_path: Path | None) -> tuple[str, ...]:
    """The flags by which a printed command, run anywhere, reads the same configuration and ledger."""
    files = (("--config.file", config_file), ("--ledger.path", ledger_path))
    return tuple(f"{flag}={path.absolute()}" for flag, path in files if path is not None)


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
def _refusing(kind: type[Exception]) -> Iterator[None]:
    """Errors of this kind, as those of a flag's value."""
    try:
        yield
    except kind as error:
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
    with failing(ValueError):
        if since is not None:
            return Period.between(since, until or today)
        return Period.named(month or f"{today:%Y-%m}")


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


def duration_value(
    units: str, least: Nanoseconds, most: Nanoseconds, expected: str
) -> Callable[[str], Nanoseconds]:
    """What parses a duration within bounds; `expected` says in its error what to write."""

    def value(text: str) -> Nanoseconds:
        length = duration(text, units)
        if not least <= length <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no {expected}")
        return length

    return value


def count_value(most: int, noun: str = "number") -> Callable[[str], int]:
    """What parses a number from 1 on."""

    def value(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) else 0
        if not 1 <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no {noun} from 1 to {most}")
        return number

    return value


@dataclass(frozen=True, slots=True)
class LedgerFlags:
    """The daemon's configuration, and its ledger."""

    config_file: Path | None = daemon_config_flag()
    ledger_path: Path | None = ledger_flag()
